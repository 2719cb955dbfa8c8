"""Scenarios with psycopg 3: errors, transactions, cancellation, and what belongs to a session."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
from psycopg_common import attempt, connect, failure, rows, scenario, script, settings
from scenarios import PATIENCE_S, SETTINGS

REPORTED = (
    *("server_encoding", "client_encoding", "integer_datetimes", "standard_conforming_strings", "is_superuser"),
    *("DateStyle", "IntervalStyle", "TimeZone", "application_name", "search_path", "in_hot_standby", "server_version"),
    *("default_transaction_read_only", "scram_iterations", "session_authorization"),
)


# -- errors and notices ------------------------------------------------------------------------------------------------


@scenario
def errors() -> object:
    queries = (
        "selec 1",
        "select 1 / 0",
        "insert into item (name) values ('item 1')",
        "select * from no_such_table",
        "insert into item (name) values (null)",
        "select 'x'::int",
        "select 1 +",
    )
    with connect() as connection:
        return [(attempt(connection.execute, query), rows(connection, "select 1")) for query in queries]


@scenario
def errors_in_transaction() -> object:
    with connect() as connection:
        script = "begin; select 1/0; select 1; rollback; select 2; begin; insert into item (name) values ('kept');"
        script += "savepoint s; insert into item (name) values ('item 1'); rollback to s; release s; commit;"
        script += (
            "select count(*) from item where name = 'kept'; commit; delete from item where name = 'kept'; select 3"
        )
        return [
            (query, attempt(connection.execute, query), connection.info.transaction_status.name)
            for query in script.split(";")
        ]


@scenario
def notices() -> object:
    seen: list[object] = []
    with connect() as connection:
        connection.add_notice_handler(lambda diag: seen.append((diag.severity, diag.sqlstate, diag.message_primary)))
        seen.append(rows(connection, "select noisy('first ✓')"))
        seen.append(rows(connection, "select noisy(%s), noisy('third')", ("second",)))
        seen.append(attempt(connection.execute, "do $$ begin raise warning 'careful'; raise exception 'end'; end $$"))
        seen.append(attempt(connection.execute, "drop table if exists no_such_table"))
        seen.append(attempt(connection.execute, "rollback"))
    return seen


@scenario
def transactions() -> object:
    seen: list[object] = []
    shown = "select current_setting('transaction_isolation'), current_setting('transaction_read_only')"
    with connect() as connection, connect() as other:
        for level in psycopg.IsolationLevel:
            connection.isolation_level = level
            with connection.transaction():
                seen.append(rows(connection, shown))
        connection.isolation_level = None
        connection.read_only = True
        with connection.transaction(force_rollback=True):
            seen.append(rows(connection, shown))
            seen.append(attempt(connection.execute, "insert into item (name) values ('never')"))
        connection.read_only = None
        count = "select count(*) from item where name = 'visible'"
        for force_rollback in (True, False):
            with connection.transaction(force_rollback=force_rollback):
                connection.execute("insert into item (name) values ('visible')")
                seen += [rows(connection, count), rows(other, count)]
            seen += [rows(connection, count), rows(other, count)]
        other.execute("delete from item where name = 'visible'")
        connection.execute("begin isolation level repeatable read")
        seen.append(rows(connection, "select amount from item where id = 1"))
        other.execute("update item set amount = 10 where id = 1")
        seen.append(attempt(connection.execute, "update item set amount = 11 where id = 1"))
        connection.execute("rollback")
    return seen


@scenario
def empty_and_multi() -> object:
    seen: list[object] = []
    with connect() as connection:
        for query in (
            "",
            ";",
            " -- nothing",
            "select 1; select 'two'; select 3 where false",
            "begin; select 1; commit",
        ):
            done = script(connection, query).results()
            seen.append([(each.statusmessage, each.fetchall() if each.description else None) for each in done])
        insert = "insert into item (name) values ('multi')"
        seen.append(attempt(script, connection, f"{insert}; select 1 / 0; {insert}"))
        seen.append(rows(connection, "select count(*) from item where name = 'multi'"))
        seen.append(attempt(script, connection, f"{insert}; commit; select 1 / 0"))
        seen.append(rows(connection, "delete from item where name = 'multi' returning name"))
    return seen


# -- cancellation and time ---------------------------------------------------------------------------------------------


@scenario
def cancel() -> object:
    seen: list[object] = []

    def cancel_when_running() -> None:
        running = "select count(*) from pg_stat_activity where state = 'active' and query like 'select slow(30)%'"
        with connect() as other:
            while rows(other, running) == [(0,)] and not ended.wait(0.01):
                pass
        connection.cancel_safe(timeout=PATIENCE_S)

    with connect() as connection:
        for setting in ("select 1", "begin"):
            connection.execute(setting)
            ended = threading.Event()
            canceller = threading.Thread(target=cancel_when_running)
            canceller.start()
            begun = time.monotonic()
            seen.append(attempt(connection.execute, "select slow(30)"))
            seen.append(time.monotonic() - begun < 20)
            ended.set()
            canceller.join()
            seen.append(attempt(connection.execute, "select 'afterwards'"))
            seen += [attempt(connection.execute, "rollback"), rows(connection, "select 1")]
    return seen


@scenario
def statement_timeout() -> object:
    seen: list[object] = []
    with connect() as connection:
        with connection.transaction(force_rollback=True):
            connection.execute("set local statement_timeout = '100ms'")
            seen.append(attempt(connection.execute, "select slow(10)"))
        seen.append(rows(connection, "show statement_timeout"))
        seen.append(rows(connection, "select slow(0.2)"))
    with connect(options="-c statement_timeout=100ms") as connection, connect() as other:
        seen.append(attempt(connection.execute, "select slow(10)"))
        seen += [rows(each, "show statement_timeout") for each in (other, connection, other, connection)]
    return seen


@scenario
def connection_lost() -> object:
    with connect() as connection:
        return [
            attempt(connection.execute, "select pg_terminate_backend(pg_backend_pid())"),
            connection.closed,
            attempt(connection.execute, "select 1"),
        ]


# -- what belongs to a session -----------------------------------------------------------------------------------------


@scenario
def session_settings() -> object:
    seen: list[object] = []
    with connect() as first, connect() as second, connect() as third:
        script(first, "set TimeZone = 'Europe/Paris'; set DateStyle = 'SQL, DMY'; set application_name = 'first'")
        second.execute("set TimeZone to 'Asia/Tokyo'")
        second.execute("set IntervalStyle to iso_8601")
        for _ in range(3):
            seen += [settings(each) for each in (first, second, third)]
            seen += [rows(each, "select '2026-07-01 12:00+00'::timestamptz::text") for each in (first, second, third)]
        script(first, "set search_path = pg_catalog, public; set statement_timeout = '12s'")
        for _ in range(3):
            seen += [settings(each) for each in (first, second, third)]
        script(first, "begin; set TimeZone = 'America/New_York'; set statement_timeout = '13s'; rollback")
        seen += [settings(each) for each in (first, second, third)]
        script(first, "reset TimeZone; reset statement_timeout")
        seen += [settings(each) for each in (first, second, third)]
        first.execute("discard all")
        seen += [settings(each) for each in (first, second, third)]
        seen.append([first.info.parameter_status(name) for name in ("TimeZone", "DateStyle", "application_name")])
    return seen


@scenario
def startup_settings() -> object:
    seen: list[object] = []
    chosen = "-c statement_timeout=4321 -c search_path=pg_catalog -c IntervalStyle=iso_8601 --TimeZone=America/New_York"
    with connect(options=chosen, application_name="starter") as first, connect() as second:
        for _ in range(3):
            seen += [settings(each) for each in (first, second)]
        script(first, "set statement_timeout = 1234; set application_name = 'another'; set TimeZone = 'UTC'")
        seen += [settings(each) for each in (first, second)]
        script(first, "reset statement_timeout; reset application_name; reset TimeZone")
        seen += [settings(each) for each in (first, second)]
        first.execute("set search_path = public")
        seen += [settings(each) for each in (first, second)]
        first.execute("reset all")
        seen += [settings(each) for each in (first, second)]
    for refused in ("-c no_such_setting=1", "-c statement_timeout=soon", "-c TimeZone=Nowhere/Land", "-c ssl=off"):
        try:
            connect(options=refused).close()
        except psycopg.Error as error:
            seen.append(failure(error))
    return seen


@scenario
def listen_notify() -> object:
    seen: list[object] = []

    def heard(count: int) -> list[Any]:
        found = listener.notifies(timeout=PATIENCE_S, stop_after=count)
        return [(each.channel, each.payload) for each in found]

    with connect() as listener, connect() as other, connect() as third:
        listener.execute("listen news")
        listener.execute('listen "Other News"')
        other.execute("notify news, 'one'")
        seen.append(heard(1))
        rows(third, "select pg_notify('Other News', %s), pg_notify('unheard', '')", ("two ✓",))
        seen.append(heard(1))
        with other.transaction():
            other.execute("notify news, 'three'")
            other.execute("notify news, 'four'")
            seen.append(rows(listener, "select 1"))
        seen.append(heard(2))
        with other.transaction(force_rollback=True):
            other.execute("notify news, 'never'")
        listener.execute("notify news, 'to myself'")
        seen.append(heard(1))
        listener.execute("unlisten news")
        other.execute("notify news, 'too late'")
        seen += [rows(listener, "select 1"), [each.payload for each in listener.notifies(timeout=0)]]
        listener.execute("unlisten *")
    return seen


@scenario
def advisory_locks() -> object:
    try_lock = "select pg_try_advisory_lock(42)"
    unlock = "select pg_advisory_unlock(42)"
    with connect() as first, connect() as second:
        seen = [rows(first, "select pg_advisory_lock(42)"), rows(second, try_lock), rows(first, "select 1")]
        seen += [rows(second, "select 1"), rows(second, try_lock), rows(first, unlock), rows(second, try_lock)]
        seen += [rows(first, try_lock), rows(second, unlock), rows(first, try_lock), rows(first, unlock)]
        with first.transaction():
            seen += [
                rows(first, "select pg_advisory_xact_lock(7)"),
                rows(second, "select pg_try_advisory_xact_lock(7)"),
            ]
        return [*seen, rows(second, "select pg_try_advisory_xact_lock(7)")]


@scenario
def temp_tables() -> object:
    seen: list[object] = []
    known = "select to_regclass('scratch') is not null"
    with connect() as first, connect() as second, connect() as third:
        first.execute("create temporary table scratch (n int)")
        for n in range(4):
            first.execute("insert into scratch values (%s)", (n,))
            seen += [rows(second, known), rows(third, known), rows(first, "select sum(n) from scratch")]
        first.execute("drop table scratch")
        seen += [rows(each, known) for each in (first, second, third)]
        with first.transaction():
            first.execute("create temp table scratch (n int) on commit drop")
            seen += [rows(each, known) for each in (first, second)]
        seen += [rows(each, known) for each in (first, second, third)]
    return seen


@scenario
def server_info() -> object:
    with connect() as connection:
        info = connection.info
        return {
            "reported": {name: info.parameter_status(name) for name in REPORTED},
            "version": info.server_version,
            "protocol": connection.pgconn.full_protocol_version,
            "encoding": info.encoding,
            "time zone": str(info.timezone),
            "has a pid": info.backend_pid > 0,
            "not as shown": [
                name
                for name, shown in zip(SETTINGS, settings(connection), strict=True)
                if info.parameter_status(name) not in (None, shown)
            ],
        }

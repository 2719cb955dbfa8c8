"""Scenarios with pg8000's native interface.

It sends a statement with parameters in three requests, each with a Sync of its own: Parse, Describe, Bind and Execute.
"""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pg8000.native
from pg8000_common import attempt, connect, failure, settings
from scenarios import PATIENCE_S, VALUES, Scenarios, large_bytes, large_text, summary

scenario = Scenarios()

CLIENTS = range(1, 8)
COUNT = "select count(*) from item where name = 'visible'"
INSERT = "insert into item (name) values ('visible')"


@scenario
def types_text() -> object:
    seen: list[object] = []
    with connect() as connection:
        for name, value in (*VALUES, ("jsonb", '{"n": [1, null, "✓"]}'), ("jsonb", None)):
            query = f"select cast(:v as {name}), cast(cast(:v as {name}) as text)"
            seen.append((name, attempt(connection.run, query, v=value)))
        return [*seen, connection.run("select * from item where id < :n order by id", n=4)]


@scenario
def large_values() -> object:
    seen: list[object] = []
    with connect() as connection:
        for length in (1_000_000, 5_000_000):
            for name, value in (("text", large_text(length)), ("bytea", large_bytes(length))):
                [[echo, size]] = connection.run(f"select cast(:v as {name}), octet_length(cast(:v as {name}))", v=value)
                seen.append((echo == value, summary(echo), size))
    return seen


@scenario
def prepared() -> object:
    with connect() as connection, connect() as other:
        statement = connection.prepare("select id, name, price from item where id = :n")
        seen = [(statement.run(n=n % 11), other.run("select 1")) for n in range(60)]
        statement.close()
        return [seen, connection.run("select 1")]


@scenario
def prepared_many_clients() -> object:
    queries = [f"select {n}, name, amount * cast(:f as int) from item where id = :id" for n in range(4)]
    connections = [connect() for _ in range(6)]
    statements = [[each.prepare(query) for query in queries[n:] + queries[:n]] for n, each in enumerate(connections)]
    seen = []
    for turn in range(60):
        # A transaction that stays open sends the others to the other server connection.
        if turn % 10 == 0:
            connections[turn // 10].run("begin")
        seen += [each[turn % 4].run(f=turn, id=number) for number, each in enumerate(statements, 1)]
        if turn % 10 == 5:
            connections[turn // 10].run("commit")
    for connection in connections:
        connection.close()
    return seen


@scenario
def prepared_reuse_after_error() -> object:
    seen: list[object] = []
    with connect() as connection, connect() as other:
        divide = connection.prepare("select 10 / cast(:n as int)")
        for divisor in (1, 0, 2, 0, 5):
            seen += [attempt(divide.run, n=divisor), attempt(connection.prepare, "select no_such_column")]
            seen += [other.run("select 10 * cast(:n as int)", n=divisor)]
        divide.close()
    return seen


@scenario
def unprepared_parameters() -> object:
    def client(number: int) -> list[Any]:
        with connect() as connection:
            return [connection.run(f"select {number}, cast(:n as int) + 1, :t", n=n, t=str(n)) for n in range(40)]

    with ThreadPoolExecutor(len(CLIENTS)) as threads:
        return list(threads.map(client, CLIENTS))


@scenario
def many_statements() -> object:
    with connect() as connection, connect() as other:
        statements = [each.prepare(f"select {n} + cast(:n as int)") for n in range(200) for each in (connection, other)]
        return [statement.run(n=turn) for turn in range(2) for statement in statements]


@scenario
def schema_change() -> object:
    seen: list[object] = []
    with connect() as connection, connect() as other:
        other.run("create table changing (a int); insert into changing values (1)")
        statement = connection.prepare("select * from changing where a = :a")
        seen += [statement.run(a=1), statement.run(a=1)]
        other.run("alter table changing add column b text default 'new'")
        seen += [attempt(statement.run, a=1), connection.run("select * from changing where a = :a", a=1)]
        statement.close()
        statement = connection.prepare("select * from changing where a = :a")
        seen.append(attempt(statement.run, a=1))
        other.run("drop table changing")
        seen.append(attempt(statement.run, a=1))
    return seen


@scenario
def cursor() -> object:
    with connect() as connection, connect() as other:
        connection.run("begin")
        connection.run("declare numbers cursor for select n from generate_series(1, cast(:n as int)) n", n=30)
        seen = [connection.run("fetch 7 from numbers"), other.run("select 1"), connection.run("fetch 7 from numbers")]
        connection.run("close numbers")
        connection.run("commit")
        return [*seen, attempt(connection.run, "fetch 7 from numbers")]


@scenario
def copy_in() -> object:
    rows = [f"{n}\tname {n} ✓\t\\\\x{n % 256:02x}\n" for n in range(2000)]
    with connect() as connection, connect() as other:
        connection.run("copy copied from stdin", stream=rows)
        seen: list[object] = [connection.row_count]
        connection.run("copy copied (id, name) from stdin with (format csv)", stream=io.StringIO("5000,csv\n5001,\n"))
        seen.append(connection.row_count)
        digest = (
            "select count(*), md5(string_agg(id || name || coalesce(payload, '')::text, ',' order by id)) from copied"
        )
        return [*seen, other.run(digest), connection.run("delete from copied"), connection.row_count]


@scenario
def copy_out() -> object:
    with connect() as connection:
        out, large = io.BytesIO(), io.BytesIO()
        connection.run("copy item (id, name, tags, data) to stdout", stream=out)
        connection.run("copy (select n, repeat('y', 1000) from generate_series(1, 2000) n) to stdout", stream=large)
        return [out.getvalue(), summary(large.getvalue()), connection.row_count, connection.run("select 1")]


@scenario
def copy_in_error() -> object:
    with connect() as connection:
        seen: list[object] = [attempt(connection.run, "copy copied from stdin", stream=["1\tone\t\n", "x\ttwo\t\n"])]
        seen.append(attempt(connection.run, "copy nothing_of_that_name from stdin", stream=["1\n"]))
        return [*seen, connection.run("select count(*) from copied")]


@scenario
def statement_timeout() -> object:
    with connect() as connection:
        connection.run("begin; set local statement_timeout = '100ms'")
        seen: list[object] = [attempt(connection.run, "select slow(:s)", s=10), connection.run("rollback")]
        seen += [connection.run("show statement_timeout"), connection.run("select slow(0.2)")]
    with connect(startup_params={"statement_timeout": "100"}) as connection, connect() as other:
        seen.append(attempt(connection.run, "select slow(10)"))
        return [*seen, *(each.run("show statement_timeout") for each in (other, connection, other, connection))]


@scenario
def notices() -> object:
    with connect() as connection:
        seen: list[object] = [connection.run("select noisy('first ✓')"), connection.run("select noisy(:n)", n="second")]
        seen.append(attempt(connection.run, "do $$ begin raise warning 'w'; raise exception 'end'; end $$"))
        connection.run("drop table if exists no_such_table")
        return [*seen, *([each[key].decode() for key in (b"S", b"C", b"M")] for each in connection.notices)]


@scenario
def errors() -> object:
    queries = (
        "selec 1",
        "select 1 / 0",
        "insert into item (name) values ('item 1')",
        "select * from no_such_table",
        "insert into item (name) values (null)",
        "select 'x'::int",
    )
    seen: list[object] = []
    with connect() as connection:
        for query in queries:
            # Once by the simple protocol, once by the extended, which must go on from the Parse or Bind that failed.
            seen += [attempt(connection.run, query), connection.run("select 1")]
            seen += [attempt(connection.prepare, query) is None, connection.run("select 1")]
    return seen


@scenario
def errors_in_transaction() -> object:
    script = f"begin; select 1/0; select 1; rollback; select 2; begin; {INSERT}; savepoint s; select 1/0; rollback to s"
    with connect() as connection:
        seen = [attempt(connection.run, query) for query in f"{script}; release s; commit; {COUNT}".split(";")]
        return [*seen, connection.run("delete from item where name = 'visible' returning name")]


@scenario
def transactions() -> object:
    seen: list[object] = []
    shown = "select current_setting('transaction_isolation'), current_setting('transaction_read_only')"
    with connect() as connection, connect() as other:
        for mode in ("isolation level serializable", "isolation level repeatable read, read only", "read only"):
            connection.run(f"begin {mode}")
            seen += [connection.run(shown), other.run(shown), attempt(connection.run, INSERT)]
            connection.run("rollback")
        for end in ("rollback", "commit"):
            connection.run("begin")
            connection.run("insert into item (name) values (:name)", name="visible")
            seen += [connection.run(COUNT), other.run(COUNT), connection.run(end), other.run(COUNT)]
        other.run("delete from item where name = 'visible'")
    return seen


@scenario
def session_settings() -> object:
    seen: list[object] = []
    with connect() as first, connect() as second, connect() as third:
        first.run("set TimeZone = 'Europe/Paris'; set DateStyle = 'SQL, DMY'; set application_name = 'first'")
        second.run("set TimeZone to 'Asia/Tokyo'")
        for _ in range(3):
            seen += [(settings(each), each.run("select to_timestamp(0)::text")) for each in (first, second, third)]
        first.run("set search_path = pg_catalog, public; set statement_timeout = '12s'")
        seen += [settings(each) for each in (first, second, third)]
        first.run("reset all")
        seen += [settings(each) for each in (first, second, third)]
        seen.append([first.parameter_statuses[name] for name in ("TimeZone", "DateStyle", "application_name")])
    return seen


@scenario
def startup_settings() -> object:
    seen: list[object] = []
    chosen = {"statement_timeout": "4321", "search_path": "pg_catalog, public", "TimeZone": "America/New_York"}
    with connect(startup_params=chosen, application_name="starter") as first, connect() as second:
        seen += [settings(each) for each in (first, second, first, second)]
        first.run("set statement_timeout = 1234; set application_name = 'another'; set TimeZone = 'UTC'")
        seen += [settings(each) for each in (first, second)]
        first.run("reset all")
        seen += [settings(each) for each in (first, second)]
    for refused in ({"no_such_setting": "1"}, {"statement_timeout": "soon"}, {"TimeZone": "Nowhere/Land"}):
        try:
            connect(startup_params=refused).close()
        except pg8000.native.Error as error:
            seen.append(failure(error))
    return seen


@scenario
def listen_notify() -> object:
    with connect() as listener, connect() as other:
        listener.run("listen news")
        other.run("notify news, 'one'")
        other.run("select pg_notify('news', :p)", p="two")
        deadline = time.monotonic() + PATIENCE_S
        # The driver looks for notifications only while it waits for an answer.
        while len(listener.notifications) < 2 and time.monotonic() < deadline:
            listener.run("select 1")
        return [about[1:] for about in listener.notifications]


@scenario
def advisory_locks() -> object:
    try_lock, unlock = "select pg_try_advisory_lock(:n)", "select pg_advisory_unlock(:n)"
    with connect() as first, connect() as second:
        seen = [first.run("select pg_advisory_lock(:n)", n=42), second.run(try_lock, n=42), first.run("select 1")]
        seen += [second.run(try_lock, n=42), first.run(unlock, n=42), second.run(try_lock, n=42)]
        return [*seen, first.run(try_lock, n=42), second.run(unlock, n=42), first.run(try_lock, n=42)]


@scenario
def temp_tables() -> object:
    seen: list[object] = []
    known = "select to_regclass('scratch') is not null"
    with connect() as first, connect() as second, connect() as third:
        first.run("create temporary table scratch (n int)")
        for n in range(4):
            first.run("insert into scratch values (:n)", n=n)
            seen += [second.run(known), third.run(known), first.run("select sum(n) from scratch")]
        first.run("drop table scratch")
        seen += [each.run(known) for each in (first, second, third)]
    return seen


@scenario
def empty_and_multi() -> object:
    queries = ("", ";", "select 1; select 'two'", "begin; select 1; commit", f"{INSERT}; select 1 / 0", COUNT)
    with connect() as connection:
        return [attempt(connection.run, query) for query in queries]


@scenario
def connection_lost() -> object:
    connection = connect()
    seen = [attempt(connection.run, "select pg_terminate_backend(pg_backend_pid())")]
    seen.append(attempt(connection.run, "select 1"))
    attempt(connection.close)
    return seen


@scenario
def server_info() -> object:
    names = ("server_encoding", "client_encoding", "integer_datetimes", "DateStyle", "TimeZone", "server_version")
    more = ("application_name", "search_path", "standard_conforming_strings", "is_superuser", "in_hot_standby")
    with connect() as connection:
        return [connection.parameter_statuses.get(name) for name in (*names, *more)]


if __name__ == "__main__":
    scenario.main()

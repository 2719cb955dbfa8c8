"""Settings follow their client over two server connections, and leave nothing behind: rights above all."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from support.proxy import ProxyThread, proxy_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Connection = psycopg.Connection[Any]

CLIENTS: Final = 10
SETUP: Final = """
do $$ begin create role low_rights; exception when duplicate_object then null; end $$;
create or replace function sets_quietly(name text, value text) returns text language plpgsql as
    $$ begin return set_config(name, value, false); end $$;
"""
WHO: Final = "select session_user = 'postgres', current_user = 'postgres', current_setting('is_superuser')"
NOBODY_ELSE: Final = (True, True, "on")


@pytest.fixture(scope="module", params=["cache", "no cache"])
def proxy(request: pytest.FixtureRequest, cluster_thread: Any) -> Iterator[ProxyThread]:
    cluster_thread.call(cluster_thread.cluster.psql, SETUP)
    pool = "" if request.param == "cache" else "prepared_statements_cache_size = 0"
    config = proxy_config(
        cluster_thread.cluster, pool_size=2, pool=pool, auth_type="trust", general="server_round_robin = true"
    )
    with ProxyThread(config) as proxy:
        yield proxy


def connect(proxy: ProxyThread, options: str = "") -> Connection:
    return psycopg.connect(proxy.dsn(), autocommit=True, prepare_threshold=None, options=options)


def test_who_is_somebody_else_from_the_start_is_told_so(proxy: ProxyThread) -> None:
    for _ in range(2):
        with connect(proxy, "-c role=low_rights") as connection, connect(proxy) as other:
            assert connection.info.parameter_status("is_superuser") == "off"
            assert other.info.parameter_status("is_superuser") == "on"
            connection.execute("set role none")
            assert connection.info.parameter_status("is_superuser") == "on"
            connection.execute("reset role")
            assert connection.info.parameter_status("is_superuser") == "off"


def run(connection: Connection, statements: Sequence[str]) -> None:
    for sql in statements:
        with contextlib.suppress(psycopg.errors.DivisionByZero):
            connection.execute(sql)


def answers(connection: Connection, sql: str, times: int = 4) -> set[Any]:
    """What is answered in some transactions, on whichever server connections."""
    return {connection.execute(sql).fetchone() for _ in range(times)}


@pytest.mark.parametrize(
    ("statements", "current_user"),
    [
        (["set role low_rights"], "low_rights"),
        (["set role low_rights", "set role none"], "postgres"),
        (["set role low_rights", "reset role"], "postgres"),
        (["set role low_rights", "begin; reset role; rollback"], "low_rights"),
        (["set role low_rights", "begin", "reset role", "rollback"], "low_rights"),
        (["begin; set role low_rights; rollback"], "postgres"),
        (["begin", "savepoint s", "set role low_rights", "rollback to s", "commit"], "postgres"),
        (["begin", "set role low_rights", "select 1/0", "commit"], "postgres"),
        (["set local role low_rights"], "postgres"),
        (["begin; set local role low_rights; commit"], "postgres"),
        (["set role low_rights", "reset all"], "low_rights"),
        (["set role low_rights", "discard all"], "postgres"),
        (["set session authorization low_rights"], "low_rights"),
        (["set session authorization low_rights", "reset role"], "low_rights"),
        (["set session authorization low_rights", "set session authorization default"], "postgres"),
        (["set session authorization low_rights", "begin; reset session authorization; rollback"], "low_rights"),
        (["set session authorization low_rights", "reset all"], "low_rights"),
        (["set session authorization low_rights", "discard all"], "postgres"),
        (["select set_config('role', 'low_rights', false)"], "low_rights"),
        (["select set_config('ro' || 'le', 'low_rights', false)"], "low_rights"),
        (["select set_config('role', 'low_rights', true)"], "postgres"),
        (["do $$ begin set role low_rights; end $$"], "low_rights"),
    ],
)
def test_rights_are_the_clients_own(proxy: ProxyThread, statements: list[str], current_user: str) -> None:
    """Others have all rights again at once; the client's own stay as they are wherever it goes."""
    with connect(proxy) as mine, connect(proxy) as other:
        run(mine, statements)
        for _ in range(2):
            assert answers(mine, "select current_user") == {(current_user,)}
            assert answers(other, WHO) == {NOBODY_ELSE}
    with connect(proxy) as other:
        assert answers(other, WHO) == {NOBODY_ELSE}


@pytest.mark.parametrize(
    ("statements", "value"),
    [
        (["set my.thing = 'x'", "begin; reset my.thing; rollback"], "x"),
        (["set my.thing = 'x'", "begin", "reset my.thing", "select 1/0", "commit"], "x"),
        (["set my.thing = 'x'", "reset my.thing"], ""),
        (["set my.thing = 'x'", "reset all"], ""),
        (["set my.thing = 'x'", "begin; reset all; rollback"], "x"),
        (["do $$ begin set my.thing = 'x'; end $$"], "x"),
        (["do $$ begin perform set_config('my.' || 'thing', 'x', false); end $$"], "x"),
        (["set my.thing = 'x'", "discard all"], ""),
    ],
)
def test_settings_that_no_server_lists(proxy: ProxyThread, statements: list[str], value: str) -> None:
    sql = "select coalesce(current_setting('my.thing', true), '')"
    with connect(proxy) as mine, connect(proxy) as other:
        run(mine, statements)
        for _ in range(2):
            assert answers(mine, sql) == {(value,)}
            assert answers(other, sql) == {("",)}
    with connect(proxy) as other:
        assert answers(other, sql) == {("",)}


@pytest.mark.parametrize(
    ("statements", "timeout", "zone"),
    [
        (["set statement_timeout = 300", "reset statement_timeout"], "54321ms", "Asia/Tokyo"),
        (["set statement_timeout = 300", "begin; reset statement_timeout; rollback"], "300ms", "Asia/Tokyo"),
        (["set statement_timeout = 300", "reset all; set statement_timeout = 400"], "400ms", "Asia/Tokyo"),
        (["reset timezone; set timezone = 'UTC'"], "54321ms", "UTC"),
        (["set timezone = 'UTC'; reset timezone"], "54321ms", "Asia/Tokyo"),
        (["set timezone = 'UTC'", "discard all"], "54321ms", "Asia/Tokyo"),
        (["begin; set timezone = 'UTC'; reset all; commit"], "54321ms", "Asia/Tokyo"),
        (["begin", "reset all", "rollback"], "54321ms", "Asia/Tokyo"),
    ],
)
def test_what_is_reset_goes_back_to_the_beginning(
    proxy: ProxyThread, statements: list[str], timeout: str, zone: str
) -> None:
    sql = "select current_setting('statement_timeout'), current_setting('timezone')"
    with connect(proxy, "-c statement_timeout=54321 -c TimeZone=Asia/Tokyo") as mine, connect(proxy) as other:
        run(mine, statements)
        assert mine.info.parameter_status("TimeZone") == zone
        for _ in range(2):
            assert answers(mine, sql) == {(timeout, zone)}
            assert answers(other, sql) == {("0", "UTC")}


def test_a_reset_in_a_pipeline_with_a_failure_behind_it(proxy: ProxyThread) -> None:
    with connect(proxy, "-c statement_timeout=54321") as mine:
        mine.execute("set statement_timeout = 300")
        with pytest.raises(psycopg.errors.DivisionByZero), mine.pipeline() as pipeline:  # noqa: PT012
            mine.execute("reset statement_timeout")
            pipeline.sync()
            mine.execute("select 1/0")
        assert answers(mine, "show statement_timeout") == {("54321ms",)}


@pytest.mark.parametrize(
    "value",
    ["it's", 'a "quoted" \\ one', "\\", "\\'", "a, b", "", " ", "x" * 4000, "two\nlines", "$1 %s $$", "grün", "日本"],
)
def test_any_value(proxy: ProxyThread, value: str) -> None:
    with connect(proxy) as mine, connect(proxy) as other:
        mine.execute("select set_config('my.thing', %s, false)", (value,))
        for name in ("application_name", "search_path"):
            mine.execute(psycopg.sql.SQL("set {} to {}").format(psycopg.sql.Identifier(name), value[:60]))
        mine.execute(psycopg.sql.SQL("set my.other to {}").format(value))
        sql = "select current_setting('my.thing'), current_setting('my.other')"
        for _ in range(2):
            assert answers(mine, sql) == {(value, value)}
            assert answers(other, "select coalesce(current_setting('my.thing', true), '')") == {("",)}


def test_more_settings_than_can_follow(proxy: ProxyThread) -> None:
    with connect(proxy) as mine, connect(proxy) as other:
        for number in range(120):
            mine.execute(f"set my.thing_{number} = '{number}'")
        names = ", ".join(f"current_setting('my.thing_{number}')" for number in range(120))
        assert answers(mine, f"select {names}") == {tuple(map(str, range(120)))}
        assert answers(other, "select coalesce(current_setting('my.thing_7', true), '')") == {("",)}


def test_ten_clients_with_settings_of_their_own(proxy: ProxyThread) -> None:
    clients = [connect(proxy) for _ in range(CLIENTS)]
    zones = ("UTC", "Asia/Tokyo", "Europe/Berlin")
    for (number, client), zone in zip(enumerate(clients), itertools.cycle(zones), strict=False):
        client.execute(f"set work_mem = {1000 + number}")
        client.execute(f"set timezone = '{zone}'; set my.number = '{number}'")
    for _ in range(3):
        for (number, client), zone in zip(enumerate(clients), itertools.cycle(zones), strict=False):
            sql = "select current_setting('work_mem'), current_setting('timezone'), current_setting('my.number')"
            assert client.execute(sql).fetchone() == (f"{1000 + number}kB", zone, str(number))
    for client in clients:
        client.close()


def test_a_function_that_sets_what_the_server_reports_is_heard(proxy: ProxyThread) -> None:
    with connect(proxy) as mine, connect(proxy) as other:
        mine.execute("select sets_quietly('timezone', 'Asia/Tokyo'), sets_quietly('application_name', 'quiet')")
        sql = "select current_setting('timezone'), current_setting('application_name')"
        for _ in range(2):
            assert answers(mine, sql) == {("Asia/Tokyo", "quiet")}
            assert answers(other, sql) == {("UTC", "")}


def test_more_of_what_the_server_reports_can_be_tracked(cluster_thread: Any) -> None:
    cluster_thread.call(cluster_thread.cluster.psql, SETUP)
    for name in ("default_transaction_read_only", "DEFAULT_TRANSACTION_READ_ONLY"):
        config = proxy_config(
            cluster_thread.cluster,
            pool_size=2,
            pool=f'track_parameters = ["{name}"]',
            auth_type="trust",
            general="server_round_robin = true",
        )
        with ProxyThread(config) as proxy, connect(proxy) as mine, connect(proxy) as other:
            mine.execute("select sets_quietly('default_transaction_read_only', 'on')")
            for _ in range(2):
                assert answers(mine, "show default_transaction_read_only") == {("on",)}
                assert answers(other, "show default_transaction_read_only") == {("off",)}
            mine.execute("begin")
            assert mine.execute("show transaction_read_only").fetchone() == ("on",)
            mine.execute("rollback")

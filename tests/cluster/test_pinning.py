"""What keeps a server connection: only while it is really there, and nobody else ever sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from psycopg.rows import dict_row
from support.proxy import ProxyThread, proxy_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgcat_trio.embedded import EmbeddedCluster

    Connection = psycopg.Connection[Any]

SETUP: Final = "create table if not exists kept (id integer)"

LEFT: Final = {
    "prepared statement": (
        "prepare p as select 1",
        "deallocate p",
        "select count(*) from pg_prepared_statements where from_sql",
    ),
    "cursor WITH HOLD": ("declare c cursor with hold for select 1", "close c", "select count(*) from pg_cursors"),
    "advisory lock": (
        "select pg_advisory_lock(4711)",
        "select pg_advisory_unlock(4711)",
        "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711",
    ),
    "temporary table": (
        "create temp table mine (id integer)",
        "drop table mine",
        "select count(*) from pg_class where relname = 'mine'",
    ),
}
"""What keeps a connection: the statement, what undoes it, and how many of them there are."""

MORE: Final = {
    "select pg_advisory_lock_shared(1, 2)": "advisory lock",
    "select pg_try_advisory_lock(4712)": "advisory lock",
    "select 1 as n into temp table mine": "temporary table",
    "create temporary view mine as select 1": "temporary table",
    "create temp sequence mine": "temporary table",
    "create table pg_temp.mine (id integer)": "temporary table",
    "create temp table mine as select 1": "temporary table",
    "do $$ begin create temp table mine (id integer); end $$": "temporary table",
    "do $$ begin perform pg_advisory_lock(4713); end $$": "advisory lock",
    "load 'auto_explain'": "LOAD or dblink",
    "select set_config('work' || '_mem', '7MB', false)": "settings",
    "set my.thing = 'grün'": "settings",
    f"set my.thing = '{'x' * 5000}'": "settings",
}

NOTHING_LEFT: Final = (
    "select pg_advisory_xact_lock(4714)",
    "select pg_advisory_lock(4715); select pg_advisory_unlock(4715)",
    "begin; create temp table mine (id integer) on commit drop; commit",
    "begin; create temp table mine (id integer); rollback",
    "begin; create temp table mine (id integer); drop table mine; commit",
    "create temp table mine (id integer); drop table mine",
    "begin; declare c cursor for select 1; commit",
    "begin; declare c cursor with hold for select 1; rollback",
    "begin; declare c cursor with hold for select 1; close c; commit",
    "prepare p as select 1; execute p; deallocate p",
    "begin; listen nothing; rollback",
    "begin; savepoint s; create temp table mine (id integer); rollback to s; commit",
    "set local work_mem = '7MB'",
    "begin; set local my.thing = 'grün'; commit",
    "do $$ begin perform 1; end $$",
    "select 'create temp table', 'pg_advisory_lock', 'listen'",
)


@pytest.fixture(scope="module", params=["cache", "no cache"])
def proxy(request: pytest.FixtureRequest, cluster_thread: Any) -> Iterator[ProxyThread]:
    cluster_thread.call(cluster_thread.cluster.psql, SETUP)
    pool = "" if request.param == "cache" else "prepared_statements_cache_size = 0"
    with ProxyThread(proxy_config(cluster_thread.cluster, pool_size=1, pool=pool, auth_type="trust")) as proxy:
        yield proxy


def connect(proxy: ProxyThread) -> Connection:
    return psycopg.connect(proxy.dsn(), autocommit=True, prepare_threshold=None)


def execute(connection: Connection, sql: str, how: str) -> None:
    """By the simple protocol, the extended one, or a statement with a name of its own."""
    if how == "simple" or ";" in sql:
        connection.execute(sql)
        return
    connection.execute(sql.replace("%", "%%"), (), prepare=how == "named", binary=True)


def pinned(proxy: ProxyThread) -> list[str]:
    """What SHOW CLIENTS says of those that are pinned."""
    with psycopg.connect(proxy.admin_dsn, autocommit=True, prepare_threshold=None, row_factory=dict_row) as console:
        return [row["pinned"] for row in console.execute("show clients").fetchall() if row["pinned"]]


def is_free(proxy: ProxyThread) -> bool:
    """True if the one server connection is nobody's."""
    return proxy.call_sync(lambda: all(not pool.busy for pool in proxy.proxy.supervisor.directory.pools()))


def others_see_nothing(proxy: ProxyThread) -> None:
    """The next client finds a server connection like a new one."""
    with connect(proxy) as other:
        for sql in (sql for _, _, sql in LEFT.values()):
            assert other.execute(sql).fetchone() == (0,), sql
        row = other.execute("select current_setting('work_mem'), coalesce(current_setting('my.thing', true), '')")
        assert row.fetchone() == ("4MB", "")
        assert other.execute("select count(*) from pg_listening_channels()").fetchone() == (0,)


@pytest.mark.parametrize("how", ["simple", "extended", "named"])
@pytest.mark.parametrize("reason", LEFT)
def test_kept_while_it_is_there(proxy: ProxyThread, reason: str, how: str) -> None:
    leave, undo, count = LEFT[reason]
    with connect(proxy) as mine:
        execute(mine, leave, how)
        if how != "named" or proxy.call_sync(lambda: caches(proxy)):
            assert pinned(proxy) == [reason]
        assert mine.execute(count).fetchone() == (1,)
        execute(mine, undo, "simple")
        assert pinned(proxy) == [] or how == "named"
        assert mine.execute(count).fetchone() == (0,)
        if how != "named" or proxy.call_sync(lambda: caches(proxy)):
            others_see_nothing(proxy)
    others_see_nothing(proxy)


def caches(proxy: ProxyThread) -> bool:
    """True where statements are shared by name."""
    clusters = {pool.owner for pool in proxy.proxy.supervisor.directory.pools()}
    return all(cluster.statements is not None for cluster in clusters)  # type: ignore[attr-defined]


@pytest.mark.parametrize("leave", MORE)
def test_kept_until_the_client_leaves(proxy: ProxyThread, leave: str) -> None:
    with connect(proxy) as mine:
        mine.execute(leave)
        assert pinned(proxy) == [MORE[leave]]
    others_see_nothing(proxy)


@pytest.mark.parametrize("reason", LEFT)
@pytest.mark.parametrize("undo", ["discard all", "rollback"])
def test_given_back_when_all_of_it_is_undone(proxy: ProxyThread, reason: str, undo: str) -> None:
    leave, _, count = LEFT[reason]
    with connect(proxy) as mine:
        mine.execute("begin")
        mine.execute(leave)
        assert mine.execute(count).fetchone() == (1,)
        if undo == "rollback":
            mine.execute("rollback")
        else:
            mine.execute("commit")
            assert pinned(proxy) == [reason]
            mine.execute("discard all")
        if undo == "rollback" and reason in ("advisory lock", "prepared statement"):
            assert pinned(proxy) == [reason]  # they outlive it
        else:
            assert pinned(proxy) == []
            others_see_nothing(proxy)
    others_see_nothing(proxy)


@pytest.mark.parametrize("sql", NOTHING_LEFT)
def test_not_kept_for_nothing(proxy: ProxyThread, sql: str) -> None:
    with connect(proxy) as mine:
        mine.execute(sql)
        assert pinned(proxy) == []
        others_see_nothing(proxy)


def test_a_lock_that_somebody_else_has_is_not_kept(proxy: ProxyThread, cluster: EmbeddedCluster) -> None:
    with psycopg.connect(cluster.dsn(), autocommit=True) as holder, connect(proxy) as mine:
        holder.execute("select pg_advisory_lock(4716)")
        assert mine.execute("select pg_try_advisory_lock(4716)").fetchone() == (False,)
        assert pinned(proxy) == []


@pytest.mark.parametrize("leave", ["set my.thing = 'grün'", "select set_config('my' || '.thing', 'x', false)"])
def test_settings_that_cannot_follow_are_kept_until_all_are_reset(proxy: ProxyThread, leave: str) -> None:
    with connect(proxy) as mine:
        mine.execute(leave)
        mine.execute("set work_mem = '9MB'")
        mine.execute("begin; reset all; rollback")
        assert mine.execute("select current_setting('my.thing') <> ''").fetchone() == (True,)
        assert pinned(proxy) == ["settings"]
        mine.execute("reset all")
        assert pinned(proxy) == []
        assert mine.execute("show work_mem").fetchone() == ("4MB",)
        others_see_nothing(proxy)


def test_a_role_taken_on_while_pinned_is_not_lost(
    proxy: ProxyThread, cluster_call: Any, cluster: EmbeddedCluster
) -> None:
    cluster_call(cluster.psql, "drop role if exists low_rights; create role low_rights")
    with connect(proxy) as mine:
        mine.execute("set my.thing = 'grün'")
        mine.execute("set role low_rights")
        mine.execute("reset all")
        assert pinned(proxy) == []
        with connect(proxy) as other:
            assert other.execute("select current_user = session_user").fetchone() == (True,)
        assert mine.execute("select current_user").fetchone() == ("low_rights",)


def test_a_lost_connection_ends_the_session_in_the_servers_words(proxy: ProxyThread, cluster: EmbeddedCluster) -> None:
    with connect(proxy) as mine, psycopg.connect(cluster.dsn(), autocommit=True) as killer:
        mine.execute("create temp table mine (id integer)")
        [pid] = mine.execute("select pg_backend_pid()").fetchone() or ()
        killer.execute("select pg_terminate_backend(%s, 5000)", (pid,))
        with pytest.raises(psycopg.errors.AdminShutdown, match="terminating connection due to administrator command"):
            mine.execute("select 1")
        assert mine.closed
    others_see_nothing(proxy)


# -- pinning = "deny" ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(cluster_thread: Any) -> Iterator[ProxyThread]:
    config = proxy_config(cluster_thread.cluster, pool_size=1, pool='pinning = "deny"', auth_type="trust")
    with ProxyThread(config) as proxy:
        yield proxy


DENIED: Final = {
    **{leave: reason for reason, (leave, _, _) in LEFT.items()},
    "select pg_advisory_lock_shared(1, 2)": "advisory lock",
    "load 'auto_explain'": "LOAD or dblink",
    "select set_config('work' || '_mem', '7MB', false)": "settings",
}


@pytest.mark.parametrize("how", ["simple", "extended"])
@pytest.mark.parametrize("sql", DENIED)
def test_denied(strict: ProxyThread, sql: str, how: str) -> None:
    with connect(strict) as mine:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match=DENIED[sql]) as caught:
            execute(mine, sql, how)
        assert caught.value.diag.severity_nonlocalized == "ERROR"
        assert caught.value.diag.message_hint
        assert is_free(strict)
        others_see_nothing(strict)
        assert mine.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("how", ["simple", "extended"])
@pytest.mark.parametrize("sql", DENIED)
def test_denied_in_a_transaction_fails_it(strict: ProxyThread, sql: str, how: str) -> None:
    with connect(strict) as mine:
        mine.execute("begin")
        mine.execute("insert into kept values (1)")
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            execute(mine, sql, how)
        assert mine.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            mine.execute("select 1")
        assert mine.execute("commit").statusmessage == "ROLLBACK"
        assert mine.execute("select count(*) from kept").fetchone() == (0,)
    others_see_nothing(strict)


def test_denied_in_a_pipeline(strict: ProxyThread) -> None:
    with connect(strict) as mine:
        with pytest.raises(psycopg.errors.FeatureNotSupported), mine.pipeline():  # noqa: PT012
            mine.execute("select 1")
            mine.execute("create temp table mine (id integer)")
            mine.execute("insert into kept values (2)")
        assert mine.execute("select count(*) from kept").fetchone() == (0,)
    others_see_nothing(strict)


@pytest.mark.parametrize(
    "sql",
    [
        "set work_mem = '8MB'",
        "set local work_mem = '8MB'",
        "select pg_advisory_xact_lock(1)",
        "listen x",
        "begin; create temp table mine (id integer) on commit drop; commit",
        "set role none",
        "select set_config('work_mem', '8MB', false)",
    ],
)
def test_what_keeps_nothing_is_not_denied(strict: ProxyThread, sql: str) -> None:
    with connect(strict) as mine:
        mine.execute(sql)
        assert is_free(strict)

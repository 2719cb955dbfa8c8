"""Reads that only look like reads, at real standbys: what the client gets, and where they go from then on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
import trio
from support import client as pg
from support.proxy import ProxyThread, RunningProxy, proxy_config, running_proxy

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgcat_trio.embedded import EmbeddedCluster, EmbeddedServer

trio_test = pytest.mark.trio

SCHEMA = """
    drop schema if exists healing cascade;
    create schema healing;
    create table healing.log (at timestamptz default now());
    create unlogged table healing.scratch (n) as select 7;
    create function healing.count_call() returns bigint language plpgsql as
        'begin insert into healing.log default values; return (select count(*) from healing.log); end';
    create view healing.calls as select current_setting('port')::int as port, healing.count_call() as n;
"""
PRIMARY_ONLY = ["select port from healing.calls", "select n from healing.scratch"]


@pytest.fixture
async def proxy(cluster: EmbeddedCluster) -> AsyncIterator[RunningProxy]:
    await cluster.psql(SCHEMA)
    await cluster.wait_caught_up()
    async with running_proxy(proxy_config(cluster, splitting=True, pool="catalog_refresh = 0")) as proxy:
        yield proxy
    await cluster.psql("drop schema healing cascade")


def healed(proxy: RunningProxy) -> int:
    [cluster] = proxy.supervisor.directory.clusters.values()
    return cluster.router.healed


@trio_test
@pytest.mark.parametrize("sql", PRIMARY_ONLY)
@pytest.mark.parametrize("how", ["simple", "extended", "copy", "named", "flushed"])
async def test_only_success_is_seen_and_once_is_enough(proxy: RunningProxy, sql: str, how: str) -> None:
    requests = {
        "simple": [encode.query(sql)],
        "extended": [pg.extended(sql) + encode.SYNC],
        "copy": [encode.query(f"copy ({sql}) to stdout")],
        "named": [pg.parse(sql, "mine") + encode.SYNC, pg.bind(name="mine") + pg.execute() + encode.SYNC],
        "flushed": [pg.parse(sql) + encode.message(b"D", b"S\0") + encode.FLUSH],
    }[how]
    async with await pg.connect(proxy) as client:
        for number in range(3):
            replies = []
            for request in requests[number and -1 :]:
                if how == "flushed":
                    await client.send(request)
                    assert [(await client.message())[0] for _ in range(3)] == [*b"1tT"]
                    request = pg.bind() + pg.execute() + encode.SYNC
                replies.append(await client.ask(request))
            assert [reply.errors for reply in replies] == [[]] * len(replies)
            assert replies[-1].rows or how == "copy"
            assert healed(proxy) == 1


@trio_test
async def test_what_is_called_writes_once(proxy: RunningProxy, cluster: EmbeddedCluster) -> None:
    async with await pg.connect(proxy) as client:
        rows = [(await client.query("select port, n from healing.calls"))[0] for _ in range(3)]
    assert rows == [[str(cluster.primary.port), str(number)] for number in (1, 2, 3)]


@trio_test
async def test_a_read_only_transaction_gets_the_error_as_it_is(proxy: RunningProxy) -> None:
    async with await pg.connect(proxy) as client:
        await client.query("begin read only")
        with pytest.raises(pg.PostgresError, match="25006: cannot execute INSERT"):
            await client.query(PRIMARY_ONLY[0])
        await client.query("rollback")
    assert healed(proxy) == 0


@trio_test
async def test_errors_of_the_statement_are_seen_once(proxy: RunningProxy) -> None:
    async with await pg.connect(proxy) as client:
        for sql, sqlstate in (("select 1/0", "22012"), ("select * from nowhere", "42P01"), ("select", "")):
            reply = await client.ask(encode.query(sql))
            assert [error.sqlstate for error in reply.errors] == [sqlstate] * bool(sqlstate)
    assert healed(proxy) == 0


@trio_test
async def test_a_replica_that_crashes_in_a_read(
    proxy: RunningProxy, cluster: EmbeddedCluster, fresh_cluster_after: None
) -> None:
    async with await pg.connect(proxy) as client, trio.open_nursery() as nursery:
        ports = []

        async def read() -> None:
            ports.append((await client.query("select current_setting('port')::int from pg_sleep(2)"))[0][0])

        nursery.start_soon(read)
        with trio.fail_after(10):
            while not (busy := [replica for replica in cluster.replicas if await sleeps(replica)]):  # noqa: ASYNC110
                await trio.sleep(0.05)
        await busy[0].kill()
    assert ports == [str(other.port) for other in cluster.replicas if other is not busy[0]]


async def sleeps(server: EmbeddedServer) -> bool:
    return await server.psql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == "1"


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_drivers_notice_nothing(cluster: EmbeddedCluster, cluster_call: Callable[..., Any], driver: str) -> None:
    cluster_call(cluster.psql, SCHEMA)
    cluster_call(cluster.wait_caught_up)
    with ProxyThread(proxy_config(cluster, splitting=True, pool="catalog_refresh = 0")) as proxy:
        rows = {"psycopg": by_psycopg, "asyncpg": by_asyncpg}[driver](proxy.dsn())
    assert rows == [1, 7, 2, 7, 3, 7]


def by_psycopg(dsn: str) -> list[int]:
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=1) as connection:
        sqls = ("select n from healing.calls where port > %s", "select n from healing.scratch where n > %s")
        return [connection.execute(sql, [0]).fetchone()[0] for _ in range(3) for sql in sqls]


def by_asyncpg(dsn: str) -> list[int]:
    async def main() -> list[int]:
        connection = await asyncpg.connect(dsn)
        sqls = ("select n from healing.calls where port > $1", "select n from healing.scratch where n > $1")
        rows = [await connection.fetchval(sql, 0) for _ in range(3) for sql in sqls]
        await connection.close()
        return rows

    return asyncio.run(main())


@trio_test
async def test_a_session_that_is_serializable_by_default_learns_it(
    proxy: RunningProxy, cluster: EmbeddedCluster
) -> None:
    """Whoever said so: the proxy, the role or the server. Nobody else's statements are affected."""
    who = "select current_setting('port')"
    async with await pg.connect(proxy) as other:
        await cluster.psql(f"alter database {cluster.database} set default_transaction_isolation to 'serializable'")
        try:
            async with running_proxy(proxy_config(cluster, splitting=True)) as fresh, await pg.connect(fresh) as client:
                assert [await client.query(who) for _ in range(3)] == [[[str(cluster.primary.port)]]] * 3
                assert healed(fresh) == 1
        finally:
            await cluster.psql(f"alter database {cluster.database} reset default_transaction_isolation")
        assert await other.query(who) != [[str(cluster.primary.port)]]


@trio_test
async def test_a_read_that_is_in_the_way_of_recovery(proxy: RunningProxy, cluster: EmbeddedCluster) -> None:
    for replica in cluster.replicas:
        await replica.psql("alter system set max_standby_streaming_delay = 0; select pg_reload_conf()")
    try:
        async with await pg.connect(proxy) as client, trio.open_nursery() as nursery:
            rows = []

            async def read() -> None:
                rows.extend(
                    await client.query("select current_setting('port'), count(*) from healing.log, pg_sleep(1)")
                )

            nursery.start_soon(read)
            with trio.fail_after(10):
                while not any([await sleeps(replica) for replica in cluster.replicas]):  # noqa: ASYNC110
                    await trio.sleep(0.05)
            await cluster.psql("truncate healing.log")
        assert rows == [[str(cluster.primary.port), "0"]]
        assert healed(proxy) == 1
    finally:
        for replica in cluster.replicas:
            await replica.psql("alter system reset max_standby_streaming_delay; select pg_reload_conf()")

"""Read/write splitting over real replicas: who answers what, and what happens when one of them goes away."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import trio
from support import client as pg
from support.proxy import RunningProxy, proxy_config, running_proxy

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgcat_trio.embedded import EmbeddedCluster, EmbeddedServer

pytestmark = pytest.mark.trio

WHO = "select current_setting('port')::int"
POOL = 'load_balancing_mode = "round_robin"'
GENERAL = "ban_time = 1\nconnect_timeout = 2000"


@pytest.fixture
async def proxy(cluster: EmbeddedCluster) -> AsyncIterator[RunningProxy]:
    await cluster.psql("drop table if exists spread; create table spread (port integer)")
    await cluster.wait_caught_up()
    config = proxy_config(cluster, pool_size=3, splitting=True, pool=POOL, general=GENERAL)
    async with running_proxy(config) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: RunningProxy, cluster: EmbeddedCluster) -> AsyncIterator[pg.Client]:
    async with await pg.connect(proxy) as client:
        yield client


async def who(client: pg.Client, sql: str = WHO) -> int:
    return int((await client.query(sql))[0][0] or 0)


def ports(servers: list[EmbeddedServer]) -> set[int]:
    return {server.port for server in servers}


async def test_reads_spread_evenly_over_the_replicas(client: pg.Client, cluster: EmbeddedCluster) -> None:
    answers = Counter([await who(client) for _ in range(100)])
    assert answers == dict.fromkeys(ports(cluster.replicas), 50)


async def test_reads_of_the_extended_protocol_spread_as_well(client: pg.Client, cluster: EmbeddedCluster) -> None:
    answers = Counter([int((await client.execute(WHO))[0][0] or 0) for _ in range(20)])
    assert answers == dict.fromkeys(ports(cluster.replicas), 10)


@pytest.mark.parametrize(
    "sql",
    [
        "insert into spread values (current_setting('port')::int) returning port",
        "with w as (insert into spread values (current_setting('port')::int) returning port) select port from w",
        "select current_setting('port')::int from (select 1) one for update",
        "select current_setting('port')::int, nextval('pg_catalog.nothing_there')",
        "select current_setting('port')::int, unknown_function()",
    ],
)
async def test_writes_and_what_may_be_one_go_to_the_primary(
    client: pg.Client, cluster: EmbeddedCluster, sql: str
) -> None:
    for _ in range(4):
        reply = await client.ask(encode.query(sql))
        if reply.rows:
            assert reply.rows == [[str(cluster.primary.port)]]
        # A standby would have refused the write with 25006.
        assert all(error.sqlstate in ("42P01", "42883") for error in reply.errors)


async def test_a_write_is_found_on_the_primary_only_until_it_is_replayed(
    client: pg.Client, cluster: EmbeddedCluster
) -> None:
    await client.query("insert into spread values (1)")
    assert await client.query("begin; select count(*) from spread; commit") == [["1"]]
    await cluster.wait_caught_up()
    for _ in range(4):
        assert await client.query("select count(*) from spread") == [["1"]]


@pytest.mark.parametrize(
    ("begin", "replica"),
    [
        ("begin read only", True),
        ("start transaction isolation level repeatable read, read only", True),
        ("begin", False),
        ("begin read write", False),
        ("begin isolation level serializable", False),
    ],
)
async def test_a_whole_transaction_is_on_one_server(
    client: pg.Client, cluster: EmbeddedCluster, begin: str, replica: bool
) -> None:
    await client.query(begin)
    answers = {await who(client) for _ in range(5)}
    assert len(answers) == 1
    assert answers <= (ports(cluster.replicas) if replica else {cluster.primary.port})
    await client.query("commit")


async def test_a_batch_is_on_one_server_that_can_run_all_of_it(client: pg.Client, cluster: EmbeddedCluster) -> None:
    write = "insert into spread values (current_setting('port')::int) returning port"
    reply = await client.ask(pg.extended(WHO) + pg.extended(write) + encode.SYNC)
    assert reply.rows_or_raise() == [[str(cluster.primary.port)]] * 2
    reply = await client.ask(encode.query(f"{WHO}; {write}"))
    assert reply.rows_or_raise() == [[str(cluster.primary.port)]] * 2


async def test_pipelined_reads_and_writes_each_find_their_server(client: pg.Client, cluster: EmbeddedCluster) -> None:
    write = "insert into spread values (current_setting('port')::int) returning port"
    await client.send(b"".join(encode.query(sql) for sql in (WHO, write, WHO, write)))
    answers = [int((await client.reply()).rows_or_raise()[0][0] or 0) for _ in range(4)]
    assert answers[1] == answers[3] == cluster.primary.port


async def test_a_session_setting_is_seen_by_the_reads(client: pg.Client) -> None:
    await client.query("set timezone to 'Asia/Kathmandu'")
    for _ in range(6):
        assert await client.query("select current_setting('timezone')") == [["Asia/Kathmandu"]]


async def test_a_replica_that_goes_away_is_skipped_banned_and_comes_back(
    proxy: RunningProxy, client: pg.Client, cluster: EmbeddedCluster, fresh_cluster_after: None
) -> None:
    lost, other = cluster.replicas
    [banned] = [server for server in proxy.supervisor.directory.servers.values() if str(lost.port) in server.address]
    assert {await who(client) for _ in range(4)} == {lost.port, other.port}
    await lost.stop()
    for _ in range(20):
        assert await who(client) == other.port
    with trio.fail_after(5):
        while not banned.banned:
            await who(client)
    await lost.start()
    with trio.fail_after(10):
        while {await who(client) for _ in range(2)} != {lost.port, other.port}:  # noqa: ASYNC110
            await trio.sleep(0.05)
    assert not banned.banned


async def test_without_replicas_the_primary_takes_the_reads(
    client: pg.Client, cluster: EmbeddedCluster, fresh_cluster_after: None
) -> None:
    for replica in cluster.replicas:
        await replica.stop()
    for _ in range(10):
        assert await who(client) == cluster.primary.port


async def test_a_replica_that_crashes_ends_only_what_runs_on_it(
    proxy: RunningProxy, cluster: EmbeddedCluster, fresh_cluster_after: None
) -> None:
    lost, other = cluster.replicas
    async with await pg.connect(proxy) as client:
        await client.query("begin read only")
        first = await who(client)
        victim, survivor = (lost, other) if first == lost.port else (other, lost)
        await victim.kill()
        with pytest.raises(pg.PostgresError, match=r"08006: lost the connection to server .*"):
            await client.query(WHO)
        for _ in range(10):
            assert await who(client) == survivor.port


async def test_a_frozen_replica_costs_its_own_query_and_no_other_server(
    proxy: RunningProxy, client: pg.Client, cluster: EmbeddedCluster, fresh_cluster_after: None
) -> None:
    await who(client)
    cluster.replicas[0].freeze()
    write = "insert into spread values (current_setting('port')::int) returning port"
    with trio.fail_after(5):
        for _ in range(10):
            assert await who(client, write) == cluster.primary.port


async def test_the_primary_is_down_reads_go_on_and_writes_say_so(
    client: pg.Client, cluster: EmbeddedCluster, fresh_cluster_after: None
) -> None:
    await cluster.primary.stop()
    for _ in range(10):
        assert await who(client) in ports(cluster.replicas)
    with pytest.raises(pg.PostgresError, match="Connection refused") as refused:
        await client.query("insert into spread values (1)")
    assert refused.value.sqlstate == "08001"
    await cluster.primary.start()
    await client.query("insert into spread values (2)")


@pytest.mark.parametrize("mode", ["random", "loc"])
async def test_other_ways_of_balancing_use_every_replica(cluster: EmbeddedCluster, mode: str) -> None:
    config = proxy_config(cluster, splitting=True, pool=f'load_balancing_mode = "{mode}"')
    async with running_proxy(config) as proxy, await pg.connect(proxy) as client:
        assert {await who(client) for _ in range(60)} == ports(cluster.replicas)


async def test_the_primary_takes_its_share_where_it_may(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, splitting=True, pool=f"{POOL}\nprimary_reads_enabled = true")
    async with running_proxy(config) as proxy, await pg.connect(proxy) as client:
        answers = Counter([await who(client) for _ in range(30)])
        assert answers == dict.fromkeys(ports(cluster.servers), 10)

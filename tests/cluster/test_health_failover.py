"""Real servers that crash, freeze and are promoted: who notices what, and how long it takes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import trio
from support import client as pg
from support.proxy import RunningProxy, proxy_config, running_proxy

from pgcat_trio.pool.server import Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgcat_trio.embedded import EmbeddedCluster
    from pgcat_trio.pool.server import Server

pytestmark = pytest.mark.trio

CLIENTS = 10
SCHEMA = "drop table if exists entry; create table entry (id integer primary key)"


@pytest.fixture
async def proxy(fresh_cluster_after: EmbeddedCluster) -> AsyncIterator[RunningProxy]:
    """A proxy that has to find out who is who."""
    await fresh_cluster_after.psql(SCHEMA)
    await fresh_cluster_after.wait_caught_up()
    config = proxy_config(fresh_cluster_after, splitting=True, general="healthcheck_timeout = 300")
    async with running_proxy(re.sub(r'"(primary|replica)"\]', '"auto"]', config)) as proxy:
        yield proxy


def known(proxy: RunningProxy, port: int) -> Server:
    [server] = [each for each in proxy.supervisor.directory.servers.values() if each.address.endswith(f":{port}")]
    return server


async def until(proxy: RunningProxy, port: int, status: Status) -> float:
    """Wait until a server is known to be in a state; how long that took."""
    began = trio.current_time()
    with trio.fail_after(15):
        while known(proxy, port).state.status is not status:  # noqa: ASYNC110
            await trio.sleep(0.01)
    return trio.current_time() - began


async def test_crash_and_promotion_are_a_pause_between_transactions(
    proxy: RunningProxy, cluster: EmbeddedCluster
) -> None:
    clients = [await pg.connect(proxy) for _ in range(CLIENTS)]
    for number, client in enumerate(clients):
        assert await client.query(f"insert into entry values ({number}) returning id") == [[str(number)]]
    await cluster.wait_caught_up()
    in_transaction = await pg.connect(proxy)
    await in_transaction.query("begin; insert into entry values (-1)")
    written_at: list[float] = []

    async def write(client: pg.Client, number: int) -> None:
        assert await client.query(f"insert into entry values ({number}) returning id") == [[str(number)]]
        written_at.append(trio.current_time())

    async def read() -> None:
        async with await pg.connect(proxy) as reader:
            while len(written_at) < CLIENTS:
                assert len(await reader.query("select id from entry where id >= 0")) >= CLIENTS
                await trio.sleep(0.02)

    await cluster.primary.kill()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for number, client in enumerate(clients):
            nursery.start_soon(write, client, CLIENTS + number)
        await trio.sleep(0.5)
        assert not written_at
        promoted_at = trio.current_time()
        await cluster.replicas[0].promote()
    print("from the promotion to the first write:", min(written_at) - promoted_at)
    assert min(written_at) - promoted_at < 2
    assert max(written_at) - promoted_at < 2.5
    with pytest.raises(pg.PostgresError) as lost:
        await in_transaction.query("commit")
    assert lost.value.sqlstate in ("08006", "57P01")
    assert await in_transaction.query("select count(*) from entry where id < 0") == [["0"]]
    ids = await cluster.psql("select count(*), max(id) from entry", cluster.replicas[0])
    assert ids == f"{2 * CLIENTS}|{2 * CLIENTS - 1}"
    for client in (*clients, in_transaction):
        await client.close()


async def test_old_primary_that_comes_back_gets_nothing(proxy: RunningProxy, cluster: EmbeddedCluster) -> None:
    async with await pg.connect(proxy) as client:
        await client.query("insert into entry values (1)")
        await cluster.wait_caught_up()
        await cluster.primary.kill()
        await cluster.replicas[1].promote()
        await client.query("insert into entry values (2)")
        await cluster.primary.start()
        await until(proxy, cluster.primary.port, Status.FENCED)
        for number in range(3, 20):
            await client.query(f"insert into entry values ({number})")
            assert await client.query("select port from (select inet_server_port() as port) as _") != [
                [str(cluster.primary.port)]
            ]
    assert await cluster.psql("select max(id) from entry") == "1"
    assert await cluster.psql("select max(id) from entry", cluster.replicas[1]) == "19"


async def test_frozen_primary_ends_what_it_holds_and_goes_on_where_it_was(
    proxy: RunningProxy, cluster: EmbeddedCluster
) -> None:
    async with await pg.connect(proxy) as idle, await pg.connect(proxy) as busy, await pg.connect(proxy) as waiting:
        await idle.query("begin; insert into entry values (1)")
        await busy.query("begin; insert into entry values (2)")
        cluster.primary.freeze()
        answers: list[float] = []

        async def commit(client: pg.Client) -> None:
            with pytest.raises(pg.PostgresError, match="is down") as lost:
                await client.query("commit")
            assert lost.value.sqlstate == "08006"
            assert await client.query("select 1") == [["1"]]

        async def write() -> None:
            assert await waiting.query("insert into entry values (3) returning id") == [["3"]]
            answers.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit, busy)
            # Three intervals and a timeout, and a little for a busy machine.
            assert await until(proxy, cluster.primary.port, Status.DOWN) < 3 * 1 + 0.3 + 1
            await commit(idle)
            nursery.start_soon(write)
            await trio.sleep(0.5)
            assert not answers
            cluster.primary.thaw()
    # Of what was on its way nobody can know; what was not sent has not been done.
    assert await cluster.psql("select string_agg(id::text, ',' order by id) from entry where id <> 2") == "3"


async def test_replica_that_does_not_replay_lags(proxy: RunningProxy, cluster: EmbeddedCluster) -> None:
    replica = known(proxy, cluster.replicas[0].port)
    async with await pg.connect(proxy) as client:
        await until(proxy, cluster.replicas[0].port, Status.UP)
        await cluster.replicas[0].hold_replay()
        await client.query("insert into entry select generate_series(100, 1000)")
        with trio.fail_after(10):
            while not (replica.state.lag_bytes and replica.state.lag_s and replica.state.lag_s > 1):  # noqa: ASYNC110
                await trio.sleep(0.05)
        await cluster.replicas[0].resume_replay()
        with trio.fail_after(10):
            while replica.state.lag_bytes != 0:  # noqa: ASYNC110
                await trio.sleep(0.05)

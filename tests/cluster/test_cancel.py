"""CancelRequests: each reaches the query it was meant for, and never anything else."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import psycopg
import pytest
import trio
from support import client as pg
from support.libpq import cancel_long_query
from support.proxy import proxy_config, running_proxy
from support.relay import running_relay

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from conftest import Door

    from pgcat_trio.embedded import EmbeddedCluster

RACES = 500
CANCELED = "57014"


async def race(client: pg.Client, chance: random.Random) -> pg.Reply:
    """A query and a CancelRequest for it that arrives at about its end; returns when both are over."""
    async with trio.open_nursery() as nursery:
        await client.send(encode.query(f"select pg_sleep({chance.uniform(0, 0.004)})"))
        await trio.sleep(chance.uniform(0, 0.004))
        nursery.start_soon(client.cancel)
        return await client.reply()


def test_cancel_safe_ends_the_query_and_keeps_the_session(door: Door) -> None:
    with psycopg.connect(door.dsn, autocommit=True, prepare_threshold=None) as connection:
        for _ in range(3):
            with pytest.raises(psycopg.errors.QueryCanceled):
                cancel_long_query(connection)
            assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.trio
async def test_a_client_that_waits_for_a_backend_can_be_cancelled(cluster: EmbeddedCluster) -> None:
    async with (
        running_proxy(proxy_config(cluster, pool_size=1)) as proxy,
        await pg.connect(proxy) as holder,
        await pg.connect(proxy) as waiter,
    ):
        await holder.query("begin")
        await waiter.send(encode.query("select 1"))
        [pool, *_] = proxy.supervisor.directory.pools()
        while not pool.owner.waiters:  # type: ignore[attr-defined]  # noqa: ASYNC110
            await trio.sleep(0.001)
        await waiter.cancel()
        reply = await waiter.reply()
        assert (reply.kinds, reply.errors[0].sqlstate, reply.status) == ("EZ", CANCELED, "I")
        assert await holder.query("select 1") == [["1"]]
        await holder.query("commit")
        assert await waiter.query("select 1") == [["1"]]


@pytest.mark.trio
async def test_a_wrong_key_cancels_nothing(cluster: EmbeddedCluster) -> None:
    async with running_proxy(proxy_config(cluster)) as proxy, await pg.connect(proxy) as client:
        await client.send(encode.query("select pg_sleep(0.3), 'done'"))
        client.key = bytes(len(client.key))
        await client.cancel()
        client.pid ^= 1
        await client.cancel()
        assert (await client.reply()).rows_or_raise() == [["", "done"]]


@pytest.mark.trio
async def test_cancelling_an_idle_session_does_nothing(cluster: EmbeddedCluster) -> None:
    async with (
        running_proxy(proxy_config(cluster, pool_size=1)) as proxy,
        await pg.connect(proxy) as client,
        await pg.connect(proxy) as other,
    ):
        for _ in range(20):
            await client.query("select 1")
            await client.cancel()
            assert await other.query("select pg_sleep(0.002), 1") == [["", "1"]]


@pytest.mark.slow
@pytest.mark.trio
async def test_races_against_the_end_of_the_query_hit_nobody_else(cluster: EmbeddedCluster) -> None:
    """Two clients whose queries end about when they are cancelled, and six that nobody cancels, on three backends."""
    ends: dict[bool, int] = {True: 0, False: 0}
    async with running_proxy(proxy_config(cluster, pool_size=3)) as proxy:
        [pool, *_] = proxy.supervisor.directory.pools()

        async def victim(seed: int) -> None:
            chance = random.Random(seed)
            async with await pg.connect(proxy) as client:
                for _ in range(RACES // 2):
                    reply = await race(client, chance)
                    assert all(error.sqlstate == CANCELED for error in reply.errors)
                    ends[not reply.errors] += 1
                    # The request to cancel is over: what comes now was never meant.
                    assert await client.query("select 'next'") == [["next"]]

        async def bystander(number: int) -> None:
            async with await pg.connect(proxy) as client:
                while True:
                    assert await client.query(f"select pg_sleep(0.001), {number}") == [["", str(number)]]

        async with trio.open_nursery() as bystanders:
            for number in range(6):
                bystanders.start_soon(bystander, number)
            async with trio.open_nursery() as victims:
                victims.start_soon(victim, 1)
                victims.start_soon(victim, 2)
            bystanders.cancel_scope.cancel()
        with trio.fail_after(5):
            while pool.busy or pool.opening:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert len(pool.backends) <= 3
    # Both ends of the race were seen.
    assert min(ends.values()) > RACES // 50, ends


@pytest.mark.trio
@pytest.mark.parametrize("pool_mode", ["transaction", "session"])
async def test_a_cancel_that_is_over_does_not_reach_the_next_query_of_its_own_session(
    cluster: EmbeddedCluster, pool_mode: str
) -> None:
    """libpq's contract: when the connection that carried the request is closed, the server has taken notice."""
    async with running_relay(cluster.primary.host, cluster.primary.port, cancel_delay_s=0.3) as relay:
        config = proxy_config(cluster, pool_mode=pool_mode).replace(f" {cluster.primary.port},", f" {relay.port},")
        async with running_proxy(config) as proxy, await pg.connect(proxy) as client:
            await client.query("begin")
            async with trio.open_nursery() as nursery:
                await client.send(encode.query("select pg_sleep(0.1), 'over before the request is there'"))
                nursery.start_soon(client.cancel)
                (await client.reply()).rows_or_raise()
            assert await client.query("select pg_sleep(0.5), 'next'") == [["", "next"]]


@pytest.mark.trio
async def test_a_backend_with_a_cancel_on_its_way_serves_nobody_else(cluster: EmbeddedCluster) -> None:
    async with running_relay(cluster.primary.host, cluster.primary.port, cancel_delay_s=0.3) as relay:
        config = proxy_config(cluster, pool_size=1).replace(f" {cluster.primary.port},", f" {relay.port},")
        async with (
            running_proxy(config) as proxy,
            await pg.connect(proxy) as one,
            await pg.connect(proxy) as two,
            trio.open_nursery() as nursery,
        ):
            await one.send(encode.query("select pg_sleep(0.1), 'over before the request is there'"))
            nursery.start_soon(one.cancel)
            (await one.reply()).rows_or_raise()
            assert await two.query("select pg_sleep(0.5), 'two'") == [["", "two"]]

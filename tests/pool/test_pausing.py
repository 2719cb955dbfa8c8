"""A pool that is paused: what of it holds still, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from support.lending import acquire
from support.world import config_of, open_world

from pgcat_trio.config.model import Role
from pgcat_trio.errors import PoolExhausted
from pgcat_trio.pool.pausing import Pauses, until_stopped

if TYPE_CHECKING:
    from support.world import World
    from trio.testing import MockClock

pytestmark = pytest.mark.trio


def pause(world: World) -> Pauses:
    pauses = Pauses()
    pauses.pools |= world.clusters.keys()
    pauses.apply(world.clusters)
    return pauses


def resume(world: World, pauses: Pauses) -> None:
    pauses.pools.clear()
    pauses.apply(world.clusters)


async def test_those_who_wait_are_not_timed_out_and_wait_anew_when_it_goes_on(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        holder = await acquire(world)
        pauses = pause(world)
        served: list[int] = []

        async def wait(number: int) -> None:
            backend = await acquire(world)
            served.append(number)
            await trio.sleep(0.5)  # connect_timeout is a second
            world.pool.release(backend)

        for number in range(2):
            world.nursery.start_soon(wait, number)
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(300)
        assert len(world.cluster.waiters) == 2
        world.pool.release(holder)
        assert world.counts() == (0, 0, 0)
        resume(world, pauses)
        await trio.sleep(5)
        assert served == [0, 1]


async def test_after_that_they_wait_no_longer_than_others(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        holder = await acquire(world)
        pauses = pause(world)
        failures: list[float] = []

        async def wait() -> None:
            try:
                await acquire(world)
            except PoolExhausted:
                failures.append(trio.current_time())

        world.nursery.start_soon(wait)
        await trio.sleep(300)
        resume(world, pauses)
        resumed = trio.current_time()
        assert world.counts() == (1, 0, 0)  # the holder's, so there is no room
        await trio.sleep(5)
        assert 1.0 <= failures[0] - resumed < 1.4
        world.pool.release(holder)


async def test_nothing_is_opened_while_it_is_paused(autojump_clock: MockClock) -> None:
    async with open_world(config_of(user="pool_size = 3\nmin_pool_size = 2")) as world:
        await trio.sleep(1)
        assert world.counts() == (2, 2, 0)
        pauses = pause(world)
        assert world.counts() == (0, 0, 0)
        await trio.sleep(60)
        assert world.counts() == (0, 0, 0)
        resume(world, pauses)
        await trio.sleep(1)
        assert world.counts() == (2, 2, 0)


async def test_what_is_being_opened_is_waited_for_and_closed(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.cluster.pools[0].open_soon()
        assert world.counts() == (0, 0, 1)
        pause(world)
        with trio.fail_after(5):
            assert await until_stopped(world.cluster.pools)
        assert world.counts() == (0, 0, 0)
        assert world.primary.dials == 1


async def test_a_dial_that_fails_is_no_more_waited_for(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.primary.down = "connection refused"
        world.cluster.pools[0].open_soon()
        pause(world)
        with trio.fail_after(5):
            assert await until_stopped(world.cluster.pools)


async def test_reads_go_elsewhere_while_a_replica_is_paused(autojump_clock: MockClock) -> None:
    async with open_world(config_of(replicas=2, user="pool_size = 5")) as world:
        pauses = Pauses()
        _, first, second = world.cluster.pools
        pauses.servers.add(first.server.address)
        pauses.apply(world.clusters)
        for _ in range(5):
            assert (await acquire(world, Role.REPLICA)).pool is second
        assert not first.backends
        for backend in list(second.backends):
            second.release(backend)

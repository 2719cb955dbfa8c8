"""Leasing: who gets a backend, when, and what is left when somebody gives up."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from support.lending import acquire, ask
from support.world import config_of, open_world

from pgcat_trio.config.model import Role
from pgcat_trio.errors import PoolExhausted, ServerUnavailable
from pgcat_trio.pool.waiting import ClusterRetired

if TYPE_CHECKING:
    from trio.testing import MockClock


@pytest.mark.trio
async def test_first_lease_opens_a_backend_and_the_second_takes_it(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        first = await acquire(world)
        assert world.counts() == (1, 0, 0)
        world.pool.release(first)
        assert world.counts() == (1, 1, 0)
        assert await acquire(world) is first
        assert world.primary.dials == 1
        world.pool.release(first)


@pytest.mark.trio
async def test_full_pool_is_exhausted_in_time_and_bans_nobody(autojump_clock: MockClock) -> None:
    async with open_world(config_of(replicas=1)) as world:
        backend = await acquire(world, Role.REPLICA)
        began = trio.current_time()
        with pytest.raises(PoolExhausted) as caught:
            await acquire(world, Role.REPLICA)
        assert caught.value.sqlstate == "53300"
        assert 1.0 <= trio.current_time() - began < 1.4
        assert not any(server.banned for server in world.bans.values())
        assert not world.cluster.waiters
        backend.pool.release(backend)


@pytest.mark.trio
async def test_hundred_waiters_are_served_in_their_order(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        holder = await ask(world)
        served: list[int] = []

        async def wait(number: int) -> None:
            backend = await acquire(world)
            served.append(number)
            world.pool.release(backend)

        for number in range(100):
            world.nursery.start_soon(wait, number)
            await trio.testing.wait_all_tasks_blocked()
        assert len(world.cluster.waiters) == 100
        holder.give_back()
        await world.idle()
        assert served == list(range(100))
        assert world.counts() == (1, 1, 0)
        assert world.primary.dials == 1


@pytest.mark.trio
async def test_nobody_barges_in_between_release_and_the_waiter(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        holder = await ask(world)
        waiter = await ask(world)
        holder.give_back()
        # The waiter has not run yet, but the backend is its own already.
        assert world.cluster.acquire_nowait(Role.ANY, trio.current_time()) is None
        await waiter.done.wait()
        waiter.give_back()


@pytest.mark.trio
async def test_many_waiters_open_no_more_than_the_pool_may_hold(autojump_clock: MockClock) -> None:
    async with open_world(config_of(user="pool_size = 3")) as world:
        askers = [await ask(world) for _ in range(5)]
        assert world.counts() == (3, 0, 0)
        assert [asker.done.is_set() for asker in askers] == [True] * 3 + [False] * 2
        for asker in askers[:3]:
            asker.give_back()
        await askers[3].done.wait()
        await askers[4].done.wait()
        assert world.primary.dials == 3
        for asker in askers[3:]:
            asker.give_back()


@pytest.mark.trio
async def test_cancelled_in_the_queue(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        holder, waiter, next_one = await ask(world), await ask(world), await ask(world)
        waiter.scope.cancel()
        await waiter.done.wait()
        assert len(world.cluster.waiters) == 1
        holder.give_back()
        await next_one.done.wait()
        assert waiter.backend is None
        assert next_one.backend is not None
        next_one.give_back()
        assert world.counts() == (1, 1, 0)


@pytest.mark.trio
async def test_cancelled_in_the_moment_of_the_hand_off(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        holder, waiter = await ask(world), await ask(world)
        holder.give_back()
        waiter.scope.cancel()
        await waiter.done.wait()
        # The wait was over already: who asked has the backend, and nobody else.
        assert waiter.backend is not None
        assert world.counts() == (1, 0, 0)
        waiter.give_back()
        assert world.counts() == (1, 1, 0)


@pytest.mark.trio
async def test_cancelled_just_before_the_hand_off(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        holder, waiter = await ask(world), await ask(world)
        waiter.scope.cancel()
        holder.give_back()
        await waiter.done.wait()
        assert waiter.backend is None
        assert world.counts() == (1, 1, 0)


@pytest.mark.trio
async def test_asked_within_a_scope_that_is_cancelled_already(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        with trio.CancelScope() as scope:
            scope.cancel()
            await acquire(world)
        assert scope.cancelled_caught
        assert not world.cluster.waiters


@pytest.mark.trio
async def test_refused_at_once_within_a_scope_that_is_cancelled_already(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        with trio.CancelScope() as scope:
            scope.cancel()
            with pytest.raises((ServerUnavailable, trio.Cancelled)) as caught:
                await world.cluster.acquire(Role.REPLICA, fallback_to_primary=False)
            if caught.type is trio.Cancelled:
                raise caught.value
        assert not world.cluster.waiters


@pytest.mark.trio
async def test_no_server_of_the_role_is_an_error_at_once(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        with pytest.raises(ServerUnavailable, match="no replica server is configured for app/ann"):
            await world.cluster.acquire(Role.REPLICA, fallback_to_primary=False)


@pytest.mark.trio
async def test_dial_goes_on_for_the_next_one_when_who_asked_gives_up(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        gate = world.primary.hold("startup")
        waiter = await ask(world)
        await gate.reached.wait()
        waiter.scope.cancel()
        await waiter.done.wait()
        assert world.counts() == (0, 0, 1)
        gate.opened.set()
        await world.idle()
        assert world.counts() == (1, 1, 0)


@pytest.mark.trio
@pytest.mark.parametrize("pool_size", [1, 4])
async def test_round_robin_gives_every_replica_the_same_share(autojump_clock: MockClock, pool_size: int) -> None:
    config = config_of(pool='load_balancing_mode = "round_robin"', user=f"pool_size = {pool_size}", replicas=3)
    async with open_world(config) as world:
        served: Counter[str] = Counter()
        for _ in range(30):
            backend = await acquire(world, Role.REPLICA)
            served[backend.pool.target.host] += 1
            backend.pool.release(backend)
        assert served == {"replica1": 10, "replica2": 10, "replica3": 10}


@pytest.mark.trio
async def test_fresh_idle_backends_are_leased_without_a_round_trip(autojump_clock: MockClock) -> None:
    async with open_world(config_of(user="pool_size = 4", replicas=2)) as world:
        for _ in range(20):
            backend = await acquire(world, Role.REPLICA)
            backend.pool.release(backend)
        assert world.servers["replica1"].statements == world.servers["replica2"].statements == []


@pytest.mark.trio
async def test_least_outstanding_connections_prefers_who_has_less_to_do(autojump_clock: MockClock) -> None:
    config = config_of(pool='load_balancing_mode = "loc"', user="pool_size = 4", replicas=2)
    async with open_world(config) as world:
        leased = [await acquire(world, Role.REPLICA) for _ in range(6)]
        assert Counter(backend.pool.target.host for backend in leased) == {"replica1": 3, "replica2": 3}
        for backend in leased:
            backend.pool.release(backend)


@pytest.mark.trio
async def test_retired_cluster_sends_its_waiters_away_and_closes_what_comes_back(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        holder, waiter = await ask(world), await ask(world)
        world.cluster.retire()
        await waiter.done.wait()
        assert isinstance(waiter.error, ClusterRetired)
        assert world.counts() == (1, 0, 0)
        holder.give_back()
        assert world.counts() == (0, 0, 0)
        with pytest.raises(ClusterRetired):
            await acquire(world)


@pytest.mark.trio
async def test_retired_while_a_backend_is_being_opened(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        gate = world.primary.hold("ready")
        waiter = await ask(world)
        world.cluster.retire()
        await waiter.done.wait()
        assert world.counts() == (0, 0, 1)
        gate.opened.set()
        await world.idle()
        assert world.counts() == (0, 0, 0)
        assert world.primary.connections == 0


@pytest.mark.trio
async def test_upkeep_opens_the_minimum_and_closes_what_is_too_old_or_idle(autojump_clock: MockClock) -> None:
    config = config_of("idle_timeout = 5000\nserver_lifetime = 20000", user="pool_size = 5\nmin_pool_size = 2")
    async with open_world(config) as world:
        await trio.sleep(1)
        assert world.counts() == (2, 2, 0)
        leased = [await acquire(world) for _ in range(4)]
        for backend in leased:
            world.pool.release(backend)
        await trio.sleep(6)
        assert world.counts() == (2, 2, 0)
        before = set(world.pool.backends)
        await trio.sleep(20)
        assert world.counts() == (2, 2, 0)
        assert not before & world.pool.backends

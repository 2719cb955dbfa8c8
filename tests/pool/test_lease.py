"""Leasing: who gets a backend, when, and what is left when somebody gives up."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from support.scripted_server import Refusal
from support.world import World, config_of, open_world

from pgcat_trio.config.model import Role
from pgcat_trio.errors import PoolExhausted, ProxyError, ServerError, ServerUnavailable
from pgcat_trio.pool.cluster import ClusterRetired

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgcat_trio.pool.backend import Backend


async def acquire(world: World, role: Role = Role.ANY) -> Backend:
    return await world.cluster.acquire(role, fallback_to_primary=role is not Role.PRIMARY)


class Asker:
    """A task that asks for a backend and keeps it until it is told otherwise."""

    def __init__(self, world: World, role: Role = Role.ANY) -> None:
        self.world = world
        self.role = role
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.backend: Backend | None = None
        self.error: ProxyError | None = None

    async def run(self) -> None:
        try:
            with self.scope:
                self.backend = await acquire(self.world, self.role)
        except ProxyError as error:
            self.error = error
        self.done.set()

    def give_back(self) -> None:
        assert self.backend is not None
        backend, self.backend = self.backend, None
        backend.pool.release(backend)


async def ask(world: World, role: Role = Role.ANY) -> Asker:
    """An asker that has come as far as it can."""
    asker = Asker(world, role)
    world.nursery.start_soon(asker.run)
    await world.idle()
    return asker


# -- the usual way -------------------------------------------------------------------------------------------------


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


# -- giving up -----------------------------------------------------------------------------------------------------


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


# -- health checks -------------------------------------------------------------------------------------------------

_CHECKING = "healthcheck_delay = 100\nhealthcheck_timeout = 500\n"


async def old_idle_backend(world: World) -> Backend:
    """A backend that has been idle for longer than healthcheck_delay."""
    backend = await acquire(world)
    world.pool.release(backend)
    await trio.sleep(0.2)
    world.primary.statements.clear()
    return backend


@pytest.mark.trio
async def test_old_idle_backend_is_checked_before_it_is_leased(autojump_clock: MockClock) -> None:
    async with open_world(config_of(_CHECKING)) as world:
        old = await old_idle_backend(world)
        assert await acquire(world) is old
        assert world.primary.texts() == [""]
        world.pool.release(old)


@pytest.mark.trio
async def test_failed_check_closes_all_of_the_same_age_and_opens_a_new_one(autojump_clock: MockClock) -> None:
    async with open_world(config_of(_CHECKING, user="pool_size = 3")) as world:
        askers = [await ask(world) for _ in range(3)]
        for asker in askers:
            asker.give_back()
        await trio.sleep(0.2)
        gate = world.primary.hold("statement")
        waiter = await ask(world)
        await gate.reached.wait()
        await waiter.done.wait()
        assert waiter.error is None
        assert waiter.backend is not None
        assert world.counts() == (1, 0, 0)
        assert world.primary.dials == 4
        gate.opened.set()
        waiter.give_back()


@pytest.mark.trio
async def test_cancelled_while_the_backend_is_checked(autojump_clock: MockClock) -> None:
    async with open_world(config_of(_CHECKING)) as world:
        old = await old_idle_backend(world)
        gate = world.primary.hold("statement")
        waiter = await ask(world)
        await gate.reached.wait()
        waiter.scope.cancel()
        await waiter.done.wait()
        assert not world.cluster.waiters
        gate.opened.set()
        await world.idle()
        assert world.counts() == (1, 1, 0)
        assert old in world.pool.idle


@pytest.mark.trio
async def test_check_that_takes_long_does_not_count_as_waiting_for_a_place(autojump_clock: MockClock) -> None:
    async with open_world(config_of("healthcheck_delay = 100\nhealthcheck_timeout = 3000\n")) as world:
        await old_idle_backend(world)
        gate = world.primary.hold("statement")
        waiter = await ask(world)
        await trio.sleep(2)
        gate.opened.set()
        await waiter.done.wait()
        assert waiter.error is None
        waiter.give_back()


# -- servers that fail ---------------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_server_that_refuses_fails_all_who_wait_with_its_reason(autojump_clock: MockClock) -> None:
    async with open_world(config_of(user="pool_size = 2")) as world:
        world.primary.greeting_error = Refusal("53300", "sorry, too many clients already", "FATAL")
        askers = [Asker(world) for _ in range(5)]
        for asker in askers:
            world.nursery.start_soon(asker.run)
        for asker in askers:
            await asker.done.wait()
            assert isinstance(asker.error, ServerError)
            assert (asker.error.sqlstate, asker.error.message) == ("53300", "sorry, too many clients already")
        assert trio.current_time() - world.cluster.pools[0].server.banned_until > 0
        assert world.counts() == (0, 0, 0)


@pytest.mark.trio
async def test_server_that_dies_while_others_wait_fails_them_with_the_reason(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        holder, waiter = await ask(world), await ask(world)
        world.primary.down = "Connection refused"
        assert holder.backend is not None
        holder.backend.broken = "server closed the connection"
        holder.give_back()
        await waiter.done.wait()
        assert isinstance(waiter.error, ServerUnavailable)
        assert "Connection refused" in waiter.error.message
        assert world.counts() == (0, 0, 0)


@pytest.mark.trio
async def test_failed_dial_does_not_fail_waiters_that_others_can_still_serve(autojump_clock: MockClock) -> None:
    async with open_world(config_of(user="pool_size = 2")) as world:
        holder = await ask(world)
        world.primary.down = "Connection refused"
        waiter = await ask(world)
        assert not waiter.done.is_set()
        holder.give_back()
        await waiter.done.wait()
        assert waiter.error is None
        waiter.give_back()


@pytest.mark.trio
async def test_refusing_replica_is_banned_and_another_serves(autojump_clock: MockClock) -> None:
    async with open_world(config_of(pool='load_balancing_mode = "round_robin"', replicas=2)) as world:
        world.servers["replica1"].down = "Connection refused"
        for _ in range(6):
            backend = await acquire(world, Role.REPLICA)
            assert backend.pool.target.host == "replica2"
            backend.pool.release(backend)
        assert [name for name, server in world.bans.items() if server.banned] == ["replica1"]
        assert world.servers["replica1"].dials == 1


@pytest.mark.trio
async def test_all_replicas_down_falls_back_to_the_primary(autojump_clock: MockClock) -> None:
    async with open_world(config_of(replicas=2)) as world:
        world.servers["replica1"].down = world.servers["replica2"].down = "Connection refused"
        backend = await acquire(world, Role.REPLICA)
        assert backend.pool is world.pool
        backend.pool.release(backend)


@pytest.mark.trio
async def test_all_replicas_down_without_fallback_is_their_error(autojump_clock: MockClock) -> None:
    async with open_world(config_of(replicas=2)) as world:
        world.servers["replica1"].down = world.servers["replica2"].down = "Connection refused"
        with pytest.raises(ServerUnavailable, match=r"replica[12]:1: Connection refused"):
            await world.cluster.acquire(Role.REPLICA, fallback_to_primary=False)


@pytest.mark.trio
async def test_fallback_to_the_primary_also_where_nobody_is_banned(autojump_clock: MockClock) -> None:
    async with open_world(config_of("ban_time = 0", replicas=1)) as world:
        world.servers["replica1"].down = "Connection refused"
        backend = await acquire(world, Role.REPLICA)
        assert backend.pool is world.pool
        backend.pool.release(backend)


@pytest.mark.trio
async def test_banned_replica_returns_after_its_time(autojump_clock: MockClock) -> None:
    async with open_world(config_of("ban_time = 2", replicas=1)) as world:
        replica = world.servers["replica1"]
        replica.down = "Connection refused"
        backend = await acquire(world, Role.REPLICA)
        backend.pool.release(backend)
        replica.down = ""
        await trio.sleep(2.5)
        backend = await acquire(world, Role.REPLICA)
        assert backend.pool.target.host == "replica1"
        backend.pool.release(backend)


@pytest.mark.trio
async def test_failover_takes_an_idle_backend_of_the_next_server(autojump_clock: MockClock) -> None:
    """The next server's pool is full and all of it idle: nothing is opened and nothing is given back, still it goes."""
    async with open_world(config_of(replicas=2)) as world:
        (pool,) = [pool for pool in world.cluster.pools if pool.target.host == "replica2"]
        while (backend := await acquire(world, Role.REPLICA)).pool is not pool:
            backend.pool.close(backend, "the test wants the other one")
        backend.pool.release(backend)
        world.servers["replica1"].down = "Connection refused"
        for _ in range(4):
            asker = await ask(world, Role.REPLICA)
            assert asker.error is None
            assert asker.backend is backend
            asker.give_back()


@pytest.mark.trio
async def test_replica_that_never_answers_costs_time_but_no_error(autojump_clock: MockClock) -> None:
    async with open_world(config_of(replicas=2)) as world:
        world.servers["replica1"].hold("dial")
        world.servers["replica2"].hold("startup")
        began = trio.current_time()
        backend = await acquire(world, Role.REPLICA)
        assert backend.pool is world.pool
        assert trio.current_time() - began < 3
        assert [name for name, server in world.bans.items() if server.banned] == ["replica1", "replica2"]
        backend.pool.release(backend)


@pytest.mark.trio
async def test_each_failed_server_gives_its_waiters_a_fresh_wait(autojump_clock: MockClock) -> None:
    async with open_world(config_of(pool='load_balancing_mode = "round_robin"', replicas=2)) as world:
        held = await acquire(world, Role.REPLICA)
        (other,) = [server for name, server in world.servers.items() if name not in ("primary", held.pool.target.host)]
        other.hold("dial")
        waiter = await ask(world, Role.REPLICA)
        await trio.sleep(1.7)
        assert not waiter.done.is_set()
        held.pool.release(held)
        await waiter.done.wait()
        assert waiter.backend is held
        waiter.give_back()


@pytest.mark.trio
async def test_primary_that_never_answers_is_an_error_that_says_so(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.primary.hold("dial")
        with pytest.raises(ServerUnavailable, match="primary:1 did not answer within 1 s"):
            await acquire(world)


# -- balance -------------------------------------------------------------------------------------------------------


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


# -- the end -------------------------------------------------------------------------------------------------------


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

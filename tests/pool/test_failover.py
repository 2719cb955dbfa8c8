"""Servers that fail: who waits goes elsewhere, or hears the reason; and checks of those that may have failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from support.lending import Asker, acquire, ask
from support.scripted_backend import Refusal
from support.world import World, config_of, open_world

from pgcat_trio.config.model import Role
from pgcat_trio.errors import LoginRefused, ServerUnavailable

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgcat_trio.pool.backend import Backend


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


@pytest.mark.trio
async def test_server_that_refuses_fails_all_who_wait_with_its_reason(autojump_clock: MockClock) -> None:
    async with open_world(config_of(user="pool_size = 2")) as world:
        world.primary.greeting_error = Refusal("53300", "sorry, too many clients already", "FATAL")
        askers = [Asker(world) for _ in range(5)]
        for asker in askers:
            world.nursery.start_soon(asker.run)
        for asker in askers:
            await asker.done.wait()
            assert isinstance(asker.error, LoginRefused)
            assert (asker.error.sqlstate, asker.error.reason) == ("53300", "sorry, too many clients already")
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
        await trio.sleep(0.1)  # the sweep comes between the end of the dial and the end of the fresh wait
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

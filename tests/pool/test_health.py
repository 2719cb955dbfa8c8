"""Health checks: what the checker finds out about a server, when it believes it, and what becomes of connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from structlog.testing import capture_logs
from support.lending import acquire, ask
from support.scripted_backend import Refusal
from support.transcript import READY
from support.world import World, config_of, open_world

from pgcat_trio.config.model import Role
from pgcat_trio.pool.server import Status
from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from support.world import By
    from trio.testing import MockClock

    from pgcat_trio.pool.server import ServerState

pytestmark = pytest.mark.trio

WATCHED = "healthcheck_interval = 1000\n"


def state(world: World, name: str = "primary") -> ServerState:
    return world.bans[name].state


async def when(world: World, status: Status, name: str = "primary", limit_s: float = 60.0) -> float:
    """Wait until a server is in a state; how long that took."""
    began = trio.current_time()
    with trio.fail_after(limit_s):
        while state(world, name).status is not status:  # noqa: ASYNC110 - it is the time that is tested
            await trio.sleep(0.01)
    return trio.current_time() - began


# -- what is found out ---------------------------------------------------------------------------------------------


async def test_one_checker_finds_out_what_each_server_is(autojump_clock: MockClock) -> None:
    async with open_world(config_of(WATCHED, replicas=1)) as world:
        world.servers["replica1"].standby = True
        await trio.sleep(0.5)
        found = state(world)
        assert (found.status, found.role, found.timeline, found.replay_lsn) == (Status.UP, Role.PRIMARY, 1, 0x1000000)
        assert (found.lag_bytes, found.lag_s) == (None, None)
        found = state(world, "replica1")
        assert (found.status, found.role, found.lag_bytes, found.lag_s) == (Status.UP, Role.REPLICA, 0, 0.0)
        await trio.sleep(10)
        assert 10 <= world.primary.checks <= 12
        assert world.primary.dials == 1
        assert world.primary.statements == []


async def test_lag_is_counted_from_when_the_primary_was_first_seen_further_on(autojump_clock: MockClock) -> None:
    async with open_world(config_of(WATCHED, replicas=1)) as world:
        replica = world.servers["replica1"]
        replica.standby = True
        await trio.sleep(60)  # nothing is written: nobody is late
        assert state(world, "replica1").lag_s == 0
        world.primary.position += 5000
        await trio.sleep(20)
        found = state(world, "replica1")
        assert found.lag_bytes == 5000
        assert found.lag_s is not None
        assert 18 <= found.lag_s <= 20
        replica.position += 4999
        await trio.sleep(2)
        assert state(world, "replica1").lag_bytes == 1
        replica.position += 1
        await trio.sleep(2)
        assert (state(world, "replica1").lag_bytes, state(world, "replica1").lag_s) == (0, 0)
        assert world.bans["replica1"].replay_lsn == replica.position


async def test_server_without_the_functions_is_asked_for_less(autojump_clock: MockClock) -> None:
    async with open_world(config_of(WATCHED, replicas=1)) as world:
        world.servers["replica1"].standby = True
        world.servers["replica1"].simple = True
        await trio.sleep(5)
        found = state(world, "replica1")
        assert (found.status, found.role, found.replay_lsn, found.lag_s) == (Status.UP, Role.REPLICA, None, None)
        assert world.servers["replica1"].dials == 1


async def test_server_that_does_not_let_the_checker_in_is_there_all_the_same(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with open_world(config_of(WATCHED)) as world:
            world.primary.greeting_error = Refusal("53300", "sorry, too many clients already", "FATAL")
            await trio.sleep(10)
            assert (state(world).status, state(world).role) == (Status.UP, None)
    assert [line["reason"] for line in logs if line["event"] == "server.check_refused"] == [
        "server primary:1 refused the proxy's login: sorry, too many clients already"
    ]


# -- when it is believed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failures", [1, 3, 5])
async def test_server_is_down_after_so_many_failures_in_a_row(autojump_clock: MockClock, failures: int) -> None:
    async with open_world(config_of(f"{WATCHED}fail_after = {failures}")) as world:
        await when(world, Status.UP)
        world.primary.down = "Connection refused"
        world.primary.leave()
        assert await when(world, Status.DOWN) <= 1.1 + 0.25 * (failures - 1)
        assert state(world).reason == "cannot connect to server primary:1: Connection refused"


async def test_failures_that_are_not_in_a_row_do_not_count(autojump_clock: MockClock) -> None:
    async with open_world(config_of(f"{WATCHED}fail_after = 2")) as world:
        for _ in range(10):
            gate = world.primary.hold("check")
            await gate.reached.wait()
            await trio.sleep(1.05)  # one time-out
            gate.opened.set()
            world.primary.gates.clear()
            await trio.sleep(2)
            assert state(world).status is Status.UP


@pytest.mark.parametrize("answers", [1, 2, 6])
async def test_server_is_up_again_after_so_many_answers(autojump_clock: MockClock, answers: int) -> None:
    async with open_world(config_of(f"{WATCHED}recover_after = {answers}")) as world:
        world.primary.down = "Connection refused"
        await when(world, Status.DOWN)
        checks = world.primary.checks
        world.primary.down = ""
        await when(world, Status.UP)
        assert world.primary.checks == checks + answers


@pytest.mark.parametrize("point", ["check", "dial", "startup"])
async def test_frozen_server_is_down_within_so_many_intervals_and_a_timeout(
    autojump_clock: MockClock, point: str
) -> None:
    async with open_world(config_of(WATCHED)) as world:
        await when(world, Status.UP)
        gate = world.primary.hold(point)
        if point != "check":
            world.primary.leave()
        assert await when(world, Status.DOWN) <= 4.05
        assert state(world).reason == "server primary:1 did not answer within 1 s"
        gate.opened.set()
        world.primary.gates.clear()
        await when(world, Status.UP)


async def test_trouble_makes_the_checker_look_at_once(autojump_clock: MockClock) -> None:
    async with open_world(config_of("healthcheck_interval = 60000\nconnect_timeout = 1000")) as world:
        await when(world, Status.UP)
        backend = await acquire(world)
        await trio.sleep(10)
        checks = world.primary.checks
        backend.broken = "server closed the connection"
        backend.pool.release(backend)
        await trio.sleep(0.05)
        assert world.primary.checks == checks + 1


async def test_broken_connection_of_the_checker_alone_is_no_failure(autojump_clock: MockClock) -> None:
    async with open_world(config_of(f"{WATCHED}fail_after = 1")) as world:
        await when(world, Status.UP)
        with capture_logs() as logs:
            for _ in range(5):
                world.primary.leave()
                await trio.sleep(2)
        assert [line for line in logs if line["event"].startswith("server.")] == []
        assert world.primary.dials == 6


async def test_shutting_down_is_a_failure_and_other_words_are_none(autojump_clock: MockClock) -> None:
    async with open_world(config_of(WATCHED)) as world:
        await when(world, Status.UP)
        world.primary.greeting_error = Refusal("57P03", "the database system is starting up", "FATAL")
        world.primary.leave()
        await when(world, Status.DOWN)
        assert "starting up" in state(world).reason
        world.primary.greeting_error = None
        await when(world, Status.UP)


async def test_checks_can_be_switched_off_and_on_by_a_reload(autojump_clock: MockClock) -> None:
    async with open_world(config_of(WATCHED)) as world:
        world.primary.down = "Connection refused"
        await when(world, Status.DOWN)
        world.fleet.settle(world.clusters.values(), config_of().general)
        await when(world, Status.UNKNOWN)
        world.primary.down = ""
        backend = await acquire(world)
        backend.pool.release(backend)
        world.fleet.settle(world.clusters.values(), config_of(WATCHED).general)
        await when(world, Status.UP)


# -- what becomes of connections -----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["memory", "sockets"])
async def test_server_that_is_down_ends_what_it_has(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(f"{WATCHED}failover_hold = 0", user="pool_size = 3"), by=by) as world:
        await when(world, Status.UP)
        busy, quiet, idle = [await world.connect() for _ in range(3)]
        await busy.query("BEGIN")
        await quiet.query("BEGIN")
        await idle.query("SELECT 1")
        world.primary.hold("check")
        world.primary.hold("statement")
        await busy.send(encode.query("SELECT 2"))
        await when(world, Status.DOWN)
        answer = await busy.reply()
        assert b"C08006\x00" in answer
        assert b"server primary:1 is down: server primary:1 did not answer within 1 s" in answer
        assert answer.endswith(READY)
        assert world.counts() == (0, 0, 0)
        # The transaction that nobody asked anything of hears of it when it does; then it is over, too.
        assert b"C08006\x00" in await quiet.query("SELECT 3")
        for client in (busy, quiet, idle):
            refusal = await client.query("SELECT 4")
            assert b"C08001\x00" in refusal
            assert refusal.endswith(READY)


async def test_down_server_gets_no_dials(autojump_clock: MockClock) -> None:
    async with open_world(config_of(f"{WATCHED}failover_hold = 0", user="pool_size = 3\nmin_pool_size = 2")) as world:
        world.primary.hold("startup")
        await when(world, Status.DOWN)
        await trio.sleep(2)
        dials = world.primary.dials
        for _ in range(10):
            asker = await ask(world)
            assert asker.error is not None
            assert asker.error.sqlstate == "08001"
        assert world.primary.dials - dials <= 1  # the checker's
        world.primary.gates.clear()


# -- reads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["max_replica_lag = 3000", "max_replica_lag_bytes = 100"])
async def test_replica_that_lags_takes_no_reads(autojump_clock: MockClock, limit: str) -> None:
    async with open_world(config_of(WATCHED + limit, replicas=2)) as world:
        first, second = world.servers["replica1"], world.servers["replica2"]
        first.standby = second.standby = True
        await when(world, Status.UP, "replica1")
        for server in (world.primary, second):
            server.position += 1000
        assert await when(world, Status.LAGGING, "replica1") <= 5.1
        for _ in range(10):
            backend = await acquire(world, Role.REPLICA)
            assert backend.pool.target.host == "replica2"
            backend.pool.release(backend)
        first.position += 1000
        assert await when(world, Status.UP, "replica1") <= 3.1


async def test_all_replicas_lag(autojump_clock: MockClock) -> None:
    async with open_world(config_of(WATCHED + "max_replica_lag_bytes = 100", replicas=1)) as world:
        world.servers["replica1"].standby = True
        await when(world, Status.UP, "replica1")
        world.primary.position += 1000
        await when(world, Status.LAGGING, "replica1")
        backend = await acquire(world, Role.REPLICA)
        assert backend.pool is world.pool
        backend.pool.release(backend)
        # Who insists on a replica gets one that is behind rather than none.
        backend = await world.cluster.acquire(Role.REPLICA, fallback_to_primary=False)
        assert backend.pool.target.host == "replica1"
        backend.pool.release(backend)


@pytest.mark.parametrize("by", ["memory", "sockets"])
@pytest.mark.parametrize("point", ["check", "dial", "startup", "ready"])
async def test_login_of_the_checker_changes_while_it_is_at_it(autojump_clock: MockClock, by: By, point: str) -> None:
    async with open_world(config_of(f"{WATCHED}fail_after = 2"), by=by) as world:
        await when(world, Status.UP)
        gate = world.primary.hold(point)
        if point != "check":
            world.primary.leave()
        await gate.reached.wait()
        other = config_of(f'{WATCHED}fail_after = 2\nhealthcheck_username = "watcher"')
        world.fleet.settle(world.clusters.values(), other.general)
        gate.opened.set()
        world.primary.gates.clear()
        await trio.sleep(5)
        assert state(world).status is Status.UP
        assert world.primary.startups[-1]["user"] == "watcher"
        assert world.primary.connections == 1


@pytest.mark.parametrize("by", ["memory", "sockets"])
@pytest.mark.parametrize("point", ["check", "dial", "startup", "ready"])
async def test_checks_end_while_one_is_under_way(autojump_clock: MockClock, by: By, point: str) -> None:
    async with open_world(config_of(WATCHED), by=by) as world:
        await when(world, Status.UP)
        gate = world.primary.hold(point)
        if point != "check":
            world.primary.leave()
        await gate.reached.wait()
        world.fleet.settle(world.clusters.values(), config_of().general)
        gate.opened.set()
        await trio.sleep(5)
        assert state(world).status is Status.UNKNOWN
        assert world.primary.connections == 0


async def test_server_that_is_down_ends_what_a_reload_has_left_on_it(autojump_clock: MockClock) -> None:
    async with open_world(config_of(WATCHED), by="sockets") as world:
        await when(world, Status.UP)
        client = await world.connect()
        await client.query("BEGIN")
        retired = world.clusters.pop(("app", "ann"))
        world.build()
        retired.retire()
        for point in ("check", "statement", "dial"):
            world.primary.hold(point)
        await client.send(encode.query("SELECT 1"))
        await when(world, Status.DOWN)
        assert b"C08006\x00" in await client.reply()
        assert not retired.pools[0].backends
        assert retired.pools[0].server_changed not in world.bans["primary"].watchers
        world.primary.leave()


@pytest.mark.parametrize("by", ["memory", "sockets"])
async def test_who_listens_hears_that_the_server_is_down(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(WATCHED), by=by) as world:
        await when(world, Status.UP)
        client = await world.connect()
        assert (await client.query("LISTEN news")).endswith(READY)
        world.primary.hold("check")
        world.primary.hold("dial")
        await when(world, Status.DOWN)
        assert b"C08006\x00" in await client.rest()
        world.primary.leave()

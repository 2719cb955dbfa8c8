"""Which of several servers gets the next request: modes, weights, zones, and servers that have just come back."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest
import trio
from support.lending import Asker, acquire, ask
from support.scripted_backend import Refusal
from support.world import World, config_of, open_world

from pgcat_trio.config.model import LoadBalancing, Role
from pgcat_trio.pool.server import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

    from pgcat_trio.config.model import Config

pytestmark = pytest.mark.trio

WATCHED = "healthcheck_interval = 1000\n"
PRIMARY: Final = '["primary", 1, "primary"]'


def replica(name: str, **keys: object) -> str:
    more = "".join(f", {key} = {value!r}" for key, value in keys.items())
    return f"{{ host = {name!r}, port = 1, role = 'replica'{more} }}"


def balanced(mode: str, servers: Sequence[str], general: str = "") -> Config:
    pool = f'load_balancing_mode = "{mode}"'
    return config_of(general, pool=pool, user="pool_size = 5", servers=(PRIMARY, *servers))


async def shares(world: World, requests: int) -> Counter[str]:
    """Who has served how many of so many reads, one after the other."""
    served: Counter[str] = Counter()
    for _ in range(requests):
        backend = await acquire(world, Role.REPLICA)
        served[backend.pool.target.host] += 1
        backend.pool.release(backend)
    return served


def near(count: int, expected: float, tolerance: float = 0.5) -> bool:
    return abs(count - expected) <= tolerance * expected


# -- weights -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(LoadBalancing))
async def test_even_servers_get_even_shares(autojump_clock: MockClock, mode: str) -> None:
    async with open_world(balanced(mode, [replica("a"), replica("b"), replica("c")])) as world:
        served = await shares(world, 900)
        assert all(near(served[name], 300) for name in "abc")


@pytest.mark.parametrize("mode", ["random", "round_robin", "ewma"])
async def test_shares_are_as_the_weights(autojump_clock: MockClock, mode: str) -> None:
    servers = [replica("a", weight=1), replica("b", weight=2), replica("c", weight=5)]
    async with open_world(balanced(mode, servers)) as world:
        await shares(world, 30)
        served = await shares(world, 800)
        if mode == "ewma":
            assert served["a"] < served["b"] < served["c"]
        else:
            assert near(served["a"], 100)
            assert near(served["b"], 200)
            assert near(served["c"], 500)


async def test_weighted_turns_are_spread_out(autojump_clock: MockClock) -> None:
    """Not five in a row for the heavy one: nginx's smooth round robin."""
    async with open_world(balanced("round_robin", [replica("a", weight=5), replica("b"), replica("c")])) as world:
        await shares(world, 14)
        order = ""
        for _ in range(7):
            backend = await acquire(world, Role.REPLICA)
            order += backend.pool.target.host
            backend.pool.release(backend)
        assert sorted(order) == sorted("aaaaabc")
        assert "aaaa" not in order


async def test_least_busy_by_weight(autojump_clock: MockClock) -> None:
    async with open_world(balanced("loc", [replica("a", weight=3), replica("b")])) as world:
        askers = [await ask(world, Role.REPLICA) for _ in range(4)]
        held = Counter(asker.backend.pool.target.host for asker in askers if asker.backend is not None)
        assert held == {"a": 3, "b": 1}
        for asker in askers:
            asker.give_back()


async def test_of_two_the_one_that_answers_faster(autojump_clock: MockClock) -> None:
    async with open_world(balanced("ewma", [replica("a"), replica("b")])) as world:
        world.bans["a"].latency_s, world.bans["b"].latency_s = 0.001, 0.010
        assert (await shares(world, 100))["a"] == 100
        # Ten times as busy is as bad as ten times as slow.
        askers = [await ask(world, Role.REPLICA) for _ in range(6)]
        held = Counter(asker.backend.pool.target.host for asker in askers if asker.backend is not None)
        assert held == {"a": 5, "b": 1}
        for asker in askers:
            asker.give_back()


async def test_latency_is_the_peak_of_late(autojump_clock: MockClock) -> None:
    async with open_world(balanced("ewma", [replica("a"), replica("b")], WATCHED)) as world:
        await trio.sleep(3)
        gate = world.servers["a"].hold("check")
        await gate.reached.wait()
        await trio.sleep(0.3)
        gate.opened.set()
        world.servers["a"].gates.clear()
        await trio.sleep(0.5)
        server = world.bans["a"]
        assert server.latency_s == pytest.approx(0.3, abs=0.01)
        await trio.sleep(7)
        assert 0.1 < server.latency_s < 0.2
        await trio.sleep(60)
        assert server.latency_s < 0.01


# -- zones ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(LoadBalancing))
async def test_own_zone_first_as_long_as_there_is_room(autojump_clock: MockClock, mode: str) -> None:
    servers = [replica("a", zone="east"), replica("b", zone="west"), replica("c", zone="west"), replica("d")]
    async with open_world(balanced(mode, servers, 'zone = "west"\nban_time = 1')) as world:
        served = await shares(world, 200)
        assert served.keys() == {"b", "c"}
        assert near(served["b"], 100)
        askers = [await ask(world, Role.REPLICA) for _ in range(12)]
        held = Counter(asker.backend.pool.target.host for asker in askers if asker.backend is not None)
        assert (held["b"], held["c"], held["a"] + held["d"]) == (5, 5, 2)
        for asker in askers:
            asker.give_back()


async def test_other_zones_when_the_own_one_is_down(autojump_clock: MockClock) -> None:
    servers = [replica("a", zone="east"), replica("b", zone="west")]
    async with open_world(balanced("random", servers, WATCHED + 'zone = "west"')) as world:
        await trio.sleep(1)
        world.servers["b"].down = "Connection refused"
        world.servers["b"].leave()
        await trio.sleep(5)
        assert (await shares(world, 50)).keys() == {"a"}


# -- coming back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["random", "round_robin"])
async def test_server_that_comes_back_grows_into_its_share(autojump_clock: MockClock, mode: str) -> None:
    general = WATCHED + "slow_start = 10000\nban_time = 0"
    async with open_world(balanced(mode, [replica("a"), replica("b")], general)) as world:
        await trio.sleep(1)
        world.servers["a"].down = "Connection refused"
        world.servers["a"].leave()
        await trio.sleep(5)
        world.servers["a"].down = ""
        while world.bans["a"].state.status is not Status.UP:  # noqa: ASYNC110
            await trio.sleep(0.1)
        seen = []
        for _ in range(3):
            seen.append((await shares(world, 600))["a"])
            await trio.sleep(5.2)
        first, middle, last = seen
        assert 20 <= first <= 120
        assert near(middle, 200)
        assert near(last, 300)


# -- dials ---------------------------------------------------------------------------------------------------------


async def test_dials_of_all_pools_together_are_bounded_by_server(autojump_clock: MockClock) -> None:
    async with open_world(config_of("max_dials = 3", user="pool_size = 20")) as world:
        gate = world.primary.hold("startup")
        second = world.clusters.pop(("app", "ann"))
        world.build()
        world.clusters["app", "bob"] = second
        askers = [Asker(world) for _ in range(10)]
        for asker in askers:
            world.nursery.start_soon(asker.run)
        others: list[object] = []

        async def acquire_second() -> None:
            others.append(await second.acquire(Role.ANY, fallback_to_primary=True))

        for _ in range(10):
            world.nursery.start_soon(acquire_second)
        await world.idle()
        assert world.primary.connections == 3
        gate.opened.set()
        world.primary.gates.clear()
        for asker in askers:
            await asker.done.wait()
            assert asker.error is None
        await world.idle()
        assert len(others) == 10
        for asker in askers:
            asker.give_back()
        for backend in others:
            backend.pool.release(backend)  # type: ignore[attr-defined]


async def test_server_that_refuses_is_dialed_ever_more_rarely(autojump_clock: MockClock) -> None:
    async with open_world(config_of("connect_timeout = 500")) as world:
        world.primary.greeting_error = Refusal("53300", "sorry, too many clients already", "FATAL")
        began = trio.current_time()
        refused = 0
        while trio.current_time() < began + 30:
            asker = await ask(world)
            await asker.done.wait()
            assert asker.error is not None
            assert asker.error.sqlstate == "53300"
            refused += 1
            await trio.sleep(0.01)
        assert refused > 20
        assert world.primary.dials < 30  # without pauses it were thousands
        world.primary.greeting_error = None
        await trio.sleep(3)
        # Then all is forgotten.
        dials = world.primary.dials
        for _ in range(3):
            backend = await acquire(world)
            world.pool.close(backend, "the test wants another one")
        assert world.primary.dials == dials + 3


async def test_login_that_is_turned_down_makes_nobody_else_wait(autojump_clock: MockClock) -> None:
    async with open_world(config_of("connect_timeout = 500")) as world:
        other = world.clusters.pop(("app", "ann"))
        world.build()
        world.clusters["app", "bob"] = other
        world.primary.greeting_error = Refusal("28P01", "password authentication failed", "FATAL")
        for _ in range(6):
            asker = await ask(world)
            await asker.done.wait()
        world.primary.greeting_error = None
        began = trio.current_time()
        backend = await other.acquire(Role.ANY, fallback_to_primary=True)
        assert trio.current_time() == began
        backend.pool.release(backend)


@pytest.mark.parametrize("watched", [True, False])
async def test_who_waits_is_served_when_the_pause_is_over(autojump_clock: MockClock, watched: bool) -> None:
    """Nobody dials in the meantime, and so nobody comes back from a dial who could tell them."""
    checks = "healthcheck_interval = 1000\nfail_after = 1\nrecover_after = 1" if watched else "healthcheck_interval = 0"
    async with open_world(config_of(f"{checks}\nconnect_timeout = 60000", user="pool_size = 20")) as world:
        await trio.sleep(1)
        dials = world.bans["primary"].dials
        for _ in range(6):
            dials.failed(trio.current_time())
        began = trio.current_time()
        asker = await ask(world)
        if watched:
            world.primary.down = "Connection refused"
            world.primary.leave()
            await trio.sleep(0.5)
            world.primary.down = ""
        await asker.done.wait()
        assert trio.current_time() - began < 3
        asker.give_back()

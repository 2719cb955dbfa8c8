"""Who is the primary: roles that are found out, promotions, two primaries; and those who wait while there is none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import trio
from structlog.testing import capture_logs
from support.lending import Asker, acquire, ask
from support.scripted_backend import Refusal
from support.transcript import READY
from support.world import Client, World, config_of, open_world

from pgcat_trio.config.model import Role
from pgcat_trio.pool.server import Status
from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgcat_trio.config.model import Config

pytestmark = pytest.mark.trio

WATCHED = "healthcheck_interval = 1000\n"
world_of = partial(open_world, by="sockets")  # idle ones are watched only there
AUTO: Final = ('["a", 1, "auto"]', '["b", 1, "auto"]', '["c", 1, "auto"]')
SPLITTING: Final = """\
default_role = "primary"
query_parser_enabled = true
query_parser_read_write_splitting = true
catalog_refresh = 0
"""


def auto(general: str = "", pool: str = 'default_role = "primary"', user: str = "pool_size = 2") -> Config:
    return config_of(WATCHED + general, pool=pool, user=user, servers=AUTO)


def arrange(world: World, primary: str, timeline: int = 1) -> None:
    """Make one server the primary, and the others its standbys."""
    for name, server in world.servers.items():
        server.standby = name != primary
        server.timeline = timeline


async def kill(world: World, name: str) -> None:
    """Until the proxy has heard it on its connections: what was sent before that may have been executed."""
    world.servers[name].down = "Connection refused"
    world.servers[name].leave()
    await world.idle()


def promote(world: World, name: str) -> None:
    world.servers[name].standby = False
    world.servers[name].timeline += 1


async def settled(world: World) -> None:
    """All servers have been looked at after what has just happened to them."""
    await trio.sleep(6)


async def served_by(world: World, role: Role = Role.PRIMARY) -> str:
    backend = await acquire(world, role)
    backend.pool.release(backend)
    return backend.pool.target.host


def statuses(world: World) -> dict[str, str]:
    return {name: f"{server.state.status} {server.state.role}" for name, server in world.bans.items()}


# -- found out -----------------------------------------------------------------------------------------------------


async def test_roles_are_found_out_before_the_first_statement_is_answered(autojump_clock: MockClock) -> None:
    async with world_of(auto()) as world:
        arrange(world, "b")
        assert await served_by(world) == "b"
        assert {await served_by(world, Role.REPLICA) for _ in range(20)} == {"a", "c"}
        assert {await served_by(world, Role.ANY) for _ in range(40)} == {"a", "b", "c"}
        assert statuses(world) == {"a": "up replica", "b": "up primary", "c": "up replica"}


async def test_client_logs_in_and_writes_while_nothing_is_known_yet(autojump_clock: MockClock) -> None:
    async with world_of(auto()) as world:
        arrange(world, "c")
        client = await world.connect()
        assert (await client.query("UPDATE t SET n = 1")).endswith(READY)
        assert world.servers["c"].texts() == ["UPDATE t SET n = 1"]


async def test_promotion_is_followed_and_idle_backends_stay(autojump_clock: MockClock) -> None:
    async with world_of(auto()) as world:
        arrange(world, "a")
        await settled(world)
        reading = await acquire(world, Role.REPLICA)
        promoted = reading.pool.target.host
        reading.pool.release(reading)
        await kill(world, "a")
        await settled(world)
        promote(world, promoted)
        writing = await acquire(world, Role.PRIMARY)
        assert writing is reading
        writing.pool.release(writing)
        world.servers["a"].standby, world.servers["a"].timeline, world.servers["a"].down = True, 2, ""
        await settled(world)
        assert statuses(world)["a"] == "up replica"
        assert "a" in {await served_by(world, Role.REPLICA) for _ in range(50)}


# -- two primaries -------------------------------------------------------------------------------------------------


async def test_newer_timeline_wins_and_the_other_is_fenced_off(autojump_clock: MockClock) -> None:
    async with world_of(auto()) as world:
        arrange(world, "a")
        await settled(world)
        client = await world.connect()
        await client.query("BEGIN")
        with capture_logs() as logs:
            promote(world, "b")
            await settled(world)
        assert statuses(world) == {"a": "fenced primary", "b": "up primary", "c": "up replica"}
        [fenced] = [line for line in logs if line["event"] == "server.fenced"]
        assert (fenced["server"], fenced["log_level"]) == ("a:1", "error")
        assert fenced["reason"] == "b:1 has been the primary since, on timeline 2"
        assert await served_by(world) == "b"
        assert "a" not in {await served_by(world, Role.ANY) for _ in range(40)}
        # What was open on it is over: it could not be kept.
        assert b"C08006\x00" in await client.query("COMMIT")
        assert world.servers["a"].texts() == ["BEGIN"]


@pytest.mark.parametrize("survivor_first", [True, False])
async def test_old_primary_that_comes_back_is_never_written_to(autojump_clock: MockClock, survivor_first: bool) -> None:
    """Not even while the new one is away: what was written there would be lost."""
    async with world_of(auto("failover_hold = 20000")) as world:
        arrange(world, "a")
        await settled(world)
        await kill(world, "a")
        promote(world, "b")
        await settled(world)
        if not survivor_first:
            await kill(world, "b")
            await settled(world)
        world.servers["a"].down = ""
        asker = Asker(world, Role.PRIMARY)
        world.nursery.start_soon(asker.run)
        await settled(world)
        assert statuses(world)["a"] == "fenced primary"
        if not survivor_first:
            assert not asker.done.is_set()
            world.servers["b"].down = ""
        await asker.done.wait()
        assert asker.backend is not None
        assert asker.backend.pool.target.host == "b"
        asker.give_back()


async def test_fenced_server_that_follows_the_new_primary_takes_reads(autojump_clock: MockClock) -> None:
    async with world_of(auto()) as world:
        arrange(world, "a")
        await settled(world)
        promote(world, "b")
        await settled(world)
        assert statuses(world)["a"] == "fenced primary"
        world.servers["a"].standby, world.servers["a"].timeline = True, 2
        world.servers["a"].leave()
        await settled(world)
        assert "a" in {await served_by(world, Role.REPLICA) for _ in range(50)}


async def test_who_is_the_primary_already_stays_it_on_one_timeline(autojump_clock: MockClock) -> None:
    async with world_of(auto()) as world:
        arrange(world, "c")
        await settled(world)
        world.servers["a"].standby = False
        await settled(world)
        assert statuses(world) == {"a": "fenced primary", "b": "up replica", "c": "up primary"}


async def test_what_a_topology_knows_outlives_a_reload(autojump_clock: MockClock) -> None:
    async with world_of(auto()) as world:
        arrange(world, "a")
        await settled(world)
        await kill(world, "a")
        promote(world, "b")
        await settled(world)
        await kill(world, "b")
        await settled(world)
        retired = world.clusters.pop(("app", "ann"))
        world.config = config_of(WATCHED, servers=AUTO[:2])
        world.build()
        retired.retire()
        world.servers["a"].down = ""
        await settled(world)
        assert statuses(world)["a"] == "fenced primary"


# -- fixed roles ---------------------------------------------------------------------------------------------------


async def test_fixed_roles_are_taken_at_their_word_with_a_warning(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with world_of(config_of(WATCHED, replicas=1)) as world:
            world.primary.standby = True
            await settled(world)
            assert await served_by(world) == "primary"
            assert await served_by(world, Role.REPLICA) == "replica1"
    told = [(line["server"], line["configured"]) for line in logs if line["event"] == "server.role_mismatch"]
    assert sorted(told) == [("primary:1", "primary"), ("replica1:1", "replica")]


async def test_primary_that_has_become_a_standby_is_waited_for(autojump_clock: MockClock) -> None:
    async with world_of(config_of(WATCHED, pool='default_role = "primary"', replicas=1)) as world:
        world.servers["replica1"].standby = True
        await settled(world)
        client = await world.connect()
        world.primary.standby = True
        world.primary.leave()
        await settled(world)
        await client.send(encode.query("UPDATE t SET n = 1"))
        await trio.sleep(5)
        assert world.primary.texts() == []
        world.primary.standby = False
        assert (await client.reply()).endswith(READY)
        assert world.primary.texts() == ["UPDATE t SET n = 1"]


# -- waiting for a primary -----------------------------------------------------------------------------------------


async def test_statements_wait_for_the_new_primary_and_reads_go_on(autojump_clock: MockClock) -> None:
    async with world_of(auto(pool=SPLITTING)) as world:
        arrange(world, "a")
        writers = [await world.connect() for _ in range(20)]
        reader = await world.connect()
        for client in writers:
            await client.query("UPDATE t SET n = 1")
        with capture_logs() as logs:
            await kill(world, "a")
            for client in writers:
                await client.send(encode.query("UPDATE t SET n = 2"))
            for _ in range(5):
                await trio.sleep(1)
                assert (await reader.query("SELECT 1")).endswith(READY)
            promote(world, "b")
            began = trio.current_time()
            for client in writers:
                answer = await client.reply()
                assert b"CUPDATE\x00" in answer or b"UPDATE" in answer
                assert not answer.startswith(b"E")
            assert trio.current_time() - began < 0.5
        assert world.servers["b"].texts().count("UPDATE t SET n = 2") == 20
        told = [line["event"] for line in logs if line["event"].startswith("failover")]
        assert told == ["failover.begin", "failover.end"]


async def test_restart_of_the_only_server_is_a_pause(autojump_clock: MockClock) -> None:
    async with world_of(config_of(WATCHED)) as world:
        client = await world.connect()
        await client.query("UPDATE t SET n = 1")
        await kill(world, "primary")
        await client.send(encode.query("UPDATE t SET n = 2"))
        await trio.sleep(1)
        world.primary.down, world.primary.greeting_error = "", Refusal("57P03", "the database is starting up", "FATAL")
        await trio.sleep(1)
        world.primary.greeting_error = None
        assert (await client.reply()).endswith(READY)
        assert world.primary.texts() == ["UPDATE t SET n = 1", "UPDATE t SET n = 2"]


async def test_quick_restart_that_is_never_seen_as_down_is_a_pause_too(autojump_clock: MockClock) -> None:
    async with world_of(config_of(WATCHED)) as world:
        client = await world.connect()
        await client.query("UPDATE t SET n = 1")
        await kill(world, "primary")
        await client.send(encode.query("UPDATE t SET n = 2"))
        await trio.sleep(0.05)
        world.primary.down = ""
        began = trio.current_time()
        assert (await client.reply()).endswith(READY)
        assert trio.current_time() - began < 0.5
        assert world.bans["primary"].state.status is Status.UP
        assert world.primary.texts() == ["UPDATE t SET n = 1", "UPDATE t SET n = 2"]


@pytest.mark.parametrize(
    ("keys", "waits_s"),
    [("failover_hold = 5000", 5), ("failover_hold = 5000\nquery_wait_timeout = 2000", 2), ("failover_hold = 0", 0)],
)
async def test_wait_for_a_primary_is_bounded(autojump_clock: MockClock, keys: str, waits_s: float) -> None:
    async with world_of(config_of(WATCHED + keys)) as world:
        client = await world.connect()
        await kill(world, "primary")
        await settled(world)
        began = trio.current_time()
        answer = await client.query("UPDATE t SET n = 1")
        assert waits_s <= trio.current_time() - began <= waits_s + 0.5
        assert b"C08001\x00" in answer
        assert b"Connection refused" in answer
        assert answer.endswith(READY)
        world.primary.down = ""
        await settled(world)
        assert b"C08001\x00" not in await client.query("UPDATE t SET n = 2")


async def test_nobody_waits_for_a_server_that_never_was(autojump_clock: MockClock) -> None:
    async with world_of(config_of(WATCHED)) as world:
        world.primary.down = "Connection refused"
        for _ in range(3):
            began = trio.current_time()
            asker = await ask(world)
            await asker.done.wait()
            assert asker.error is not None
            assert "Connection refused" in asker.error.message
            assert trio.current_time() == began
            await settled(world)


async def test_nobody_waits_for_a_server_that_says_no(autojump_clock: MockClock) -> None:
    async with world_of(config_of(WATCHED, user="pool_size = 2")) as world:
        await settled(world)
        world.primary.greeting_error = Refusal("53300", "sorry, too many clients already", "FATAL")
        asker = await ask(world)
        assert asker.error is not None
        assert asker.error.sqlstate == "53300"


async def test_new_client_is_let_in_while_there_is_no_primary(autojump_clock: MockClock) -> None:
    async with world_of(auto()) as world:
        arrange(world, "a")
        first = await world.connect(TimeZone="UTC")
        await first.query("UPDATE t SET n = 1")
        await kill(world, "a")
        await settled(world)
        began = trio.current_time()
        second = await world.connect(TimeZone="UTC")
        assert second.welcome.endswith(READY)
        third = await world.connect(TimeZone="Asia/Tokyo")  # nobody knows yet whether a server would take this
        assert third.welcome.endswith(READY)
        assert trio.current_time() - began < 0.1
        await second.send(encode.query("UPDATE t SET n = 2"))
        await trio.sleep(1)
        promote(world, "c")
        assert (await second.reply()).endswith(READY)
        assert world.servers["c"].texts()[-1] == "UPDATE t SET n = 2"


async def test_new_client_is_told_that_a_promoted_server_is_no_standby(autojump_clock: MockClock) -> None:
    async with world_of(auto()) as world:
        arrange(world, "a")
        for name, server in world.servers.items():
            server.parameters["in_hot_standby"] = "off" if name == "a" else "on"
        await settled(world)
        for _ in range(20):
            await served_by(world, Role.REPLICA)
        client = await world.connect()
        assert b"in_hot_standby\x00off\x00" in client.welcome
        await kill(world, "a")
        promote(world, "b")
        await settled(world)
        client = await world.connect()
        assert b"in_hot_standby\x00off\x00" in client.welcome


async def test_client_that_waits_for_a_primary_can_cancel_and_leave(autojump_clock: MockClock) -> None:
    async with world_of(config_of(WATCHED)) as world:
        one, other = await world.connect(), await world.connect()
        await kill(world, "primary")
        await settled(world)
        for client in (one, other):
            await client.send(encode.query("UPDATE t SET n = 1"))
        await world.idle()
        await one.cancel()
        assert b"C57014\x00" in await one.reply()
        await other.leave()
        await trio.sleep(1)
        assert not world.cluster.waiters
        world.primary.down = ""
        await settled(world)
        assert world.primary.texts() == []


async def test_reads_fall_back_to_the_primary_and_return(autojump_clock: MockClock) -> None:
    async with world_of(config_of(f"{WATCHED}ban_time = 0", replicas=1)) as world:
        world.servers["replica1"].standby = True
        await settled(world)
        assert await served_by(world, Role.REPLICA) == "replica1"
        await kill(world, "replica1")
        for _ in range(20):
            assert await served_by(world, Role.REPLICA) == "primary"
            await trio.sleep(0.1)
        world.servers["replica1"].down = ""
        await settled(world)
        assert await served_by(world, Role.REPLICA) == "replica1"


async def test_full_pool_bans_nobody_and_serves_in_order(autojump_clock: MockClock) -> None:
    """For a minute everything is taken: errors are 53300, and those who are served are served as they came."""
    general = f"{WATCHED}connect_timeout = 10000\n"
    async with world_of(config_of(general, user="pool_size = 1", replicas=1, pool=SPLITTING)) as world:
        world.servers["replica1"].standby = True
        await settled(world)
        order: list[int] = []

        async def run(number: int, client: Client, sql: str) -> None:
            answer = await client.query(sql)
            assert b"C53300\x00" in answer or not answer.startswith(b"E")
            if not answer.startswith(b"E"):
                order.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(60):
                client = await world.connect()
                nursery.start_soon(run, number, client, "SELECT pg_sleep(3)")
                await trio.sleep(1)
        assert len(order) > 15
        assert order == sorted(order)
        assert not any(server.banned for server in world.bans.values())
        assert {server.state.status for server in world.bans.values()} == {Status.UP}


async def test_who_waits_for_a_place_on_a_server_that_freezes_waits_for_its_successor(
    autojump_clock: MockClock,
) -> None:
    """Also those whose time would have been over before the server was found to be down."""
    async with world_of(auto("connect_timeout = 2500", user="pool_size = 1")) as world:
        arrange(world, "a")
        await settled(world)
        holder, *others = [await world.connect() for _ in range(4)]
        await holder.query("BEGIN")
        for point in ("check", "statement", "dial"):
            world.servers["a"].hold(point)
        for client in others:
            await client.send(encode.query("UPDATE t SET n = 1"))
            await trio.sleep(0.8)
        await trio.sleep(5)
        promote(world, "b")
        for client in others:
            answer = await client.reply()
            assert not answer.startswith(b"E"), answer
            assert answer.endswith(READY)
        assert world.servers["b"].texts() == ["UPDATE t SET n = 1"] * 3
        world.servers["a"].leave()


async def test_wait_for_a_place_is_as_long_as_ever_once_there_is_a_server(autojump_clock: MockClock) -> None:
    async with world_of(auto("connect_timeout = 2000", user="pool_size = 1")) as world:
        arrange(world, "a")
        await settled(world)
        clients = [await world.connect() for _ in range(2)]
        await kill(world, "a")
        await settled(world)
        for client in clients:
            await client.send(encode.query("SELECT pg_sleep(100)"))
        await trio.sleep(3)
        promote(world, "b")
        began = trio.current_time()
        with trio.fail_after(5):
            answers: list[bytes] = []

            async def read(client: Client) -> None:
                answers.append(await client.reply())
                nursery.cancel_scope.cancel()

            async with trio.open_nursery() as nursery:
                for client in clients:
                    nursery.start_soon(read, client)
        assert b"C53300\x00" in answers[0]
        assert 1.9 < trio.current_time() - began < 3.5

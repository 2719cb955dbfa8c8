"""Session mode: the backend is there at the login, and what the client is told is that very backend's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.scripted_backend import Refusal, ScriptedBackend
from support.transcript import READY, fields_of, rows, shape
from support.world import By, Client, World, config_of, open_world

from pgcat_trio.wire import encode, messages

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgcat_trio.config.model import Config

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])


def session_mode(general: str = "connect_timeout = 3000", user: str = "pool_size = 1", replicas: int = 0) -> Config:
    return config_of(general, pool='pool_mode = "session"', user=user, replicas=replicas)


async def dial_in(world: World, *also: bytes, **startup: str) -> Client:
    """A client that has asked to be logged in, and perhaps for more, and has come as far as it can."""
    client = world.dial_in()
    await client.send(encode.startup({"user": "ann", "database": "app", **startup}), *also)
    await world.idle()
    return client


async def show(client: Client, name: str) -> str:
    """What the server says that a setting is."""
    said = await client.query(f"SHOW {name}")
    row = said[said.index(b"D", 1 + int.from_bytes(said[1:5])) :]
    return row[11 : 11 + int.from_bytes(row[7:11])].decode()


async def nobody_waits(world: World) -> None:
    await world.idle()
    assert not world.cluster.waiters


@pytest.mark.trio
@both_ways
async def test_login_takes_a_backend_and_tells_its_pid(autojump_clock: MockClock, by: By) -> None:
    async with open_world(session_mode(user="pool_size = 2"), by=by) as world:
        first, second = await world.connect(), await world.connect()
        assert world.counts() == (2, 0, 0)
        for client in (first, second):
            assert await client.query("SELECT pid") == rows(str(client.key[0])) + READY
        assert {first.key[0], second.key[0]} == {101, 102}
        assert first.key[1] not in (process.key for process in world.primary.backends.values())


@pytest.mark.trio
@both_ways
async def test_startup_settings_are_set_on_it_before_the_welcome(autojump_clock: MockClock, by: By) -> None:
    async def spell(process: ScriptedBackend) -> None:
        process.settings["client_encoding"] = "UTF8"
        await process.send(encode.parameter_status("client_encoding", "UTF8"))

    async with open_world(session_mode(), by=by) as world:
        world.primary.parameters["client_encoding"] = "LATIN1"
        text = """SET "client_encoding" TO 'utf-8'; SET "statement_timeout" TO '5000'"""
        world.primary.scripts[text.partition(";")[0]] = spell
        client = await world.connect(client_encoding="utf-8", options="-c statement_timeout=5000")
        assert world.primary.texts() == text.split("; ")
        assert encode.parameter_status("client_encoding", "UTF8") in client.welcome
        await client.query("SELECT 1")
        assert world.primary.texts() == [*text.split("; "), "SELECT 1"]


@pytest.mark.trio
@both_ways
async def test_settings_do_not_outlive_the_session(autojump_clock: MockClock, by: By) -> None:
    async with open_world(session_mode(), by=by) as world:
        first = await world.connect()
        usual = [await show(first, name) for name in ("TimeZone", "statement_timeout")]
        await first.leave()
        other = await world.connect(TimeZone="Asia/Tokyo", statement_timeout="5000")
        assert [await show(other, name) for name in ("TimeZone", "statement_timeout")] == ["Asia/Tokyo", "5000"]
        await other.leave()
        third = await world.connect()
        assert [await show(third, name) for name in ("TimeZone", "statement_timeout")] == usual
        assert world.primary.dials == 1


@pytest.mark.trio
@both_ways
async def test_refused_setting_is_refused_at_the_login_and_leaves_the_backend_fit(
    autojump_clock: MockClock, by: By
) -> None:
    async with open_world(session_mode(), by=by) as world:
        world.primary.invalid.add("Mars/Olympus")
        client = await dial_in(world, TimeZone="Mars/Olympus")
        said = await client.rest()
        assert fields_of(said[said.index(b"E") :]) == {
            "S": "FATAL",
            "V": "FATAL",
            "C": "22023",
            "M": 'invalid value for parameter "TimeZone": "Mars/Olympus"',
        }
        await world.idle()
        assert world.counts() == (1, 1, 0)
        after = await world.connect(TimeZone="Asia/Tokyo")
        assert encode.parameter_status("TimeZone", "Asia/Tokyo") in after.welcome


@pytest.mark.trio
@both_ways
async def test_parameters_are_those_of_the_backend(autojump_clock: MockClock, by: By) -> None:
    """Not those of the server that was asked last: they may differ in version, or in what was changed meanwhile."""
    async with open_world(session_mode(user="pool_size = 2"), by=by) as world:
        first = await world.connect()
        await first.query("SELECT 1")
        world.primary.parameters["server_version"] = "18.1"
        second = await world.connect()
        await first.leave()
        third = await world.connect()
        versions = [encode.parameter_status("server_version", version) for version in ("18.0", "18.1", "18.0")]
        assert [
            version in client.welcome for version, client in zip(versions, (first, second, third), strict=True)
        ] == [True] * 3


@pytest.mark.trio
@both_ways
async def test_full_pool_refuses_the_login_after_a_wait(autojump_clock: MockClock, by: By) -> None:
    async with open_world(session_mode(), by=by) as world:
        await world.connect()
        began = trio.current_time()
        assert shape(await (await dial_in(world)).rest()) == "E(fatal 53300)"
        assert 3 <= trio.current_time() - began < 4
        await nobody_waits(world)


@pytest.mark.trio
@both_ways
async def test_who_waits_gets_the_backend_that_is_given_back(autojump_clock: MockClock, by: By) -> None:
    async with open_world(session_mode(), by=by) as world:
        first = await world.connect(TimeZone="Asia/Tokyo")
        second = await dial_in(world)
        await first.send(encode.TERMINATE)
        second.welcome = await second.reply()
        assert second.key[0] == first.key[0]
        assert encode.parameter_status("TimeZone", "UTC") in second.welcome
        assert world.primary.dials == 1


@pytest.mark.trio
@both_ways
async def test_wait_for_others_is_not_the_clients_login_time(autojump_clock: MockClock, by: By) -> None:
    config = session_mode("connect_timeout = 60000\nclient_login_timeout = 2000")
    async with open_world(config, by=by) as world:
        first = await world.connect()
        second = await dial_in(world)
        await trio.sleep(30)
        await first.leave()
        assert shape(await second.reply()).endswith("ZI")


@pytest.mark.trio
@both_ways
async def test_server_that_hangs_over_the_settings_ends_the_login(autojump_clock: MockClock, by: By) -> None:
    async with open_world(session_mode("client_login_timeout = 2000"), by=by) as world:
        gate = world.primary.hold("statement")
        assert shape(await (await dial_in(world, TimeZone="Asia/Tokyo")).rest()) == "E(fatal 57014)"
        gate.opened.set()
        await world.idle()
        assert world.counts() == (1, 1, 0)
        client = await world.connect()
        assert encode.parameter_status("TimeZone", "UTC") in client.welcome


@pytest.mark.trio
@both_ways
async def test_client_that_leaves_gives_up_its_place_at_once(autojump_clock: MockClock, by: By) -> None:
    async with open_world(session_mode(), by=by) as world:
        first = await world.connect()
        leaver, stayer = await dial_in(world), await dial_in(world)
        assert len(world.cluster.waiters) == 2
        began = trio.current_time()
        await leaver.leave()
        await world.idle()
        assert len(world.cluster.waiters) == 1
        await first.leave()
        assert shape(await stayer.reply()).endswith("ZI")
        assert trio.current_time() == began
        assert world.primary.dials == 1


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("point", ["dial", "startup", "ready", "statement", "answer"])
async def test_client_that_leaves_while_its_backend_is_made_ready(
    autojump_clock: MockClock, by: By, point: str
) -> None:
    async with open_world(session_mode(), by=by) as world:
        gate = world.primary.hold(point)
        client = await dial_in(world, TimeZone="Asia/Tokyo")
        assert gate.reached.is_set()
        await client.leave()
        await nobody_waits(world)
        assert client.connection.session is None
        gate.opened.set()
        await world.idle()
        assert world.pool.busy == 0
        after = await world.connect()
        assert encode.parameter_status("TimeZone", "UTC") in after.welcome
        assert await after.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
@both_ways
async def test_what_the_client_says_before_the_welcome_is_answered_after_it(autojump_clock: MockClock, by: By) -> None:
    async with open_world(session_mode(), by=by) as world:
        first = await world.connect()
        second = await dial_in(world, encode.query("SELECT 1"))
        await second.send(encode.query("SELECT 2"), encode.TERMINATE)
        await first.leave()
        assert shape(await second.reply()).endswith("ZI")
        assert await second.rest() == rows("1") + READY + rows("2") + READY


@pytest.mark.trio
@both_ways
async def test_server_that_cannot_be_reached_and_one_that_refuses(autojump_clock: MockClock, by: By) -> None:
    async with open_world(session_mode(), by=by) as world:
        world.primary.down = "Connection refused"
        assert shape(await (await dial_in(world)).rest()) == "E(fatal 08001)"
        world.primary.down = ""
        world.primary.greeting_error = Refusal("53300", "sorry, too many clients already", "FATAL")
        assert shape(await (await dial_in(world)).rest()) == "E(fatal 53300)"


@pytest.mark.trio
@both_ways
async def test_shutdown_ends_those_who_wait(autojump_clock: MockClock, by: By) -> None:
    async with open_world(session_mode(), by=by) as world:
        await world.connect()
        client = await dial_in(world)
        world.draining = True
        client.connection.drain()
        assert shape(await client.rest()) == "E(fatal 57P01)"
        await nobody_waits(world)


@pytest.mark.trio
@both_ways
async def test_reload_moves_those_who_wait(autojump_clock: MockClock, by: By) -> None:
    async with open_world(session_mode(), by=by) as world:
        holder, client = await world.connect(), await dial_in(world)
        old = world.cluster
        world.build()
        old.retire()
        client.welcome = await client.reply()
        assert client.key[0] == 102
        assert await holder.query("SELECT pid") == rows("101") + READY


@pytest.mark.trio
@both_ways
async def test_cancel_reaches_the_right_one_of_two_servers_with_one_pid(autojump_clock: MockClock, by: By) -> None:
    async with open_world(session_mode(replicas=1), by=by) as world:
        clients = [await world.connect(), await world.connect()]
        assert [client.key[0] for client in clients] == [101, 101]
        for client in clients:
            await client.send(encode.query("SELECT pg_sleep(100)"))
        await world.idle()
        await clients[1].cancel()
        assert shape(await clients[1].reply()) == "E(error 57014) ZI"
        assert sorted(len(server.cancels) for server in world.servers.values()) == [0, 1]
        await clients[0].cancel()
        assert shape(await clients[0].reply()) == "E(error 57014) ZI"
        assert [server.cancels for server in world.servers.values()] == [[101], [101]]


@pytest.mark.trio
@both_ways
async def test_goodbye_without_a_question(autojump_clock: MockClock, by: By) -> None:
    async with open_world(session_mode(), by=by) as world:
        client = await world.connect()
        await client.send(encode.TERMINATE)
        assert await client.rest() == b""
        await world.idle()
        assert world.counts() == (1, 1, 0)
        assert world.primary.texts() == ["DISCARD ALL"]


@pytest.mark.trio
async def test_secret_is_as_long_as_the_protocol_has_it(autojump_clock: MockClock) -> None:
    async with open_world(session_mode()) as world:
        client = world.dial_in()
        await client.send(encode.startup({"user": "ann", "database": "app"}, protocol=(3 << 16) | 2))
        said = (await client.reply()).removesuffix(READY)
        pid, secret = messages.backend_key_data(said[said.rindex(b"K\x00\x00\x00\x28") + 5 :])
        assert (pid, len(secret)) == (101, 32)

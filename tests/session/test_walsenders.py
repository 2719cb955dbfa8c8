"""Replication connections: a walsender of their own, everything passed on, and an end that both sides hear of."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

import pytest
import trio
from support.certificates import Authority
from support.logins import encrypt
from support.scripted_backend import Refusal, ScriptedBackend
from support.scripted_server import ScriptedServer
from support.transcript import READY, fields_of, rows, shape
from support.world import By, Client, World, config_of, open_world

from pgcat_trio.config.model import SslMode
from pgcat_trio.net.tls import server_facing_context
from pgcat_trio.session.replication import is_physical, wants_replication
from pgcat_trio.wire import codes, encode

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

    from pgcat_trio.session.gateway import ClientTls

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])
both_modes = pytest.mark.parametrize("mode", ["transaction", "session"])

START: Final = "START_REPLICATION SLOT s LOGICAL 0/0"
COPY_BOTH: Final = encode.message(b"W", b"\x00\x00\x00")
WAL: Final = encode.message(b"d", b"w" + bytes(24) + b"a change")
FEEDBACK: Final = encode.message(b"d", b"r" + bytes(33))
END: Final = encode.COPY_DONE + encode.command_complete("COPY 0") + READY


class Walsender:
    """What scripted servers do at `START`: stream what they are told to, and keep what they hear."""

    def __init__(self, world: World) -> None:
        self.heard: list[tuple[int, bytes]] = []
        self.world = world
        world.primary.scripts[START] = self.stream

    async def stream(self, process: ScriptedBackend) -> None:
        process.expect_no_ready()
        await process.send(COPY_BOTH)
        while True:
            self.heard.append(await process.hear())
            if self.heard[-1][0] == codes.COPY_DONE:
                await process.send(END)
                return

    @property
    def process(self) -> ScriptedBackend:
        """The one that there is."""
        [process] = self.world.primary.backends.values()
        return process


async def streaming(world: World) -> tuple[Client, Walsender]:
    """A client that has begun to stream, and the other end of it."""
    walsender = Walsender(world)
    client = await world.connect(replication="database")
    await client.send(encode.query(START))
    assert await client.message() == COPY_BOTH
    return client, walsender


async def log_in(world: World, **startup: str) -> bytes:
    """The end of a login that fails."""
    client = world.dial_in()
    await client.send(encode.startup({"user": "ann", "database": "app", "replication": "true", **startup}))
    return await client.rest()


async def nothing_is_left(world: World) -> None:
    await world.idle()
    assert world.primary.connections == 0
    assert world.counts() == (0, 0, 0)


@pytest.mark.parametrize("value", ["database", "true", "TRUE", "t", "on", "yes", "y", "1", "", "o", "2", "Database"])
def test_values_that_are_not_false_are_the_servers_to_judge(value: str) -> None:
    assert wants_replication({"replication": value})
    assert is_physical({"replication": value}) == (value != "database")


@pytest.mark.parametrize("value", ["false", "F", "no", "n", "off", "of", "0", None])
def test_values_that_are_false(value: str | None) -> None:
    parameters = {} if value is None else {"replication": value}
    assert not wants_replication(parameters)
    assert not is_physical(parameters)


@pytest.mark.trio
@both_ways
@both_modes
async def test_login_is_the_servers_own_with_the_clients_parameters(
    autojump_clock: MockClock, by: By, mode: str
) -> None:
    async with open_world(config_of(pool=f'pool_mode = "{mode}"'), by=by) as world:
        options = {"application_name": "standby", "options": "-c wal_sender_timeout=0", "replication": "database"}
        client = await world.connect(**options)
        assert world.primary.startups == [{"user": "ann", "database": "app", **options}]
        assert client.key[0] == 101
        assert client.key[1] != world.primary.backends[101].key
        assert encode.parameter_status("server_version", "18.0") in client.welcome
        assert await client.query("SELECT pid") == rows("101") + READY
        assert world.counts() == (0, 0, 0)


@pytest.mark.trio
@both_ways
async def test_it_takes_no_place_in_the_pool(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        ordinary = await world.connect()
        await ordinary.query("BEGIN")
        for _ in range(3):
            await world.connect(replication="database")
        assert world.counts() == (1, 0, 0)
        assert len(world.primary.backends) == 4


@pytest.mark.trio
@both_ways
async def test_copy_both(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client, walsender = await streaming(world)
        for _ in range(3):
            await walsender.process.send(WAL * 100)
            assert [await client.message() for _ in range(100)] == [WAL] * 100
            await client.send(FEEDBACK[:7])
            await client.send(FEEDBACK[7:])
        await client.send(encode.COPY_DONE)
        assert await client.reply() == END
        assert walsender.heard == [(codes.COPY_DATA, FEEDBACK[5:])] * 3 + [(codes.COPY_DONE, b"")]
        assert await client.query("SELECT 1") == rows("1") + READY
        await client.send(encode.TERMINATE)
        assert await client.rest() == b""
        await nothing_is_left(world)
        assert world.primary.cancels == []


@pytest.mark.trio
@both_ways
async def test_what_comes_with_the_login_is_passed_on(autojump_clock: MockClock, by: By) -> None:
    """From both sides: a request before the welcome, and what a server says right after its ReadyForQuery."""
    async with open_world(by=by) as world:
        world.primary.after_login = encode.notice_response("hello")
        startup = encode.startup({"user": "ann", "database": "app", "replication": "database"})
        client = world.dial_in()
        await client.send(startup, encode.query("SELECT 1"))
        assert shape(await client.reply()).endswith("K ZI")
        assert await client.reply() == encode.notice_response("hello") + rows("1") + READY


@pytest.mark.trio
@both_ways
async def test_changed_application_name_is_known(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect(replication="database")
        await client.query("SET application_name TO 'renamed'")
        replication = client.connection.replication
        assert replication is not None
        assert replication.reported["application_name"] == "renamed"


@pytest.mark.trio
@both_ways
async def test_tls_on_both_sides(
    autojump_clock: MockClock, by: By, client_tls: ClientTls, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    authority = Authority(tmp_path, name="servers")
    pair = authority.issue("primary", hosts=("primary",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.private_key)
    server = ScriptedServer(auth="scram", tls=context)
    facing = server_facing_context(SslMode.VERIFY_FULL, str(authority.certificate), None, None)
    async with open_world(by=by, ssl_mode=SslMode.VERIFY_FULL, ssl_context=facing, servers=[server]) as world:
        world.client_tls = client_tls
        walsender = Walsender(world)
        client = world.dial_in()
        await client.send(encode.SSL_REQUEST)
        assert await client.stream.receive_some(1) == b"S"
        await encrypt(client, trusting)
        await client.send(encode.startup({"user": "ann", "database": "app", "replication": "database"}))
        await client.reply()
        await client.send(encode.query(START))
        assert await client.message() == COPY_BOTH
        await walsender.process.send(WAL * 10_000)
        await client.send(FEEDBACK * 10_000)
        assert [await client.message() for _ in range(10_000)] == [WAL] * 10_000
        await world.idle()
        assert len(walsender.heard) == 10_000
        client.connection.drain()
        assert shape(await client.rest()) == "E(fatal 57P01)"
        await nothing_is_left(world)


# -- the client leaves ---------------------------------------------------------------------------------------------


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("last", [b"", FEEDBACK, FEEDBACK[:-5], encode.TERMINATE])
async def test_client_leaves_a_stream(autojump_clock: MockClock, by: By, last: bytes) -> None:
    async with open_world(by=by) as world:
        client, _ = await streaming(world)
        if last:
            await client.send(last)
        began = trio.current_time()
        await client.leave()
        await nothing_is_left(world)
        assert trio.current_time() == began
        assert world.primary.cancels == []


@pytest.mark.trio
@both_ways
async def test_client_leaves_while_the_server_is_at_work(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect(replication="database")
        await client.send(encode.query("SELECT pg_sleep(100)"))
        await world.idle()
        await client.leave()
        await nothing_is_left(world)
        assert world.primary.cancels == [101]


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("point", ["dial", "startup", "ready"])
async def test_client_leaves_before_its_walsender_is_there(autojump_clock: MockClock, by: By, point: str) -> None:
    async with open_world(config_of("connect_timeout = 5000"), by=by) as world:
        gate = world.primary.hold(point)
        client = world.dial_in()
        await client.send(encode.startup({"user": "ann", "database": "app", "replication": "true"}))
        await gate.reached.wait()
        began = trio.current_time()
        await client.leave()
        await world.idle()
        assert client.scope.cancelled_caught is False
        assert client.connection.replication is None
        assert trio.current_time() == began
        gate.opened.set()
        await nothing_is_left(world)


# -- the server goes away ------------------------------------------------------------------------------------------


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("words", ["terminating connection due to administrator command", ""])
async def test_server_ends_it(autojump_clock: MockClock, by: By, words: str) -> None:
    """As without a proxy: its last words, if it has any, and the end."""
    async with open_world(by=by) as world:
        client, walsender = await streaming(world)
        await client.send(FEEDBACK)
        await walsender.process.send(WAL)
        await world.idle()
        await walsender.process.end(words)
        assert shape(await client.rest()) == ("d E(fatal 57P01)" if words else "d")
        await nothing_is_left(world)
        assert world.primary.cancels == []


@pytest.mark.trio
@both_ways
async def test_server_ends_in_the_middle_of_a_message(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client, walsender = await streaming(world)
        await walsender.process.send(WAL[:-3])
        await world.idle()
        await walsender.process.end()
        assert await client.rest() == WAL[:-3]


@pytest.mark.trio
@both_ways
async def test_server_that_talks_nonsense_is_lost(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client, walsender = await streaming(world)
        await walsender.process.send(b"Z\x00\x00\x00\x01")
        said = await client.rest()
        assert shape(said) == "E(fatal 08006)"
        assert world.primary.cancels == []
        assert fields_of(said)["H"] == "Connect again, and go on from the last position that was received."
        await nothing_is_left(world)


@pytest.mark.trio
@both_ways
async def test_no_server(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of("connect_timeout = 3000"), by=by) as world:
        world.primary.down = "Connection refused"
        assert shape(await log_in(world)) == "E(fatal 08001)"
        world.primary.down = ""
        gate = world.primary.hold("startup")
        began = trio.current_time()
        assert shape(await log_in(world)) == "E(fatal 08001)"
        assert 3 <= trio.current_time() - began < 4
        gate.opened.set()
        await nothing_is_left(world)


@pytest.mark.trio
@both_ways
async def test_refusal_is_the_servers_own(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        world.primary.greeting_error = Refusal("42501", "permission denied to start WAL sender", "FATAL")
        assert fields_of(await log_in(world)) == {
            "S": "FATAL",
            "V": "FATAL",
            "C": "42501",
            "M": "permission denied to start WAL sender",
        }
        await nothing_is_left(world)


# -- slow sides ----------------------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_what_nobody_reads_is_not_collected(autojump_clock: MockClock) -> None:
    """Each side waits for the other one, and neither for itself: bytes in flight are those of the sockets' buffers."""
    sent = {"wal": 0, "feedback": 0}
    chunk = encode.message(b"d", bytes(100_000))
    async with open_world(config_of("client_write_timeout = 0"), by="sockets") as world:
        client, walsender = await streaming(world)
        hold = trio.Event()

        async def stop_reading(process: ScriptedBackend) -> None:
            process.expect_no_ready()
            await process.send(COPY_BOTH)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pour, process.send, "wal")
                await hold.wait()
                for _ in range(100):
                    await process.hear()

        async def pour(send: object, name: str) -> None:
            for _ in range(100):
                await send(chunk)  # type: ignore[operator]
                sent[name] += len(chunk)

        world.primary.scripts["START"] = stop_reading
        await client.send(encode.COPY_DONE)
        await client.reply()
        assert walsender.heard == [(codes.COPY_DONE, b"")]
        await client.send(encode.query("START"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pour, client.send, "feedback")
            await world.idle()
            assert 0 < sent["wal"] < 3_000_000
            assert 0 < sent["feedback"] < 3_000_000
            assert await client.message() == COPY_BOTH
            hold.set()
            for _ in range(100):
                assert await client.message() == chunk
        assert sent == {"wal": 100 * len(chunk), "feedback": 100 * len(chunk)}


@pytest.mark.trio
async def test_client_that_does_not_read_is_given_up(autojump_clock: MockClock) -> None:
    async with open_world(config_of("client_write_timeout = 5000"), by="sockets") as world:
        client, walsender = await streaming(world)
        began = trio.current_time()
        with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
            await walsender.process.send(WAL * 1_000_000)
        assert 5 <= trio.current_time() - began < 6
        await world.idle()
        assert client.connection.replication is not None
        assert client.connection.replication.ended == "client does not read what it asked for (client_write_timeout)"


# -- from outside --------------------------------------------------------------------------------------------------


@pytest.mark.trio
@both_ways
async def test_cancel_request_is_passed_on(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect(replication="database")
        await client.send(encode.query("SELECT pg_sleep(100)"))
        await world.idle()
        await client.cancel()
        assert shape(await client.reply()) == "E(error 57014) ZI"
        assert world.primary.cancels == [101]
        assert await client.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
@both_ways
async def test_shutdown_between_messages(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client, walsender = await streaming(world)
        await walsender.process.send(WAL)
        await world.idle()
        client.connection.drain()
        assert shape(await client.rest()) == "d E(fatal 57P01)"
        await nothing_is_left(world)


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("parts", "messages"),
    [([WAL[7:]], 1), ([WAL[7:10], WAL[10:] + WAL], 1), ([WAL[7:] + WAL[:9], WAL[9:] + WAL], 2)],
    ids=["alone", "in parts", "with the beginning of the next one"],
)
async def test_shutdown_in_a_message_comes_at_its_end(
    autojump_clock: MockClock, by: By, parts: list[bytes], messages: int
) -> None:
    async with open_world(by=by) as world:
        client, walsender = await streaming(world)
        await walsender.process.send(WAL[:7])
        await world.idle()
        client.connection.drain()
        for part in parts:
            await world.idle()
            assert world.primary.connections == 1
            await walsender.process.send(part)
        assert shape(await client.rest()) == "d " * messages + "E(fatal 57P01)"
        await nothing_is_left(world)


@pytest.mark.trio
@both_ways
async def test_cut(autojump_clock: MockClock, by: By) -> None:
    """The shutdown's time is over: told where that can be told."""
    async with open_world(by=by) as world:
        client, walsender = await streaming(world)
        client.scope.cancel()
        assert shape(await client.rest()) == "E(fatal 57P01)"
        await nothing_is_left(world)
        client, walsender = await streaming(world)
        await walsender.process.send(WAL[:-3])
        await world.idle()
        client.scope.cancel()
        assert await client.rest() == WAL[:-3]
        await nothing_is_left(world)


@pytest.mark.trio
@both_ways
async def test_it_outlives_a_reload(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client, walsender = await streaming(world)
        old = world.cluster
        world.build()
        old.retire()
        await walsender.process.send(WAL)
        assert await client.message() == WAL

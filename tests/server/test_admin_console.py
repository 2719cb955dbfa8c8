"""The console's conversation, byte by byte over memory streams, with every server down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from support.client import bind, describe_portal, execute, parse
from support.proxy import running_proxy

from pgcat_trio import __version__
from pgcat_trio.net.streams import StreamTransport
from pgcat_trio.server.admin.console import MAX_MESSAGE_BYTES, Console
from pgcat_trio.session.handshake import Login
from pgcat_trio.wire import codes, encode, messages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.proxy import RunningProxy

# Port 1 belongs to nobody (tcpmux, RFC 1078, historic), so connections to it are refused at once.
CONFIG = """
[general]
host = "127.0.0.1"
port = 0
admin_username = "admin"
admin_password = "admin-secret"

[pools.app.users.0]
username = "alice"
password = "alice-secret"
pool_size = 5

[pools.app.shards.0]
database = "app"
servers = [["127.0.0.1", 1, "primary"]]
"""

READY = ("Z", b"I")


class Administrator:
    """The other end of a console: raw messages out, (letter, body) in; errors as (letter, SQLSTATE, severity)."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._buffer = b""

    async def send(self, *parts: bytes) -> None:
        await self.stream.send_all(b"".join(parts))

    async def receive(self) -> tuple[str, bytes] | None:
        """The next message; None at the end."""
        while len(self._buffer) < 5 or len(self._buffer) < 1 + codes.UINT32.unpack_from(self._buffer, 1)[0]:
            data = await self.stream.receive_some()
            if not data:
                assert self._buffer == b""
                return None
            self._buffer += data
        stop = 1 + codes.UINT32.unpack_from(self._buffer, 1)[0]
        message, self._buffer = self._buffer[:stop], self._buffer[stop:]
        return chr(message[0]), message[5:]

    async def until_ready(self) -> list[tuple[str, ...]]:
        """The messages up to the next ReadyForQuery, without it: their letters, and what tells errors and tags."""
        found = []
        while (message := await self.receive()) != READY:
            assert message is not None
            found.append(_told(*message))
        return found

    async def until_end(self) -> list[tuple[str, ...]]:
        """All messages that are left."""
        found = []
        while (message := await self.receive()) is not None:
            found.append(_told(*message))
        return found


def _told(letter: str, body: bytes) -> tuple[str, ...]:
    if letter == "E":
        fields = messages.error_fields(body)
        return letter, fields["C"], fields["S"]
    return (letter, body.rstrip(b"\0").decode()) if letter == "C" else (letter,)


@pytest.fixture
async def proxy() -> AsyncIterator[RunningProxy]:
    async with running_proxy(CONFIG) as proxy:
        yield proxy


async def open_console(
    nursery: trio.Nursery, proxy: RunningProxy, first: bytes = b"", **parameters: str
) -> tuple[Administrator, list[tuple[str, bytes]]]:
    """A console with an administrator who has been welcomed, and what the welcome was."""
    ours, theirs = trio.testing.memory_stream_pair()
    transport = StreamTransport(theirs, peer="memory")
    login = Login(transport, codes.PROTOCOL_3_0, "admin", "pgcat", {"user": "admin", **parameters})

    async def run() -> None:
        try:
            await Console(proxy.supervisor, login, first).run()
        finally:
            transport.close()

    nursery.start_soon(run)
    administrator = Administrator(ours)
    welcome = []
    while (message := await administrator.receive()) != READY:
        assert message is not None
        welcome.append(message)
    return administrator, welcome


@pytest.mark.trio
async def test_welcome(proxy: RunningProxy, nursery: trio.Nursery) -> None:
    _, welcome = await open_console(nursery, proxy, application_name="top")
    assert [letter for letter, _ in welcome] == ["R", *["S"] * (len(welcome) - 2), "K"]
    statuses = dict(messages.parameter_status(body) for letter, body in welcome if letter == "S")
    assert statuses["server_version"] == __version__
    assert statuses["client_encoding"] == "UTF8"
    assert statuses["application_name"] == "top"


TABLE_OF_ONE = [("T",), ("D",), ("C", "SHOW")]


def describe(name: str = "") -> bytes:
    return encode.message(b"D", b"S" + encode.cstring(name))


def close(what: bytes) -> bytes:
    return encode.message(b"C", what + b"\0")


EXCHANGES = {
    "a command": (encode.query("SHOW VERSION"), [TABLE_OF_ONE]),
    "any case": (encode.query("sHoW vErSiOn"), [TABLE_OF_ONE]),
    "a semicolon": (encode.query("SHOW VERSION;"), [TABLE_OF_ONE]),
    "two commands": (encode.query("SHOW VERSION; SHOW VERSION"), [TABLE_OF_ONE * 2]),
    "stops at the first error": (
        encode.query("SHOW VERSION; VACUUM; SHOW VERSION"),
        [[*TABLE_OF_ONE, ("E", "42601", "ERROR")]],
    ),
    "nothing": (encode.query(""), [[("I",)]]),
    "only a comment": (encode.query("-- hello"), [[("I",)]]),
    "no text at all": (encode.message(b"Q", b""), [[("I",)]]),
    "two queries": (encode.query("SHOW VERSION") * 2, [TABLE_OF_ONE, TABLE_OF_ONE]),
    "help": (encode.query("SHOW HELP"), [[("N",), ("C", "SHOW")]]),
    "set": (encode.query("SET a = 'b'"), [[("C", "SET")]]),
    "unknown": (encode.query("VACUUM"), [[("E", "42601", "ERROR")]]),
    "unknown SHOW": (encode.query("SHOW tables"), [[("E", "42601", "ERROR")]]),
    "SHOW nothing": (encode.query("SHOW"), [[("E", "42601", "ERROR")]]),
    "SHOW too much": (encode.query("SHOW POOLS app"), [[("E", "42601", "ERROR")]]),
    "not built": (encode.query("SUSPEND"), [[("E", "0A000", "ERROR")]]),
    "SHOW not built": (encode.query("SHOW MEM"), [[("E", "0A000", "ERROR")]]),
    "a setting": (encode.query("show time zone; SHOW server_version"), [TABLE_OF_ONE * 2]),
    "what a database would answer": (encode.query("SELECT 1"), [[("E", "08P01", "ERROR")]]),
    "not UTF-8": (encode.query(b"SHOW \xff\xfe"), [[("E", "42601", "ERROR")]]),
    "sync": (encode.SYNC, [[]]),
    "flush says nothing": (encode.FLUSH + encode.SYNC, [[]]),
    "skips to the sync": (
        parse("x") + encode.query("SHOW VERSION") + encode.SYNC + encode.query("SHOW VERSION"),
        [[("E", "42601", "ERROR")], TABLE_OF_ONE],
    ),
    "extended, all of it": (
        parse("SHOW VERSION") + bind() + describe_portal() + execute() + encode.SYNC,
        [[("1",), ("2",), *TABLE_OF_ONE]],
    ),
    "a statement with a name": (
        parse("SHOW VERSION;", "v") + describe("v") + encode.SYNC + (bind(name="v") + execute() + encode.SYNC) * 2,
        [[("1",), ("t",), ("T",)], *[[("2",), *TABLE_OF_ONE[1:]]] * 2],
    ),
    "flushed": (
        parse("SHOW VERSION", "v") + describe("v") + encode.FLUSH + bind(name="v") + execute() + encode.SYNC,
        [[("1",), ("t",), ("T",), ("2",), *TABLE_OF_ONE[1:]]],
    ),
    "no columns": (
        parse("SET a = b") + describe() + bind() + describe_portal() + execute() + encode.SYNC,
        [[("1",), ("t",), ("n",), ("2",), ("n",), ("C", "SET")]],
    ),
    "nothing to execute": (
        parse("-- nothing") + bind() + describe_portal() + execute() + encode.SYNC,
        [[("1",), ("2",), ("n",), ("I",)]],
    ),
    "extended help": (parse("show help") + bind() + execute() + encode.SYNC, [[("1",), ("2",), ("N",), ("C", "SHOW")]]),
    "a few rows at a time": (
        parse("SHOW LISTS") + bind() + execute(max_rows=5) * 3 + execute() + encode.SYNC,
        [[("1",), ("2",), *[*[("D",)] * 5, ("s",)] * 2, ("D",), ("D",), ("C", "SHOW"), ("C", "SHOW")]],
    ),
    "is carried out once": (
        parse("SHUTDOWN now") + bind() + execute() + encode.SYNC,
        [[("1",), ("2",), ("E", "42601", "ERROR")]],
    ),
    "two commands in one statement": (parse("BEGIN; COMMIT") + encode.SYNC, [[("E", "42601", "ERROR")]]),
    "a parameter": (parse("BAN $1 60") + encode.SYNC, [[("E", "0A000", "ERROR")]]),
    "the type of a parameter": (
        encode.message(b"P", b"\0SHOW VERSION\0\0\1\0\0\0\x19") + encode.SYNC,
        [[("E", "0A000", "ERROR")]],
    ),
    "a value": (parse("SHOW VERSION") + bind("x") + encode.SYNC, [[("1",), ("E", "08P01", "ERROR")]]),
    "formats of two columns": (
        parse("SHOW VERSION") + encode.message(b"B", b"\0\0\0\0\0\0\0\2\0\0\0\1") + encode.SYNC,
        [[("1",), ("E", "08P01", "ERROR")]],
    ),
    "a format that there is not": (
        parse("SHOW VERSION") + encode.message(b"B", b"\0\0\0\0\0\0\0\1\0\7") + encode.SYNC,
        [[("1",), ("E", "08P01", "ERROR")]],
    ),
    "no such statement": (bind(name="v") + execute() + encode.SYNC, [[("E", "26000", "ERROR")]]),
    "no such portal": (execute() + encode.SYNC, [[("E", "34000", "ERROR")]]),
    "portals end with the sync": (
        parse("SHOW VERSION") + bind() + encode.SYNC + execute() + encode.SYNC,
        [[("1",), ("2",)], [("E", "34000", "ERROR")]],
    ),
    "a name twice": (parse("BEGIN", "v") * 2 + encode.SYNC, [[("1",), ("E", "42P05", "ERROR")]]),
    "a portal twice": (
        parse("BEGIN") + bind(portal="p") * 2 + encode.SYNC,
        [[("1",), ("2",), ("E", "42P03", "ERROR")]],
    ),
    "closed": (
        parse("BEGIN", "v")
        + bind(name="v", portal="p")
        + close(b"Pp")
        + close(b"Sv")
        + parse("BEGIN", "v")
        + close(b"Sw")
        + execute("p")
        + encode.SYNC,
        [[("1",), ("2",), ("3",), ("3",), ("1",), ("3",), ("E", "34000", "ERROR")]],
    ),
    "malformed": (encode.message(b"P", b"v") + encode.SYNC, [[("E", "08P01", "ERROR")]]),
    "too many statements": (
        b"".join(parse("BEGIN", f"s{number}") for number in range(1001)) + encode.SYNC,
        [[*[("1",)] * 1000, ("E", "53400", "ERROR")]],
    ),
    "function call": (encode.message(b"F", b"\0\0\0\1\0\0\0\0\0\0"), [[("E", "0A000", "ERROR")]]),
    "copy data out of place": (encode.message(b"d", b"x") + encode.COPY_DONE + encode.query(""), [[("I",)]]),
}


@pytest.mark.trio
@pytest.mark.parametrize("size", [1, 1 << 16], ids=["dribbled", "whole"])
@pytest.mark.parametrize("name", EXCHANGES)
async def test_exchange(proxy: RunningProxy, nursery: trio.Nursery, name: str, size: int) -> None:
    request, replies = EXCHANGES[name]
    administrator, _ = await open_console(nursery, proxy)
    for start in range(0, len(request), size):
        await administrator.send(request[start : start + size])
    for reply in replies:
        assert await administrator.until_ready() == reply
    await administrator.send(encode.TERMINATE)
    assert await administrator.until_end() == []


@pytest.mark.trio
async def test_bytes_that_came_with_the_login(proxy: RunningProxy, nursery: trio.Nursery) -> None:
    administrator, _ = await open_console(nursery, proxy, first=encode.query("SHOW VERSION") + encode.TERMINATE)
    assert await administrator.until_ready() == TABLE_OF_ONE
    assert await administrator.until_end() == []


@pytest.mark.trio
@pytest.mark.parametrize(
    ("garbage", "sqlstate"),
    [
        (b"!!!!!!!!", "08P01"),
        (b"Q\x00\x00\x00\x01", "08P01"),
        (b"Q" + codes.UINT32.pack(MAX_MESSAGE_BYTES + 1), "54000"),
        (b"Q\xff\xff\xff\xff", "54000"),
    ],
    ids=["unknown message", "too short", "too long", "absurdly long"],
)
async def test_garbage_ends_the_connection(
    proxy: RunningProxy, nursery: trio.Nursery, garbage: bytes, sqlstate: str
) -> None:
    administrator, _ = await open_console(nursery, proxy)
    await administrator.send(encode.query("SHOW VERSION"), garbage)
    told = await administrator.until_end()
    assert told[-1] == ("E", sqlstate, "FATAL")


@pytest.mark.trio
async def test_longest_message_is_answered(proxy: RunningProxy, nursery: trio.Nursery) -> None:
    administrator, _ = await open_console(nursery, proxy)
    command = "SHOW VERSION".ljust(MAX_MESSAGE_BYTES - 5)
    await administrator.send(encode.query(command))
    assert await administrator.until_ready() == TABLE_OF_ONE


@pytest.mark.trio
async def test_client_that_leaves_ends_the_console(proxy: RunningProxy) -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            administrator, _ = await open_console(nursery, proxy)
            await administrator.send(encode.query("SHOW POOLS")[:-3])
            await administrator.stream.aclose()


@pytest.mark.trio
async def test_cancellation_is_told(proxy: RunningProxy) -> None:
    async with trio.open_nursery() as nursery:
        administrator, _ = await open_console(nursery, proxy)
        nursery.cancel_scope.cancel()
    assert await administrator.until_end() == [("E", "57P01", "FATAL")]


@pytest.mark.trio
async def test_cancellation_in_the_middle_of_an_answer_adds_nothing_to_it(proxy: RunningProxy) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    transport = StreamTransport(theirs)
    login = Login(transport, codes.PROTOCOL_3_0, "admin", "pgcat", {"user": "admin"})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Console(proxy.supervisor, login, b"").run)
        beginning = await ours.receive_some(9)
        nursery.cancel_scope.cancel()
    transport.close()
    assert beginning == encode.authentication(codes.AUTH_OK)
    rest = [bytes(data) async for data in ours]
    assert b"".join(rest).endswith(encode.ready_for_query())


@pytest.mark.trio
async def test_each_console_has_a_cancel_key_of_its_own(proxy: RunningProxy, nursery: trio.Nursery) -> None:
    keys = {messages.backend_key_data((await open_console(nursery, proxy))[1][-1][1]) for _ in range(3)}
    assert len(keys) == 3
    # Asking for it does no harm while no command waits.
    for key in keys:
        console = proxy.supervisor.cancel_keys.find(*key)
        assert console is not None
        assert console.cancel() is None

"""Servers that go away, at each point where one can: what exactly the client gets, and that the session goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.transcript import READY, bind, execute, extended, fields_of, parse, rows, shape
from support.world import By, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from support.scripted_backend import ScriptedBackend
    from support.world import Client, World
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])

SLEEP = "SELECT pg_sleep(100)"
FAREWELL = "terminating connection due to administrator command"


async def process_of(world: World) -> ScriptedBackend:
    """The one server process, when everything has come as far as it can."""
    await world.idle()
    (process,) = world.primary.backends.values()
    return process


async def goes_on(client: Client) -> None:
    """The session is alive and finds another backend."""
    assert await client.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
@both_ways
async def test_between_transactions_nobody_notices(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by="sockets") as world:
        client = await world.connect()
        await client.query("SELECT 1")
        await (await process_of(world)).end(FAREWELL)
        await world.idle()
        await goes_on(client)


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (encode.query(SLEEP), "E(error 08006) ZI"),
        (encode.query(SLEEP) * 3, "E(error 08006) ZI E(error 08006) ZI E(error 08006) ZI"),
        (encode.query("SELECT 1") + encode.query(SLEEP), "T D C ZI E(error 08006) ZI"),
        (encode.query(f"SELECT 1; {SLEEP}"), "T D C E(error 08006) ZI"),
        (extended(SLEEP) + encode.SYNC, "1 2 E(error 08006) ZI"),
        ((extended(SLEEP) + encode.SYNC) * 2, "1 2 E(error 08006) ZI E(error 08006) ZI"),
        (extended("SELECT 1") + encode.SYNC + extended(SLEEP) + encode.SYNC, "1 2 D C ZI 1 2 E(error 08006) ZI"),
        (encode.query(SLEEP) + extended("SELECT 1") + encode.SYNC, "E(error 08006) ZI E(error 08006) ZI"),
    ],
    ids=["one", "three", "second", "second of one message", "extended", "two", "second of two", "both protocols"],
)
async def test_query_running(autojump_clock: MockClock, by: By, request_: bytes, answer: str) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(request_)
        await (await process_of(world)).end()
        said = await client.reply(answer.count("Z"))
        assert shape(said) == answer
        assert world.primary.cancels == []
        await goes_on(client)


@pytest.mark.trio
@both_ways
async def test_error_names_the_server_and_the_danger(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(encode.query(SLEEP))
        await (await process_of(world)).end()
        fields = fields_of(await client.reply())
        assert fields["M"].startswith("lost the connection to server primary:1: ")
        assert "may or may not have been committed" in fields["H"]


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (encode.query(SLEEP), "E(error 57P01) ZI"),
        (encode.query(SLEEP) * 2, "E(error 57P01) ZI E(error 57P01) ZI"),
        (encode.query("SELECT 1") + encode.query(SLEEP), "T D C ZI E(error 57P01) ZI"),
        (extended(SLEEP) + encode.SYNC, "1 2 E(error 57P01) ZI"),
        (extended(SLEEP) + encode.SYNC + encode.query("SELECT 1"), "1 2 E(error 57P01) ZI E(error 57P01) ZI"),
    ],
    ids=["one", "two", "second", "extended", "both protocols"],
)
async def test_servers_last_words_are_the_answer(
    autojump_clock: MockClock, by: By, request_: bytes, answer: str
) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(request_)
        await (await process_of(world)).end(FAREWELL)
        said = await client.reply(answer.count("Z"))
        assert shape(said) == answer
        words = fields_of(said[said.index(b"E\x00") :])
        assert words["M"] == FAREWELL
        assert "may or may not have been committed" in words["H"]
        await goes_on(client)


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_nothing_of_the_last_words_is_lost(autojump_clock: MockClock, by: By, mode: str) -> None:
    """All fields, whatever they mean; only the severity tells the truth about the client's connection."""
    said = {"S": "FATAL", "V": "FATAL", "C": "57P02", "M": "crash", "D": "Why.", "H": "What to do.", "R": "quickdie"}
    async with open_world(config_of(pool=f'pool_mode = "{mode}"'), by=by) as world:
        client = await world.connect()
        await client.send(encode.query(SLEEP))
        process = await process_of(world)
        await process.send(encode.report(b"E", said.items()))
        await process.end()
        severity = "FATAL" if mode == "session" else "ERROR"
        answer = await (client.rest() if mode == "session" else client.reply())
        assert fields_of(answer) == {**said, "S": severity, "V": severity}
        assert shape(answer).count("E(") == 1


@pytest.mark.trio
@both_ways
async def test_last_words_right_behind_an_answer(autojump_clock: MockClock, by: By) -> None:
    """The client has all it asked for; what the server says then is nobody's."""

    async def answer_and_go(process: ScriptedBackend) -> None:
        last = encode.report(b"E", [("S", "FATAL"), ("V", "FATAL"), ("C", "57P01"), ("M", FAREWELL)])
        await process.send(encode.command_complete("SELECT") + READY + last)
        process.expect_no_ready()

    async with open_world(by=by) as world:
        world.primary.scripts["SELECT last"] = answer_and_go
        client = await world.connect()
        assert await client.query("SELECT last") == encode.command_complete("SELECT") + READY
        await goes_on(client)
        assert world.primary.dials == 2


@pytest.mark.trio
@both_ways
async def test_error_and_then_the_end_is_one_error(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        gate = world.primary.hold("answer")
        await client.send(encode.query("SELECT 1/0"))
        await gate.reached.wait()
        await (await process_of(world)).end()
        gate.opened.set()
        assert shape(await client.reply()) == "E(error 22012) ZI"
        await goes_on(client)


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("begin", [["BEGIN"], ["BEGIN", "SELECT 1/0"]], ids=["open", "failed"])
async def test_idle_in_transaction(autojump_clock: MockClock, by: By, begin: list[str]) -> None:
    """Nothing is due, so nothing may be said: the next request is told that its transaction is gone."""
    async with open_world(by=by) as world:
        client = await world.connect()
        for query in begin:
            await client.query(query)
        await (await process_of(world)).end()
        await world.idle()
        assert shape(await client.query("INSERT INTO t")) == "E(error 08006) ZI"
        assert "INSERT INTO t" not in world.primary.texts()
        await goes_on(client)


@pytest.mark.trio
@both_ways
async def test_idle_in_transaction_extended(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        await (await process_of(world)).end()
        await world.idle()
        await client.send(extended("INSERT INTO t"), encode.FLUSH)
        assert shape(await client.message()) == "E(error 08006)"
        await client.send(extended("INSERT INTO t"), encode.SYNC)
        assert await client.reply() == READY
        assert "INSERT INTO t" not in world.primary.texts()
        await goes_on(client)


@pytest.mark.trio
@both_ways
async def test_idle_in_transaction_with_last_words(autojump_clock: MockClock, by: By) -> None:
    """A driver that was told FATAL unasked would take its connection for dead, or wait for its end."""
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        await (await process_of(world)).end(FAREWELL)
        await world.idle()
        said = await client.query("INSERT INTO t")
        assert shape(said) == "E(error 57P01) ZI"
        assert fields_of(said)["M"] == FAREWELL
        assert "INSERT INTO t" not in world.primary.texts()
        await goes_on(client)


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("cut", [5, 6, 20, 100])
async def test_in_the_middle_of_a_message_the_client_is_cut_off_there(
    autojump_clock: MockClock, by: By, cut: int
) -> None:
    """Whatever was added now would be taken for a part of the row."""
    row = encode.data_row(["x" * 100])

    async def half_a_row(process: ScriptedBackend) -> None:
        await process.send(encode.row_description([("column", 25)]) + row[:cut])
        await process.server.at("half")
        await process.end()

    async with open_world(by=by) as world:
        world.primary.scripts["SELECT half"] = half_a_row
        gate = world.primary.hold("half")
        client = await world.connect()
        await client.send(encode.query("SELECT half"))
        await gate.reached.wait()
        await world.idle()
        gate.opened.set()
        said = await client.rest()
        assert said == encode.row_description([("column", 25)]) + row[:cut]
        assert world.counts() == (0, 0, 0)


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("cut", [1, 4])
async def test_in_the_middle_of_a_header_there_is_still_a_place_for_the_error(
    autojump_clock: MockClock, by: By, cut: int
) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(encode.query(SLEEP))
        process = await process_of(world)
        await process.send(encode.data_row(["x" * 100])[:cut])
        await process.end()
        assert shape(await client.reply()) == "E(error 08006) ZI"
        await goes_on(client)


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("words", ["", FAREWELL])
async def test_extended_without_sync(autojump_clock: MockClock, by: By, words: str) -> None:
    """The error comes at once; what follows is left out until the Sync, which is answered by a ReadyForQuery."""
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(extended("SELECT 1"), encode.FLUSH)
        for letter in "12DC":
            assert shape(await client.message()) == letter
        await (await process_of(world)).end(words)
        assert shape(await client.message()) == ("E(error 57P01)" if words else "E(error 08006)")
        await client.send(parse("INSERT INTO t"), bind(), execute())
        await world.idle()
        await client.send(encode.SYNC)
        assert await client.reply() == READY
        assert "INSERT INTO t" not in world.primary.texts()
        await goes_on(client)


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("begin", "end", "answer"),
    [
        (encode.query("COPY t FROM STDIN"), encode.COPY_DONE, "E(error 08006) ZI"),
        (encode.query("COPY t FROM STDIN"), encode.copy_fail("no more"), "E(error 08006) ZI"),
        (extended("COPY t FROM STDIN") + encode.SYNC, encode.COPY_DONE + encode.SYNC, "E(error 08006) ZI"),
        (extended("COPY t FROM STDIN") + encode.FLUSH, encode.COPY_DONE + encode.SYNC, "E(error 08006) ZI"),
    ],
    ids=["done", "fail", "extended as libpq does", "extended"],
)
@pytest.mark.parametrize("words", ["", FAREWELL])
async def test_during_copy_in(
    autojump_clock: MockClock, by: By, begin: bytes, end: bytes, answer: str, words: str
) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(begin)
        while (await client.message())[:1] != b"G":
            pass
        await client.send(encode.message(b"d", b"row\n"))
        await (await process_of(world)).end(words)
        await world.idle()
        await client.send(encode.message(b"d", b"row\n"), end)
        assert shape(await client.reply()) == (answer.replace("08006", "57P01") if words else answer)
        await goes_on(client)


@pytest.mark.trio
@both_ways
async def test_while_the_client_sends_a_large_message(autojump_clock: MockClock, by: By) -> None:
    """The rest of the message has nowhere to go, and the proxy keeps no half-sent messages."""
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(encode.query("INSERT INTO t VALUES ('" + "x" * 200_000 + "')")[:100_000])
        await (await process_of(world)).end()
        assert shape(await client.rest()) == "E(fatal 08006)"


@pytest.mark.trio
@both_ways
async def test_while_the_clients_settings_are_applied(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        tokyo = await world.connect(TimeZone="Asia/Tokyo")
        other = await world.connect()
        await other.query("SELECT 1")
        gate = world.primary.hold("statement")
        await tokyo.send(encode.query("SELECT 1"))
        await gate.reached.wait()
        await (await process_of(world)).end(FAREWELL)
        gate.opened.set()
        assert shape(await tokyo.reply()) == "E(error 57P01) ZI"
        await goes_on(tokyo)


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("words", ["", FAREWELL])
@pytest.mark.parametrize("running", [True, False])
async def test_in_session_mode_the_session_ends_with_its_server(
    autojump_clock: MockClock, by: By, words: str, running: bool
) -> None:
    async with open_world(config_of(pool='pool_mode = "session"'), by=by) as world:
        client = await world.connect()
        await client.query("SELECT 1")
        if running:
            await client.send(encode.query(SLEEP))
        await (await process_of(world)).end(words)
        assert shape(await client.rest()) == ("E(fatal 57P01)" if words else "E(fatal 08006)")


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    "nonsense",
    [b"Z\x00\x00\x00\x01", b"Z\x00\x00\x00\x05?", b"S\x00\x00\x00\x06x", b"D\xff\xff\xff\xff"],
    ids=["impossible length", "unknown status", "malformed ParameterStatus", "endless"],
)
async def test_server_that_talks_nonsense_is_lost(autojump_clock: MockClock, by: By, nonsense: bytes) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(encode.query(SLEEP))
        await (await process_of(world)).send(nonsense)
        assert shape(await client.reply()) == "E(error 08006) ZI"
        assert world.counts() == (0, 0, 0)
        await goes_on(client)


@pytest.mark.trio
@both_ways
async def test_no_server_to_be_had(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        process = await process_of(world)
        world.primary.down = "Connection refused"
        await process.end()
        await world.idle()
        assert shape(await client.query("COMMIT")) == "E(error 08006) ZI"
        said = await client.query("SELECT 1")
        assert shape(said) == "E(error 08001) ZI"
        assert fields_of(said)["M"] == "cannot connect to server primary:1: Connection refused"
        await client.send(extended("SELECT 1"), encode.SYNC, encode.query("SELECT 1"))
        assert shape(await client.reply(2)) == "E(error 08001) ZI E(error 08001) ZI"
        world.primary.down = ""
        await goes_on(client)


@pytest.mark.trio
@both_ways
async def test_connection_reset_while_the_proxy_sends(autojump_clock: MockClock, by: By) -> None:
    """The server is gone and the proxy finds out by sending."""
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        process = await process_of(world)
        await trio.aclose_forcefully(process.stream)
        await client.send(encode.query("INSERT INTO t"))
        assert shape(await client.reply()) == "E(error 08006) ZI"
        await goes_on(client)


@pytest.mark.trio
@both_ways
async def test_settings_of_a_transaction_that_was_lost_are_rolled_back(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("SET TimeZone TO 'Asia/Tokyo'")
        await client.query("BEGIN")
        await client.query("SET TimeZone TO 'Europe/Paris'")
        await (await process_of(world)).end(FAREWELL)
        await world.idle()
        assert shape(await client.query("COMMIT")) == "E(error 57P01) ZI"
        assert b"Asia/Tokyo" in await client.query("SHOW TimeZone")

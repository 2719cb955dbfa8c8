"""Conversations that go well: who gets which bytes, and in what order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.transcript import IN_TRANSACTION, READY, bind, execute, extended, parse, rows, shape
from support.world import By, config_of, open_world

from pgcat_trio.routing.effects import Effect
from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from support.scripted_backend import ScriptedBackend
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("piece", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (encode.query("SELECT 1"), rows("1") + READY),
        (encode.query("SELECT 1") * 3, (rows("1") + READY) * 3),
        (encode.query(""), encode.EMPTY_QUERY_RESPONSE + READY),
        (
            encode.query("BEGIN") + encode.query("COMMIT"),
            encode.command_complete("BEGIN") + IN_TRANSACTION + encode.command_complete("COMMIT") + READY,
        ),
        (encode.SYNC, READY),
        (encode.SYNC * 3, READY * 3),
    ],
    ids=["query", "three", "empty", "transaction", "Sync", "Syncs"],
)
async def test_answers_pass_unchanged(
    autojump_clock: MockClock, by: By, piece: int, request_: bytes, answer: bytes
) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        for start in range(0, len(request_), piece):
            await client.send(request_[start : start + piece])
            if piece == 7:
                await world.idle()
        said = b""
        while len(said) < len(answer):
            said += await client.message()
        assert said == answer
        await world.idle()
        assert world.counts() == (1, 1, 0)


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (extended("SELECT 1") + encode.SYNC, "1 2 D C ZI"),
        (extended("SELECT 1") + extended("SELECT 2") + encode.SYNC, "1 2 D C 1 2 D C ZI"),
        ((extended("SELECT 1") + encode.SYNC) * 5, " ".join(["1 2 D C ZI"] * 5)),
        (extended("SELECT 1/0") + extended("SELECT 1") + encode.SYNC, "1 2 E(error 22012) ZI"),
        (extended("SELECT 1/0") + encode.SYNC + encode.query("SELECT 1"), "1 2 E(error 22012) ZI T D C ZI"),
        (bind("nothing") + execute() + encode.SYNC, "E(error 26000) ZI"),
        (encode.FLUSH + extended("SELECT 1") + encode.FLUSH + encode.SYNC, "1 2 D C ZI"),
        (encode.query("COPY t TO STDOUT"), "H d d d c C ZI"),
        (encode.query("COPY t FROM STDIN; SELECT 1") + encode.message(b"d", b"x\n") + encode.COPY_DONE, "G C T D C ZI"),
        (encode.query("COPY t FROM STDIN") + encode.message(b"d", b"bad\n") + encode.COPY_DONE, "G E(error 22P02) ZI"),
        (encode.query("COPY t FROM STDIN") + encode.copy_fail("no"), "G E(error 57014) ZI"),
        (encode.COPY_DONE + encode.message(b"d", b"stray") + encode.query("SELECT 1"), "T D C ZI"),
    ],
)
async def test_each_protocol(autojump_clock: MockClock, by: By, request_: bytes, answer: str) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(request_)
        assert shape(await client.reply(answer.count("Z"))) == answer
        await world.idle()
        assert world.pool.busy == 0
        assert await client.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
@both_ways
async def test_flush_is_answered_before_the_sync(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(parse("SELECT 1"), encode.FLUSH)
        assert shape(await client.message()) == "1"
        assert world.pool.busy == 1
        await client.send(bind(), execute(), encode.FLUSH)
        assert [shape(await client.message()) for _ in range(3)] == ["2", "D", "C"]
        await client.send(encode.SYNC)
        assert await client.reply() == READY
        await world.idle()
        assert world.counts() == (1, 1, 0)


@pytest.mark.trio
@both_ways
async def test_notices_arrive_at_once(autojump_clock: MockClock, by: By) -> None:
    notice = encode.notice_response("halfway")

    async def notify(process: ScriptedBackend) -> None:
        await process.send(notice)
        await trio.sleep(10)

    async with open_world(by=by) as world:
        world.primary.scripts["CALL slow()"] = notify
        client = await world.connect()
        began = trio.current_time()
        await client.send(encode.query("CALL slow()"))
        assert await client.message() == notice
        assert trio.current_time() == began


@pytest.mark.trio
@both_ways
async def test_prepared_statements_are_gone_with_the_session(autojump_clock: MockClock, by: By) -> None:
    config = config_of(pool="prepared_statements_cache_size = 0")
    async with open_world(config, by=by) as world:
        client, other = await world.connect(), await world.connect()
        await client.send(parse("SELECT 1", "mine") + bind("mine") + execute() + encode.SYNC)
        await client.reply()
        assert client.session.pinned is Effect.STATEMENTS
        await client.leave()
        await world.idle()
        assert world.primary.texts()[-1] == "DISCARD ALL"
        assert await other.query("SELECT 2") == rows("2") + READY


@pytest.mark.trio
async def test_backend_is_given_back_only_when_the_send_to_it_has_ended(autojump_clock: MockClock) -> None:
    """A stream may yield after its bytes are out, as TLS does: the answer is there before the send is over."""
    async with open_world() as world:
        client, other = await world.connect(), await world.connect()
        (backend,) = world.pool.backends
        sender = backend.transport.stream.send_stream
        deliver, go_on = sender.send_all_hook, trio.Event()

        async def linger() -> None:
            await deliver()
            await go_on.wait()

        sender.send_all_hook = linger
        assert await client.query("SELECT 1") == rows("1") + READY
        await other.send(encode.query("SELECT 2"))
        await world.idle()
        assert world.pool.busy == 1
        assert world.primary.texts() == ["SELECT 1"]
        go_on.set()
        assert await other.reply() == rows("2") + READY
        assert await client.query("SELECT 3") == rows("3") + READY


@pytest.mark.trio
@both_ways
async def test_many_clients_share_few_backends(autojump_clock: MockClock, by: By) -> None:
    config = config_of("connect_timeout = 60000", user="pool_size = 3")
    async with open_world(config, by=by) as world:

        async def work(number: int) -> None:
            client = await world.connect(application_name=f"client {number}")
            for turn in range(5):
                value = str(1000 * number + turn)
                assert shape(await client.query("BEGIN")) == "C ZT"
                assert await client.query(f"SELECT {value}") == rows(value) + IN_TRANSACTION
                assert (
                    await client.query("SHOW application_name")
                    == encode.row_description([("column", 25)])
                    + encode.data_row([f"client {number}"])
                    + encode.command_complete("SHOW")
                    + IN_TRANSACTION
                )
                assert shape(await client.query("COMMIT")) == "C ZI"

        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(work, number)
        await world.idle()
        assert world.counts() == (3, 3, 0)

"""Large messages, slow clients, long pipelines: everything passes, and nothing is hoarded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.transcript import READY, extended, rows, shape
from support.world import By, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from support.scripted_backend import ScriptedBackend
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("size", [60_000, 65_536, 70_000, 1_000_000])
async def test_large_statements(autojump_clock: MockClock, by: By, size: int) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        world.nursery.start_soon(client.send, encode.query("SELECT " + "x" * size))
        assert await client.reply() == rows("x" * size) + READY
        await client.send(extended("SELECT " + "y" * size), encode.SYNC)
        assert shape(await client.reply()) == "1 2 D C ZI"
        await world.idle()
        assert world.pool.busy == 0


@pytest.mark.trio
@both_ways
async def test_copy_that_fails_in_the_middle_of_large_data(autojump_clock: MockClock, by: By) -> None:
    """The server answers before the client's message is complete: the backend is given back when it is."""

    async def fail_early(process: ScriptedBackend) -> None:
        await process.send(encode.message(b"G", b"\x00\x00\x00"))
        while len(process._buffer) < 1000:
            process._buffer += bytes(await process.stream.receive_some())

    async with open_world(by=by) as world:
        world.primary.scripts["COPY big FROM STDIN"] = fail_early
        client = await world.connect()
        await client.send(encode.query("COPY big FROM STDIN"))
        assert shape(await client.message()) == "G"
        data = encode.message(b"d", b"x" * 200_000)
        await client.send(data[:100_000])
        assert shape(await client.reply()) == "C ZI"
        await world.idle()
        assert world.pool.busy == 1
        world.nursery.start_soon(client.send, data[100_000:])
        await world.idle()
        assert world.pool.busy == 0
        assert await client.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
async def test_slow_client_holds_its_own_server_back_and_nothing_is_hoarded(autojump_clock: MockClock) -> None:
    async with open_world(by="sockets") as world:
        client = await world.connect()
        await client.send(encode.query("SELECT generate_series(1, 300000)"))
        await trio.sleep(10)
        assert client.session.outbox.pending_bytes <= 128 * 1024
        said = await client.reply()
        assert said.endswith(encode.data_row(["300000"]) + encode.command_complete("SELECT") + READY)


@pytest.mark.trio
async def test_client_that_asks_before_it_has_read_loses_nothing(autojump_clock: MockClock) -> None:
    """The end of the first answer waits for the client to read; its backend has been given back meanwhile."""
    row = encode.data_row(["x" * 4000])
    async with open_world(by="sockets") as world:
        measuring, client = await world.connect(), await world.connect()
        sent = [0, 0]

        async def fill_its_buffers(process: ScriptedBackend) -> None:
            while measuring.session.outbox.empty:
                await process.send(row)
                sent[0] += 1
                await trio.sleep(0.01)

        async def fill_them_and_end_in_the_same_breath(process: ScriptedBackend) -> None:
            for _ in range(sent[0] - 1):
                await process.send(row)
                sent[1] += 1
                await trio.sleep(0.01)
            await process.send(row * 5 + encode.command_complete("SELECT") + READY)
            sent[1] += 5
            process.expect_no_ready()

        world.primary.scripts["SELECT measure"] = fill_its_buffers
        world.primary.scripts["SELECT fill"] = fill_them_and_end_in_the_same_breath
        await measuring.send(encode.query("SELECT measure"))
        await trio.sleep(10)
        await measuring.leave()
        await client.send(encode.query("SELECT fill"))
        await trio.sleep(10)
        assert client.session.backend is None
        assert not client.session.outbox.empty
        await client.send(encode.query("SELECT 2"), extended("SELECT 3"), encode.SYNC)
        await world.idle()
        said = await client.reply(3)
        first = row * sent[1] + encode.command_complete("SELECT") + READY
        assert said.startswith(first)
        assert shape(said[len(first) :]) == "T D C ZI 1 2 D C ZI"
        await world.idle()
        assert world.counts() == (1, 1, 0)


@pytest.mark.trio
async def test_client_that_never_reads_cannot_make_the_proxy_hoard_answers(autojump_clock: MockClock) -> None:
    """Requests that the proxy answers itself, with more bytes than they have, come in faster than they are read."""
    async with open_world(by="sockets") as world:
        client = await world.connect()
        world.primary.leave()
        world.primary.down = "Connection refused"
        await world.idle()
        sent = 0
        with trio.move_on_after(30):
            while sent < 200_000:
                await client.send(encode.query("SELECT 1") * 1_000)
                sent += 1_000
        assert sent < 200_000
        assert client.session.outbox.pending_bytes <= 2 * 1024 * 1024
        # As soon as it reads, all is answered.
        assert (await client.reply(sent)).count(READY) == sent


@pytest.mark.trio
@both_ways
async def test_client_that_talks_while_it_waits_is_bounded(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of("connect_timeout = 30000"), by=by) as world:
        holder, client = await world.connect(), await world.connect()
        await holder.query("BEGIN")

        async def flood() -> None:
            for _ in range(400):
                await client.send(encode.query("SELECT " + "x" * 5_000))

        world.nursery.start_soon(flood)
        await trio.sleep(5)
        assert len(client.session.downstream._buffer) <= 256 * 1024
        await holder.query("COMMIT")
        assert shape(await client.reply(400)) == " ".join(["T D C ZI"] * 400)


@pytest.mark.trio
@pytest.mark.parametrize("count", [5_000])
async def test_pipelines_do_not_lock_up_while_both_sides_send(autojump_clock: MockClock, count: int) -> None:
    """The client sends all before it reads anything; the server answers from the first statement on."""
    async with open_world(by="sockets") as world:
        client = await world.connect()
        request = extended("SELECT " + "x" * 100) + encode.SYNC
        sent = trio.Event()

        async def send_all() -> None:
            for _ in range(count // 100):
                await client.send(request * 100)
            sent.set()

        world.nursery.start_soon(send_all)
        said = await client.reply(count)
        await sent.wait()
        assert said.count(READY) == count

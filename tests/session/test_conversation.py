"""Conversations that go well: who gets which bytes, in what order, and from which server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.world import (
    IN_TRANSACTION,
    READY,
    By,
    World,
    bind,
    config_of,
    execute,
    extended,
    open_world,
    parse,
    rows,
    shape,
)

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from support.scripted_server import ScriptedBackend
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])

SPLITTING = "query_parser_enabled = true\nquery_parser_read_write_splitting = true"


def where(world: World, text: str) -> list[str]:
    """The servers that ran a statement."""
    return [name for name, server in world.servers.items() for each in server.texts() if each == text]


# -- bytes ---------------------------------------------------------------------------------------------------------


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
async def test_prepared_statements_are_gone_with_the_transaction(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client, other = await world.connect(), await world.connect()
        await client.send(parse("SELECT 1", "mine") + bind("mine") + execute() + encode.SYNC)
        await client.reply()
        await world.idle()
        assert world.primary.texts()[-1] == "DEALLOCATE ALL"
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


# -- large things --------------------------------------------------------------------------------------------------


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


# -- servers and roles ---------------------------------------------------------------------------------------------


@pytest.mark.trio
@both_ways
async def test_reads_go_to_the_replica_and_writes_to_the_primary(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(pool=SPLITTING, replicas=1), by=by) as world:
        client = await world.connect()
        await client.query("SELECT 1")
        await client.query("INSERT INTO t VALUES (1)")
        await client.send(extended("SELECT 2"), encode.SYNC, extended("DELETE FROM t"), encode.SYNC)
        assert shape(await client.reply(2)) == "1 2 D C ZI 1 2 C ZI"
        assert where(world, "SELECT 1") == ["replica1"]
        assert where(world, "INSERT INTO t VALUES (1)") == where(world, "DELETE FROM t") == ["primary"]


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("first", "answer"),
    [
        (encode.query("SELECT pg_sleep(1)"), "C ZI"),
        (extended("SELECT pg_sleep(1)") + encode.SYNC, "1 2 C ZI"),
    ],
    ids=["simple", "extended"],
)
async def test_write_behind_a_read_waits_for_it_and_goes_to_the_primary(
    autojump_clock: MockClock, by: By, first: bytes, answer: str
) -> None:
    """Order is kept: the write begins when the read on the other server has been answered."""
    async with open_world(config_of(pool=SPLITTING, replicas=1), by=by) as world:
        client = await world.connect()
        await client.send(first)
        await world.idle()
        await client.send(encode.query("INSERT INTO t VALUES (1)"))
        await world.idle()
        assert where(world, "INSERT INTO t VALUES (1)") == []
        assert shape(await client.reply(2)) == f"{answer} C ZI"
        assert where(world, "INSERT INTO t VALUES (1)") == ["primary"]


@pytest.mark.trio
@both_ways
async def test_client_leaves_while_its_write_waits_behind_a_read(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(pool=SPLITTING, replicas=1), by=by) as world:
        client = await world.connect()
        await client.send(encode.query("SELECT pg_sleep(100)"))
        await world.idle()
        await client.send(encode.query("INSERT INTO t VALUES (1)"))
        await world.idle()
        await client.leave()
        await world.idle()
        assert client.session.ended is not None
        assert where(world, "INSERT INTO t VALUES (1)") == []
        assert all(pool.busy == 0 for pool in world.cluster.pools)


@pytest.mark.trio
@both_ways
async def test_what_is_parsed_with_flush_stays_on_its_server(autojump_clock: MockClock, by: By) -> None:
    """Parse and Describe of a read, then Bind and Execute: one unit up to the Sync, wherever it began."""
    async with open_world(config_of(pool=SPLITTING, replicas=1), by=by) as world:
        client = await world.connect()
        describe = encode.message(b"D", b"S\x00")
        await client.send(parse("SELECT 1"), describe, encode.FLUSH)
        assert [shape(await client.message()) for _ in range(2)] == ["1", "n"]
        await client.send(bind(), execute(), encode.SYNC)
        assert shape(await client.reply()) == "2 D C ZI"
        assert len(where(world, "SELECT 1")) == 1


@pytest.mark.trio
@both_ways
async def test_second_parse_of_a_unit_is_answered_whatever_it_is(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(pool=SPLITTING, replicas=1), by=by) as world:
        client = await world.connect()
        await client.send(parse("SELECT 1"), encode.FLUSH)
        assert shape(await client.message()) == "1"
        await client.send(extended("INSERT INTO t VALUES (1)"), encode.SYNC)
        with trio.fail_after(5):
            said = await client.reply()
        assert shape(said) in ("1 2 C ZI", "E(error 25006) ZI")


@pytest.mark.trio
@both_ways
async def test_large_bind_to_a_replica(autojump_clock: MockClock, by: By) -> None:
    """A message of more than one receive is cut into batches; its rest belongs to the server of its beginning."""
    async with open_world(config_of(pool=SPLITTING, replicas=1), by=by) as world:
        client = await world.connect()
        large = encode.message(
            b"B", b"\x00\x00" + b"\x00\x00" + b"\x00\x01" + (200_000).to_bytes(4) + b"x" * 200_000 + b"\x00\x00"
        )
        world.nursery.start_soon(client.send, parse("SELECT 1"), large, execute(), encode.SYNC)
        with trio.fail_after(5):
            assert shape(await client.reply()) == "1 2 D C ZI"
        assert len(where(world, "SELECT 1")) == 1


@pytest.mark.trio
@both_ways
async def test_transaction_stays_on_its_server(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(pool=SPLITTING, replicas=1), by=by) as world:
        client = await world.connect()
        for query in ("BEGIN", "SELECT 1", "SELECT 2", "COMMIT"):
            await client.query(query)
        assert where(world, "SELECT 1") == where(world, "SELECT 2") == ["primary"]
        await client.query("BEGIN READ ONLY")
        await client.query("SELECT 3")
        await client.query("COMMIT")
        assert where(world, "SELECT 3") == ["replica1"]


@pytest.mark.trio
@both_ways
async def test_dead_replica_is_invisible_to_the_next_read(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(pool=SPLITTING, replicas=2), by=by) as world:
        client = await world.connect()
        await client.query("SELECT 1")
        for name in ("replica1", "replica2"):
            world.servers[name].down = "Connection refused"
            world.servers[name].leave()
        await world.idle()
        said = [shape(await client.query("SELECT 2")) for _ in range(4)]
        # On streams that nobody watches while idle the loss shows only when the backend is used.
        assert said.count("T D C ZI") >= (4 if by == "sockets" else 2)
        assert shape(await client.query("SELECT 3")) == "T D C ZI"
        assert where(world, "SELECT 3") == ["primary"]

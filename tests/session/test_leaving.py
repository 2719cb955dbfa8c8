"""Clients that leave, at each point where one can: the backend is found clean by the next one, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.transcript import READY, bind, execute, extended, parse, rows
from support.world import By, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from support.world import Client, World
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])


async def nothing_is_left(world: World, *others: Client) -> None:
    """No other session is open, and whatever backends there are lie idle and serve the next client."""
    await world.idle()
    for client in world.clients:
        session = client.connection.session
        assert client in others or session is None or session.ended is not None
    assert not world.cluster.waiters
    assert world.pool.busy == 0
    client = await world.connect()
    assert await client.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
@both_ways
async def test_parked(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        assert await client.query("SELECT 1") == rows("1") + READY
        await client.leave()
        await nothing_is_left(world)
        assert world.primary.dials == 1


@pytest.mark.trio
@both_ways
async def test_terminate(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(encode.TERMINATE)
        assert await client.rest() == b""
        assert client.session.ended == "client said goodbye"
        await nothing_is_left(world)


@pytest.mark.trio
@both_ways
async def test_terminate_behind_a_query_is_taken_in_its_turn(autojump_clock: MockClock, by: By) -> None:
    """As with a server: what was asked before is done and answered."""
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(encode.query("SELECT pg_sleep(5)"), encode.query("INSERT INTO t"), encode.TERMINATE)
        said = await client.rest()
        assert said == b"".join([encode.command_complete("SELECT"), READY, encode.command_complete("INSERT"), READY])
        assert world.primary.cancels == []
        await nothing_is_left(world)


@pytest.mark.trio
@both_ways
async def test_waiting_for_a_backend(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        holder, client = await world.connect(), await world.connect()
        await holder.query("BEGIN")
        await client.send(encode.query("SELECT 1"))
        await world.idle()
        assert len(world.cluster.waiters) == 1
        await client.leave()
        await world.idle()
        if by == "sockets":
            # On streams that cannot be watched it is noticed when the wait is over.
            assert not world.cluster.waiters
        await holder.query("COMMIT")
        await nothing_is_left(world, holder)
        assert world.primary.dials == 1 + len(world.primary.cancels)


@pytest.mark.trio
@both_ways
async def test_half_a_message_before_a_lease(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(encode.query("INSERT INTO t VALUES (1)")[:-3])
        await world.idle()
        assert world.pool.busy == 0
        await client.leave()
        await nothing_is_left(world)
        assert "INSERT INTO t VALUES (1)" not in world.primary.texts()


@pytest.mark.trio
@both_ways
async def test_middle_of_a_large_message(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(encode.query("INSERT INTO t VALUES ('" + "x" * 200_000 + "')")[:100_000])
        await world.idle()
        await client.leave()
        await nothing_is_left(world)
        assert all(text in ("SELECT 1", "") for text in world.primary.texts())
        assert world.primary.dials == 2 + len(world.primary.cancels)  # the one in mid-message cannot be used again


@pytest.mark.trio
@both_ways
async def test_query_running(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(encode.query("SELECT pg_sleep(100)"))
        await world.idle()
        began = trio.current_time()
        await client.leave()
        await nothing_is_left(world)
        assert trio.current_time() == began
        assert len(world.primary.cancels) == 1


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("error", [[], ["SELECT 1/0"]], ids=["open", "failed"])
async def test_in_a_transaction(autojump_clock: MockClock, by: By, error: list[str]) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        for query in ["BEGIN", *error]:
            await client.query(query)
        await client.leave()
        await nothing_is_left(world)
        assert world.primary.texts() == ["BEGIN", *error, "ROLLBACK", "SELECT 1"]
        assert world.primary.dials == 1


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    "data",
    [
        parse("SELECT 1") + encode.FLUSH,
        extended("SELECT 1") + encode.FLUSH,
        extended("SELECT pg_sleep(100)") + encode.FLUSH,
    ],
    ids=["parsed", "executed", "executing"],
)
async def test_extended_without_sync(autojump_clock: MockClock, by: By, data: bytes) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(data)
        await world.idle()
        assert world.pool.busy == 1
        await client.leave()
        await nothing_is_left(world)
        assert world.pool.busy == 0


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("begin", "data"),
    [
        (encode.query("COPY t FROM STDIN"), b""),
        (encode.query("COPY t FROM STDIN"), encode.message(b"d", b"row\n") * 3),
        (encode.query("COPY t FROM STDIN"), encode.message(b"d", b"row\n")[:-2]),
        (extended("COPY t FROM STDIN") + encode.FLUSH, encode.message(b"d", b"row\n")),
        (extended("COPY t FROM STDIN") + encode.SYNC, encode.message(b"d", b"row\n")),
    ],
    ids=["at its beginning", "with data", "in the middle of data", "extended", "extended, with the Sync of libpq"],
)
async def test_during_copy_in(autojump_clock: MockClock, by: By, begin: bytes, data: bytes) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(begin)
        while (await client.message())[:1] != b"G":
            pass
        if data:
            await client.send(data)
        await world.idle()
        began = trio.current_time()
        await client.leave()
        await nothing_is_left(world)
        assert trio.current_time() == began
        assert world.primary.texts()[0] == "COPY t FROM STDIN"
        assert world.primary.errors in ([], ["COPY from stdin failed: the client is gone"])


@pytest.mark.trio
@both_ways
async def test_pipeline_not_answered_yet(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(encode.query("SELECT pg_sleep(100)"), *[extended("SELECT 1") + encode.SYNC] * 20)
        await world.idle()
        await client.leave()
        await nothing_is_left(world)
        assert world.primary.dials == 1 + len(world.primary.cancels)


@pytest.mark.trio
async def test_while_it_is_written_to(autojump_clock: MockClock) -> None:
    """The client has stopped reading a large result; the proxy is blocked in a send."""
    async with open_world(by="sockets") as world:
        client = await world.connect()
        await client.send(encode.query("SELECT generate_series(1, 100000)"))
        await world.idle()
        assert not client.session.outbox.empty
        await client.leave()
        await nothing_is_left(world)


@pytest.mark.trio
@both_ways
async def test_query_that_runs_before_half_a_message_is_cancelled_too(autojump_clock: MockClock, by: By) -> None:
    """The backend cannot be used again; but the server must not go on working for nobody."""
    async with open_world(by=by) as world:
        client = await world.connect()
        half = encode.query("INSERT INTO t VALUES ('" + "x" * 200_000 + "')")[:100_000]
        await client.send(encode.query("SELECT pg_sleep(100)"))
        await world.idle()
        await client.send(half)
        await world.idle()
        began = trio.current_time()
        await client.leave()
        await nothing_is_left(world)
        assert trio.current_time() == began
        assert world.primary.errors == ["canceling statement due to user request"]
        assert world.primary.connections == 1


@pytest.mark.trio
@both_ways
async def test_session_mode_discards_what_the_client_made(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(pool='pool_mode = "session"'), by=by) as world:
        client = await world.connect()
        await client.query("SELECT 1")
        assert world.pool.busy == 1
        await client.send(encode.TERMINATE)
        await client.rest()
        await nothing_is_left(world)
        assert world.primary.texts() == ["SELECT 1", "DISCARD ALL", "SELECT 1"]


@pytest.mark.trio
@both_ways
async def test_many_clients_leave_at_random_points(autojump_clock: MockClock, by: By) -> None:
    requests = (
        encode.query("SELECT 1"),
        encode.query("BEGIN"),
        encode.query("SELECT pg_sleep(100)"),
        parse("SELECT 1"),
        bind() + execute(),
        encode.query("COPY t FROM STDIN"),
        encode.query("SELECT 1")[:-2],
    )
    async with open_world(config_of(user="pool_size = 3"), by=by) as world:

        async def come_and_go(number: int) -> None:
            client = await world.connect()
            await client.send(*(requests[(number * step) % len(requests)] for step in range(1, number % 5 + 2)))
            await trio.sleep(number % 7 / 10)
            await client.leave()

        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(come_and_go, number)
        await trio.sleep(10)
        await nothing_is_left(world)
        assert world.primary.connections == len(world.pool.backends)

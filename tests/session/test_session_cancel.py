"""CancelRequests reach the query that they were meant for, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.transcript import READY, fields_of, rows, shape
from support.world import By, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])

SLEEP = "SELECT pg_sleep(100)"


@pytest.mark.trio
@both_ways
async def test_cancel_ends_the_running_query(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(encode.query(SLEEP))
        await world.idle()
        await client.cancel()
        assert shape(await client.reply()) == "E(error 57014) ZI"
        assert await client.query("SELECT 1") == rows("1") + READY
        assert world.primary.dials == 2


@pytest.mark.trio
@pytest.mark.parametrize(
    "by",
    ["memory", "sockets"],
)
async def test_cancel_connection_is_closed_at_once_after_that(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(encode.query(SLEEP))
        await world.idle()
        began = trio.current_time()
        await client.cancel()
        assert trio.current_time() == began


@pytest.mark.trio
@both_ways
async def test_cancel_connection_is_closed_only_when_the_server_has_taken_notice(
    autojump_clock: MockClock, by: By
) -> None:
    """PostgreSQL's clients rely on it: after that a later query is safe."""
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(encode.query(SLEEP))
        gate = world.primary.hold("cancel")
        closed = trio.Event()

        async def cancel() -> None:
            await client.cancel()
            closed.set()

        world.nursery.start_soon(cancel)
        await gate.reached.wait()
        await world.idle()
        assert not closed.is_set()
        gate.opened.set()
        await closed.wait()
        assert len(world.primary.cancels) == 1


@pytest.mark.trio
@both_ways
async def test_cancel_of_a_session_that_waits_for_a_backend(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        holder, client = await world.connect(), await world.connect()
        await holder.query("BEGIN")
        await client.send(encode.query("SELECT 1"), encode.query("SELECT 2"))
        await world.idle()
        await client.cancel()
        said = await client.reply(2)
        assert shape(said) == "E(error 57014) ZI E(error 57014) ZI"
        assert fields_of(said)["M"] == "canceling statement due to user request"
        assert world.primary.cancels == []
        assert not world.cluster.waiters
        await holder.query("COMMIT")
        assert await client.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
@both_ways
async def test_what_the_client_said_while_it_waited_is_taken_up_after_the_cancel(
    autojump_clock: MockClock, by: By
) -> None:
    async with open_world(config_of("connect_timeout = 5000"), by=by) as world:
        holder, client = await world.connect(), await world.connect()
        await holder.query("BEGIN")
        await client.send(encode.query("SELECT 1"))
        await world.idle()
        await client.send(encode.query("SELECT 2"))
        await world.idle()
        await client.cancel()
        assert shape(await client.reply()) == "E(error 57014) ZI"
        await world.idle()
        assert len(world.cluster.waiters) == 1
        await holder.query("COMMIT")
        assert await client.reply() == rows("2") + READY


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("begin", [[], ["BEGIN"]], ids=["parked", "idle in transaction"])
async def test_cancel_of_a_session_that_runs_nothing_does_nothing(
    autojump_clock: MockClock, by: By, begin: list[str]
) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        for query in begin:
            await client.query(query)
        await client.cancel()
        assert world.primary.cancels == []
        assert shape(await client.query("SELECT 1")) == "T D C ZT" if begin else "T D C ZI"


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("wrong", ["pid", "secret", "empty", "gone"])
async def test_cancel_with_a_wrong_key_does_nothing(autojump_clock: MockClock, by: By, wrong: str) -> None:
    async with open_world(by=by) as world:
        client, gone = await world.connect(), await world.connect()
        await gone.leave()
        await client.send(encode.query(SLEEP))
        await world.idle()
        pid, secret = client.key
        keys = {"pid": (pid ^ 1, secret), "secret": (pid, secret[::-1]), "empty": (0, b"\x00" * 4), "gone": gone.key}
        messenger = world.dial_in()
        await messenger.send(encode.cancel_request(*keys[wrong]))
        assert await messenger.rest() == b""
        assert world.primary.cancels == []


@pytest.mark.trio
@both_ways
async def test_late_cancel_does_not_hit_the_next_client(autojump_clock: MockClock, by: By) -> None:
    """The query has ended while the request was on its way: its backend serves nobody until the request has arrived."""
    async with open_world(config_of("connect_timeout = 5000"), by=by) as world:
        client, other = await world.connect(), await world.connect()
        answer = world.primary.hold("answer")
        await client.send(encode.query("SELECT 1"))
        await answer.reached.wait()
        arriving = world.primary.hold("cancel")
        world.nursery.start_soon(client.cancel)
        await arriving.reached.wait()
        answer.opened.set()
        assert await client.reply() == rows("1") + READY
        await other.send(encode.query("SELECT pg_sleep(1)"))
        await world.idle()
        assert "SELECT pg_sleep(1)" not in world.primary.texts()
        arriving.opened.set()
        assert shape(await other.reply()) == "C ZI"
        assert len(world.primary.cancels) == 1


@pytest.mark.trio
@both_ways
async def test_hundred_cancels_race_with_the_end_of_their_queries(autojump_clock: MockClock, by: By) -> None:
    """Whoever asked may get 57014; nobody else ever does."""
    async with open_world(config_of("connect_timeout = 60000", user="pool_size = 2"), by=by) as world:
        answers: list[str] = []

        async def canceller(number: int) -> None:
            client = await world.connect()
            for _ in range(25):
                async with trio.open_nursery() as cancelling:
                    await client.send(encode.query("SELECT pg_sleep(0.1)"))
                    cancelling.start_soon(client.cancel)
                    if number % 2:
                        await trio.sleep(0.1)
                    assert shape(await client.reply()) in ("C ZI", "E(error 57014) ZI")

        async def bystander() -> None:
            client = await world.connect()
            answers.extend([shape(await client.query("SELECT pg_sleep(0.01)")) for _ in range(50)])

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(canceller, number)
            nursery.start_soon(bystander)
            nursery.start_soon(bystander)
        assert answers == ["C ZI"] * 100


@pytest.mark.trio
@both_ways
async def test_cancel_while_the_client_has_just_gone(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        holder, client = await world.connect(), await world.connect()
        await holder.query("BEGIN")
        await client.send(encode.query("SELECT 1"))
        await world.idle()
        session = client.session
        await client.leave()
        session.cancel()
        await world.idle()
        assert session.ended == "client closed the connection" or "roken" in str(session.ended)
        await holder.query("COMMIT")
        assert world.counts() == (1, 1, 0)

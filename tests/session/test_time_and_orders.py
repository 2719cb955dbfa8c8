"""What comes from outside of a conversation: CancelRequests, timeouts, reloads, the end of the proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.world import (
    IN_TRANSACTION,
    READY,
    By,
    config_of,
    extended,
    fields_of,
    open_world,
    rows,
    shape,
)

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from support.world import World
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])

SLEEP = "SELECT pg_sleep(100)"


# -- CancelRequest -------------------------------------------------------------------------------------------------


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


# -- time ----------------------------------------------------------------------------------------------------------


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    "request_",
    [encode.query("BEGIN"), extended("SELECT 1") + encode.FLUSH, encode.query("COPY t FROM STDIN")],
    ids=["transaction", "no Sync", "COPY"],
)
async def test_idle_in_transaction_ends_the_session(autojump_clock: MockClock, by: By, request_: bytes) -> None:
    async with open_world(config_of("idle_client_in_transaction_timeout = 2000"), by=by) as world:
        client = await world.connect()
        began = trio.current_time()
        await client.send(request_)
        said = await client.rest()
        assert shape(said).endswith("E(fatal 25P03)")
        assert 2 <= trio.current_time() - began < 3
        await world.idle()
        assert world.counts() == (1, 1, 0)


@pytest.mark.trio
@both_ways
async def test_idle_in_transaction_counts_from_the_answer(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of("idle_client_in_transaction_timeout = 2000"), by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        await client.query("SELECT pg_sleep(30)")
        await trio.sleep(1.5)
        assert await client.query("COMMIT") == encode.command_complete("COMMIT") + READY


@pytest.mark.trio
@both_ways
async def test_copy_that_goes_on_is_not_idle(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of("idle_client_in_transaction_timeout = 2000"), by=by) as world:
        client = await world.connect()
        await client.send(encode.query("COPY t FROM STDIN"))
        for _ in range(10):
            await trio.sleep(1)
            await client.send(encode.message(b"d", b"row\n"))
        await client.send(encode.COPY_DONE)
        assert shape(await client.reply()) == "G C ZI"


@pytest.mark.trio
@both_ways
async def test_parked_sessions_may_be_idle_for_ever(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of("idle_client_in_transaction_timeout = 2000"), by=by) as world:
        client = await world.connect()
        await trio.sleep(100)
        assert await client.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
@both_ways
async def test_statement_timeout_cancels_the_statement_only(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(user="pool_size = 1\nstatement_timeout = 2000"), by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        await trio.sleep(30)
        for _ in range(2):
            began = trio.current_time()
            assert shape(await client.query(SLEEP)) == "E(error 57014) ZE"
            assert 2 <= trio.current_time() - began < 2.5
            assert shape(await client.query("ROLLBACK TO SAVEPOINT s")) == "C ZT"
        assert await client.query("SELECT pg_sleep(1.5)") == encode.command_complete("SELECT") + IN_TRANSACTION
        assert await client.query("ROLLBACK") == encode.command_complete("ROLLBACK") + READY


@pytest.mark.trio
@both_ways
async def test_statement_timeout_counts_from_the_request_in_session_mode(autojump_clock: MockClock, by: By) -> None:
    config = config_of(pool='pool_mode = "session"', user="pool_size = 1\nstatement_timeout = 2000")
    async with open_world(config, by=by) as world:
        client = await world.connect()
        await client.query("SELECT 1")
        await trio.sleep(30)
        assert shape(await client.query("SELECT pg_sleep(1.5)")) == "C ZI"
        assert shape(await client.query(SLEEP)) == "E(error 57014) ZI"


@pytest.mark.trio
@both_ways
async def test_statement_timeout_counts_from_the_lease(autojump_clock: MockClock, by: By) -> None:
    config = config_of("connect_timeout = 10000", user="pool_size = 1\nstatement_timeout = 2000")
    async with open_world(config, by=by) as world:
        holder, client = await world.connect(), await world.connect()
        await holder.query("BEGIN")
        await client.send(encode.query("SELECT pg_sleep(1)"))
        await trio.sleep(5)
        await holder.query("COMMIT")
        assert shape(await client.reply()) == "C ZI"


@pytest.mark.trio
@both_ways
async def test_wait_for_a_backend_is_bounded(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of("connect_timeout = 3000"), by=by) as world:
        holder, client = await world.connect(), await world.connect()
        await holder.query("BEGIN")
        began = trio.current_time()
        said = await client.query("SELECT 1")
        assert shape(said) == "E(error 53300) ZI"
        assert "became free within 3 s" in fields_of(said)["M"]
        assert 3 <= trio.current_time() - began < 3.5
        await holder.query("COMMIT")
        assert await client.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
async def test_client_that_does_not_read_is_cut_off(autojump_clock: MockClock) -> None:
    async with open_world(config_of("client_write_timeout = 5000"), by="sockets") as world:
        client = await world.connect()
        await client.send(encode.query("SELECT generate_series(1, 100000)"))
        await trio.sleep(4.5)
        assert client.session.ended is None
        await trio.sleep(1)
        assert "does not read" in str(client.session.ended)
        await world.idle()
        assert world.pool.busy == 0


@pytest.mark.trio
async def test_client_that_reads_slowly_is_not(autojump_clock: MockClock) -> None:
    async with open_world(config_of("client_write_timeout = 5000"), by="sockets") as world:
        client = await world.connect()
        await client.send(encode.query("SELECT generate_series(1, 100000)"))
        said = 0
        while said < 1_000_000:
            await trio.sleep(1)
            said += len(await client.stream.receive_some(65536))
        assert client.session.ended is None


@pytest.mark.trio
@both_ways
async def test_checkout_failure_limit_ends_the_session(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(pool="checkout_failure_limit = 2"), by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        world.primary.down = "Connection refused"
        world.primary.leave()
        await world.idle()
        assert shape(await client.query("COMMIT")) == "E(error 08006) ZI"
        assert shape(await client.query("SELECT 1")) == "E(error 08001) ZI"
        await client.send(encode.query("SELECT 1"))
        assert shape(await client.rest()) == "E(error 08001) ZI E(fatal 08001)"


# -- reload and shutdown -------------------------------------------------------------------------------------------


def reload(world: World) -> None:
    """What a reload does with a changed pool: the new cluster can be found before the old one is retired."""
    old = world.cluster
    world.build()
    old.retire()


@pytest.mark.trio
@both_ways
async def test_reload_lets_transactions_end_on_their_backend(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        old = world.pool
        reload(world)
        assert await client.query("SELECT pid") == rows("101") + IN_TRANSACTION
        await client.query("COMMIT")
        assert world.counts(old) == (0, 0, 0)
        assert await client.query("SELECT pid") == rows("102") + READY


@pytest.mark.trio
@both_ways
async def test_reload_moves_those_who_wait(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        holder, client = await world.connect(), await world.connect()
        await holder.query("BEGIN")
        await client.send(encode.query("SELECT pid"))
        await world.idle()
        reload(world)
        assert await client.reply() == rows("102") + READY
        assert await holder.query("COMMIT") == encode.command_complete("COMMIT") + READY


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("waits", [True, False])
async def test_pool_that_is_removed_ends_its_sessions(autojump_clock: MockClock, by: By, waits: bool) -> None:
    async with open_world(by=by) as world:
        holder, client = await world.connect(), await world.connect()
        await holder.query("BEGIN")
        if waits:
            await client.send(encode.query("SELECT 1"))
            await world.idle()
        cluster = world.clusters.pop(("app", "ann"))
        cluster.retire()
        if not waits:
            await client.send(encode.query("SELECT 1"))
        assert shape(await client.rest()) == "E(fatal 57P01)"
        assert await holder.query("COMMIT") == encode.command_complete("COMMIT") + READY
        assert shape(await holder.query("SELECT 1")) == "E(fatal 57P01)"


@pytest.mark.trio
@both_ways
async def test_drain_ends_parked_sessions_at_once_and_others_with_their_transaction(
    autojump_clock: MockClock, by: By
) -> None:
    async with open_world(by=by, config=config_of(user="pool_size = 2")) as world:
        parked, busy, asking = await world.connect(), await world.connect(), await world.connect()
        await busy.query("BEGIN")
        await asking.send(encode.query("SELECT pg_sleep(1)"))
        await world.idle()
        for client in (parked, busy, asking):
            client.session.drain()
        assert shape(await parked.rest()) == "E(fatal 57P01)"
        assert shape(await asking.rest()) == "C ZI E(fatal 57P01)"
        assert await busy.query("SELECT 1") == rows("1") + IN_TRANSACTION
        await busy.send(encode.query("COMMIT"))
        assert shape(await busy.rest()) == "C ZI E(fatal 57P01)"
        assert world.counts() == (2, 2, 0)


@pytest.mark.trio
@both_ways
async def test_drain_in_session_mode(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(pool='pool_mode = "session"', user="pool_size = 2"), by=by) as world:
        idle, busy = await world.connect(), await world.connect()
        await idle.query("SELECT 1")
        await busy.query("BEGIN")
        idle.session.drain()
        busy.session.drain()
        assert shape(await idle.rest()) == "E(fatal 57P01)"
        await busy.send(encode.query("COMMIT"))
        assert shape(await busy.rest()) == "C ZI E(fatal 57P01)"


@pytest.mark.trio
@both_ways
async def test_cut_in_the_middle_of_a_row_is_silent(autojump_clock: MockClock, by: By) -> None:
    """An administrator ends the session; an error would land in the middle of the row."""
    row = encode.data_row(["x" * 100])
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.send(encode.query(SLEEP))
        await world.idle()
        await next(iter(world.primary.backends.values())).send(row[:50])
        await world.idle()
        client.session.finish(client.session.ended or "an administrator says so")
        assert row[:50].startswith(await client.rest())


@pytest.mark.trio
@both_ways
async def test_session_that_is_cancelled_from_outside_tells_why(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        client.scope.cancel()
        assert shape(await client.rest()) == "E(fatal 57P01)"
        await world.idle()
        assert world.counts() == (1, 1, 0)

"""What happens at each point while the server is asked what a client has left, or channels are being handed over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import trio
from support.transcript import READY, extended, fields_of, rows, shape
from support.world import By, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from support.scripted_server import Gate
    from support.world import Client, World
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])
pytestmark = pytest.mark.trio

LOCK: Final = "SELECT pg_advisory_lock(1)"
UNLOCK: Final = "SELECT pg_advisory_unlock(1)"
SET: Final = "SET work_mem TO '8MB'"
FAREWELL: Final = "terminating connection due to administrator command"
LOCKED: Final = rows("pg_advisory_lock(1)") + READY
DONE: Final = encode.command_complete("SET") + READY


async def stopped_behind(world: World, client: Client, request: bytes) -> Gate:
    """The request is done, and the server is held up at what the proxy asks after it."""
    first = world.primary.hold("statement")
    await client.send(request)
    await first.reached.wait()
    second = world.primary.hold("statement")
    first.opened.set()
    await second.reached.wait()
    return second


def go_on(world: World, gate: Gate) -> None:
    del world.primary.gates["statement"]
    gate.opened.set()


async def at_rest(world: World) -> None:
    """One backend, idle, and nothing on it."""
    await world.idle()
    assert world.counts() == (1, 1, 0)
    assert all(backend.clean for backend in world.pool.backends)


# -- while the server is asked ---------------------------------------------------------------------------------------


@both_ways
async def test_the_client_hears_nothing_before_it_is_known(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        gate = await stopped_behind(world, client, encode.query(LOCK))
        with trio.move_on_after(1) as patience:
            await client.reply()
        assert patience.cancelled_caught
        go_on(world, gate)
        assert await client.reply() == LOCKED
        assert world.counts() == (1, 0, 0)
        await client.query(UNLOCK)
        await at_rest(world)


@both_ways
@pytest.mark.parametrize("sql", [LOCK, SET])
async def test_the_client_leaves(autojump_clock: MockClock, by: By, sql: str) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        gate = await stopped_behind(world, client, encode.query(sql))
        await client.leave()
        await world.idle()
        go_on(world, gate)
        other = await world.connect()
        assert await other.query("SELECT 1") == rows("1") + READY
        await at_rest(world)
        assert any(text.startswith(("DISCARD", "RESET", "SELECT pg_catalog.pg_adv")) for text in world.primary.texts())


@both_ways
@pytest.mark.parametrize("sql", [LOCK, SET])
async def test_the_client_says_goodbye(autojump_clock: MockClock, by: By, sql: str) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        gate = await stopped_behind(world, client, encode.query(sql))
        await client.send(encode.TERMINATE)
        await world.idle()
        go_on(world, gate)
        assert shape(await client.rest()) in ("T D C ZI", "C ZI")
        await at_rest(world)


@both_ways
async def test_a_cancel_request_does_not_reach_our_own_question(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        gate = await stopped_behind(world, client, encode.query(LOCK))
        await client.cancel()
        assert world.primary.cancels == []
        go_on(world, gate)
        assert await client.reply() == LOCKED


@both_ways
@pytest.mark.parametrize("behind", [encode.query("SELECT 1"), extended("SELECT 1") + encode.SYNC])
@pytest.mark.parametrize("sql", [LOCK, SET])
async def test_requests_behind_it_are_answered_in_order(
    autojump_clock: MockClock, by: By, behind: bytes, sql: str
) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        gate = await stopped_behind(world, client, encode.query(sql))
        await client.send(behind, encode.query("SELECT 2"))
        await world.idle()
        go_on(world, gate)
        assert await client.reply() == (LOCKED if sql == LOCK else DONE)
        assert shape(await client.reply()) in ("T D C ZI", "1 2 D C ZI")
        assert await client.reply() == rows("2") + READY
        await client.query(UNLOCK)
        await at_rest(world)


@both_ways
async def test_half_a_request_behind_it(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        gate = await stopped_behind(world, client, encode.query(SET))
        request = encode.query("SELECT 1")
        await client.send(request[:7])
        await world.idle()
        go_on(world, gate)
        assert await client.reply() == DONE
        await client.send(request[7:])
        assert await client.reply() == rows("1") + READY
        await at_rest(world)


@both_ways
@pytest.mark.parametrize("words", ["", FAREWELL])
async def test_the_server_goes_away(autojump_clock: MockClock, by: By, words: str) -> None:
    """What was done is told before the end: nobody knows what the session has left any more."""
    async with open_world(by=by) as world:
        client = await world.connect()
        await stopped_behind(world, client, encode.query(LOCK))
        [process] = world.primary.backends.values()
        await process.end(words)
        said = await client.rest()
        assert said.startswith(LOCKED)
        assert shape(said.removeprefix(LOCKED)) == f"E(fatal {'57P01' if words else '08006'})"
        await world.idle()
        assert world.counts() == (0, 0, 0)


@both_ways
async def test_the_proxy_shuts_down(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        gate = await stopped_behind(world, client, encode.query(LOCK))
        client.session.drain()
        await world.idle()
        go_on(world, gate)
        said = await client.rest()
        assert said.startswith(LOCKED)
        assert shape(said.removeprefix(LOCKED)) == "E(fatal 57P01)"
        await at_rest(world)


@both_ways
async def test_the_session_is_cut(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        gate = await stopped_behind(world, client, encode.query(LOCK))
        client.scope.cancel()
        said = await client.rest()
        assert said.startswith(LOCKED)
        assert shape(said.removeprefix(LOCKED)) == "E(fatal 57P01)"
        go_on(world, gate)
        await at_rest(world)


@both_ways
async def test_a_reload_does_not_take_the_backend_away(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        gate = await stopped_behind(world, client, encode.query(LOCK))
        old = world.cluster
        world.build()
        old.retire()
        go_on(world, gate)
        assert await client.reply() == LOCKED
        [pid] = world.primary.backends
        assert await client.query("SELECT pid") == rows(str(pid)) + READY
        await client.query(UNLOCK)
        await world.idle()
        assert world.primary.backends == {}
        assert await client.query("SELECT 1") == rows("1") + READY
        await at_rest(world)


@both_ways
async def test_our_own_question_is_not_the_clients_time(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(user="pool_size = 1\nstatement_timeout = 1000"), by=by) as world:
        client = await world.connect()
        gate = await stopped_behind(world, client, encode.query(LOCK))
        await trio.sleep(5)
        go_on(world, gate)
        assert await client.reply() == LOCKED
        assert world.primary.cancels == []


@both_ways
async def test_a_server_that_does_not_answer_it_is_not_waited_for(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(user="pool_size = 1\ntransaction_timeout = 1000"), by=by) as world:
        client = await world.connect()
        gate = await stopped_behind(world, client, encode.query(LOCK))
        said = await client.rest()
        assert said.startswith(LOCKED)
        assert shape(said.removeprefix(LOCKED)) == "E(fatal 25P04)"
        go_on(world, gate)
        await at_rest(world)


@both_ways
async def test_a_question_that_is_canceled_is_asked_again(autojump_clock: MockClock, by: By) -> None:
    """By the client's own statement_timeout, or by a cancel request that came late."""
    async with open_world(by=by) as world:
        client = await world.connect()
        gate = await stopped_behind(world, client, encode.query(SET))
        [process] = world.primary.backends.values()
        go_on(world, gate)
        process.refuse_next("57014", "canceling statement due to statement timeout")
        assert await client.reply() == DONE
        await at_rest(world)


# -- while channels are handed over ----------------------------------------------------------------------------------


async def stopped_at_hand_over(world: World, client: Client) -> Gate:
    """The client's backend listens, and the connection that listens for all is being opened."""
    gate = world.primary.hold("dial")
    await client.send(encode.query("LISTEN news"))
    await gate.reached.wait()
    await world.idle()
    return gate


@both_ways
@pytest.mark.parametrize("how", ["leaves", "goodbye"])
async def test_a_client_that_leaves_is_not_waited_for(autojump_clock: MockClock, by: By, how: str) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("SELECT 1")
        gate = await stopped_at_hand_over(world, client)
        if how == "leaves":
            await client.leave()
        else:
            await client.send(encode.TERMINATE)
        await world.idle()
        del world.primary.gates["dial"]
        gate.opened.set()
        await at_rest(world)
        assert not world.pool.switchboard.channels
        await trio.sleep(20)
        assert world.primary.connections == 1


@both_ways
@pytest.mark.parametrize("end", ["drain", "cut", "server"])
async def test_it_ends_with_the_answer_first(autojump_clock: MockClock, by: By, end: str) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("SELECT 1")
        gate = await stopped_at_hand_over(world, client)
        if end == "drain":
            client.session.drain()
        elif end == "cut":
            client.scope.cancel()
        else:
            [process] = world.primary.backends.values()
            await process.end(FAREWELL)
        assert shape(await client.rest()) == "C ZI E(fatal 57P01)"
        del world.primary.gates["dial"]
        gate.opened.set()
        await world.idle()
        assert world.pool.busy == 0
        assert not world.pool.switchboard.channels


@both_ways
async def test_requests_behind_it_are_answered_in_order_too(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("SELECT 1")
        gate = await stopped_at_hand_over(world, client)
        await client.send(encode.query("SELECT 1"), encode.query("SELECT 2"))
        await world.idle()
        del world.primary.gates["dial"]
        gate.opened.set()
        assert await client.reply() == encode.command_complete("LISTEN") + READY
        assert await client.reply() == rows("1") + READY
        assert await client.reply() == rows("2") + READY
        await at_rest(world)
        assert client.session.listens


@both_ways
async def test_where_nobody_can_listen_for_it_it_keeps_its_backend(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("SELECT 1")
        world.primary.down = "no room"
        assert shape(await client.query("LISTEN news")) == "C ZI"
        assert world.counts() == (1, 0, 0)
        assert await client.query("SELECT 1") == rows("1") + READY
        assert world.counts() == (1, 0, 0)
        assert shape(await client.query("UNLISTEN *")) == "C ZI"
        await at_rest(world)


@both_ways
async def test_where_nobody_can_listen_for_it_and_it_may_keep_none(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(pool='pinning = "deny"'), by=by) as world:
        client = await world.connect()
        await client.query("SELECT 1")
        world.primary.down = "no room"
        await client.send(encode.query("LISTEN news"))
        said = await client.rest()
        assert shape(said) in ("C ZI E(fatal 08006)", "E(fatal 08006)")
        await at_rest(world)


@both_ways
async def test_the_connection_that_listens_is_lost(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client, other = await world.connect(), await world.connect()
        await client.query("LISTEN news")
        await at_rest(world)
        [pid] = [pid for pid in world.primary.backends if pid == world.pool.switchboard.pid]
        await world.primary.backends[pid].end(FAREWELL)
        said = await client.rest()
        assert shape(said) == "E(fatal 08006)"
        assert FAREWELL in fields_of(said)["M"]
        assert shape(await other.query("LISTEN news")) == "C ZI"
        assert other.session.listens


@both_ways
async def test_a_pinned_session_whose_backend_is_lost_while_it_is_idle(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query(LOCK)
        await world.idle()
        [process] = world.primary.backends.values()
        await process.end(FAREWELL)
        assert shape(await client.rest()) == "E(fatal 57P01)"


# -- notifications ---------------------------------------------------------------------------------------------------

NEWS: Final = encode.message(b"A", (7).to_bytes(4) + encode.cstring("news") + encode.cstring("payload"))


async def notify(world: World) -> None:
    """What the connection that listens for all hears."""
    await world.primary.backends[world.pool.switchboard.pid].send(NEWS)
    await world.idle()


@both_ways
async def test_a_session_that_keeps_a_backend_is_notified_at_once(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("LISTEN news")
        await client.query(LOCK)
        for _ in range(2):
            with trio.fail_after(1):
                await notify(world)
                assert await client.message() == NEWS
        assert await client.query("SELECT 1") == rows("1") + READY


@both_ways
async def test_in_a_transaction_notifications_wait(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("LISTEN news")
        await client.query("BEGIN")
        await notify(world)
        assert shape(await client.query("SELECT 1")) == "T D C ZT"
        assert shape(await client.query("COMMIT")) == "C ZI"
        assert await client.message() == NEWS


async def test_whoever_does_not_read_is_sent_away(autojump_clock: MockClock) -> None:
    large = encode.message(b"A", (7).to_bytes(4) + encode.cstring("news") + encode.cstring("x" * 7999))
    async with open_world(by="sockets") as world:
        slow, other = await world.connect(), await world.connect()
        await slow.query("LISTEN news")
        await world.idle()
        process = world.primary.backends[world.pool.switchboard.pid]
        for _ in range(12):
            await process.send(large * 100)
            await world.idle()
        assert slow.session.ended is not None
        assert world.pool.switchboard.channels == {}
        assert await other.query("SELECT 1") == rows("1") + READY


@both_ways
async def test_who_listens_goes_on_listening_where_a_reload_puts_the_pool(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("LISTEN news")
        old = world.cluster
        world.build()
        old.retire()
        await trio.sleep(20)
        assert not old.pools[0].switchboard.channels
        await notify(world)
        assert await client.message() == NEWS


@both_ways
async def test_who_listens_knows_when_the_pool_is_gone(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("LISTEN news")
        world.cluster.retire()
        assert shape(await client.rest()) == "E(fatal 08006)"


@both_ways
async def test_the_connection_that_listens_goes_when_nobody_does(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("LISTEN news")
        await client.query("UNLISTEN *")
        await trio.sleep(5)
        assert world.primary.connections == 2
        await trio.sleep(20)
        assert world.primary.connections == 1
        await client.query("LISTEN news")
        await notify(world)
        assert await client.message() == NEWS

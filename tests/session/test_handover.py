"""Notifications while the one who listens changes: each is told once, in order, and none is missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.transcript import shape
from support.world import By, config_of, open_world

from pgcat_trio.wire import codes, encode, messages

if TYPE_CHECKING:
    from support.scripted_backend import ScriptedBackend
    from support.world import Client, World
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])
pytestmark = pytest.mark.trio


class Crier:
    """Notifies at every step that the server takes, until it is told to stop."""

    def __init__(self, world: World, channel: str = "news") -> None:
        self.cried: list[str] = []
        self._world = world
        self._channel = channel
        self._scope = trio.CancelScope()

    async def cry(self) -> None:
        self.cried.append(str(len(self.cried)))
        await self._world.primary.notify(7, self._channel, self.cried[-1])

    async def at_each_statement(self) -> None:
        """A notification before each statement is carried out."""
        gate = self._world.primary.hold("statement")
        with self._scope:
            while True:
                await gate.reached.wait()
                await self._world.idle()
                await self.cry()
                await self._world.idle()
                opened, gate = gate, self._world.primary.hold("statement")
                opened.opened.set()

    def stop(self) -> None:
        """Say no more, and hold up nobody."""
        self._scope.cancel()
        del self._world.primary.gates["statement"]


async def heard(client: Client, until: str) -> list[str]:
    """The payloads that the client is told, up to that one."""
    payloads: list[str] = []
    with trio.fail_after(10):
        while until not in payloads:
            message = await client.message()
            assert message, "the connection is over"
            if message[0] == codes.NOTIFICATION_RESPONSE:
                payloads.append(messages.notification(message[5:])[1].decode())
    return payloads


def told_with(reply: bytes) -> list[str]:
    """The payloads in an answer, which must stand before its ReadyForQuery."""
    payloads, position = [], 0
    while position < len(reply):
        end = position + 1 + int.from_bytes(reply[position + 1 : position + 5])
        if reply[position] == codes.NOTIFICATION_RESPONSE:
            payloads.append(messages.notification(reply[position + 5 : end])[1].decode())
        position = end
    assert reply.endswith(encode.ready_for_query())
    return payloads


@both_ways
@pytest.mark.parametrize("before", [[], ["LISTEN news"], ["LISTEN other"]], ids=["first", "again", "one more"])
async def test_channels_are_handed_over(autojump_clock: MockClock, by: By, before: list[str]) -> None:
    async with open_world(by=by) as world, trio.open_nursery() as nursery:
        client = await world.connect()
        for sql in before:
            await client.query(sql)
        await world.idle()
        crier = Crier(world)
        nursery.start_soon(crier.at_each_statement)
        await client.query("LISTEN news")
        await world.idle()
        crier.stop()
        assert client.session.listens
        await crier.cry()
        payloads = await heard(client, crier.cried[-1])
        assert payloads == crier.cried[-len(payloads) :]
        assert len(payloads) > 3


@both_ways
async def test_a_mark_that_is_canceled_is_set_again(autojump_clock: MockClock, by: By) -> None:
    async def cancel_once(process: ScriptedBackend) -> None:
        world.primary.scripts.clear()
        process.refuse_next("57014", "canceling statement due to user request")

    async with open_world(by=by) as world:
        client = await world.connect()
        world.primary.scripts["SET LOCAL synchronous_commit TO off"] = cancel_once
        assert shape(await client.query("LISTEN news")) == "C ZI"
        assert client.session.listens
        await world.idle()
        assert world.counts() == (1, 1, 0)
        await world.primary.notify(7, "news", "hello")
        assert await heard(client, "hello") == ["hello"]


@both_ways
async def test_the_connection_that_listens_is_lost_while_the_mark_is_set(autojump_clock: MockClock, by: By) -> None:
    async def lose_listener(process: ScriptedBackend) -> None:
        world.primary.scripts.clear()
        await world.primary.backends[world.pool.switchboard.pid].end("so long")
        await world.idle()

    async with open_world(by=by) as world:
        client = await world.connect()
        world.primary.scripts["SET LOCAL synchronous_commit TO off"] = lose_listener
        assert shape(await client.query("LISTEN news")) == "C ZI"
        assert client.session.listens
        await world.primary.notify(7, "news", "hello")
        assert await heard(client, "hello") == ["hello"]
        await world.idle()
        assert world.counts() == (1, 1, 0)


@both_ways
@pytest.mark.parametrize("pinning", ["allow", "deny"])
async def test_a_server_that_cannot_set_the_mark(autojump_clock: MockClock, by: By, pinning: str) -> None:
    async def refuse(process: ScriptedBackend) -> None:
        process.refuse_next("53400", "too many notifications in the NOTIFY queue")

    async with open_world(config_of(pool=f'pinning = "{pinning}"'), by=by) as world:
        client = await world.connect()
        world.primary.scripts["SET LOCAL synchronous_commit TO off"] = refuse
        await client.send(encode.query("LISTEN news"))
        if pinning == "deny":
            assert shape(await client.rest()).endswith("E(fatal 08006)")
            return
        assert shape(await client.reply()) == "C ZI"
        assert not client.session.listens
        await world.idle()
        assert world.counts() == (1, 0, 0)
        await world.primary.notify(7, "news", "hello")
        assert await heard(client, "hello") == ["hello"]
        assert not world.pool.switchboard.channels
        [process] = [each for each in world.primary.backends.values() if each.pid != world.pool.switchboard.pid]
        assert process.channels == {"news"}


@both_ways
@pytest.mark.parametrize("sql", ["UNLISTEN news", "UNLISTEN *", "DISCARD ALL"])
async def test_what_was_notified_before_unlisten_comes_with_its_answer(
    autojump_clock: MockClock, by: By, sql: str
) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("LISTEN news")
        await world.idle()
        world.primary.backends[world.pool.switchboard.pid].drowsy = True
        await world.primary.notify(7, "news", "just before")
        await world.idle()
        assert told_with(await client.query(sql)) == ["just before"]
        await world.primary.notify(7, "news", "after it")
        assert told_with(await client.query("SELECT 1")) == []
        await world.idle()
        assert world.counts() == (1, 1, 0)
        assert not world.pool.switchboard.channels


@both_ways
async def test_the_connection_that_listens_is_lost_while_a_channel_is_given_up(
    autojump_clock: MockClock, by: By
) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("LISTEN news")
        await world.idle()
        listener = world.primary.backends[world.pool.switchboard.pid]
        gate = world.primary.hold("statement")
        await client.send(encode.query("UNLISTEN *"))
        await gate.reached.wait()
        gate.opened.set()
        gate = world.primary.hold("statement")
        await gate.reached.wait()
        await listener.end("terminating connection due to administrator command")
        del world.primary.gates["statement"]
        gate.opened.set()
        assert shape(await client.reply()) == "C ZI"
        assert shape(await client.query("SELECT 1")) == "T D C ZI"


@both_ways
async def test_a_client_that_leaves_behind_unlisten_is_not_waited_for(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("LISTEN news")
        await world.idle()
        gate = world.primary.hold("answer")
        await client.send(encode.query("UNLISTEN news"), encode.TERMINATE)
        await world.idle()
        del world.primary.gates["answer"]
        gate.opened.set()
        assert shape(await client.rest()) == "C ZI"
        await world.idle()
        assert world.counts() == (1, 1, 0)
        assert not world.pool.switchboard.channels


@both_ways
async def test_reloads(autojump_clock: MockClock, by: By) -> None:
    """Two, the second of which comes while the channels are on their way because of the first."""
    async with open_world(by=by) as world, trio.open_nursery() as nursery:
        client = await world.connect()
        await client.query("LISTEN news")
        await world.idle()
        crier = Crier(world)
        nursery.start_soon(crier.at_each_statement)
        for _ in range(2):
            old = world.cluster
            world.build()
            old.retire()
            await world.idle()
        await trio.sleep(1)
        crier.stop()
        await trio.sleep(20)
        await crier.cry()
        assert await heard(client, crier.cried[-1]) == crier.cried
        assert client in world.clients
        assert client.session.listens
        assert world.pool.switchboard.channels

"""Reloads and the end of the proxy, as its sessions live through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.transcript import IN_TRANSACTION, READY, rows, shape
from support.world import By, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from support.world import World
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])

SLEEP = "SELECT pg_sleep(100)"


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

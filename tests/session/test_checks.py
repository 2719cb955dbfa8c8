"""A client's statement is prepared anew on a backend that lacks it: what may happen before its columns are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import trio
from support.transcript import READY, bind, execute, parse, rows, shape
from support.world import By, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.scripted_server import Gate
    from support.world import Client, World
    from trio.testing import MockClock

SYNC, FLUSH = encode.SYNC, encode.FLUSH
CONFIG: Final = config_of(pool="prepared_statements_cache_size = 1")
"""Each statement takes the place of the one before it."""

USE: Final = bind("a") + execute()
ROW: Final = "2 D C"

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])


@pytest.fixture
async def world(by: By, autojump_clock: MockClock) -> AsyncIterator[World]:
    async with open_world(CONFIG, by=by) as world:
        yield world


async def asking(world: World, request: bytes) -> tuple[Client, Gate]:
    """A client whose request waits for the server to say what columns its statement has."""
    client = await world.connect()
    await client.send(parse("SELECT 1", "a"), parse("SELECT 2", "b"), SYNC)
    assert shape(await client.reply()) == "1 1 ZI"
    gate = world.primary.hold("describe")
    await client.send(request)
    await gate.reached.wait()
    await world.idle()
    return client, gate


@pytest.mark.trio
@both_ways
async def test_what_follows_waits_for_the_answer(world: World) -> None:
    client, gate = await asking(world, USE + SYNC)
    await client.send(encode.query("SELECT 3"), USE, bind("b"), execute(), SYNC)
    await world.idle()
    assert world.primary.texts() == []
    gate.opened.set()
    assert shape(await client.reply(3)) == f"{ROW} ZI T D C ZI {ROW} {ROW} ZI"


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (USE + SYNC, "E(error 0A000) ZI"),
        (USE + USE + SYNC, "E(error 0A000) ZI"),
        (USE + SYNC + USE + SYNC, "E(error 0A000) ZI E(error 0A000) ZI"),
        (bind("b") + execute() + USE + SYNC + encode.query("SELECT 3"), f"{ROW} E(error 0A000) ZI T D C ZI"),
        (encode.query("BEGIN") + USE + SYNC + encode.query("ROLLBACK"), "C ZT E(error 0A000) ZE C ZI"),
    ],
)
async def test_other_columns(world: World, request_: bytes, answer: str) -> None:
    world.primary.columns["SELECT 1"] = [("column", 25)]
    client, gate = await asking(world, request_)
    world.primary.columns["SELECT 1"] = [("column", 25), ("more", 23)]
    gate.opened.set()
    assert shape(await client.reply(answer.count("Z"))) == answer
    assert "SELECT 1" not in world.primary.texts()
    world.primary.columns["SELECT 1"] = [("column", 25)]
    await client.send(USE, SYNC)
    assert shape(await client.reply()) == f"{ROW} ZI"


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (USE + SYNC, "E(error 08006) ZI"),
        (USE + SYNC + USE + SYNC, "E(error 08006) ZI E(error 08006) ZI"),
        (encode.query("SELECT 3") + USE + SYNC, "T D C ZI E(error 08006) ZI"),
        (bind("b") + execute() + USE + SYNC + encode.query("SELECT 3"), f"{ROW} E(error 08006) ZI E(error 08006) ZI"),
    ],
)
async def test_the_server_is_lost(world: World, request_: bytes, answer: str) -> None:
    client, gate = await asking(world, request_)
    gate.opened.set()
    world.primary.leave()
    assert shape(await client.reply(answer.count("Z"))) == answer
    assert await client.query("SELECT 4") == rows("4") + READY
    await client.send(USE, SYNC)
    assert shape(await client.reply()) == f"{ROW} ZI"


@pytest.mark.trio
@both_ways
async def test_the_server_is_lost_in_the_middle_of_a_request(world: World) -> None:
    client, gate = await asking(world, USE + FLUSH)
    gate.opened.set()
    world.primary.leave()
    assert shape(await client.message()) == "E(error 08006)"
    await client.send(USE, SYNC, USE, SYNC)
    assert shape(await client.reply(2)) == f"ZI {ROW} ZI"


@pytest.mark.trio
@both_ways
async def test_the_client_leaves(world: World) -> None:
    client, gate = await asking(world, USE + SYNC)
    await client.leave()
    await world.idle()
    gate.opened.set()
    other = await world.connect()
    assert await other.query("SELECT 3") == rows("3") + READY
    assert "SELECT 1" not in world.primary.texts()


@pytest.mark.trio
@both_ways
async def test_what_was_asked_for_before_a_goodbye_is_done(world: World) -> None:
    client, gate = await asking(world, USE + SYNC)
    await client.send(encode.TERMINATE)
    await world.idle()
    gate.opened.set()
    with trio.fail_after(60):
        assert shape(await client.rest()) == f"{ROW} ZI"


SPLITTING: Final = config_of(
    pool="query_parser_enabled = true\nquery_parser_read_write_splitting = true\ncatalog_refresh = 0\n"
    "prepared_statements_cache_size = 1",
    replicas=1,
)
READ = "SELECT 7"


@pytest.fixture
async def split(by: By, autojump_clock: MockClock) -> AsyncIterator[World]:
    async with open_world(SPLITTING, by=by) as world:
        yield world


async def reading(split: World, request: bytes) -> tuple[Client, Gate]:
    """The same of a read, on a replica."""
    replica = split.servers["replica1"]
    client = await split.connect()
    await client.send(parse(READ, "a"), parse("SELECT 2", "b"), SYNC)
    assert shape(await client.reply()) == "1 1 ZI"
    gate = replica.hold("describe")
    await client.send(request)
    await gate.reached.wait()
    await split.idle()
    return client, gate


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("request_", "answer"),
    [(USE + SYNC, f"{ROW} ZI"), (parse("SELECT 3") + USE + SYNC, f"1 {ROW} ZI"), ((USE + SYNC) * 2, f"{ROW} ZI " * 2)],
)
async def test_a_read_waits_on_a_replica(split: World, request_: bytes, answer: str) -> None:
    client, gate = await reading(split, request_)
    gate.opened.set()
    assert shape(await client.reply(answer.count("Z"))) == answer.strip()


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("request_", "answer"),
    [(USE + SYNC, f"{ROW} ZI"), (parse("SELECT 3") + USE + SYNC, f"1 {ROW} ZI"), ((USE + SYNC) * 2, f"{ROW} ZI " * 2)],
)
async def test_a_read_whose_replica_is_lost_is_run_elsewhere(split: World, request_: bytes, answer: str) -> None:
    client, gate = await reading(split, request_)
    split.servers["replica1"].down = "gone"
    gate.opened.set()
    split.servers["replica1"].leave()
    assert shape(await client.reply(answer.count("Z"))) == answer.strip()
    assert await client.query("SELECT 4") == rows("4") + READY


@pytest.mark.trio
@both_ways
async def test_other_columns_on_a_replica(split: World) -> None:
    """That is no reason to go to the primary."""
    split.servers["replica1"].columns[READ] = [("column", 25)]
    client, gate = await reading(split, USE + SYNC)
    split.servers["replica1"].columns[READ] = [("other", 25)]
    gate.opened.set()
    assert shape(await client.reply()) == "E(error 0A000) ZI"
    assert READ not in split.primary.texts()

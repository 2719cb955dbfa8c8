"""Sessions whose transactions are read-only or serializable unless they say otherwise: where those go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.transcript import extended, shape
from support.world import By, Client, World, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])

SPLITTING = "query_parser_enabled = true\nquery_parser_read_write_splitting = true\ncatalog_refresh = 0"
READ_ONLY = "default_transaction_read_only"
ISOLATION = "default_transaction_isolation"


def splitting() -> Any:
    return config_of(pool=SPLITTING, replicas=1)


async def place_of(world: World, client: Client, begin: str) -> str:
    """The server that has a transaction."""
    await client.query(begin)
    await client.query("SELECT 1 WHERE true")
    await client.query("COMMIT")
    [name] = [name for name, server in world.servers.items() if "SELECT 1 WHERE true" in server.texts()]
    world.servers[name].statements.clear()
    return name


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("settings", "begin", "name"),
    [
        ({}, "BEGIN", "primary"),
        ({READ_ONLY: "on"}, "BEGIN", "replica1"),
        ({READ_ONLY: "on"}, "START TRANSACTION ISOLATION LEVEL REPEATABLE READ", "replica1"),
        ({READ_ONLY: "on"}, "BEGIN READ WRITE", "primary"),
        ({READ_ONLY: "on"}, "BEGIN ISOLATION LEVEL SERIALIZABLE", "primary"),
        ({READ_ONLY: "off"}, "BEGIN", "primary"),
        ({ISOLATION: "serializable"}, "BEGIN READ ONLY", "primary"),
        ({ISOLATION: "serializable"}, "BEGIN READ ONLY ISOLATION LEVEL READ COMMITTED", "replica1"),
        ({ISOLATION: "serializable", READ_ONLY: "on"}, "BEGIN", "primary"),
    ],
)
async def test_transactions(autojump_clock: MockClock, by: By, settings: dict[str, str], begin: str, name: str) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect(**settings)
        assert await place_of(world, client, begin) == name


@pytest.mark.trio
@both_ways
async def test_settings_that_come_later_and_go_again(autojump_clock: MockClock, by: By) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        await client.query(f"SET {READ_ONLY} TO 'on'")
        assert await place_of(world, client, "BEGIN") == "replica1"
        await client.query(f"SET {READ_ONLY} TO 'off'")
        assert await place_of(world, client, "BEGIN") == "primary"


@pytest.mark.trio
@both_ways
async def test_statements_of_a_serializable_session(autojump_clock: MockClock, by: By) -> None:
    """A hot standby runs none of them."""
    async with open_world(splitting(), by=by) as world:
        client, other = await world.connect(**{ISOLATION: "serializable"}), await world.connect()
        await client.query("SELECT 1")
        await client.send(extended("SELECT 1"), encode.SYNC)
        assert shape(await client.reply()) == "1 2 D C ZI"
        assert world.servers["replica1"].texts() == []
        await other.query("SELECT 1")
        assert world.servers["replica1"].texts() == ["SELECT 1"]


@pytest.mark.trio
@both_ways
async def test_statements_of_a_read_only_session_are_looked_at(autojump_clock: MockClock, by: By) -> None:
    """What a read-only transaction may do on a primary, such as NOTIFY, a standby may refuse."""
    async with open_world(splitting(), by=by) as world:
        client = await world.connect(**{READ_ONLY: "on"})
        for text in ("SELECT 1", "NOTIFY a"):
            await client.query(text)
        assert world.servers["replica1"].texts()[-1] == "SELECT 1"
        assert world.primary.texts()[-1] == "NOTIFY a"

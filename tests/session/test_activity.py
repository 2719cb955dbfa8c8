"""Reads of what any client of the pool has just written go to the primary (``db_activity_based_routing``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.transcript import bind, execute, extended, parse
from support.world import World, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgcat_trio.config.model import Config

POOL = """
query_parser_enabled = true
query_parser_read_write_splitting = true
db_activity_based_routing = true
table_mutation_cache_ms_ttl = 1000
"""


def observed() -> Config:
    return config_of(pool=POOL, replicas=1, user="pool_size = 3")


def last(world: World, text: str) -> str:
    """The server that ran a statement last."""
    name, count = "", 0
    for each, server in world.servers.items():
        found = server.texts().count(text)
        if found > count:
            name, count = each, found
    return name


@pytest.mark.trio
async def test_the_first_reads_of_a_pool_go_to_the_primary(autojump_clock: MockClock) -> None:
    async with open_world(observed()) as world:
        client = await world.connect()
        await client.query("SELECT 1 FROM t")
        assert last(world, "SELECT 1 FROM t") == "primary"
        await trio.sleep(0.2)
        await client.query("SELECT 2 FROM t")
        assert last(world, "SELECT 2 FROM t") == "replica1"


@pytest.mark.trio
@pytest.mark.parametrize(
    "write",
    [
        encode.query("INSERT INTO t VALUES (1)"),
        encode.query("DELETE FROM T WHERE a = 1"),
        encode.query("UPDATE public.t SET a = 1"),
        encode.query("SELECT 1; INSERT INTO t VALUES (1)"),
        encode.query(f"INSERT INTO t VALUES ('{'x' * 100_000}')"),
        extended("INSERT INTO t VALUES (1)") + encode.SYNC,
        extended("SELECT 1") + extended("MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE") + encode.SYNC,
        parse("INSERT INTO t VALUES (1)", "w") + bind("w") + execute() + encode.SYNC,
    ],
)
async def test_what_others_have_written_is_read_from_the_primary(autojump_clock: MockClock, write: bytes) -> None:
    async with open_world(observed()) as world:
        writer, reader = await world.connect(), await world.connect()
        await reader.query("SELECT 0")
        await trio.sleep(0.2)
        world.nursery.start_soon(writer.send, write)
        await writer.reply()
        await reader.query("SELECT a FROM t JOIN u USING (a)")
        assert last(world, "SELECT a FROM t JOIN u USING (a)") == "primary"
        await reader.query("SELECT a FROM v")
        assert last(world, "SELECT a FROM v") == "replica1"
        await trio.sleep(1.1)
        await reader.query("SELECT b FROM t")
        assert last(world, "SELECT b FROM t") == "replica1"


@pytest.mark.trio
async def test_writes_count_from_their_commit(autojump_clock: MockClock) -> None:
    async with open_world(observed()) as world:
        writer, reader = await world.connect(), await world.connect()
        for sql in ("BEGIN", "INSERT INTO t VALUES (1)"):
            await writer.query(sql)
        await trio.sleep(5)
        await reader.query("SELECT a FROM t")
        assert last(world, "SELECT a FROM t") == "replica1"
        await writer.query("COMMIT")
        await reader.query("SELECT b FROM t")
        assert last(world, "SELECT b FROM t") == "primary"

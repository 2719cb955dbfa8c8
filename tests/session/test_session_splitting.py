"""Reads on the replicas, the rest on the primary, each client's statements in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.transcript import bind, execute, extended, parse, shape
from support.world import By, World, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])

SPLITTING = "query_parser_enabled = true\nquery_parser_read_write_splitting = true\ncatalog_refresh = 0"


def where(world: World, text: str) -> list[str]:
    """The servers that ran a statement."""
    return [name for name, server in world.servers.items() for each in server.texts() if each == text]


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
        assert [shape(await client.message()) for _ in range(3)] == ["1", "t", "T"]
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


@pytest.mark.trio
@both_ways
async def test_who_keeps_what_it_prepared_is_on_the_primary(autojump_clock: MockClock, by: By) -> None:
    """Without translation of names a client stays where it has prepared: it may want to write there."""
    pool = f"{SPLITTING}\nprepared_statements_cache_size = 0"
    async with open_world(config_of(pool=pool, replicas=1), by=by) as world:
        client = await world.connect()
        await client.send(parse("SELECT 1", "s"), encode.SYNC)
        assert shape(await client.reply()) == "1 ZI"
        await client.send(bind("s"), execute(), encode.SYNC, extended("INSERT INTO t VALUES (1)"), encode.SYNC)
        assert shape(await client.reply(2)) == "2 D C ZI 1 2 C ZI"
        assert where(world, "SELECT 1") == where(world, "INSERT INTO t VALUES (1)") == ["primary"]


@pytest.mark.trio
@both_ways
async def test_who_keeps_a_replica_is_answered_by_it(autojump_clock: MockClock, by: By) -> None:
    """A write does not wait for ever for a session that is pinned to go elsewhere."""
    async with open_world(config_of(pool=SPLITTING, replicas=1), by=by) as world:
        client = await world.connect()
        for sql in ("BEGIN READ ONLY", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "COMMIT"):
            await client.query(sql)
        assert client.session.backend is not None
        with trio.fail_after(5):
            await client.query("INSERT INTO t VALUES (1)")
        assert where(world, "INSERT INTO t VALUES (1)") == ["replica1"]

"""``lazy_begin``: what a client sees of a BEGIN that no server has heard of, which is nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from support.scripted_backend import Refusal
from support.transcript import READY, bind, execute, extended, fields_of, parse, rows, shape
from support.world import By, World, config_of, open_world

from pgcat_trio.wire import codes, encode

if TYPE_CHECKING:
    from support.scripted_backend import ScriptedBackend
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])

IN_TRANSACTION = encode.ready_for_query(codes.IN_TRANSACTION)
SPLITTING = "query_parser_enabled = true\nquery_parser_read_write_splitting = true\ncatalog_refresh = 0"


def lazy(general: str = "", pool: str = "", **more: Any) -> Any:
    return config_of(general, f"lazy_begin = true\n{pool}", **more)


def statements(world: World) -> list[str]:
    """What the servers have run, in order, but for what the proxy says of itself."""
    return [text for server in world.servers.values() for text in server.texts()]


@pytest.mark.trio
@both_ways
async def test_begin_goes_with_the_first_statement(autojump_clock: MockClock, by: By) -> None:
    async with open_world(lazy(), by=by) as world:
        client = await world.connect()
        assert await client.query("BEGIN") == encode.command_complete("BEGIN") + IN_TRANSACTION
        await world.idle()
        assert statements(world) == []
        assert world.pool.busy == 0
        assert await client.query("SELECT 1") == rows("1") + IN_TRANSACTION
        assert await client.query("SELECT 2") == rows("2") + IN_TRANSACTION
        assert await client.query("COMMIT") == encode.command_complete("COMMIT") + READY
        assert statements(world) == ["BEGIN", "SELECT 1", "SELECT 2", "COMMIT"]
        await world.idle()
        assert world.pool.busy == 0


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("begin", "tag"),
    [("begin;", "BEGIN"), ("START TRANSACTION", "START TRANSACTION"), ("BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN")],
)
@pytest.mark.parametrize(("end", "tag_of_end"), [("COMMIT", "COMMIT"), ("end", "COMMIT"), ("ABORT", "ROLLBACK")])
async def test_empty_transaction_needs_no_server(
    autojump_clock: MockClock, by: By, begin: str, tag: str, end: str, tag_of_end: str
) -> None:
    async with open_world(lazy(), by=by) as world:
        client = await world.connect()
        for _ in range(2):
            assert await client.query(begin) == encode.command_complete(tag) + IN_TRANSACTION
            assert await client.query(end) == encode.command_complete(tag_of_end) + READY
        assert statements(world) == []
        assert await client.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
@both_ways
async def test_transaction_that_waits_for_its_client_holds_no_server(autojump_clock: MockClock, by: By) -> None:
    async with open_world(lazy(), by=by) as world:  # one backend for both
        slow, quick = await world.connect(), await world.connect()
        await slow.query("BEGIN")
        await quick.query("BEGIN")
        assert shape(await quick.query("INSERT INTO t VALUES (1)")) == "C ZT"
        await slow.send(encode.query("SELECT 1"))
        await world.idle()
        await quick.query("COMMIT")
        assert shape(await slow.reply()) == "T D C ZT"


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (extended("SELECT 1") + encode.SYNC, "1 2 D C ZT"),
        (parse("SELECT 1", "mine") + bind("mine") + execute() + encode.SYNC, "1 2 D C ZT"),
        (extended("COMMIT") + encode.SYNC, "1 2 C ZI"),
        (encode.query("COMMIT AND CHAIN"), "C ZI"),  # the scripted server knows no chains
        (encode.query("BEGIN"), "C ZT"),
        (encode.query("SELECT 1; SELECT 2"), "T D C T D C ZT"),
        (encode.query("SELECT 1") + encode.query("COMMIT"), "T D C ZT C ZI"),
        (encode.query("SELECT 1/0"), "E(error 22012) ZE"),
        (encode.query("COPY t TO STDOUT"), "H d d d c C ZT"),
    ],
)
async def test_whatever_comes_first(autojump_clock: MockClock, by: By, request_: bytes, answer: str) -> None:
    async with open_world(lazy(), by=by) as world:
        client = await world.connect()
        await client.query("BEGIN READ WRITE")
        await client.send(request_)
        assert shape(await client.reply(answer.count("Z"))) == answer
        assert statements(world)[0] == "BEGIN READ WRITE"


@pytest.mark.trio
@both_ways
async def test_begin_that_is_not_alone_is_not_held_back(autojump_clock: MockClock, by: By) -> None:
    async with open_world(lazy(), by=by) as world:
        client = await world.connect()
        for request in ("BEGIN; SELECT 1", "BEGIN ISOLATION LEVEL WRONG"):
            await client.query(request)
            assert statements(world)
            await client.query("ROLLBACK")
            world.primary.statements.clear()
        await client.send(extended("BEGIN"), encode.SYNC)
        assert shape(await client.reply()) == "1 2 C ZT"
        assert statements(world) == ["BEGIN"]


@pytest.mark.trio
@both_ways
async def test_off_by_default(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        assert statements(world) == ["BEGIN"]


@pytest.mark.trio
@both_ways
async def test_settings_come_before_it(autojump_clock: MockClock, by: By) -> None:
    """They are not the transaction's: it may be rolled back."""
    async with open_world(lazy(), by=by) as world:
        client = await world.connect(application_name="mine")
        await client.query("BEGIN")
        await client.query("SELECT 1")
        assert [text for text in statements(world) if "application_name" in text or text == "BEGIN"][-1] == "BEGIN"
        await client.query("ROLLBACK")
        assert encode.data_row(["mine"]) in await client.query("SHOW application_name")


# -- where it goes -------------------------------------------------------------------------------------------------


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("settings", "begin", "first", "name"),
    [
        ({}, "BEGIN", "SELECT 1", "primary"),
        ({}, "BEGIN READ ONLY", "SELECT 1", "replica1"),
        ({}, "BEGIN", "SET TRANSACTION READ ONLY", "replica1"),
        ({}, "BEGIN READ ONLY", "SET TRANSACTION READ WRITE", "primary"),
        ({}, "BEGIN ISOLATION LEVEL SERIALIZABLE", "SET TRANSACTION READ ONLY", "primary"),
        ({}, "BEGIN READ ONLY", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "primary"),
        ({"default_transaction_read_only": "on"}, "BEGIN", "SELECT 1", "replica1"),
        ({"default_transaction_isolation": "serializable"}, "BEGIN", "SET TRANSACTION READ ONLY", "primary"),
    ],
)
async def test_server_of_a_transaction(
    autojump_clock: MockClock, by: By, settings: dict[str, str], begin: str, first: str, name: str
) -> None:
    async with open_world(lazy(pool=SPLITTING, replicas=1), by=by) as world:
        client = await world.connect(**settings)
        for text in (begin, first, "SELECT 7", "INSERT INTO t VALUES (1)"):
            await client.query(text)
        assert world.servers[name].texts()[-4:] == [begin, first, "SELECT 7", "INSERT INTO t VALUES (1)"]
        assert all("SELECT 7" not in server.texts() for other, server in world.servers.items() if other != name)


@pytest.mark.trio
@both_ways
async def test_error_in_a_read_only_transaction_is_the_clients(autojump_clock: MockClock, by: By) -> None:
    async def refuse(_: ScriptedBackend) -> None:
        raise Refusal("25006", "cannot execute INSERT in a read-only transaction")

    async with open_world(lazy(pool=SPLITTING, replicas=1), by=by) as world:
        client = await world.connect()
        world.servers["replica1"].scripts["SELECT 7"] = refuse
        await client.query("BEGIN READ ONLY")
        assert shape(await client.query("SELECT 7")) == "E(error 25006) ZE"
        assert shape(await client.query("ROLLBACK")) == "C ZI"


# -- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.trio
@both_ways
async def test_without_a_server_the_transaction_has_failed(autojump_clock: MockClock, by: By) -> None:
    async with open_world(lazy(), by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        world.primary.down = "Connection refused"
        world.primary.leave()
        await world.idle()
        said = await client.query("SELECT 1")
        assert shape(said) in ("E(error 08001) ZE", "E(error 08006) ZI")  # memory streams tell of a loss late
        if by == "sockets":
            world.primary.down = ""
            said = await client.query("SELECT 1")
            assert shape(said) == "E(error 25P02) ZE"
            assert await client.query("COMMIT") in (
                encode.command_complete("ROLLBACK") + READY,
                encode.command_complete("COMMIT") + READY,  # the scripted server's own
            )


@pytest.mark.trio
@both_ways
async def test_failed_before_any_server_and_ended(autojump_clock: MockClock, by: By) -> None:
    config = lazy(pool='pinning = "deny"')
    async with open_world(config, by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        assert shape(await client.query("CREATE TEMP TABLE t (n int)")) == "E(error 0A000) ZE"
        assert await client.query("COMMIT") == encode.command_complete("ROLLBACK") + READY
        assert statements(world) == []
        assert await client.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
@both_ways
async def test_cancel_while_the_first_statement_waits(autojump_clock: MockClock, by: By) -> None:
    async with open_world(lazy(), by=by) as world:
        client, other = await world.connect(), await world.connect()
        await other.query("BEGIN; SELECT 1")
        await client.query("BEGIN")
        await client.cancel()  # nothing runs
        await client.send(encode.query("SELECT 1"))
        await world.idle()
        await client.cancel()
        assert shape(await client.reply()) == "E(error 57014) ZE"
        assert shape(await client.query("ROLLBACK")) == "C ZI"


# -- time ----------------------------------------------------------------------------------------------------------


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("works", [False, True], ids=["nothing done", "something done"])
async def test_transaction_timeout_runs_from_the_begin(autojump_clock: MockClock, by: By, works: bool) -> None:
    async with open_world(lazy(general="transaction_timeout = 5000"), by=by) as world:
        client = await world.connect()
        began = trio.current_time()
        await client.query("BEGIN")
        await trio.sleep(3)
        if works:
            await client.query("SELECT 1")
        said = await client.rest()
        assert fields_of(said)["C"] == "25P04"
        assert 5 < trio.current_time() - began < 6


@pytest.mark.trio
@both_ways
async def test_idle_in_transaction(autojump_clock: MockClock, by: By) -> None:
    general = "idle_client_in_transaction_timeout = 5000\nclient_idle_timeout = 1000"
    async with open_world(lazy(general=general), by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        began = trio.current_time()
        assert fields_of(await client.rest())["C"] == "25P03"
        assert 5 < trio.current_time() - began < 6


@pytest.mark.trio
@both_ways
async def test_drain_waits_for_the_end_of_the_transaction(autojump_clock: MockClock, by: By) -> None:
    async with open_world(lazy(), by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        client.session.drain()
        await world.idle()
        assert client.session.ended is None
        await client.send(encode.query("COMMIT"))
        assert shape(await client.rest()) == "C ZI E(fatal 57P01)"


# -- commands ------------------------------------------------------------------------------------------------------


@pytest.mark.trio
@both_ways
async def test_commands_in_between_are_answered_in_the_transaction(autojump_clock: MockClock, by: By) -> None:
    async with open_world(lazy(), by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        assert shape(await client.query("SHOW SERVER ROLE")) == "T D C ZT"
        await client.send(encode.SYNC)
        assert shape(await client.reply()) == "ZT"
        assert shape(await client.query("SET SHARD TO '99'")) == "E(error 22023) ZE"
        assert await client.query("COMMIT") == encode.command_complete("ROLLBACK") + READY

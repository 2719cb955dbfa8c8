"""Reads that a replica cannot run, or dies of: the client sees what the primary or another replica answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import structlog
import trio
from support.scripted_backend import Refusal
from support.transcript import READY, bind, execute, extended, fields_of, parse, rows, shape
from support.world import By, Client, World, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.scripted_backend import ScriptedBackend
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])
with_and_without_names = pytest.mark.parametrize("cached", [500, 0], ids=["names", "no names"])

SPLITTING = "query_parser_enabled = true\nquery_parser_read_write_splitting = true\ncatalog_refresh = 0"
READ_ONLY = ("25006", "cannot execute INSERT in a read-only transaction")
READ = "SELECT pg_sleep(1)"
DESCRIBE = encode.message(b"D", b"S\0")


def splitting(replicas: int = 1, cached: int = 500, **more: str) -> Any:
    return config_of(pool=f"{SPLITTING}\nprepared_statements_cache_size = {cached}", replicas=replicas, **more)


def refusing(sqlstate: str, message: str) -> Callable[[ScriptedBackend], Awaitable[None]]:
    async def script(_: ScriptedBackend) -> None:
        raise Refusal(sqlstate, message)

    return script


def refuse(world: World, text: str, sqlstate: str = "25006", message: str = READ_ONLY[1]) -> None:
    """All replicas refuse a statement."""
    for name, server in world.servers.items():
        if name.startswith("replica"):
            server.scripts[text] = refusing(sqlstate, message)


def where(world: World, text: str) -> list[str]:
    """The servers that ran a statement, or tried to."""
    return [name for name, server in world.servers.items() for each in server.texts() if each == text]


def at_rest(world: World) -> bool:
    return all(pool.busy == 0 for pool in world.cluster.pools)


@pytest.mark.trio
@both_ways
@with_and_without_names
@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (encode.query("SELECT 7"), "T D C ZI"),
        (extended("SELECT 7") + encode.SYNC, "1 2 D C ZI"),
        (parse("SELECT 7") + bind() + encode.message(b"D", b"P\0") + execute() + encode.SYNC, "1 2 n D C ZI"),
        (encode.query("SELECT 7") + encode.query("SELECT 1"), "T D C ZI T D C ZI"),
        ((extended("SELECT 7") + encode.SYNC) * 3, " ".join(["1 2 D C ZI"] * 3)),
    ],
    ids=["simple", "extended", "described", "two requests", "three requests"],
)
async def test_what_a_standby_refuses_is_run_on_the_primary(
    autojump_clock: MockClock, by: By, cached: int, request_: bytes, answer: str
) -> None:
    async with open_world(splitting(cached=cached), by=by) as world:
        client = await world.connect()
        refuse(world, "SELECT 7")
        await client.send(request_)
        assert shape(await client.reply(answer.count("Z"))) == answer
        assert set(where(world, "SELECT 7")) == {"replica1", "primary"}
        await world.idle()
        assert at_rest(world)
        assert shape(await client.query("SELECT 2")) == "T D C ZI"


@pytest.mark.trio
@both_ways
async def test_named_statement_is_prepared_on_the_primary_too(autojump_clock: MockClock, by: By) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        refuse(world, "SELECT 7")
        await client.send(parse("SELECT 7", "mine"), encode.message(b"D", b"Smine\0"), encode.SYNC)
        assert shape(await client.reply()) == "1 t T ZI"
        await client.send(bind("mine"), execute(), encode.SYNC)
        assert shape(await client.reply()) == "2 D C ZI"
        await client.send(bind("mine"), execute(), encode.SYNC)
        assert shape(await client.reply()) == "2 D C ZI"
        assert where(world, "SELECT 7") == ["primary", "primary", "replica1"]


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("name", ["", "mine"])
async def test_statement_that_was_described_in_the_same_request(autojump_clock: MockClock, by: By, name: str) -> None:
    """Parse, Describe, Flush; then Bind, Execute, Sync: as asyncpg does."""
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        refuse(world, "SELECT 7")
        await client.send(parse("SELECT 7", name), encode.message(b"D", b"S" + encode.cstring(name)), encode.FLUSH)
        assert [shape(await client.message()) for _ in range(3)] == ["1", "t", "T"]
        await client.send(bind(name), execute(), encode.SYNC)
        assert shape(await client.reply()) == "2 D C ZI"
        assert where(world, "SELECT 7") == ["primary", "replica1"]


@pytest.mark.trio
@both_ways
async def test_fingerprint_is_remembered_as_a_write(autojump_clock: MockClock, by: By) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        refuse(world, "SELECT 7 + 1")
        assert shape(await client.query("SELECT 7 + 1")) == "T D C ZI"
        for other in ("SELECT 7 + 1", "SELECT 8 + 1"):
            await client.query(other)
        assert where(world, "SELECT 7 + 1") == ["primary", "primary", "replica1"]
        assert where(world, "SELECT 8 + 1") == ["primary"]
        assert where(world, "SELECT 1") == []
        assert world.cluster.router.healed == 1


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "55000"])
async def test_recovery_conflict_says_nothing_about_the_statement(
    autojump_clock: MockClock, by: By, sqlstate: str
) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        refuse(world, "SELECT 7", sqlstate, "canceling statement due to conflict with recovery")
        for _ in range(2):
            assert shape(await client.query("SELECT 7")) == "T D C ZI"
        assert where(world, "SELECT 7") == ["primary", "primary", "replica1", "replica1"]


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("sqlstate", ["22012", "42P01", "57014"])
async def test_errors_that_a_primary_gives_too_are_the_clients(
    autojump_clock: MockClock, by: By, sqlstate: str
) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        refuse(world, "SELECT 7", sqlstate, "no")
        assert shape(await client.query("SELECT 7")) == f"E(error {sqlstate}) ZI"
        assert where(world, "SELECT 7") == ["replica1"]


@pytest.mark.trio
@both_ways
async def test_error_inside_a_read_only_transaction_is_the_clients(autojump_clock: MockClock, by: By) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        refuse(world, "SELECT 7")
        await client.query("BEGIN READ ONLY")
        assert shape(await client.query("SELECT 7")) == "E(error 25006) ZE"
        await client.query("ROLLBACK")
        assert where(world, "SELECT 7") == ["replica1"]


@pytest.mark.trio
@both_ways
async def test_who_asks_for_a_replica_gets_what_it_says(autojump_clock: MockClock, by: By) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        hinted = "/* pgcat: role=replica */ SELECT 7"
        refuse(world, hinted)
        assert shape(await client.query(hinted)) == "E(error 25006) ZI"
        await client.query("SET SERVER ROLE TO 'replica'")
        refuse(world, "SELECT 7")
        assert shape(await client.query("SELECT 7")) == "E(error 25006) ZI"
        assert where(world, "SELECT 7") == ["replica1"]


@pytest.mark.trio
@both_ways
async def test_error_behind_rows_that_the_client_has_seen_is_the_clients(autojump_clock: MockClock, by: By) -> None:
    async def rows_then_refusal(backend: ScriptedBackend) -> None:
        await backend.send(rows("1"))
        await trio.sleep(1)
        raise Refusal(*READ_ONLY)

    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        world.servers["replica1"].scripts["SELECT 7"] = rows_then_refusal
        assert shape(await client.query("SELECT 7")) == "T D C E(error 25006) ZI"
        assert where(world, "SELECT 7") == ["replica1"]


@pytest.mark.trio
@both_ways
async def test_write_behind_a_healed_read_keeps_its_place(autojump_clock: MockClock, by: By) -> None:
    async def late(_: ScriptedBackend) -> None:
        await trio.sleep(1)
        raise Refusal(*READ_ONLY)

    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        world.servers["replica1"].scripts["SELECT 7"] = late
        await client.send(encode.query("SELECT 7"))
        await world.idle()
        await client.send(encode.query("INSERT INTO t VALUES (1)"))
        await world.idle()
        assert world.primary.texts() == []
        assert shape(await client.reply(2)) == "T D C ZI C ZI"
        assert world.primary.texts() == ["SELECT 7", "INSERT INTO t VALUES (1)"]


@pytest.mark.trio
@both_ways
async def test_one_event_a_second_tells_of_it_without_values(autojump_clock: MockClock, by: By) -> None:
    with structlog.testing.capture_logs() as events:
        async with open_world(splitting(), by=by) as world:
            client = await world.connect()
            refuse(world, "SELECT 'secret'", "40001", "conflict")
            for _ in range(3):
                await client.query("SELECT 'secret'")
            await trio.sleep(2)
            await client.query("SELECT 'secret'")
    healed = [event for event in events if event["event"] == "route.healed"]
    assert [event.get("repeated") for event in healed] == [None, 2]
    assert healed[0]["statement"] == "select ?"
    assert healed[0]["sqlstate"] == "40001"


# -- the primary is not to be had ----------------------------------------------------------------------------------


@pytest.mark.trio
async def test_without_a_primary_the_client_is_told_so(autojump_clock: MockClock) -> None:
    async with open_world(splitting(), by="sockets") as world:
        client = await world.connect()
        refuse(world, "SELECT 7")
        world.primary.down = "Connection refused"
        world.primary.leave()
        await world.idle()
        await client.send(encode.query("SELECT 7") * 2)
        assert shape(await client.reply(2)) == "E(error 08001) ZI E(error 08001) ZI"
        assert shape(await client.query("SELECT 1 + 1")) == "T D C ZI"


@pytest.mark.trio
@both_ways
async def test_cancel_while_it_waits_for_the_primary(autojump_clock: MockClock, by: By) -> None:
    async with open_world(splitting(), by=by) as world:
        client, other = await world.connect(), await world.connect()
        refuse(world, "SELECT 7")
        await other.query("BEGIN")
        await client.send(encode.query("SELECT 7"))
        await world.idle()
        await client.send(encode.query("INSERT INTO t VALUES (1)"))
        await world.idle()
        await client.cancel()
        assert shape(await client.reply()) == "E(error 57014) ZI"
        await other.query("COMMIT")
        assert shape(await client.reply()) == "C ZI"


@pytest.mark.trio
@both_ways
async def test_client_leaves_while_it_waits_for_the_primary(autojump_clock: MockClock, by: By) -> None:
    async with open_world(splitting(), by=by) as world:
        client, other = await world.connect(), await world.connect()
        refuse(world, "SELECT 7")
        await other.query("BEGIN")
        await client.send(encode.query("SELECT 7"))
        await world.idle()
        await client.leave()
        await world.idle()
        assert client.session.ended is not None
        await other.query("COMMIT")
        assert at_rest(world)


# -- replicas that die ---------------------------------------------------------------------------------------------


async def lost_while_reading(world: World, client: Client, request: bytes = encode.query(READ)) -> str:
    """The replica that reads, and has died of it."""
    await client.send(request)
    await world.idle()
    name = where(world, READ)[-1]
    world.servers[name].down = "Connection refused"
    world.servers[name].leave()
    return name


@pytest.mark.trio
@both_ways
@with_and_without_names
@pytest.mark.parametrize(
    ("request_", "answer"),
    [(encode.query(READ), "C ZI"), (extended(READ) + encode.SYNC, "1 2 C ZI"), (encode.query(READ) * 2, "C ZI C ZI")],
    ids=["simple", "extended", "two"],
)
async def test_read_goes_on_elsewhere(
    autojump_clock: MockClock, by: By, cached: int, request_: bytes, answer: str
) -> None:
    async with open_world(splitting(2, cached), by=by) as world:
        client = await world.connect()
        lost = await lost_while_reading(world, client, request_)
        assert shape(await client.reply(answer.count("Z"))) == answer
        other = ({"replica1", "replica2"} - {lost}).pop()
        assert set(where(world, READ)) == {lost, other}
        await world.idle()
        assert at_rest(world)


@pytest.mark.trio
@both_ways
async def test_without_another_replica_it_goes_on_on_the_primary(autojump_clock: MockClock, by: By) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        await lost_while_reading(world, client)
        assert shape(await client.reply()) == "C ZI"
        assert where(world, READ) == ["primary", "replica1"]


@pytest.mark.trio
@both_ways
async def test_server_that_says_goodbye_is_as_good_as_lost(autojump_clock: MockClock, by: By) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        await client.send(encode.query(READ))
        await world.idle()
        [process] = world.servers["replica1"].backends.values()
        await process.end("terminating connection due to conflict with recovery")
        assert shape(await client.reply()) == "C ZI"


@pytest.mark.trio
@both_ways
async def test_only_once(autojump_clock: MockClock, by: By) -> None:
    """What kills two servers is not tried on a third one."""
    async with open_world(splitting(2), by=by) as world:
        client = await world.connect()
        await lost_while_reading(world, client)
        await trio.sleep(0.1)
        for name in ("replica1", "replica2"):
            world.servers[name].leave()
        said = await client.reply()
        assert shape(said) == "E(error 08006) ZI"
        assert fields_of(said)["M"].startswith("lost the connection")
        assert sorted(where(world, READ)) == ["replica1", "replica2"]
        assert shape(await client.query("SELECT 1")) == "T D C ZI"


@pytest.mark.trio
@both_ways
async def test_loss_behind_rows_that_the_client_has_seen(autojump_clock: MockClock, by: By) -> None:
    async def rows_and_no_end(backend: ScriptedBackend) -> None:
        await backend.send(rows("1"))
        await trio.sleep(10)
        await backend.end()

    async with open_world(splitting(2), by=by) as world:
        client = await world.connect()
        for name in ("replica1", "replica2"):
            world.servers[name].scripts["SELECT 7"] = rows_and_no_end
        assert shape(await client.query("SELECT 7")) == "T D C E(error 08006) ZI"
        assert len(where(world, "SELECT 7")) == 1


@pytest.mark.trio
@both_ways
async def test_loss_of_the_primary_is_never_healed(autojump_clock: MockClock, by: By) -> None:
    async def slow(_: ScriptedBackend) -> None:
        await trio.sleep(10)

    async with open_world(splitting(2), by=by) as world:
        client = await world.connect()
        write = "INSERT INTO t VALUES (1)"
        world.primary.scripts[write] = slow
        await client.send(encode.query(write))
        await world.idle()
        world.primary.leave()
        assert shape(await client.reply()) == "E(error 08006) ZI"
        assert where(world, write) == ["primary"]


@pytest.mark.trio
@both_ways
async def test_loss_inside_a_transaction_is_the_clients(autojump_clock: MockClock, by: By) -> None:
    async with open_world(splitting(2), by=by) as world:
        client = await world.connect()
        await client.query("BEGIN READ ONLY")
        await lost_while_reading(world, client)
        assert shape(await client.reply()) == "E(error 08006) ZI"


@pytest.mark.trio
@both_ways
async def test_healed_read_answers_as_the_server_would(autojump_clock: MockClock, by: By) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        refuse(world, "SELECT 7")
        assert await client.query("SELECT 7") == rows("7") + READY

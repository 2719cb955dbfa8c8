"""``read_after_write``: where a session reads that has written, and what it costs those that have not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from support.scripted_backend import Refusal
from support.transcript import extended, fields_of, shape
from support.world import By, Client, World, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from support.scripted_backend import ScriptedBackend
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])

SPLITTING = """
    query_parser_enabled = true
    query_parser_read_write_splitting = true
    load_balancing_mode = "round_robin"
    catalog_refresh = 0
"""
ASKING = "SELECT pg_catalog.pg_current_wal_insert_lsn()"
WRITE = "INSERT INTO t VALUES (1)"


def following(how: str = "lsn", replicas: int = 2, more: str = "") -> Any:
    pool = f'{SPLITTING}\nread_after_write = "{how}"\n{more}'
    return config_of(pool=pool, replicas=replicas)


def write_to(world: World, position: str) -> None:
    """The primary's position from now on."""

    async def say(backend: ScriptedBackend) -> None:
        await backend.send(encode.row_description([("column", 25)]) + encode.data_row([position]))

    world.primary.scripts[ASKING] = say


def replayed(world: World, **positions: int | None) -> None:
    """What the replicas are known to have replayed."""
    for pool in world.cluster.pools:
        host = pool.server.address.partition(":")[0]
        if host in positions:
            pool.server.publish(attrs.evolve(pool.server.state, replay_lsn=positions[host]))


async def readers(world: World, client: Client, count: int = 4) -> set[str]:
    """The servers that answer reads of a client."""
    before = {name: len(server.texts()) for name, server in world.servers.items()}
    for _ in range(count):
        assert shape(await client.query("SELECT 1")) == "T D C ZI"
    return {name for name, server in world.servers.items() if "SELECT 1" in server.texts()[before[name] :]}


@pytest.mark.trio
@both_ways
async def test_reads_go_to_replicas_that_have_replayed_the_write(autojump_clock: MockClock, by: By) -> None:
    async with open_world(following(), by=by) as world:
        client, other = await world.connect(), await world.connect()
        write_to(world, "0/100")
        await client.query(WRITE)
        await world.idle()
        assert await readers(world, client) == {"primary"}  # nothing is known of the replicas
        replayed(world, replica1=0xFF, replica2=0x100)
        assert await readers(world, client) == {"replica2"}
        replayed(world, replica1=0x200, replica2=0x200)
        assert await readers(world, client) == {"replica1", "replica2"}
        assert await readers(world, other) == {"replica1", "replica2"}
        assert world.primary.texts().count(ASKING) == 1


@pytest.mark.trio
@both_ways
async def test_who_does_not_write_does_not_ask(autojump_clock: MockClock, by: By) -> None:
    async with open_world(following(), by=by) as world:
        client = await world.connect()
        await client.query("SELECT 1")
        await client.query("BEGIN READ ONLY")
        await client.query("SELECT 1")
        await client.query("COMMIT")
        await world.idle()
        assert all(ASKING not in server.texts() for server in world.servers.values())


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    "requests",
    [
        [encode.query(WRITE)],
        [extended(WRITE) + encode.SYNC],
        [encode.query(text) for text in ("BEGIN", WRITE, "SELECT 1", "COMMIT")],
        [encode.query("SELECT 1/0 FOR UPDATE")],
    ],
    ids=["simple", "extended", "transaction", "error"],
)
async def test_whole_transaction_is_asked_about_once(autojump_clock: MockClock, by: By, requests: list[bytes]) -> None:
    async with open_world(following(), by=by) as world:
        client = await world.connect()
        write_to(world, "0/100")
        for request in requests:
            await client.send(request)
            await client.reply()
            await world.idle()
        assert world.primary.texts()[-1] == ASKING
        assert world.primary.texts().count(ASKING) == 1
        assert world.cluster.pools[0].busy == 0


@pytest.mark.trio
@both_ways
async def test_client_does_not_wait_for_the_answer(autojump_clock: MockClock, by: By) -> None:
    """Its next request goes to the same server, behind the question."""

    async def late(backend: ScriptedBackend) -> None:
        await trio.sleep(10)
        await backend.send(encode.row_description([("column", 25)]) + encode.data_row(["0/100"]))

    async with open_world(following(), by=by) as world:
        client = await world.connect()
        world.primary.scripts[ASKING] = late
        began = trio.current_time()
        await client.query(WRITE)
        assert trio.current_time() == began
        assert shape(await client.query("SELECT 1")) == "T D C ZI"
        assert trio.current_time() == began + 10
        assert world.primary.texts()[-2:] == [ASKING, "SELECT 1"]


@pytest.mark.trio
@both_ways
async def test_two_writes_are_both_followed(autojump_clock: MockClock, by: By) -> None:
    async with open_world(following(), by=by) as world:
        client = await world.connect()
        for position in ("0/100", "0/200"):
            write_to(world, position)
            await client.query(WRITE)
            await world.idle()
        replayed(world, replica1=0x100, replica2=0x1FF)
        assert await readers(world, client) == {"primary"}


@pytest.mark.trio
@both_ways
async def test_question_without_an_answer_leaves_reads_on_the_primary(autojump_clock: MockClock, by: By) -> None:
    async def refuse(_: ScriptedBackend) -> None:
        raise Refusal("57014", "canceling statement due to statement timeout")

    async with open_world(following(), by=by) as world:
        client = await world.connect()
        replayed(world, replica1=0x1000, replica2=0x1000)
        world.primary.scripts[ASKING] = refuse
        assert shape(await client.query(WRITE)) == "C ZI"
        await world.idle()
        said = await client.query("SHOW pgcat.lsn")
        assert shape(said) == "E(error 55000) ZI"
        assert await readers(world, client) == {"primary"}
        write_to(world, "0/100")
        assert await readers(world, client, 1) == {"primary"}
        await world.idle()
        assert await readers(world, client) == {"replica1", "replica2"}


@pytest.mark.trio
@both_ways
async def test_request_behind_a_question_without_an_answer_is_followed_by_another(
    autojump_clock: MockClock, by: By
) -> None:
    async def refuse_late(_: ScriptedBackend) -> None:
        await trio.sleep(1)
        write_to(world, "0/100")
        raise Refusal("57014", "canceling statement due to statement timeout")

    async with open_world(following(), by=by) as world:
        client = await world.connect()
        replayed(world, replica1=0x1000, replica2=0x1000)
        world.primary.scripts[ASKING] = refuse_late
        assert shape(await client.query(WRITE)) == "C ZI"
        assert await readers(world, client, 1) == {"primary"}
        await world.idle()
        assert world.primary.texts() == [WRITE, ASKING, "SELECT 1", ASKING]
        assert await readers(world, client) == {"replica1", "replica2"}


@pytest.mark.trio
@both_ways
async def test_loss_of_the_server_that_is_asked_is_no_loss_of_the_write(autojump_clock: MockClock, by: By) -> None:
    async def die(backend: ScriptedBackend) -> None:
        write_to(world, "0/2000")
        await backend.end()

    async with open_world(following(), by=by) as world:
        client = await world.connect()
        replayed(world, replica1=0x1000, replica2=0x1000)
        world.primary.scripts[ASKING] = die
        assert shape(await client.query(WRITE)) == "C ZI"
        await world.idle()
        assert await readers(world, client) == {"primary"}


@pytest.mark.trio
@both_ways
async def test_what_a_healed_read_has_written_is_followed(autojump_clock: MockClock, by: By) -> None:
    async def refuse(_: ScriptedBackend) -> None:
        raise Refusal("25006", "cannot execute INSERT in a read-only transaction")

    async with open_world(following(replicas=1), by=by) as world:
        client = await world.connect()
        write_to(world, "0/100")
        world.servers["replica1"].scripts["SELECT 7 + 7"] = refuse
        assert shape(await client.query("SELECT 7 + 7")) == "T D C ZI"
        await world.idle()
        assert await readers(world, client) == {"primary"}


@pytest.mark.trio
@both_ways
async def test_for_a_while_after_a_write(autojump_clock: MockClock, by: By) -> None:
    async with open_world(following("session", more="read_after_write_window = 3000"), by=by) as world:
        client, other = await world.connect(), await world.connect()
        await client.query(WRITE)
        assert await readers(world, client) == {"primary"}
        assert await readers(world, other) == {"replica1", "replica2"}
        await trio.sleep(2.9)
        assert await readers(world, client) == {"primary"}
        await trio.sleep(0.2)
        assert await readers(world, client) == {"replica1", "replica2"}
        assert ASKING not in world.primary.texts()


@pytest.mark.trio
@both_ways
async def test_until_the_session_ends(autojump_clock: MockClock, by: By) -> None:
    async with open_world(following("session", more="read_after_write_window = 0"), by=by) as world:
        client = await world.connect()
        await client.query(WRITE)
        await trio.sleep(100)
        assert await readers(world, client) == {"primary"}


@pytest.mark.trio
@both_ways
async def test_position_is_handed_over(autojump_clock: MockClock, by: By) -> None:
    async with open_world(following(), by=by) as world:
        client, other = await world.connect(), await world.connect()
        write_to(world, "1/ABCDEF")
        replayed(world, replica1=0, replica2=0)
        assert encode.data_row([""]) in await client.query("SHOW pgcat.lsn")
        await client.query(WRITE)
        said = await client.query("SHOW pgcat.lsn")
        assert shape(said) == "T D C ZI"
        assert encode.data_row(["1/ABCDEF"]) in said
        await other.send(extended("SET pgcat.lsn = '1/ABCDEF'"), encode.SYNC)
        assert shape(await other.reply()) == "1 2 C ZI"
        assert await readers(world, other) == {"primary"}
        replayed(world, replica1=0x1_00AB_CDEF, replica2=0)
        assert await readers(world, other) == {"replica1"}
        await other.query("SET pgcat.lsn TO DEFAULT")
        assert await readers(world, other) == {"replica1", "replica2"}


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("how", ["off", "session"])
async def test_without_positions_there_is_none_to_show(autojump_clock: MockClock, by: By, how: str) -> None:
    async with open_world(following(how), by=by) as world:
        client = await world.connect()
        for command in ("SHOW pgcat.lsn", "SET pgcat.lsn = '0/1'"):
            said = await client.query(command)
            assert shape(said) == "E(error 0A000) ZI"
            assert 'read_after_write = "lsn"' in fields_of(said)["H"]


@pytest.mark.trio
@both_ways
async def test_pinned_session_is_asked_about_when_it_is_not_any_more(autojump_clock: MockClock, by: By) -> None:
    async with open_world(following(), by=by) as world:
        client = await world.connect()
        write_to(world, "0/100")
        await client.query("SELECT pg_advisory_lock(1)")
        await client.query(WRITE)
        await world.idle()
        assert ASKING not in world.primary.texts()
        await client.query("SELECT pg_advisory_unlock(1)")
        await world.idle()
        assert world.primary.texts().count(ASKING) == 1
        replayed(world, replica1=0xFF, replica2=0xFF)
        assert await readers(world, client) == {"primary"}

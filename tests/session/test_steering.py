"""A client's commands for the proxy: what it is answered, in its place, and where its statements go from then on."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio
import trio.lowlevel
from support.transcript import FAILED, IN_TRANSACTION, READY, bind, execute, extended, fields_of, parse, shape
from support.world import By, Client, World, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgcat_trio.config.model import Config

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])
both_protocols = pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])

SPLITTING = "query_parser_enabled = true\nquery_parser_read_write_splitting = true\ncatalog_refresh = 0"
DESCRIBE = encode.message(b"D", b"S\0")
DESCRIBE_PORTAL = encode.message(b"D", b"P\0")


def splitting(more: str = "", user: str = "pool_size = 1") -> Config:
    return config_of(pool=f"{SPLITTING}\n{more}", replicas=1, user=user)


def where(world: World, text: str) -> list[str]:
    """The servers that ran a statement."""
    return [name for name, server in world.servers.items() for each in server.texts() if each == text]


def request(sql: str, protocol: str, name: str = "s") -> bytes:
    if protocol == "simple":
        return encode.query(sql)
    if protocol == "extended":
        return parse(sql) + bind() + DESCRIBE_PORTAL + execute() + encode.SYNC
    return parse(sql, name) + encode.SYNC + bind(name) + DESCRIBE_PORTAL + execute() + encode.SYNC


def shown(column: str, value: str, protocol: str) -> bytes:
    """What a client is told that asks by `request`."""
    row = encode.row_description([(column, 25)]) + encode.data_row([value]) + encode.command_complete("SELECT 1")
    before = {"simple": b"", "extended": b"1\0\0\0\4" + b"2\0\0\0\4", "prepared": b"1\0\0\0\4" + READY + b"2\0\0\0\4"}
    return before[protocol] + row + READY


@pytest.mark.trio
@both_ways
@both_protocols
async def test_answers_are_pgcats_and_no_server_is_asked(autojump_clock: MockClock, by: By, protocol: str) -> None:
    count = 2 if protocol == "prepared" else 1
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        dials = [server.dials for server in world.servers.values()]
        for number, (sql, tag) in enumerate(
            [
                ("SET SHARDING KEY TO '13'", "SET SHARDING KEY"),
                ("SET SHARD TO 0", "SET SHARD"),
                ("set server role to 'replica'", "SET SERVER ROLE"),
                ("SET PRIMARY READS TO 'OFF'", "SET PRIMARY READS"),
            ]
        ):
            await client.send(request(sql, protocol, f"s{number}"))
            said = await client.reply(count)
            assert said.endswith(encode.command_complete(tag) + READY)
            assert shape(said) == {"simple": "C ZI", "extended": "1 2 n C ZI", "prepared": "1 ZI 2 n C ZI"}[protocol]
        for sql, column, value in [
            ("SHOW SHARD", "shard", "0"),
            ("SHOW SERVER ROLE;", "server role", "replica"),
            (" show primary reads", "primary reads", "off"),
        ]:
            await client.send(request(sql, protocol, sql))
            assert await client.reply(count) == shown(column, value, protocol)
        assert [server.dials for server in world.servers.values()] == dials


@pytest.mark.trio
@both_ways
@both_protocols
async def test_role_decides_where_statements_go(autojump_clock: MockClock, by: By, protocol: str) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        expected = {
            "primary": ("primary", "primary"),
            "replica": ("replica1", "replica1"),
            "auto": ("replica1", "primary"),
            "default": ("replica1", "primary"),
        }
        for number, (role, servers) in enumerate(expected.items()):
            await client.send(request(f"SET SERVER ROLE TO '{role}'", protocol, role))
            await client.reply(2 if protocol == "prepared" else 1)
            for sql, server in zip(("SELECT 1", "SELECT nextval('s')"), servers, strict=True):
                text = f"{sql} /* {number} */"
                await client.send(request(text, protocol, text))
                await client.reply(2 if protocol == "prepared" else 1)
                assert where(world, text) == [server]


@pytest.mark.trio
async def test_roles_of_a_pool_that_does_not_split(autojump_clock: MockClock) -> None:
    async with open_world(config_of(pool='default_role = "primary"', replicas=1)) as world:
        client = await world.connect()
        for role, shown_role, server in [
            ("replica", "replica", "replica1"),
            ("default", "primary", "primary"),
            ("auto", "auto", "replica1"),
            ("primary", "primary", "primary"),
        ]:
            await client.query(f"SET SERVER ROLE TO '{role}'")
            assert await client.query("SHOW SERVER ROLE") == shown("server role", shown_role, "simple")
            await client.query(f"SELECT '{role}'")
            assert where(world, f"SELECT '{role}'") == [server]


@pytest.mark.trio
async def test_primary_reads(autojump_clock: MockClock) -> None:
    async with open_world(splitting(more='load_balancing_mode = "round_robin"')) as world:
        client = await world.connect()
        for value, servers in [("on", {"primary", "replica1"}), ("off", {"replica1"}), ("default", {"replica1"})]:
            await client.query(f"SET PRIMARY READS TO {value}")
            for number in range(4):
                await client.query(f"SELECT '{value}', {number}")
            assert {server for n in range(4) for server in where(world, f"SELECT '{value}', {n}")} == servers


@pytest.mark.trio
async def test_what_one_client_says_means_nothing_to_another(autojump_clock: MockClock) -> None:
    async with open_world(splitting()) as world:
        one, other = await world.connect(), await world.connect()
        await one.query("SET SERVER ROLE TO 'primary'")
        await one.query("SET PRIMARY READS TO 'on'")
        assert await other.query("SHOW SERVER ROLE") == shown("server role", "auto", "simple")
        assert await other.query("SHOW PRIMARY READS") == shown("primary reads", "off", "simple")
        assert await other.query("SHOW SHARD") == shown("shard", "unset", "simple")


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("sql", "sqlstate", "message"),
    [
        ("SET SHARD TO 1", "22023", "shard 1 is not configured, staying on shard unset"),
        ("SET SHARD TO -1", "22023", "shard -1 is not configured, staying on shard unset"),
        ("SET SHARDING KEY TO 9223372036854775808", "22023", "invalid value for SET SHARDING KEY"),
        ("SET SERVER ROLE TO 'x'", "22023", "invalid value for SET SERVER ROLE: 'x'"),
        ("SHOW SHARD; SELECT 1", "0A000", "a command of the proxy's must be the only statement of a query"),
        ("SELECT 1; SHOW SHARD", "0A000", "a command of the proxy's must be the only statement of a query"),
    ],
)
async def test_wrong_commands_are_errors_and_the_session_goes_on(
    autojump_clock: MockClock, by: By, sql: str, sqlstate: str, message: str
) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        said = await client.query(sql)
        assert shape(said) == f"E(error {sqlstate}) ZI"
        assert fields_of(said)["M"].startswith(message)
        assert fields_of(said)["H"]
        await client.send(extended(sql), encode.SYNC, extended("SELECT 1"), encode.SYNC)
        refused = f"E(error {sqlstate}) ZI"
        at_execution = "SHARD TO" in sql
        assert shape(await client.reply(2)) == f"{'1 2 ' if at_execution else ''}{refused} 1 2 D C ZI"
        await client.send(parse(sql) + encode.FLUSH)
        await world.idle()
        await client.send(bind() + execute() + extended("INSERT INTO t VALUES (1)") + encode.SYNC)
        assert shape(await client.reply()) == f"{'1 2 ' if at_execution else ''}{refused}"
        assert where(world, "INSERT INTO t VALUES (1)") == []
        assert shape(await client.query("SELECT 1")) == "T D C ZI"


# -- order ---------------------------------------------------------------------------------------------------------


@pytest.mark.trio
@both_ways
async def test_pipelined_commands_keep_their_places(autojump_clock: MockClock, by: By) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        requests = [
            encode.query("SELECT pg_sleep(1)"),
            encode.query("SHOW SERVER ROLE"),
            encode.query("SET SERVER ROLE TO 'primary'"),
            encode.query("SELECT 1"),
            extended("SHOW SERVER ROLE") + encode.SYNC,
            extended("SELECT 2") + encode.SYNC,
            encode.query("SET SERVER ROLE TO 'replica'"),
            encode.query("SELECT 3"),
        ]
        await client.send(*requests)
        assert shape(await client.reply(8)) == "C ZI T D C ZI C ZI T D C ZI 1 2 D C ZI 1 2 D C ZI C ZI T D C ZI"
        assert [where(world, f"SELECT {n}") for n in (1, 2, 3)] == [["primary"], ["primary"], ["replica1"]]


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_one_pipeline_of_both(autojump_clock: MockClock, by: By, size: int) -> None:
    """Without a Sync between: a command at the beginning holds for what follows it."""
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        unit = extended("SET SERVER ROLE TO 'replica'") + extended("SELECT 1") + extended("SHOW SERVER ROLE")
        data = unit + extended("SELECT 2") + encode.SYNC + encode.query("SELECT 3")
        for at in range(0, len(data), size):
            await client.send(data[at : at + size])
        assert shape(await client.reply(2)) == "1 2 C 1 2 D C 1 2 D C 1 2 D C ZI T D C ZI"
        assert [where(world, f"SELECT {n}") for n in (1, 2, 3)] == [["replica1"]] * 3


@pytest.mark.trio
@both_ways
async def test_command_behind_an_error_of_its_pipeline_is_not_carried_out(autojump_clock: MockClock, by: By) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        unit = extended("SELECT 1/0") + extended("SET PRIMARY READS TO on") + extended("SELECT 1")
        await client.send(unit, encode.SYNC, encode.query("SHOW PRIMARY READS"))
        said = await client.reply(2)
        assert shape(said) == "1 2 E(error 22012) ZI T D C ZI"
        assert said.endswith(shown("primary reads", "off", "simple"))


@pytest.mark.trio
@both_ways
async def test_wrong_command_in_a_pipeline_ends_the_session(autojump_clock: MockClock, by: By) -> None:
    """What came before it has been sent to the server, and would be carried out at the Sync."""
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        await client.send(extended("INSERT INTO t VALUES (1)"), extended("SET SHARD TO 7"), encode.SYNC)
        assert shape(await client.rest()) == "1 2 C E(fatal 22023)"


@pytest.mark.trio
@both_ways
async def test_server_that_is_lost_in_a_pipeline_with_a_command(autojump_clock: MockClock, by: By) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        await client.send(extended("SELECT pg_sleep(5)"), extended("SHOW SHARD"), encode.SYNC)
        await world.idle()
        world.primary.leave()
        assert shape(await client.reply()) == "1 2 E(error 08006) ZI"
        assert await client.query("SHOW SHARD") == shown("shard", "unset", "simple")


# -- prepared commands ---------------------------------------------------------------------------------------------


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("cache", [0, 500])
async def test_life_of_a_prepared_command(autojump_clock: MockClock, by: By, cache: int) -> None:
    config = splitting(more=f"prepared_statements_cache_size = {cache}")
    async with open_world(config, by=by) as world:
        client = await world.connect()
        describe = encode.message(b"D", b"Sx\0")
        close = encode.message(b"C", b"Sx\0")
        # As asyncpg goes about it: a round trip with a Flush first.
        await client.send(parse("SHOW SERVER ROLE", "x"), describe, encode.FLUSH)
        assert shape(b"".join([await client.message() for _ in range(3)])) == "1 t T"
        await client.send(bind("x"), execute(), encode.SYNC)
        assert shape(await client.reply()) == "2 D C ZI"
        await client.query("SET SERVER ROLE TO 'primary'")
        await client.send(bind("x"), DESCRIBE_PORTAL, execute(), encode.SYNC)
        assert await client.reply() == b"2\0\0\0\4" + shown("server role", "primary", "simple")
        await client.send(parse("SELECT 1", "x"), encode.SYNC)
        assert shape(await client.reply()) == "E(error 42P05) ZI"
        await client.send(parse("SHOW SHARD", "x"), encode.SYNC)
        assert shape(await client.reply()) == "E(error 42P05) ZI"
        await client.send(close, encode.SYNC)
        assert shape(await client.reply()) == "3 ZI"
        await client.send(bind("x"), execute(), encode.SYNC)
        assert shape(await client.reply()) == "E(error 26000) ZI"
        await client.send(extended("SELECT 1"), encode.SYNC, parse("SELECT 2", "x"), bind("x"), execute(), encode.SYNC)
        assert shape(await client.reply(2)) == "1 2 D C ZI 1 2 D C ZI"


@pytest.mark.trio
async def test_prepared_commands_are_deallocated(autojump_clock: MockClock) -> None:
    async with open_world(splitting()) as world:
        client = await world.connect()
        for take_away in (encode.query("DEALLOCATE x"), extended('DEALLOCATE "x"') + encode.SYNC):
            await client.send(parse("SHOW SHARD", "x"), encode.SYNC, take_away, bind("x"), encode.SYNC)
            said = shape(await client.reply(3))
            assert said in ("1 ZI C ZI E(error 26000) ZI", "1 ZI 1 2 C ZI E(error 26000) ZI")
        await client.send(parse("SHOW SHARD", "x"), encode.SYNC, encode.query("DEALLOCATE ALL"))
        await client.reply(2)
        await client.send(bind("x"), encode.SYNC)
        assert shape(await client.reply()) == "E(error 26000) ZI"


@pytest.mark.trio
@both_ways
async def test_unnamed_statement_is_a_command_until_the_next(autojump_clock: MockClock, by: By) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        use = bind() + execute() + encode.SYNC
        await client.send(parse("SELECT 1") + encode.SYNC, parse("SHOW SHARD") + encode.SYNC, use)
        assert (await client.reply(3)).endswith(
            encode.data_row(["unset"]) + encode.command_complete("SELECT 1") + READY
        )
        await client.send(parse("SELECT 2") + encode.SYNC, use)
        await client.reply(2)
        assert where(world, "SELECT 2") != []
        await client.send(parse("SHOW SHARD") + encode.SYNC, encode.query("SELECT 3"), use)
        assert shape(await client.reply(3)) == "1 ZI T D C ZI E(error 26000) ZI"


@pytest.mark.trio
async def test_binary_results_are_described_as_such(autojump_clock: MockClock) -> None:
    async with open_world(splitting()) as world:
        client = await world.connect()
        binary = encode.message(b"B", b"\0\0" + b"\0\0" + b"\0\0" + b"\0\1\0\1")
        await client.send(parse("SHOW SHARD"), binary, DESCRIBE_PORTAL, execute(), encode.SYNC)
        said = await client.reply()
        description = encode.row_description([("shard", 25)])
        assert description[:-2] + b"\0\1" + encode.data_row(["unset"]) in said


@pytest.mark.trio
async def test_parameters_are_too_many(autojump_clock: MockClock) -> None:
    async with open_world(splitting()) as world:
        client = await world.connect()
        one = encode.message(b"B", b"\0\0" + b"\0\1\0\0" + b"\0\1" + b"\0\0\0\1x" + b"\0\0")
        await client.send(parse("SHOW SHARD"), one, execute(), encode.SYNC)
        assert shape(await client.reply()) == "1 E(error 08P01) ZI"


# -- in transactions -----------------------------------------------------------------------------------------------


@pytest.mark.trio
@both_ways
@both_protocols
async def test_in_a_transaction_what_its_server_is_may_be_said(
    autojump_clock: MockClock, by: By, protocol: str
) -> None:
    count = 2 if protocol == "prepared" else 1
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        for number, sql in enumerate(
            (
                "SHOW SERVER ROLE",
                "SET SERVER ROLE TO 'primary'",
                "SET SERVER ROLE TO 'auto'",
                "SET PRIMARY READS TO on",
                "SET SHARD TO 0",
                "SET SHARD TO ANY",
                "SET SHARDING KEY TO 5",
            )
        ):
            await client.send(request(sql, protocol, str(number)))
            assert (await client.reply(count)).endswith(IN_TRANSACTION)
        assert shape(await client.query("SELECT 1")) == "T D C ZT"
        assert where(world, "SELECT 1") == ["primary"]
        await client.query("COMMIT")


@pytest.mark.trio
@both_ways
@both_protocols
async def test_in_a_transaction_another_server_cannot_be_had(autojump_clock: MockClock, by: By, protocol: str) -> None:
    """The transaction fails, as it would by a server's error; after it all is as before."""
    count = 2 if protocol == "prepared" else 1
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        await client.query("INSERT INTO t VALUES (1)")
        await client.send(request("SET SERVER ROLE TO 'replica'", protocol))
        said = await client.reply(count)
        assert shape(said).endswith("E(error 25001) ZE")
        assert fields_of(said[said.rindex(b"E", 0, said.index(b"SERROR")) :])["H"]
        assert shape(await client.query("SELECT 1")) == "E(error 25P02) ZE"
        assert shape(await client.query("SHOW SERVER ROLE")) == "E(error 25P02) ZE"
        await client.send(extended("SHOW SERVER ROLE"), encode.SYNC)
        assert await client.reply() == (await client.query("SHOW SERVER ROLE"))
        assert shape(await client.query("ROLLBACK")) == "C ZI"
        assert await client.query("SHOW SERVER ROLE") == shown("server role", "auto", "simple")


@pytest.mark.trio
@both_ways
async def test_pipelined_into_a_transaction(autojump_clock: MockClock, by: By) -> None:
    async with open_world(splitting(), by=by) as world:
        client = await world.connect()
        await client.send(*map(encode.query, ("BEGIN", "SET SHARD TO 1", "SELECT 1", "SHOW SHARD", "ROLLBACK")))
        assert shape(await client.reply(5)) == ("C ZT E(error 22023) ZE E(error 25P02) ZE E(error 25P02) ZE C ZI")
        await client.send(extended("BEGIN"), extended("SHOW SHARD"), extended("SELECT 1"), encode.SYNC)
        assert shape(await client.reply()) == "1 2 C 1 2 D C 1 2 D C ZT"
        assert (await client.query("COMMIT")).endswith(READY)


@pytest.mark.trio
@both_ways
async def test_session_mode_before_the_first_statement(autojump_clock: MockClock, by: By) -> None:
    """As long as nothing has been done on it, one server is as good as another."""
    config = config_of(user='pool_size = 1\npool_mode = "session"', pool='default_role = "primary"', replicas=1)
    async with open_world(config, by=by) as world:
        client = await world.connect(application_name="me")
        for role in ("replica", "primary", "replica"):
            assert shape(await client.query(f"SET SERVER ROLE TO '{role}'")) == "C ZI"
        await client.query("SELECT 1")
        await client.query("SELECT 2")
        assert where(world, "SELECT 1") == where(world, "SELECT 2") == ["replica1"]
        assert client.session.backend is not None
        assert shape(await client.query("SET SERVER ROLE TO 'primary'")) == "E(error 0A000) ZI"
        assert await client.query("SHOW SERVER ROLE") == shown("server role", "replica", "simple")


@pytest.mark.trio
@both_ways
async def test_session_mode(autojump_clock: MockClock, by: By) -> None:
    """A session that has its server may be told about it, but cannot go to another."""
    config = config_of(user='pool_size = 1\npool_mode = "session"', pool='default_role = "primary"', replicas=1)
    async with open_world(config, by=by) as world:
        client = await world.connect()
        assert await client.query("SHOW SERVER ROLE") == shown("server role", "primary", "simple")
        assert shape(await client.query("SET SERVER ROLE TO 'primary'")) == "C ZI"
        await client.query("SELECT 1")
        said = await client.query("SET SERVER ROLE TO 'replica'")
        assert shape(said) == "E(error 0A000) ZI"
        assert "session mode" in fields_of(said)["M"]
        await client.send(parse("SHOW SHARD", "x"), encode.SYNC, bind("x"), execute(), encode.SYNC)
        assert shape(await client.reply(2)) == "1 ZI 2 D C ZI"
        await client.query("BEGIN")
        assert (await client.query("SHOW SHARD")).endswith(IN_TRANSACTION)
        assert (await client.query("SET SERVER ROLE TO 'replica'")).endswith(FAILED)
        assert shape(await client.query("ROLLBACK")) == "C ZI"


@pytest.mark.trio
async def test_pinned_session_keeps_its_server(autojump_clock: MockClock) -> None:
    async with open_world(splitting()) as world:
        client = await world.connect()
        await client.query("SELECT pg_advisory_lock(1)")
        assert client.session.backend is not None
        said = await client.query("SET SERVER ROLE TO 'replica'")
        assert shape(said) == "E(error 0A000) ZI"
        assert "advisory lock" in fields_of(said)["M"]
        assert shape(await client.query("SET SERVER ROLE TO 'primary'")) == "C ZI"


@pytest.mark.trio
async def test_overrides_outlive_a_reload(autojump_clock: MockClock) -> None:
    async with open_world(splitting()) as world:
        client = await world.connect()
        await client.query("SET SERVER ROLE TO 'primary'")
        world.cluster.retire()
        world.build()
        await client.query("SELECT 1")
        assert where(world, "SELECT 1") == ["primary"]
        assert await client.query("SHOW SERVER ROLE") == shown("server role", "primary", "simple")


# -- however it is sent --------------------------------------------------------------------------------------------

UNITS = [
    *(
        encode.query(sql)
        for sql in ("SELECT 1", "INSERT INTO t VALUES (1)", "SELECT 1/0", "BEGIN", "COMMIT", "ROLLBACK")
    ),
    *(encode.query(sql) for sql in ("SHOW SERVER ROLE", "SET SHARD TO 0", "SET SHARD TO 9", "SHOW SHARD; SELECT 1")),
    *(encode.query(f"SET SERVER ROLE TO '{role}'") for role in ("primary", "replica", "auto")),
    *(extended(sql) + encode.SYNC for sql in ("SELECT 2", "SELECT 1/0", "SHOW SHARD", "SET PRIMARY READS TO on")),
    extended("SHOW SERVER ROLE") + extended("SELECT 3") + encode.SYNC,
    extended("SELECT 4") + extended("SHOW PRIMARY READS") + extended("SELECT 5") + encode.SYNC,
    extended("SELECT 1/0") + extended("SHOW SHARD") + encode.SYNC,
    extended("SET SHARD TO 9") + extended("SELECT 6") + encode.SYNC,
    parse("SHOW SHARD", "s") + encode.FLUSH + bind("s") + execute() + encode.SYNC,
    bind("s") + execute() + encode.SYNC,
    encode.message(b"C", b"Ss\0") + encode.SYNC,
    parse("SELECT 7", "s") + encode.SYNC,
    encode.query("DEALLOCATE s"),
    encode.query("LISTEN news"),
]


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("seed", range(40))
async def test_at_once_or_in_turn_the_answers_are_the_same(autojump_clock: MockClock, by: By, seed: int) -> None:
    chance = random.Random(seed)
    units = chance.choices(UNITS, k=12)
    async with open_world(splitting(user="pool_size = 3"), by=by) as world:
        in_turn = await world.connect()
        expected = []
        for unit in units:
            await in_turn.send(unit)
            expected.append(await in_turn.reply())
        await in_turn.leave()
        data = b"".join(units)
        for size in (len(data), chance.randrange(1, 60)):
            client = await world.connect()
            world.nursery.start_soon(in_pieces, client, data, size)
            for unit, answer in zip(units, expected, strict=True):
                said = await client.reply()
                assert (shape(said), said) == (shape(answer), answer), unit
            await client.leave()


async def in_pieces(client: Client, data: bytes, size: int) -> None:
    for start in range(0, len(data), size):
        await client.send(data[start : start + size])
        await trio.lowlevel.checkpoint()

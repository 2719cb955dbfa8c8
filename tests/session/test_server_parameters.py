"""What clients are told of the servers at their login: it is what the servers say, whichever versions they have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import trio
from support.scripted_server import ScriptedServer
from support.transcript import READY, rows
from support.world import By, Client, World, config_of, open_world

from pgcat_trio.wire import encode, messages

if TYPE_CHECKING:
    from support.scripted_backend import ScriptedBackend
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])

VERSIONS: Final = (13, 14, 15, 16, 17, 18)


def reported(version: int, **changes: str) -> dict[str, str]:
    """What a server of this version reports (its source, the settings with GUC_REPORT)."""
    said = {
        "application_name": "",
        "client_encoding": "UTF8",
        "DateStyle": "ISO, MDY",
        "integer_datetimes": "on",
        "IntervalStyle": "postgres",
        "is_superuser": "off",
        "server_encoding": "UTF8",
        "server_version": f"{version}.1",
        "session_authorization": "ann",
        "standard_conforming_strings": "on",
        "TimeZone": "Europe/Zurich",
    }
    if version >= 14:
        said |= {"default_transaction_read_only": "off", "in_hot_standby": "off"}
    if version >= 16:
        said |= {"scram_iterations": "4096"}
    if version >= 18:
        said |= {"search_path": '"$user", public'}
    return said | changes


def server(name: str, version: int, **changes: str) -> ScriptedServer:
    return ScriptedServer(name, parameters=reported(version, **changes))


def told(client: Client) -> dict[str, str]:
    """The ParameterStatus messages of a login."""
    said, statuses = client.welcome, {}
    while said:
        size = 1 + int.from_bytes(said[1:5])
        if said[:1] == b"S":
            name, value = messages.parameter_status(said[5:size])
            assert name not in statuses
            statuses[name] = value
        said = said[size:]
    return statuses


async def show(client: Client, name: str) -> str:
    """What the server says a setting is, in the client's next transaction."""
    said = await client.query(f"SHOW {name}")
    after = said.removeprefix(encode.row_description([("column", 25)]))
    return after[11 : 11 + int.from_bytes(after[7:11])].decode()


async def know_both(world: World) -> None:
    """Have a connection to every server."""
    for pool in world.cluster.pools:
        assert pool.open_soon()
    await world.idle()


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_each_version_reports_its_own(autojump_clock: MockClock, by: By, version: int, mode: str) -> None:
    config = config_of(pool=f'pool_mode = "{mode}"')
    async with open_world(config, by=by, servers=[server("primary", version)]) as world:
        client = await world.connect(application_name="psql", TimeZone="Asia/Tokyo")
        assert told(client) == reported(version, application_name="psql", TimeZone="Asia/Tokyo")
        assert await show(client, "TimeZone") == "Asia/Tokyo"


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(("one", "other"), [(13, 18), (18, 13), (15, 16)])
async def test_servers_of_two_versions(autojump_clock: MockClock, by: By, one: int, other: int) -> None:
    """Clients are told of the primary, where it is known; their settings follow them to both."""
    servers = [server("primary", one), server("replica1", other, in_hot_standby="on", TimeZone="UTC")]
    async with open_world(config_of(replicas=1), by=by, servers=servers) as world:
        await know_both(world)
        tokyo, plain = await world.connect(TimeZone="Asia/Tokyo"), await world.connect()
        assert told(plain)["server_version"] == f"{one}.1"
        assert ("search_path" in told(plain)) == (one == 18)
        for _ in range(10):
            assert await show(tokyo, "TimeZone") == "Asia/Tokyo"
            assert await show(plain, "TimeZone") == "Europe/Zurich"
        assert {len(each.texts()) > 0 for each in world.servers.values()} == {True}


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    ("pool", "home"),
    [
        ('default_role = "primary"', "primary"),
        ('default_role = "any"', "primary"),
        ('default_role = "replica"', "replica1"),
        ("query_parser_enabled = true\nquery_parser_read_write_splitting = true", "primary"),
    ],
)
async def test_the_server_where_sessions_are_at_home_counts(
    autojump_clock: MockClock, by: By, pool: str, home: str, first: int
) -> None:
    """In whichever order they are reached."""
    servers = [server("primary", 17), server("replica1", 16, in_hot_standby="on")]
    async with open_world(config_of(pool=pool, replicas=1), by=by, servers=servers) as world:
        for index in (first, 1 - first):
            assert world.cluster.pools[index].open_soon()
            await world.idle()
        said = told(await world.connect())
        assert said["server_version"] == ("17.1" if home == "primary" else "16.1")
        assert said["in_hot_standby"] == ("off" if home == "primary" else "on")


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("pool", "down", "version", "standby"),
    [
        ('default_role = "primary"', "primary", "16.1", "off"),
        ('default_role = "any"', "primary", "16.1", "off"),
        ('default_role = "replica"', "replica1", "17.1", "on"),
    ],
)
async def test_while_the_right_server_is_down_another_one_speaks(
    autojump_clock: MockClock, by: By, pool: str, down: str, version: str, standby: str
) -> None:
    """But whether the next statement meets a standby is known."""
    servers = [server("primary", 17), server("replica1", 16, in_hot_standby="on")]
    async with open_world(config_of(pool=pool, replicas=1), by=by, servers=servers) as world:
        world.servers[down].down = "Connection refused"
        said = told(await world.connect())
        assert said["server_version"] == version
        assert said["in_hot_standby"] == standby
        assert set(said) == set(reported(int(version[:2])))


@pytest.mark.trio
@both_ways
async def test_a_pool_of_replicas_only(autojump_clock: MockClock, by: By) -> None:
    servers = [server("primary", 16, in_hot_standby="on"), server("replica1", 16, in_hot_standby="on")]
    config = config_of(replicas=1)
    async with open_world(config, by=by, servers=servers) as world:
        world.cluster.pools.pop(0)
        world.cluster.refresh()
        assert told(await world.connect())["in_hot_standby"] == "on"


@pytest.mark.trio
@pytest.mark.parametrize("role", ["primary", "replica"])
async def test_after_an_upgrade_logins_hear_of_the_new_version(autojump_clock: MockClock, role: str) -> None:
    """And who was there before finds its settings on the new server."""
    name = "primary" if role == "primary" else "replica1"
    servers = [server("primary", 17), server("replica1", 17)]
    config = config_of(pool=f'default_role = "{role}"', replicas=1)
    async with open_world(config, by="sockets", servers=servers) as world:
        await know_both(world)
        old = await world.connect(TimeZone="Asia/Tokyo")
        assert told(old)["server_version"] == "17.1"
        await old.query("SELECT 1")
        upgraded = world.servers[name]
        upgraded.parameters = reported(18)
        upgraded.leave()
        await world.idle()
        assert await show(old, "TimeZone") == "Asia/Tokyo"
        new = await world.connect()
        assert told(new) == reported(18)
        assert await show(new, "TimeZone") == "Europe/Zurich"
        assert await show(old, "TimeZone") == "Asia/Tokyo"


@pytest.mark.trio
@both_ways
async def test_promotion_is_told_to_the_client_that_sees_it_and_to_later_ones(
    autojump_clock: MockClock, by: By
) -> None:
    async def promoted(process: ScriptedBackend) -> None:
        await process.send(encode.parameter_status("in_hot_standby", "off"))

    async with open_world(by=by, servers=[server("primary", 17, in_hot_standby="on")]) as world:
        world.primary.scripts["SELECT promoted"] = promoted
        first = await world.connect()
        assert told(first)["in_hot_standby"] == "on"
        said = await first.query("SELECT promoted")
        assert said.startswith(encode.parameter_status("in_hot_standby", "off"))
        assert told(await world.connect())["in_hot_standby"] == "off"


@pytest.mark.trio
@both_ways
async def test_what_a_client_sets_is_not_told_to_others(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by, servers=[server("primary", 18)]) as world:
        client = await world.connect()
        for name in ("TimeZone", "scram_iterations", "default_transaction_read_only", "search_path"):
            await client.query(f"SET {name} TO 'mine'")
        assert told(await world.connect()) == reported(18)


@pytest.mark.trio
async def test_parked_client_outlives_its_server(autojump_clock: MockClock) -> None:
    """All of the above is about logins: nobody is told anything unasked."""
    async with open_world(by="sockets", servers=[server("primary", 17)]) as world:
        client = await world.connect()
        await client.query("SELECT 1")
        world.primary.parameters = reported(18)
        world.primary.leave()
        await trio.sleep(1)
        assert await client.query("SELECT 1") == rows("1") + READY

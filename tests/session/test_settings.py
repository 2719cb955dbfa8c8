"""Settings follow their client to whichever backend it gets; what the server refuses is refused at the login."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.scripted_backend import Refusal, ScriptedBackend
from support.transcript import READY, fields_of, rows, shape
from support.world import By, Client, World, config_of, open_world

from pgcat_trio.wire import encode, messages

if TYPE_CHECKING:
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])


def told(said: bytes) -> dict[str, str]:
    """The ParameterStatus messages in what the proxy said."""
    statuses = {}
    while said:
        size = 1 + int.from_bytes(said[1:5])
        if said[:1] == b"S":
            name, value = messages.parameter_status(said[5:size])
            statuses[name] = value
        said = said[size:]
    return statuses


async def show(client: Client, name: str) -> str:
    """What the server says a setting is, in the client's next transaction."""
    said = await client.query(f"SHOW {name}")
    before, _, after = said.partition(encode.row_description([("column", 25)]))
    assert before == b""
    return after[11 : 11 + int.from_bytes(after[7:11])].decode()


async def log_in(world: World, **startup: str) -> bytes:
    """The end of a login that fails."""
    client = world.dial_in()
    await client.send(encode.startup({"user": "ann", "database": "app", **startup}))
    return await client.rest()


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("application_name", "psql"),
        ("application_name", "it's"),
        ("application_name", 'quote " and \\ backslash'),
        ("application_name", "\\"),
        ("application_name", "\\'; DROP TABLE t; --"),
        ("application_name", "x" * 100),
        ("application_name", "Grüße"),
        ("TimeZone", "Asia/Tokyo"),
        ("TimeZone", "<+05>-05'\\"),
        ("DateStyle", "German, DMY"),
        ("client_encoding", "LATIN1"),
        ("statement_timeout", "5000"),
        ("my.setting", "it's"),
    ],
)
async def test_each_client_finds_its_own(autojump_clock: MockClock, by: By, name: str, value: str) -> None:
    async with open_world(by=by) as world:
        mine, others = await world.connect(**{name: value}), await world.connect()
        default = await show(others, name)
        for _ in range(2):
            assert await show(mine, name) == value
            assert await show(others, name) == default
        assert world.primary.dials == 1


@pytest.mark.trio
@both_ways
async def test_client_is_told_what_holds_for_it(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect(application_name="psql", timezone="Asia/Tokyo")
        statuses = told(client.welcome)
        assert statuses["application_name"] == "psql"
        assert statuses["TimeZone"] == "Asia/Tokyo"
        assert statuses["server_version"] == "18.0"
        assert "timezone" not in statuses


@pytest.mark.trio
@both_ways
async def test_settings_made_by_set_follow_too(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        tokyo, others = await world.connect(), await world.connect()
        said = await tokyo.query("SET TimeZone TO 'Asia/Tokyo'")
        assert shape(said) == "S C ZI"
        assert await show(others, "TimeZone") == "UTC"
        assert await show(tokyo, "TimeZone") == "Asia/Tokyo"
        await tokyo.query("SET TimeZone TO 'UTC'")
        assert await show(tokyo, "TimeZone") == "UTC"


@pytest.mark.trio
@both_ways
async def test_own_settings_cost_no_statement_while_the_backend_has_them(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect(application_name="psql", TimeZone="Asia/Tokyo")
        await client.query("SELECT 1")
        world.primary.statements.clear()
        for _ in range(5):
            assert await client.query("SELECT 1") == rows("1") + READY
        assert world.primary.texts() == ["SELECT 1"] * 5


@pytest.mark.trio
@both_ways
async def test_answers_to_our_own_statements_are_not_the_clients(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        tokyo, others = await world.connect(TimeZone="Asia/Tokyo"), await world.connect()
        for _ in range(3):
            assert await tokyo.query("SELECT 1") == rows("1") + READY
            assert await others.query("SELECT 2") == rows("2") + READY


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ("-c statement_timeout=5000", "statement_timeout", "5000"),
        ("-cstatement_timeout=5000", "statement_timeout", "5000"),
        ("--statement-timeout=5000", "statement_timeout", "5000"),
        ("-c TimeZone=Asia/Tokyo -c application_name=a\\ b", "application_name", "a b"),
        ("  -c   timezone=Asia/Tokyo ", "TimeZone", "Asia/Tokyo"),
    ],
)
async def test_options_are_settings(autojump_clock: MockClock, by: By, options: str, name: str, value: str) -> None:
    async with open_world(by=by) as world:
        mine, others = await world.connect(options=options), await world.connect()
        default = await show(others, name)
        assert await show(mine, name) == value
        assert await show(others, name) == default != value


@pytest.mark.trio
@pytest.mark.parametrize("options", ["-d 5", "--", "-c", "-c name", "-c =5", "statement_timeout=5"])
async def test_options_that_cannot_be_read(autojump_clock: MockClock, options: str) -> None:
    async with open_world() as world:
        said = await log_in(world, options=options)
        assert shape(said).endswith("E(fatal 28000)")


@pytest.mark.trio
@both_ways
async def test_refused_setting_is_refused_at_the_login_in_the_servers_words(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        world.primary.invalid.add("Mars/Olympus")
        said = await log_in(world, TimeZone="Mars/Olympus")
        assert fields_of(said[said.index(b"E") :]) == {
            "S": "FATAL",
            "V": "FATAL",
            "C": "22023",
            "M": 'invalid value for parameter "TimeZone": "Mars/Olympus"',
        }
        await world.idle()
        assert world.counts() == (1, 1, 0)
        client = await world.connect()
        assert await show(client, "TimeZone") == "UTC"


@pytest.mark.trio
@both_ways
async def test_refused_setting_does_not_stick_as_known(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        world.primary.invalid.add("Mars/Olympus")
        for _ in range(2):
            assert shape(await log_in(world, TimeZone="Mars/Olympus")).endswith("E(fatal 22023)")


@pytest.mark.trio
@both_ways
async def test_setting_that_a_backend_refuses_later_ends_the_session(autojump_clock: MockClock, by: By) -> None:
    """It was valid at the login: no statement may run under other settings than the client's."""
    async with open_world(by=by) as world:
        client, other = await world.connect(TimeZone="Asia/Tokyo"), await world.connect()
        await other.query("SELECT 1")
        world.primary.invalid.add("Asia/Tokyo")
        await client.send(encode.query("SELECT 1"))
        assert shape(await client.rest()) == "E(fatal 22023)"
        await world.idle()
        assert await other.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
@both_ways
async def test_spelling_is_the_servers(autojump_clock: MockClock, by: By) -> None:
    """A server may print a value in another way than it was given; that must not look like a difference."""

    async def spell(process: ScriptedBackend) -> None:
        process.settings["client_encoding"] = "UTF8"
        await process.send(encode.parameter_status("client_encoding", "UTF8"))

    async with open_world(by=by) as world:
        world.primary.scripts["""SET "client_encoding" TO 'utf-8'"""] = spell
        client = await world.connect(client_encoding="utf-8")
        assert told(client.welcome)["client_encoding"] == "UTF8"
        world.primary.statements.clear()
        await client.query("SELECT 1")
        assert world.primary.texts() == ["SELECT 1"]
        await world.connect(client_encoding="utf-8")
        assert world.primary.texts() == ["SELECT 1"]


@pytest.mark.trio
@both_ways
async def test_login_while_no_server_can_be_reached(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        world.primary.down = "Connection refused"
        said = await log_in(world)
        assert shape(said).endswith("E(fatal 08001)")
        assert "Connection refused" in fields_of(said[said.index(b"E") :])["M"]
        world.primary.down = ""
        await world.connect()


@pytest.mark.trio
async def test_login_while_the_server_refuses_us(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.primary.greeting_error = Refusal("53300", "sorry, too many clients already", "FATAL")
        assert shape(await log_in(world)) == "E(fatal 53300)"


@pytest.mark.trio
@both_ways
async def test_login_ends_while_its_settings_are_tried(autojump_clock: MockClock, by: By) -> None:
    """The client is given up (client_login_timeout) in the middle of the proxy's own statement."""
    async with open_world(config_of("client_login_timeout = 2000"), by=by) as world:
        gate = world.primary.hold("statement")
        assert shape(await log_in(world, TimeZone="Asia/Tokyo")) == "E(fatal 57014)"
        gate.opened.set()
        await world.idle()
        assert world.counts() == (1, 1, 0)
        client = await world.connect()
        assert await show(client, "TimeZone") == "UTC"

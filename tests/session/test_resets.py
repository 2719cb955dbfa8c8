"""Settings that go back to what a client began with: it is told before its ReadyForQuery, whatever else arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.transcript import READY, rows
from support.world import By, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from support.scripted_backend import ScriptedBackend
    from trio.testing import MockClock

NOTIFICATION = encode.message(b"A", (7).to_bytes(4) + b"news\0Z\0")
UTC = encode.parameter_status("TimeZone", "UTC")
TOKYO = encode.parameter_status("TimeZone", "Asia/Tokyo")
COMPLETE = encode.command_complete("RESET")


@pytest.mark.trio
@pytest.mark.parametrize("by", ["memory", "sockets"])
@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_notification_behind_the_answer_to_reset(autojump_clock: MockClock, by: By, mode: str) -> None:
    async def reset(process: ScriptedBackend) -> None:
        process.settings["TimeZone"] = "UTC"
        await process.send(UTC + COMPLETE + READY + NOTIFICATION)
        process.expect_no_ready()

    async with open_world(config_of(user=f'pool_size = 1\npool_mode = "{mode}"'), by=by) as world:
        world.primary.scripts["RESET TimeZone"] = reset
        client = await world.connect(TimeZone="Asia/Tokyo")
        await client.send(encode.query("RESET TimeZone"))
        assert await client.reply() == UTC + COMPLETE + TOKYO + READY
        assert await client.message() == NOTIFICATION
        assert await client.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
@pytest.mark.parametrize("by", ["memory", "sockets"])
async def test_notification_while_settings_go_back(autojump_clock: MockClock, by: By) -> None:
    """It comes while the end of a long row is kept back, until the proxy has set what was reset."""
    row = encode.data_row(["x" * 100_000])

    async def reset(process: ScriptedBackend) -> None:
        process.settings["TimeZone"] = "UTC"
        await process.send(row[:-10])
        await world.idle()
        await process.send(row[-10:] + UTC + COMPLETE + READY)
        process.expect_no_ready()

    async def restore(process: ScriptedBackend) -> None:
        process.settings["TimeZone"] = "Asia/Tokyo"
        await process.send(NOTIFICATION)
        await world.idle()
        await process.send(TOKYO)

    async with open_world(config_of(user='pool_size = 1\npool_mode = "session"'), by=by) as world:
        client = await world.connect(TimeZone="Asia/Tokyo")
        world.primary.scripts["RESET TimeZone"] = reset
        world.primary.scripts["SET \"TimeZone\" TO 'Asia/Tokyo'"] = restore
        await client.send(encode.query("RESET TimeZone"))
        assert await client.reply() == row + UTC + COMPLETE + TOKYO + READY
        assert await client.message() == NOTIFICATION

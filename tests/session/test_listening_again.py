"""A channel that is being given up on the connection that listens for all is not listened to any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.world import By, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from support.scripted_backend import ScriptedBackend
    from trio.testing import MockClock


@pytest.mark.trio
@pytest.mark.parametrize("by", ["memory", "sockets"])
async def test_channel_that_is_being_given_up(autojump_clock: MockClock, by: By) -> None:
    """What is notified between the UNLISTEN and a new LISTEN would be lost to the client that comes then."""
    given_up = trio.Event()

    async def unlisten(process: ScriptedBackend) -> None:
        await given_up.wait()

    async with open_world(config_of(user="pool_size = 2"), by=by) as world:
        world.primary.scripts['UNLISTEN "news"'] = unlisten
        first, second = await world.connect(), await world.connect()
        await first.query("LISTEN news")
        await first.leave()
        await world.idle()
        world.primary.statements.clear()
        await second.send(encode.query("LISTEN news"))
        await world.idle()
        assert 'LISTEN "news"' not in world.primary.texts()
        given_up.set()
        assert (await second.reply()).endswith(encode.ready_for_query())
        assert 'LISTEN "news"' in world.primary.texts()

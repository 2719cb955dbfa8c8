"""Backends that serve nobody: those to which a CancelRequest is on its way, and idle ones."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trio
from support.certificates import Authority
from support.lending import acquire, closed, idle_again, run
from support.scripted_server import ScriptedServer
from support.world import open_world

from pgcat_trio.config.model import Role, SslMode
from pgcat_trio.net.tls import server_facing_context
from pgcat_trio.pool.pool import CANCEL_TIMEOUT_S
from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock


both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])


@pytest.mark.trio
@pytest.mark.parametrize("step", ["dial", "cancel", "cancelled"])
async def test_backend_serves_nobody_while_a_cancel_request_is_under_way(autojump_clock: MockClock, step: str) -> None:
    async with open_world() as world:
        backend = await acquire(world)
        gate = world.primary.hold(step)
        world.pool.cancel_soon(backend)
        await gate.reached.wait()
        world.pool.release(backend)
        assert world.counts() == (1, 0, 0)
        assert world.cluster.acquire_nowait(Role.ANY, trio.current_time()) is None
        gate.opened.set()
        assert await acquire(world) is backend
        world.pool.release(backend)
        assert world.primary.dials == 2  # the backend's own and the request's


@pytest.mark.trio
async def test_two_cancel_requests_must_both_arrive(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        backend = await acquire(world)
        gate = world.primary.hold("cancelled")
        first = world.pool.cancel_soon(backend)
        await gate.reached.wait()
        second_gate = world.primary.hold("cancelled")
        world.pool.cancel_soon(backend)
        await second_gate.reached.wait()
        world.pool.release(backend)
        gate.opened.set()
        await first.wait()
        assert world.counts() == (1, 0, 0)
        second_gate.opened.set()
        await idle_again(world, backend)


@pytest.mark.trio
async def test_quarantined_backend_is_cleaned_afterwards(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        backend = await acquire(world)
        await run(backend, "BEGIN")
        gate = world.primary.hold("cancelled")
        world.pool.cancel_soon(backend)
        await gate.reached.wait()
        world.pool.release(backend)
        await world.idle()
        assert world.primary.texts() == ["BEGIN"]
        gate.opened.set()
        await idle_again(world, backend)
        assert world.primary.texts() == ["BEGIN", "ROLLBACK"]


@pytest.mark.trio
@pytest.mark.parametrize("step", ["dial", "cancel", "cancelled"])
async def test_cancel_request_that_never_arrives_costs_the_backend(autojump_clock: MockClock, step: str) -> None:
    """Whether it has been sent nobody knows: it might hit the next client's query."""
    async with open_world() as world:
        backend = await acquire(world)
        world.primary.hold(step)
        world.pool.cancel_soon(backend)
        await world.idle()
        world.pool.release(backend)
        await trio.sleep(CANCEL_TIMEOUT_S - 0.1)
        assert world.counts() == (1, 0, 0)
        await trio.sleep(0.2)
        assert world.counts() == (0, 0, 0)


@pytest.mark.trio
async def test_cancel_request_that_cannot_be_sent_costs_the_backend(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        backend = await acquire(world)
        world.primary.down = "Connection refused"
        await world.pool.cancel_soon(backend).wait()
        world.pool.release(backend)
        await closed(world)


@pytest.mark.trio
async def test_retired_in_quarantine(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        backend = await acquire(world)
        gate = world.primary.hold("cancelled")
        world.pool.cancel_soon(backend)
        await gate.reached.wait()
        world.pool.release(backend)
        world.cluster.retire()
        gate.opened.set()
        await closed(world)


@pytest.mark.trio
async def test_idle_backend_whose_server_leaves_is_forgotten(autojump_clock: MockClock) -> None:
    async with open_world(by="sockets") as world:
        backend = await acquire(world)
        world.pool.release(backend)
        await world.idle()
        await world.primary.backends[backend.pid].end("terminating connection due to administrator command")
        await world.idle()
        assert world.counts() == (0, 0, 0)
        assert backend.broken == "terminating connection due to administrator command"


@pytest.mark.trio
async def test_idle_backend_that_talks_nonsense_is_closed(autojump_clock: MockClock) -> None:
    async with open_world(by="sockets") as world:
        backend = await acquire(world)
        world.pool.release(backend)
        await world.idle()
        await world.primary.backends[backend.pid].send(b"Z\x00\x00\x00\x01")
        await closed(world)


@pytest.mark.trio
async def test_settings_that_change_while_idle_are_noted(autojump_clock: MockClock) -> None:
    async with open_world(by="sockets") as world:
        backend = await acquire(world)
        world.pool.release(backend)
        await world.idle()
        process = world.primary.backends[backend.pid]
        await process.send(encode.notice_response("the configuration changes"))
        await process.send(encode.parameter_status("TimeZone", "Asia/Tokyo"))
        await world.idle()
        assert world.counts() == (1, 1, 0)
        assert backend.parameters["TimeZone"] == backend.settings.values["TimeZone"] == "Asia/Tokyo"


@pytest.mark.trio
async def test_idle_backend_over_tls_whose_server_leaves_is_forgotten(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("primary", hosts=("primary",))
    server = ScriptedServer(tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    assert server.tls is not None
    server.tls.load_cert_chain(pair.certificate, pair.private_key)
    context = server_facing_context(SslMode.VERIFY_FULL, str(authority.certificate), None, None)
    async with open_world(by="sockets", ssl_mode=SslMode.VERIFY_FULL, ssl_context=context, servers=[server]) as world:
        backend = await acquire(world)
        assert backend.transport.encrypted
        world.pool.release(backend)
        server.leave()
        await world.idle()
        assert world.counts() == (0, 0, 0)

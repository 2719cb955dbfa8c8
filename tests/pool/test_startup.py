"""Opening a server connection: what is left behind when it ends at any of its steps."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from support.certificates import Authority
from support.scripted_backend import Refusal
from support.scripted_server import Gate, ScriptedServer
from support.world import config_of, open_world

from pgcat_trio.config.model import Role, SslMode
from pgcat_trio.errors import LoginRefused, ProxyError, ServerError, ServerLoginFailed, ServerUnavailable
from pgcat_trio.net.tls import server_facing_context

if TYPE_CHECKING:
    from pathlib import Path

    from support.world import World
    from trio.testing import MockClock

    from pgcat_trio.pool.backend import Backend

STEPS = ("dial", "ssl", "tls", "startup", "auth", "sasl_continue", "sasl_final", "auth_ok", "parameters", "ready")
REQUIRING = (SslMode.REQUIRE, SslMode.VERIFY_CA, SslMode.VERIFY_FULL)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls_server(authority: Authority) -> ScriptedServer:
    """A primary that insists on nothing, offers TLS and asks for SCRAM: every step there is."""
    pair = authority.issue("primary", hosts=("primary",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.private_key)
    return ScriptedServer(auth="scram", tls=context)


def client_context(authority: Authority, mode: SslMode = SslMode.VERIFY_FULL) -> ssl.SSLContext | None:
    return server_facing_context(mode, str(authority.certificate), None, None)


async def acquire(world: World) -> Backend:
    return await world.cluster.acquire(Role.ANY, fallback_to_primary=True)


@pytest.mark.trio
@pytest.mark.parametrize("step", STEPS)
async def test_cancelled_at_each_step(autojump_clock: MockClock, authority: Authority, step: str) -> None:
    server = tls_server(authority)
    context = client_context(authority)
    async with open_world(ssl_mode=SslMode.VERIFY_FULL, ssl_context=context, servers=[server]) as world:
        gate = server.hold(step)
        assert world.pool.open_soon()
        await gate.reached.wait()
        assert world.counts() == (0, 0, 1)
        world.pools.cancel_scope.cancel()
        gate.opened.set()
        await world.idle()
        assert world.counts() == (0, 0, 0)
        assert server.connections == 0


@pytest.mark.trio
@pytest.mark.parametrize("step", STEPS)
async def test_server_falls_silent_at_each_step(autojump_clock: MockClock, authority: Authority, step: str) -> None:
    server = tls_server(authority)
    context = client_context(authority)
    async with open_world(ssl_mode=SslMode.VERIFY_FULL, ssl_context=context, servers=[server]) as world:
        gate = server.hold(step)
        with pytest.raises(ServerUnavailable, match="server primary:1 did not answer within 1 s"):
            await acquire(world)
        assert world.counts() == (0, 0, 0)
        gate.opened.set()
        await world.idle()
        assert server.connections == 0
        # The next one finds nothing of it.
        backend = await acquire(world)
        assert world.counts() == (1, 0, 0)
        world.pool.release(backend)


@pytest.mark.trio
@pytest.mark.parametrize("step", STEPS[1:])
async def test_server_hangs_up_at_each_step(autojump_clock: MockClock, authority: Authority, step: str) -> None:
    server = tls_server(authority)
    context = client_context(authority)
    async with open_world(ssl_mode=SslMode.VERIFY_FULL, ssl_context=context, servers=[server]) as world:
        gate = server.hold(step)
        world.nursery.start_soon(hang_up, server, gate)
        with pytest.raises(ServerUnavailable, match="primary:1"):
            await acquire(world)
        assert world.counts() == (0, 0, 0)
        assert server.connections == 0


async def hang_up(server: ScriptedServer, gate: Gate) -> None:
    await gate.reached.wait()
    server.leave()


@pytest.mark.trio
@pytest.mark.parametrize("auth", ["trust", "cleartext", "md5", "scram"])
async def test_each_way_to_log_in(autojump_clock: MockClock, auth: str) -> None:
    server = ScriptedServer(auth=auth)
    async with open_world(servers=[server]) as world:
        backend = await acquire(world)
        assert backend.parameters["server_version"] == "18.0"
        assert backend.parameters["application_name"] == ""
        assert (backend.pid, backend.key) == (101, b"keye")
        world.pool.release(backend)


@pytest.mark.trio
@pytest.mark.parametrize("auth", ["cleartext", "md5", "scram"])
async def test_wrong_password(autojump_clock: MockClock, auth: str) -> None:
    server = ScriptedServer(auth=auth)
    async with open_world(servers=[server]) as world:
        server.password = "another one"
        with pytest.raises(ProxyError) as caught:
            await acquire(world)
        assert caught.value.sqlstate == "28P01"
        assert "sesame" not in repr(caught.value) + str(caught.value)
        await world.idle()
        assert server.connections == 0


@pytest.mark.trio
@pytest.mark.parametrize("auth", ["cleartext", "md5", "scram"])
async def test_no_password_to_answer_with(autojump_clock: MockClock, auth: str) -> None:
    server = ScriptedServer(auth=auth, password="")
    async with open_world(servers=[server]) as world:
        world.pool.target = world.pool.target.__class__("primary", 1, "app", "ann", None, dialer=world.dial)
        with pytest.raises(ServerLoginFailed, match="asks for a password for user 'ann', but none is configured"):
            await acquire(world)
        await world.idle()
        assert server.connections == 0


@pytest.mark.trio
async def test_the_servers_own_refusal_is_passed_on(autojump_clock: MockClock) -> None:
    server = ScriptedServer(greeting_error=Refusal("3D000", 'database "app" does not exist', "FATAL"))
    async with open_world(servers=[server]) as world:
        with pytest.raises(LoginRefused) as caught:
            await acquire(world)
        assert caught.value.message == 'server primary:1 refused the proxy\'s login: database "app" does not exist'
        assert caught.value.hint == "Check the database of the pool's shard in the proxy's configuration."
        assert caught.value.fields == {
            "S": "FATAL",
            "V": "FATAL",
            "C": "3D000",
            "M": 'database "app" does not exist',
        }


@pytest.mark.trio
@pytest.mark.parametrize(
    ("sqlstate", "banned"),
    [("57P03", True), ("57P01", True), ("53300", False), ("28P01", False), ("3D000", False)],
)
async def test_only_a_replica_that_is_ill_is_banned(autojump_clock: MockClock, sqlstate: str, banned: bool) -> None:
    server = ScriptedServer("replica1", greeting_error=Refusal(sqlstate, "no", "FATAL"))
    async with open_world(config_of(replicas=1), servers=[server]) as world:
        with pytest.raises(ServerError):
            await world.cluster.acquire(Role.REPLICA, fallback_to_primary=False)
        assert world.bans["replica1"].banned is banned


# -- TLS -----------------------------------------------------------------------------------------------------------


@pytest.mark.trio
@pytest.mark.parametrize("mode", list(SslMode))
@pytest.mark.parametrize("offered", [True, False])
async def test_each_mode_with_and_without_tls_on_the_server(
    autojump_clock: MockClock, authority: Authority, mode: SslMode, offered: bool
) -> None:
    server = tls_server(authority) if offered else ScriptedServer()
    async with open_world(ssl_mode=mode, ssl_context=client_context(authority, mode), servers=[server]) as world:
        if mode in REQUIRING and not offered:
            with pytest.raises(ServerUnavailable, match="does not support TLS"):
                await acquire(world)
            return
        backend = await acquire(world)
        assert backend.transport.encrypted is (offered and mode not in (SslMode.DISABLE, SslMode.ALLOW))
        world.pool.release(backend)


@pytest.mark.trio
@pytest.mark.parametrize(
    ("mode", "offered"),
    [(mode, True) for mode in SslMode] + [(mode, False) for mode in SslMode if mode not in REQUIRING],
)
async def test_cancel_requests_travel_as_their_backend_does(
    autojump_clock: MockClock, authority: Authority, mode: SslMode, offered: bool
) -> None:
    server = tls_server(authority) if offered else ScriptedServer()
    async with open_world(ssl_mode=mode, ssl_context=client_context(authority, mode), servers=[server]) as world:
        backend = await acquire(world)
        await world.pool.cancel_soon(backend).wait()
        assert server.cancels == [backend.pid]
        assert backend.clean
        world.pool.release(backend)


@pytest.mark.trio
async def test_certificate_of_another_server_is_refused(autojump_clock: MockClock, authority: Authority) -> None:
    server = tls_server(authority)
    server.name = "replica1"
    context = client_context(authority)
    config = config_of(replicas=1)
    async with open_world(config, ssl_mode=SslMode.VERIFY_FULL, ssl_context=context, servers=[server]) as world:
        with pytest.raises(ServerUnavailable, match=r"TLS with server replica1:1 failed: .*certificate"):
            await world.cluster.acquire(Role.REPLICA, fallback_to_primary=False)
        await world.idle()
        assert server.connections == 0


@pytest.mark.trio
@pytest.mark.parametrize(
    ("bytes_sent", "sqlstate", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "08001", "does not keep to PostgreSQL's protocol: it sent a message of"),
        (b"R\x00\x00\x00\x08\x00\x00\x00\x07", "28P01", "authentication method that is not supported"),
        (b"R\x00\x00\x00\x04", "08001", "malformed authentication request"),
        (b"K\x00\x00\x00\x04", "08001", "malformed BackendKeyData"),
        (b"D\x00\x00\x00\x04", "08001", "sent a message 'D' during the login"),
        (b"R\x00\x00\x00\x0c\x00\x00\x00\x0ax", "08001", "broke off the login"),
    ],
)
async def test_what_is_no_postgresql_server(
    autojump_clock: MockClock, bytes_sent: bytes, sqlstate: str, words: str
) -> None:
    server = ScriptedServer(first_words=bytes_sent)
    async with open_world(servers=[server]) as world:
        with pytest.raises(ProxyError, match=words) as caught:
            await acquire(world)
        assert (caught.value.sqlstate, caught.value.severity) == (sqlstate, "ERROR")
        assert "primary:1" in caught.value.message
        assert world.counts() == (0, 0, 0)
        await world.idle()
        assert server.connections == 0


@pytest.mark.trio
async def test_nonsense_right_after_the_login_leaves_nothing_open(autojump_clock: MockClock) -> None:
    server = ScriptedServer(after_login=b"Z\x00\x00\x00\x01")
    async with open_world(servers=[server]) as world:
        with pytest.raises(ServerUnavailable, match=r"primary:1 does not keep to .* impossible length"):
            await acquire(world)
        assert world.counts() == (0, 0, 0)
        await world.idle()
        assert server.connections == 0

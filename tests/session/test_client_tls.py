"""TLS towards clients: asked for, direct, broken off, bound to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.logins import GSSENC_REQUEST, PASSWORD, STARTUP, account, encrypt, is_served, log_in_scram
from support.transcript import READY, shape
from support.world import By, config_of, open_world

from pgcat_trio.config.model import AuthType
from pgcat_trio.errors import AuthenticationFailed
from pgcat_trio.wire import encode
from pgcat_trio.wire.scram import SCRAM, SCRAM_PLUS

if TYPE_CHECKING:
    import ssl

    from trio.testing import MockClock

    from pgcat_trio.session.gateway import ClientTls

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])


@pytest.mark.trio
@both_ways
async def test_tls(autojump_clock: MockClock, by: By, client_tls: ClientTls, trusting: ssl.SSLContext) -> None:
    async with open_world(by=by) as world:
        world.client_tls = client_tls
        client = world.dial_in()
        await client.send(encode.SSL_REQUEST)
        assert await client.stream.receive_some(1) == b"S"
        await encrypt(client, trusting)
        await client.send(GSSENC_REQUEST)
        assert await client.stream.receive_some(10) == b"N"
        await client.send(STARTUP)
        await client.reply()
        await is_served(client)
        await client.send(encode.query("SELECT pg_sleep(100)"))
        await world.idle()
        await client.leave()
        await world.idle()
        assert world.counts() == (1, 1, 0)


@pytest.mark.trio
@both_ways
async def test_direct_tls(autojump_clock: MockClock, by: By, client_tls: ClientTls, trusting: ssl.SSLContext) -> None:
    trusting.set_alpn_protocols(["postgresql"])
    async with open_world(by=by) as world:
        world.client_tls = client_tls
        client = world.dial_in()
        await encrypt(client, trusting)
        await client.send(STARTUP)
        await client.reply()
        await is_served(client)


@pytest.mark.trio
async def test_direct_tls_needs_its_protocol_by_name(
    autojump_clock: MockClock, client_tls: ClientTls, trusting: ssl.SSLContext
) -> None:
    async with open_world() as world:
        world.client_tls = client_tls
        client = world.dial_in()
        await encrypt(client, trusting)
        assert shape(await client.rest()) == "E(fatal 08P01)"


@pytest.mark.trio
async def test_tls_is_not_begun_inside_tls(
    autojump_clock: MockClock, client_tls: ClientTls, trusting: ssl.SSLContext
) -> None:
    async with open_world() as world:
        world.client_tls = client_tls
        client = world.dial_in()
        await client.send(encode.SSL_REQUEST)
        await client.stream.receive_some(1)
        await encrypt(client, trusting)
        await client.send(encode.SSL_REQUEST)
        assert shape(await client.rest()) == "E(fatal 08P01)"


@pytest.mark.trio
@pytest.mark.parametrize("garbage", [b"\x00" * 100, STARTUP, b"\x16\x03\x01\x00\x05hello"])
async def test_handshake_with_nonsense_ends_that_connection_only(
    autojump_clock: MockClock, client_tls: ClientTls, garbage: bytes
) -> None:
    async with open_world() as world:
        world.client_tls = client_tls
        client = world.dial_in()
        await client.send(encode.SSL_REQUEST)
        assert await client.stream.receive_some(1) == b"S"
        await client.send(garbage)
        await client.rest()
        await is_served(await world.connect())


@pytest.mark.trio
async def test_handshake_that_stalls_is_bounded(autojump_clock: MockClock, client_tls: ClientTls) -> None:
    async with open_world(config_of("client_login_timeout = 3000")) as world:
        world.client_tls = client_tls
        client = world.dial_in()
        await client.send(encode.SSL_REQUEST)
        await client.stream.receive_some(1)
        began = trio.current_time()
        await client.rest()
        assert trio.current_time() - began < 6


@pytest.mark.trio
@pytest.mark.parametrize("auth_type", [AuthType.SCRAM, AuthType.SCRAM_PLUS])
@pytest.mark.parametrize("binding", [True, False])
async def test_channel_binding(
    autojump_clock: MockClock, client_tls: ClientTls, trusting: ssl.SSLContext, auth_type: AuthType, binding: bool
) -> None:
    async with open_world(auth=account(auth_type)) as world:
        world.client_tls = client_tls
        client = world.dial_in()
        await client.send(encode.SSL_REQUEST)
        await client.stream.receive_some(1)
        await encrypt(client, trusting)
        end_point = client_tls.end_point if binding else None
        if auth_type is AuthType.SCRAM_PLUS and not binding:
            with pytest.raises(AuthenticationFailed, match=f"only the SASL mechanisms {SCRAM_PLUS}"):
                await log_in_scram(client, PASSWORD, end_point)
        else:
            assert (await log_in_scram(client, PASSWORD, end_point)).endswith(READY)


@pytest.mark.trio
async def test_channel_binding_to_another_certificate_fails(
    autojump_clock: MockClock, client_tls: ClientTls, trusting: ssl.SSLContext
) -> None:
    """Somebody in between has a certificate of its own."""
    async with open_world(auth=account(AuthType.SCRAM)) as world:
        world.client_tls = client_tls
        client = world.dial_in()
        await client.send(encode.SSL_REQUEST)
        await client.stream.receive_some(1)
        await encrypt(client, trusting)
        assert shape(await log_in_scram(client, PASSWORD, b"x" * 32)).startswith("E(fatal ")


@pytest.mark.trio
async def test_plus_without_tls_is_refused(autojump_clock: MockClock) -> None:
    async with open_world(auth=account(AuthType.SCRAM_PLUS)) as world:
        client = world.dial_in()
        await client.send(STARTUP)
        said = await client.rest()
        assert shape(said) == "E(fatal 28000)"
        assert SCRAM not in said.decode()


@pytest.mark.trio
async def test_cancel_request_inside_tls(
    autojump_clock: MockClock, client_tls: ClientTls, trusting: ssl.SSLContext
) -> None:
    async with open_world() as world:
        world.client_tls = client_tls
        client = await world.connect()
        await client.send(encode.query("SELECT pg_sleep(100)"))
        await world.idle()
        messenger = world.dial_in()
        await messenger.send(encode.SSL_REQUEST)
        await messenger.stream.receive_some(1)
        await encrypt(messenger, trusting)
        await messenger.send(encode.cancel_request(*client.key))
        assert shape(await client.reply()) == "E(error 57014) ZI"

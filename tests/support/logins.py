"""Logging in to the proxy by hand: every message of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from pgcat_trio.config.model import AuthType
from pgcat_trio.session.gateway import Account
from pgcat_trio.wire import codes, encode, messages
from pgcat_trio.wire.scram import ScramClient, ScramVerifier, md5_password

from .transcript import READY, rows

if TYPE_CHECKING:
    import ssl

    from .world import Client


PASSWORD = "open sesame"
STARTUP = encode.startup({"user": "ann", "database": "app"})
GSSENC_REQUEST = b"\x00\x00\x00\x08" + codes.UINT32.pack(codes.GSSENC_REQUEST)


def account(auth_type: AuthType, password: str | None = PASSWORD) -> Account:
    """What the server knows about ann; without a password: about somebody whom it does not know."""
    verifier = ScramVerifier(password or "nobody knows") if "scram" in auth_type.value else None
    return Account(auth_type, password, verifier)


async def encrypt(client: Client, context: ssl.SSLContext) -> None:
    """Shake hands."""
    stream = trio.SSLStream(client.stream, context, server_hostname="proxy", https_compatible=True)
    client.stream = stream
    await stream.do_handshake()


async def is_served(client: Client) -> None:
    assert await client.query("SELECT 1") == rows("1") + READY


async def log_in_md5(client: Client, password: str) -> bytes:
    await client.send(STARTUP)
    request = await client.message()
    kind, salt = messages.authentication(request[5:])
    assert kind == codes.AUTH_MD5
    await client.send(encode.password_message(md5_password("ann", password, salt)))
    return await client.reply()


async def log_in_scram(client: Client, password: str, end_point: bytes | None = None) -> bytes:
    """SCRAM as a client does it, to the end; the rest of what was said."""
    await client.send(STARTUP)
    kind, data = messages.authentication((await client.message())[5:])
    assert kind == codes.AUTH_SASL
    scram = ScramClient("ann", password, messages.sasl_mechanisms(data), end_point)
    await client.send(encode.sasl_initial_response(scram.mechanism, scram.first()))
    kind, data = messages.authentication((await client.message())[5:])
    assert kind == codes.AUTH_SASL_CONTINUE
    await client.send(encode.sasl_response(scram.final(data)))
    said = await client.reply()
    if said[:1] == b"R":
        scram.check(messages.authentication(said[5 : 1 + int.from_bytes(said[1:5])])[1])
    return said


LOG_IN = {AuthType.MD5: log_in_md5, AuthType.SCRAM: log_in_scram}

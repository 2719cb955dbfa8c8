"""From the first byte of a connection to the end of its login.

PostgreSQL manual, "Start-up", "SSL Session Encryption" and "SASL Authentication". The caller bounds the time of the
whole login and sends the errors that are raised here to the client; before authentication they reveal nothing about
which users and databases exist.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import attrs
import trio

from ..config.model import AuthType
from ..errors import AuthenticationFailed, InvalidAuthorization, ProtocolViolation
from ..net.tls import ALPN, negotiated_alpn, upgrade
from ..wire import codes, encode, messages
from ..wire.codes import UINT32
from ..wire.scram import SCRAM, SCRAM_PLUS, ScramServer, equal, md5_password
from .replication import is_physical

if TYPE_CHECKING:
    from ..net.transport import Transport
    from .gateway import Account, Gateway

_TLS_HANDSHAKE: Final = 0x16
"""The first byte of a TLS ClientHello: direct TLS. No startup packet can begin with it (RFC 8446, section 5.1)."""

_MAX_AUTH_MESSAGE_BYTES: Final = 10_000
"""PostgreSQL's own limit before the login is done (PG_MAX_AUTH_TOKEN_LENGTH is larger, for GSSAPI only)."""

_MAX_EARLY_BYTES: Final = 64 * 1024
"""What a client may say before it is told that it is logged in: a driver may pipeline a request, or say goodbye."""

_EOF_DURING_LOGIN: Final = "the client closed the connection during the login"


class ClientGone(Exception):
    """The client left before it was logged in: there is nobody to tell."""


@attrs.frozen
class Login:
    """A client that has proved who it is. ``transport`` may be another one than the connection began with (TLS)."""

    transport: Transport
    protocol: int
    user: str
    database: str
    parameters: dict[str, str]


class Handshake:
    """One connection's login. ``transport`` is always the one to answer on and to close."""

    def __init__(self, transport: Transport, gateway: Gateway) -> None:
        self.transport = transport
        self._gateway = gateway
        self._buffer = b""

    async def run(self) -> Login | None:
        """Log the client in; None for a connection that only carried a CancelRequest, which has then been passed on.

        Raises `ProxyError` with what to tell the client, `ClientGone` if there is nobody to tell.
        """
        packet = await self._first_packet()
        if isinstance(packet, messages.CancelRequest):
            found = self._gateway.cancel_keys.find(packet.pid, packet.secret)
            arrived = found.cancel() if found is not None else None
            if arrived is not None:
                # The end of this connection tells the client that its next query is safe, as it does with a server.
                await arrived.wait()
            return None
        parameters = dict(packet.parameters)
        user = parameters.get("user", "")
        if not user:
            raise InvalidAuthorization(
                "no PostgreSQL user name specified in startup packet", hint="Connect with a user name."
            )
        database = parameters.get("database") or user
        if is_physical(parameters):
            database = self._gateway.physical_pool(database, user)
        if self._gateway.general.tls_required and not self.transport.encrypted:
            raise InvalidAuthorization("this proxy requires TLS", hint="Connect with sslmode=require or stricter.")
        self._gateway.admit()
        protocol = await self._negotiate(packet)
        await self._authenticate(user, self._gateway.find_account(database, user))
        return Login(self.transport, protocol, user, database, parameters)

    # -- before the startup packet ---------------------------------------------------------------------------------

    async def _first_packet(self) -> messages.StartupMessage | messages.CancelRequest:
        """Answer requests for encryption until the client says what it wants."""
        asked: set[int] = set()
        while True:
            await self._fill(1)
            if self._buffer[0] == _TLS_HANDSHAKE and not asked and self._gateway.client_tls is not None:
                await self._start_direct_tls()
                asked.add(codes.SSL_REQUEST)
                continue
            while (length := messages.first_packet_length(self._buffer)) is None:
                await self._fill(4)
            await self._fill(length)
            packet, self._buffer = messages.first_packet(self._buffer[:length]), self._buffer[length:]
            if not isinstance(packet, messages.EncryptionRequest):
                return packet
            if packet.code in asked:
                raise ProtocolViolation("encryption was requested twice")
            asked.add(packet.code)
            await self._answer_encryption_request(packet.code)

    async def _answer_encryption_request(self, code: int) -> None:
        tls = self._gateway.client_tls
        if self._buffer:
            # Said before the channel was safe, to be taken for said inside it (CVE-2021-3935, CVE-2021-23214).
            raise ProtocolViolation("received unencrypted data after a request for encryption")
        if code == codes.GSSENC_REQUEST or tls is None or self.transport.encrypted:
            await self._write(b"N")
            return
        await self._write(b"S")
        await self._start_tls()

    async def _start_direct_tls(self) -> None:
        self.transport.unread(self._buffer)
        self._buffer = b""
        await self._start_tls()
        if negotiated_alpn(self.transport) != ALPN:
            raise ProtocolViolation("direct TLS needs the application protocol 'postgresql' (ALPN)")

    async def _start_tls(self) -> None:
        tls = self._gateway.client_tls
        assert tls is not None
        try:
            self.transport = await upgrade(self.transport, tls.context, server_side=True)
        except trio.BrokenResourceError as problem:
            raise ClientGone(f"TLS handshake failed: {problem.__cause__ or problem}") from None

    async def _negotiate(self, startup: messages.StartupMessage) -> int:
        """Settle on a protocol version; 3.1 was never in use, so who asks for it gets 3.0."""
        unknown = [name for name in startup.parameters if name.startswith("_pq_.")]
        newest = codes.PROTOCOL_3_2 if startup.protocol >= codes.PROTOCOL_3_2 else codes.PROTOCOL_3_0
        if startup.protocol != newest or unknown:
            await self._write(encode.negotiate_protocol_version(newest, unknown))
        return newest

    # -- authentication --------------------------------------------------------------------------------------------

    async def _authenticate(self, user: str, account: Account) -> None:
        """Have the client prove who it is. Raises `AuthenticationFailed` in one way for whatever is wrong."""
        try:
            if account.auth_type is AuthType.MD5:
                await self._md5(user, account)
            elif account.auth_type in (AuthType.SCRAM, AuthType.SCRAM_PLUS):
                await self._scram(account)
        except AuthenticationFailed:
            raise AuthenticationFailed(f'password authentication failed for user "{user}"') from None

    async def _md5(self, user: str, account: Account) -> None:
        salt = os.urandom(4)
        await self._write(encode.authentication(codes.AUTH_MD5, salt))
        answer = messages.password(await self._password_message())
        # An account without a password is compared all the same, so that it takes as long.
        expected = md5_password(user, account.password or os.urandom(16).hex(), salt)
        if not equal(answer, expected) or account.password is None:
            raise AuthenticationFailed("md5 does not match")

    async def _scram(self, account: Account) -> None:
        tls = self._gateway.client_tls
        end_point = tls.end_point if tls is not None and self.transport.encrypted else None
        if account.auth_type is AuthType.SCRAM_PLUS and end_point is None:
            raise InvalidAuthorization(
                "this user must log in with scram-sha-256-plus, which needs TLS", hint="Connect with sslmode=require."
            )
        offered = [SCRAM_PLUS] if end_point is not None else []
        if account.auth_type is AuthType.SCRAM:
            offered.append(SCRAM)
        names = b"".join(encode.cstring(name) for name in offered) + b"\x00"
        await self._write(encode.authentication(codes.AUTH_SASL, names))
        mechanism, data = messages.sasl_initial_response(await self._password_message())
        if mechanism not in offered:
            raise ProtocolViolation("the client selected an authentication mechanism that was not offered")
        assert account.verifier is not None
        server = ScramServer(account.verifier, mechanism, end_point)
        await self._write(encode.authentication(codes.AUTH_SASL_CONTINUE, server.first(data)))
        final = server.final(await self._password_message())
        if account.password is None:
            raise AuthenticationFailed("no such account")
        await self._write(encode.authentication(codes.AUTH_SASL_FINAL, final))

    async def _password_message(self) -> bytes:
        await self._fill(5)
        length: int = UINT32.unpack_from(self._buffer, 1)[0]
        if self._buffer[0] != codes.PASSWORD:
            raise ProtocolViolation(f"expected a password, got message type {self._buffer[0]}")
        if not 4 <= length <= _MAX_AUTH_MESSAGE_BYTES:
            raise ProtocolViolation(f"invalid length {length} of a password message")
        await self._fill(1 + length)
        body = self._buffer[5 : 1 + length]
        self._buffer = self._buffer[1 + length :]
        return body

    # -- bytes -----------------------------------------------------------------------------------------------------

    def take_rest(self) -> bytes:
        """What the client sent after its login was complete: the beginning of its session."""
        rest, self._buffer = self._buffer, b""
        return rest

    async def departure(self) -> ClientGone:
        """Wait until the client leaves, which it may do while it is being served; keep what it says before.

        Cancelling it loses nothing. From a client that says a lot before it is ready to be heard, the end is not heard.
        """
        while len(self._buffer) < _MAX_EARLY_BYTES:
            data = await self.transport.receive(_MAX_EARLY_BYTES)
            if not data:
                return ClientGone(self.transport.fault or _EOF_DURING_LOGIN)
            self._buffer += data
        return await trio.sleep_forever()

    async def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            data = await self.transport.receive(_MAX_AUTH_MESSAGE_BYTES)
            if not data:
                raise ClientGone(self.transport.fault or _EOF_DURING_LOGIN)
            self._buffer += data

    async def _write(self, data: bytes) -> None:
        try:
            await self.transport.send(data)
        except trio.BrokenResourceError as problem:
            raise ClientGone(str(problem)) from None

"""Open a server connection: dial, TLS, authentication, parameters. One deadline over all of it, set by the caller."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final

import attrs
import trio

from ..config.model import SslMode
from ..errors import (
    AuthenticationFailed,
    LoginRefused,
    ProtocolViolation,
    ServerError,
    ServerLoginFailed,
    ServerUnavailable,
)
from ..net.tls import peer_certificate, upgrade
from ..net.transport import SocketTransport, Transport
from ..wire import codes, encode, messages
from ..wire.codes import UINT32
from ..wire.scram import ScramClient, md5_password, server_end_point

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping

    from ..config.model import General
    from ..net.poller import Poller
    from .resolver import Resolver

    Dialer = Callable[["Target", Poller | None, General], Awaitable[Transport]]
    """Opens the byte stream to a server. Raises `ServerUnavailable`; after `Cancelled` nothing is left open."""

OWN_STARTUP: Final = {"client_encoding": "UTF8"}
"""What the proxy asks for with connections that clients share. They have no name of their own: a client that gives none
has none, as it would at the server."""

_MAX_LOGIN_MESSAGE_BYTES: Final = 64 * 1024
"""No message of a login is nearly as long; an endless one must not fill memory before we know who speaks."""


@attrs.frozen
class Target:
    """A server and the identity to log in with. ``password`` is never shown."""

    host: str
    port: int
    database: str
    user: str
    password: str | None = attrs.field(repr=False)
    ssl_mode: SslMode = SslMode.DISABLE
    ssl_context: ssl.SSLContext | None = attrs.field(default=None, eq=False, repr=False)
    resolver: Resolver | None = attrs.field(default=None, eq=False, repr=False)
    """Who knows the addresses of ``host``; None for the system."""
    dialer: Dialer | None = attrs.field(default=None, eq=False, repr=False)
    """How to reach it, where that is not by a socket of its address."""

    @property
    def address(self) -> str:
        """``host:port``, or the path of the UNIX socket."""
        return self.socket_path or f"{self.host}:{self.port}"

    @property
    def encrypts(self) -> bool:
        """True where TLS is tried. As libpq has it, never on a UNIX socket."""
        return self.ssl_context is not None and self.socket_path is None

    @property
    def socket_path(self) -> str | None:
        """The UNIX socket, if ``host`` is a directory as libpq has it."""
        return f"{self.host}/.s.PGSQL.{self.port}" if self.host.startswith("/") else None


@attrs.frozen
class Greeting:
    """A server that is ready for queries: the connection and all it said about itself."""

    transport: Transport
    parameters: dict[str, str]
    pid: int
    key: bytes = attrs.field(repr=False)
    rest: bytes = attrs.field(default=b"", repr=False)
    """Bytes that came after the ReadyForQuery."""


async def open_connection(
    target: Target, poller: Poller | None, options: General, startup: Mapping[str, str] = OWN_STARTUP
) -> Greeting:
    """Connect and log in. ``startup`` are the parameters of the startup packet besides the user and the database.

    Raises `ServerUnavailable` if the server cannot be reached, breaks off or breaks the protocol, `LoginRefused` with
    the server's own words if it refuses, `ServerLoginFailed` if its way of authenticating cannot be met. After any
    error and after `Cancelled` nothing is left open.
    """
    if target.ssl_mode is SslMode.ALLOW:
        # libpq: first without TLS, then with it if the server would not have us.
        try:
            return await _attempt(target, poller, options, startup, encrypted=False)
        except ServerError:
            return await _attempt(target, poller, options, startup, encrypted=True)
    return await _attempt(target, poller, options, startup, encrypted=target.ssl_mode is not SslMode.DISABLE)


async def _attempt(
    target: Target, poller: Poller | None, options: General, startup: Mapping[str, str], *, encrypted: bool
) -> Greeting:
    transport = await dial(target, poller, options)
    try:
        if encrypted and target.encrypts:
            transport = await start_tls(transport, target)
        login = _Login(transport, target, startup)
        return await login.run()
    except AuthenticationFailed as problem:
        transport.close()
        raise ServerLoginFailed(
            f"cannot log in to server {target.address}: {problem.message}",
            hint="Check server_username and server_password in the proxy's configuration.",
        ) from None
    except ProtocolViolation as problem:
        transport.close()
        raise ServerUnavailable(
            f"server {target.address} does not keep to PostgreSQL's protocol: {problem.message}",
            hint="Check host and port in the proxy's configuration.",
        ) from None
    except BaseException:
        transport.close()
        raise


async def dial(target: Target, poller: Poller | None, options: General) -> Transport:
    """Connect, without a word. Raises `ServerUnavailable`; after `Cancelled` nothing is left open."""
    return await (target.dialer or _dial_socket)(target, poller, options)


async def _dial_socket(target: Target, poller: Poller | None, options: General) -> SocketTransport:
    try:
        stream = await _open_stream(target)
    except OSError as problem:
        raise ServerUnavailable(f"cannot connect to server {target.address}: {_reason(problem)}") from None
    # From here to the return nothing awaits: the socket cannot be lost between two owners.
    transport = SocketTransport(socket.socket(fileno=stream.socket.detach()), poller)
    set_keepalive(transport.socket, options)
    return transport


async def _open_stream(target: Target) -> trio.SocketStream:
    """To the first of the server's addresses that answers. They share what time there is: one may be a black hole."""
    if target.socket_path is not None:
        return await trio.open_unix_socket(target.socket_path)
    addresses = (target.host,) if target.resolver is None else await target.resolver.addresses(target.host)
    for left in range(len(addresses), 1, -1):
        time_left_s = trio.current_effective_deadline() - trio.current_time()
        with trio.move_on_after(time_left_s / left), contextlib.suppress(OSError):
            return await trio.open_tcp_stream(addresses[-left], target.port)
    return await trio.open_tcp_stream(addresses[-1], target.port)


def _reason(problem: BaseException) -> str:
    """The system's words for the last attempt; Trio wraps several attempts in a group."""
    while isinstance(problem.__cause__, OSError | BaseExceptionGroup):
        problem = problem.__cause__
    if isinstance(problem, BaseExceptionGroup):
        return _reason(problem.exceptions[-1])
    if isinstance(problem, OSError) and problem.errno is not None and problem.errno > 0:
        return os.strerror(problem.errno)  # its text would name the address once more
    return getattr(problem, "strerror", None) or str(problem)


def set_keepalive(sock: socket.socket, options: General) -> None:
    """Apply PgCat's tcp_* keys to a TCP socket, as far as the platform has them."""
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", options.tcp_keepalives_idle_s),
        ("TCP_KEEPINTVL", options.tcp_keepalives_interval_s),
        ("TCP_KEEPCNT", options.tcp_keepalives_count),
        ("TCP_USER_TIMEOUT", options.tcp_user_timeout_ms),
    ):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def start_tls(transport: Transport, target: Target) -> Transport:
    """Ask for TLS. Reads exactly one byte before the handshake: whatever else came was not said by the server."""
    assert target.ssl_context is not None
    await _send(transport, encode.SSL_REQUEST, target)
    answer = await transport.receive(1)
    if answer == b"S":
        try:
            return await upgrade(transport, target.ssl_context, server_side=False, server_hostname=target.host)
        except trio.BrokenResourceError as problem:
            raise ServerUnavailable(
                f"TLS with server {target.address} failed: {problem.__cause__ or problem}"
            ) from None
    if answer == b"N" and target.ssl_mode is SslMode.PREFER:
        return transport
    if answer == b"N":
        raise ServerUnavailable(
            f"server {target.address} does not support TLS, but server_tls = {target.ssl_mode.value!r} requires it"
        )
    if answer == b"E":
        raise ServerUnavailable(f"server {target.address} answered an error to the request for TLS")
    raise ServerUnavailable(f"server {target.address} closed the connection when asked for TLS")


async def _send(transport: Transport, data: bytes, target: Target) -> None:
    try:
        await transport.send(data)
    except trio.BrokenResourceError as problem:
        raise ServerUnavailable(f"connection to server {target.address} broke: {problem}") from None


class _Login:
    """From the startup packet to the first ReadyForQuery."""

    def __init__(self, transport: Transport, target: Target, startup: Mapping[str, str]) -> None:
        self._transport = transport
        self._target = target
        self._startup = startup
        self._buffer = b""
        self._scram: ScramClient | None = None
        self._parameters: dict[str, str] = {}
        self._pid = 0
        self._key = b""

    async def run(self) -> Greeting:
        who = {"user": self._target.user, "database": self._target.database}
        await self._write(encode.startup({**who, **self._startup}))
        while True:
            kind, body = await self._message()
            match kind:
                case codes.AUTHENTICATION:
                    await self._authenticate(*messages.authentication(body))
                case codes.PARAMETER_STATUS:
                    name, value = messages.parameter_status(body)
                    self._parameters[name] = value
                case codes.BACKEND_KEY_DATA:
                    self._pid, self._key = messages.backend_key_data(body)
                case codes.ERROR_RESPONSE:
                    raise LoginRefused(self._target.address, messages.error_fields(body))
                case codes.READY_FOR_QUERY:
                    return Greeting(self._transport, self._parameters, self._pid, self._key, self._buffer)
                case codes.NOTICE_RESPONSE | codes.NEGOTIATE_PROTOCOL_VERSION:
                    pass  # for example a warning of a collation's version: no reason not to use the server
                case _:
                    raise ProtocolViolation(f"it sent a message {chr(kind)!r} during the login")

    async def _authenticate(self, kind: int, data: bytes) -> None:
        target = self._target
        if kind == codes.AUTH_OK:
            if self._scram is not None:
                raise AuthenticationFailed("it ended SCRAM without proving its identity")
            return
        if kind == codes.AUTH_SASL_FINAL and self._scram is not None:
            self._scram.check(data)
            self._scram = None
            return
        if target.password is None:
            raise AuthenticationFailed(f"it asks for a password for user {target.user!r}, but none is configured")
        if kind == codes.AUTH_CLEARTEXT:
            await self._write(encode.password_message(target.password.encode()))
        elif kind == codes.AUTH_MD5 and len(data) == 4:
            await self._write(encode.password_message(md5_password(target.user, target.password, data)))
        elif kind == codes.AUTH_SASL:
            certificate = peer_certificate(self._transport)
            end_point = server_end_point(certificate) if certificate else None
            self._scram = ScramClient(target.user, target.password, messages.sasl_mechanisms(data), end_point)
            await self._write(encode.sasl_initial_response(self._scram.mechanism, self._scram.first()))
        elif kind == codes.AUTH_SASL_CONTINUE and self._scram is not None:
            await self._write(encode.sasl_response(self._scram.final(data)))
        else:
            raise AuthenticationFailed(f"it asks for an authentication method that is not supported (code {kind})")

    async def _write(self, data: bytes) -> None:
        await _send(self._transport, data, self._target)

    async def _message(self) -> tuple[int, bytes]:
        await self._fill(5)
        kind = self._buffer[0]
        length: int = UINT32.unpack_from(self._buffer, 1)[0]
        if not 4 <= length <= _MAX_LOGIN_MESSAGE_BYTES:
            raise ProtocolViolation(f"it sent a message of {length} bytes during the login")
        await self._fill(1 + length)
        body = self._buffer[5 : 1 + length]
        self._buffer = self._buffer[1 + length :]
        return kind, body

    async def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            data = await self._transport.receive()
            if not data:
                reason = self._transport.fault or "it closed the connection"
                raise ServerUnavailable(f"server {self._target.address} broke off the login: {reason}")
            self._buffer += data

"""A small honest PostgreSQL client in Trio, for what drivers do not let one do: leave, freeze, cancel at any point."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final, Self

import attrs
import trio

from pgcat_trio.wire import codes, encode, messages
from pgcat_trio.wire.scram import ScramClient, md5_password

from .proxy import APP_PASSWORD, APP_USER

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from .proxy import RunningProxy

Row = list[str | None]
Message = tuple[int, bytes]

_HEADER: Final = struct.Struct("!BI")
_INT16: Final = struct.Struct("!h")
_INT32: Final = struct.Struct("!i")

ERROR: Final = codes.ERROR_RESPONSE
READY: Final = codes.READY_FOR_QUERY
ROW: Final = ord("D")
COMPLETE: Final = ord("C")


class PostgresError(Exception):
    """An ErrorResponse; ``fields`` by their letters."""

    def __init__(self, body: bytes) -> None:
        self.fields = messages.error_fields(body)
        self.sqlstate = self.fields.get("C", "")
        super().__init__(f"{self.sqlstate}: {self.fields.get('M')}")


class Disconnected(Exception):
    """The other side closed the connection in the middle of a conversation."""


@attrs.define
class Reply:
    """All messages up to and including one ReadyForQuery, sorted."""

    rows: list[Row] = attrs.field(factory=list)
    tags: list[str] = attrs.field(factory=list)
    errors: list[PostgresError] = attrs.field(factory=list)
    messages: list[Message] = attrs.field(factory=list)
    status: str = ""

    @property
    def kinds(self) -> str:
        """The letters of all messages, in order."""
        return "".join(chr(kind) for kind, _ in self.messages)

    def rows_or_raise(self) -> list[Row]:
        if self.errors:
            raise self.errors[0]
        return self.rows


class Client:
    """A connection that has logged in. Methods are for one task at a time, except `cancel`."""

    def __init__(self, stream: trio.SocketStream, address: tuple[str, int]) -> None:
        self.stream: trio.abc.Stream = stream
        self.socket = stream.socket
        self.address = address
        self.parameters: dict[str, str] = {}
        self.pid = 0
        self.key = b""
        self.status = ""
        self._buffer = bytearray()

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        user: str,
        password: str,
        database: str,
        tls: ssl.SSLContext | None = None,
        **settings: str,
    ) -> Self:
        """Dial and log in; ``settings`` go into the startup packet. Raises `PostgresError`, `Disconnected`, OSError."""
        client = cls(await trio.open_tcp_stream(host, port), (host, port))
        try:
            if tls is not None:
                await client.send(encode.SSL_REQUEST)
                if await client.stream.receive_some(1) != b"S":
                    raise Disconnected("TLS was declined")
                client.stream = trio.SSLStream(client.stream, tls, server_hostname=host, https_compatible=True)
            await client.log_in(user, password, {"database": database, **settings})
        except BaseException:
            client.leave()
            raise
        return client

    async def log_in(self, user: str, password: str, settings: dict[str, str]) -> None:
        await self.send(encode.startup({"user": user, **settings}))
        scram: ScramClient | None = None
        while True:
            kind, body = await self.message()
            match kind:
                case codes.AUTHENTICATION:
                    request, data = messages.authentication(body)
                    if request == codes.AUTH_MD5:
                        await self.send(encode.password_message(md5_password(user, password, data)))
                    elif request == codes.AUTH_SASL:
                        scram = ScramClient(user, password, messages.sasl_mechanisms(data), None)
                        await self.send(encode.sasl_initial_response(scram.mechanism, scram.first()))
                    elif request == codes.AUTH_SASL_CONTINUE and scram is not None:
                        await self.send(encode.sasl_response(scram.final(data)))
                    elif request == codes.AUTH_SASL_FINAL and scram is not None:
                        scram.check(data)
                case codes.PARAMETER_STATUS:
                    self._note_parameter(body)
                case codes.BACKEND_KEY_DATA:
                    self.pid, self.key = messages.backend_key_data(body)
                case codes.ERROR_RESPONSE:
                    raise PostgresError(body)
                case codes.READY_FOR_QUERY:
                    self.status = body.decode()
                    return

    # -- talking ---------------------------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as problem:
            raise Disconnected(str(problem.__cause__ or problem)) from None

    async def message(self) -> Message:
        """The next message of any kind: its letter's code and its body."""
        await self._fill(5)
        kind, length = _HEADER.unpack_from(self._buffer)
        await self._fill(1 + length)
        body = bytes(self._buffer[5 : 1 + length])
        del self._buffer[: 1 + length]
        return kind, body

    async def reply(self) -> Reply:
        """All up to the next ReadyForQuery. Raises `Disconnected`, or the error that ended the connection."""
        reply = Reply()
        while True:
            try:
                kind, body = await self.message()
            except Disconnected:
                if reply.errors:
                    raise reply.errors[-1] from None
                raise
            reply.messages.append((kind, body))
            match kind:
                case codes.READY_FOR_QUERY:
                    self.status = reply.status = body.decode()
                    return reply
                case codes.ERROR_RESPONSE:
                    reply.errors.append(PostgresError(body))
                case codes.PARAMETER_STATUS:
                    self._note_parameter(body)
                case _ if kind == ROW:
                    reply.rows.append(row_values(body))
                case _ if kind == COMPLETE:
                    reply.tags.append(body[:-1].decode())

    async def ask(self, request: bytes) -> Reply:
        """Send bytes that cause one ReadyForQuery, and wait for it."""
        await self.send(request)
        return await self.reply()

    async def query(self, sql: str) -> list[Row]:
        """Run SQL by the simple protocol. Raises `PostgresError` at its first error, once the server is ready again."""
        return (await self.ask(encode.query(sql))).rows_or_raise()

    async def execute(self, sql: str, *values: str) -> list[Row]:
        """Run one statement by the extended protocol, unnamed, its values as text."""
        return (await self.ask(extended(sql, *values) + encode.SYNC)).rows_or_raise()

    # -- leaving and cancelling ------------------------------------------------------------------------------------

    async def cancel(self) -> None:
        """Send a CancelRequest; returns when the other side has closed that connection, as libpq does."""
        stream = await trio.open_tcp_stream(*self.address)
        async with stream:
            await stream.send_all(encode.cancel_request(self.pid, self.key))
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.receive_some(1)

    async def close(self) -> None:
        """Say goodbye and close."""
        with contextlib.suppress(Disconnected):
            await self.send(encode.TERMINATE)
        self.leave()

    def leave(self, *, reset: bool = False) -> None:
        """Close without a word; with ``reset`` the peer sees a connection reset rather than its end."""
        if reset and self.socket.fileno() >= 0:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def _note_parameter(self, body: bytes) -> None:
        name, value = messages.parameter_status(body)
        self.parameters[name] = value

    async def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            try:
                data = await self.stream.receive_some(65536)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as problem:
                raise Disconnected(str(problem.__cause__ or problem)) from None
            if not data:
                raise Disconnected("end of stream")
            self._buffer += data


async def connect(proxy: RunningProxy, tls: ssl.SSLContext | None = None, **settings: str) -> Client:
    """Log in to a proxy's first pool as `proxy.APP_USER`."""
    database = next(iter(proxy.supervisor.config.pools))
    return await Client.connect(proxy.host, proxy.port, APP_USER, APP_PASSWORD, database, tls, **settings)


# -- messages a proxy never makes itself ---------------------------------------------------------------------------


def parse(sql: str, name: str = "") -> bytes:
    return encode.message(b"P", encode.cstring(name) + encode.cstring(sql) + _INT16.pack(0))


def bind(*values: str, name: str = "", portal: str = "") -> bytes:
    """Bind text values and ask for text results."""
    parts = [encode.cstring(portal), encode.cstring(name), _INT16.pack(0), _INT16.pack(len(values))]
    for value in values:
        parts += [_INT32.pack(len(value.encode())), value.encode()]
    return encode.message(b"B", b"".join([*parts, _INT16.pack(0)]))


def describe_portal(portal: str = "") -> bytes:
    return encode.message(b"D", b"P" + encode.cstring(portal))


def execute(portal: str = "", max_rows: int = 0) -> bytes:
    return encode.message(b"E", encode.cstring(portal) + _INT32.pack(max_rows))


def extended(sql: str, *values: str) -> bytes:
    """Parse, Bind, Execute of one unnamed statement, without the Sync."""
    return parse(sql) + bind(*values) + execute()


def copy_data(data: bytes) -> bytes:
    return encode.message(b"d", data)


def function_call(oid: int, arguments: Iterable[bytes]) -> bytes:
    """FunctionCall with binary arguments and a binary result."""
    arguments = list(arguments)
    parts: list[bytes] = [struct.pack("!Ihhh", oid, 1, 1, len(arguments))]
    parts += [_INT32.pack(len(argument)) + argument for argument in arguments]
    return encode.message(b"F", b"".join([*parts, _INT16.pack(1)]))


def row_values(body: bytes) -> Row:
    """The values of a DataRow in text format."""
    values: Row = []
    position = 2
    for _ in range(_INT16.unpack_from(body)[0]):
        length: int = _INT32.unpack_from(body, position)[0]
        position += 4
        values.append(None if length < 0 else body[position : position + length].decode("utf-8", "surrogateescape"))
        position += max(0, length)
    return values

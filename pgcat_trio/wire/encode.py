"""Messages that the proxy originates, as bytes. One function a message, named as the PostgreSQL manual names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import codes
from .codes import INT16, INT32, UINT32

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..errors import ProxyError

SYNC: Final = b"S\x00\x00\x00\x04"
FLUSH: Final = b"H\x00\x00\x00\x04"
TERMINATE: Final = b"X\x00\x00\x00\x04"
COPY_DONE: Final = b"c\x00\x00\x00\x04"
EMPTY_QUERY_RESPONSE: Final = b"I\x00\x00\x00\x04"
SSL_REQUEST: Final = b"\x00\x00\x00\x08" + UINT32.pack(codes.SSL_REQUEST)

_READY: Final = {status: b"Z\x00\x00\x00\x05" + bytes([status]) for status in b"ITE"}


def message(kind: bytes, body: bytes) -> bytes:
    """Any message: its letter, its length (which counts itself) and its body."""
    return kind + UINT32.pack(len(body) + 4) + body


def cstring(text: str | bytes) -> bytes:
    """A NUL-terminated string. Raises ValueError for a text that holds NUL itself, which would end it early."""
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    if b"\x00" in raw:
        raise ValueError("a protocol string cannot hold a NUL byte")
    return raw + b"\x00"


# -- to a client ---------------------------------------------------------------------------------------------------


def authentication(code: int, data: bytes = b"") -> bytes:
    """AuthenticationOk, AuthenticationMD5Password, AuthenticationSASL ...: ``code`` says which, ``data`` follows it."""
    return message(b"R", INT32.pack(code) + data)


def backend_key_data(pid: int, secret: bytes) -> bytes:
    """What the client must show again to cancel a query; the secret has 4 bytes before protocol 3.2."""
    return message(b"K", UINT32.pack(pid) + secret)


def parameter_status(name: str, value: str) -> bytes:
    """ParameterStatus."""
    return message(b"S", cstring(name) + cstring(value))


def ready_for_query(status: int = codes.IDLE) -> bytes:
    """ReadyForQuery with one of the statuses I, T, E."""
    return _READY[status]


def welcome(parameters: Mapping[str, str], pid: int, secret: bytes) -> bytes:
    """What a server says after a login: that it worked, its parameters, the cancel key, and that it is ready."""
    statuses = [parameter_status(name, value) for name, value in parameters.items()]
    return b"".join([authentication(codes.AUTH_OK), *statuses, backend_key_data(pid, secret), ready_for_query()])


def negotiate_protocol_version(newest: int, unknown_options: Sequence[str]) -> bytes:
    """NegotiateProtocolVersion: the newest protocol we speak, and the ``_pq_.`` options that we do not know."""
    body = UINT32.pack(newest) + UINT32.pack(len(unknown_options))
    return message(b"v", body + b"".join(map(cstring, unknown_options)))


def report(kind: bytes, fields: Iterable[tuple[str, str | None]]) -> bytes:
    """ErrorResponse (``kind`` E) or NoticeResponse (N); fields without a value are left out."""
    parts = [code.encode() + cstring(text.replace("\x00", "")) for code, text in fields if text]
    return message(kind, b"".join(parts) + b"\x00")


def error_response(error: ProxyError, severity: str | None = None) -> bytes:
    """An error of our own as the client sees it. ``severity`` overrides the class's, for a session that must end."""
    return report(b"E", error.fields_as(severity or error.severity))


def notice_response(message_text: str, sqlstate: str = "00000", detail: str | None = None) -> bytes:
    """NoticeResponse of severity NOTICE."""
    return report(b"N", [("S", "NOTICE"), ("V", "NOTICE"), ("C", sqlstate), ("M", message_text), ("D", detail)])


def command_complete(tag: str) -> bytes:
    """CommandComplete."""
    return message(b"C", cstring(tag))


def row_description(columns: Sequence[tuple[str, int]], binary: Sequence[bool] = ()) -> bytes:
    """RowDescription of columns, each a name and a type's OID; of text format unless ``binary`` says so of each."""
    parts = [INT16.pack(len(columns))]
    for (name, type_oid), is_binary in zip(columns, binary or [False] * len(columns), strict=True):
        size = {23: 4, 20: 8, 16: 1}.get(type_oid, -1)
        parts += [cstring(name), UINT32.pack(0), INT16.pack(0), UINT32.pack(type_oid), INT16.pack(size)]
        parts += [INT32.pack(-1), INT16.pack(is_binary)]
    return message(b"T", b"".join(parts))


def data_row(values: Sequence[str | bytes | None]) -> bytes:
    """DataRow; None is NULL, bytes are a value as it is."""
    parts = [INT16.pack(len(values))]
    for value in values:
        if value is None:
            parts.append(INT32.pack(-1))
        else:
            raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
            parts += [INT32.pack(len(raw)), raw]
    return message(b"D", b"".join(parts))


# -- to a server ---------------------------------------------------------------------------------------------------


def startup(parameters: Mapping[str, str], protocol: int = codes.PROTOCOL_3_0) -> bytes:
    """StartupMessage."""
    body = b"".join(cstring(name) + cstring(value) for name, value in parameters.items()) + b"\x00"
    return UINT32.pack(len(body) + 8) + UINT32.pack(protocol) + body


def cancel_request(pid: int, secret: bytes) -> bytes:
    """CancelRequest; sent alone on a connection of its own."""
    return UINT32.pack(12 + len(secret)) + UINT32.pack(codes.CANCEL_REQUEST) + UINT32.pack(pid) + secret


def password_message(password: bytes) -> bytes:
    """PasswordMessage in answer to a cleartext or md5 request."""
    return message(b"p", cstring(password))


def sasl_initial_response(mechanism: str, data: bytes) -> bytes:
    """SASLInitialResponse."""
    return message(b"p", cstring(mechanism) + INT32.pack(len(data)) + data)


def sasl_response(data: bytes) -> bytes:
    """SASLResponse."""
    return message(b"p", data)


def query(sql: str | bytes) -> bytes:
    """Query: one simple-protocol message."""
    return message(b"Q", cstring(sql))


def requests(statements: Iterable[bytes], name: str) -> bytes:
    """Statements by the extended protocol, up to a Sync: the unnamed statement and portal are left as they are.

    ``name`` is that of a statement and a portal, which are there only in the meantime.
    """
    named = cstring(name)
    end = message(b"E", named + bytes(4)) + message(b"C", b"P" + named) + message(b"C", b"S" + named)
    bind = message(b"B", named + named + bytes(6)) + end
    return b"".join(message(b"P", named + cstring(sql) + bytes(2)) + bind for sql in statements) + SYNC


def copy_fail(reason: str) -> bytes:
    """CopyFail: ends a COPY FROM STDIN without success."""
    return message(b"f", cstring(reason))

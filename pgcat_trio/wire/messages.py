"""Messages that the proxy must read: what arrives as a body (without letter and length) leaves as a value.

Every function raises `ProtocolViolation` for a body that does not keep its format, and nothing else.
"""

from __future__ import annotations

import struct

import attrs

from ..errors import MessageTooLarge, ProtocolViolation
from . import codes
from .codes import INT32, UINT32


@attrs.frozen
class StartupMessage:
    """What a client says first. ``protocol`` is (major << 16) | minor, ``parameters`` in the order they came."""

    protocol: int
    parameters: dict[str, str]


@attrs.frozen
class CancelRequest:
    """A request to cancel what the session with this process id and secret runs."""

    pid: int
    secret: bytes = attrs.field(repr=False)


@attrs.frozen
class EncryptionRequest:
    """SSLRequest or GSSENCRequest, told apart by ``code``."""

    code: int


FirstPacket = StartupMessage | CancelRequest | EncryptionRequest


def first_packet_length(data: bytes) -> int | None:
    """The whole length of the untyped packet that ``data`` begins with; None while its length word is incomplete.

    Refuses a length outside 8 to 10,000 bytes before a byte of it is stored (PostgreSQL: ProcessStartupPacket).
    """
    if len(data) < 4:
        return None
    length: int = UINT32.unpack_from(data)[0]
    if length > codes.MAX_STARTUP_BYTES:
        raise MessageTooLarge(
            f"invalid length of startup packet: {length} bytes, at most {codes.MAX_STARTUP_BYTES}",
            hint="This port speaks PostgreSQL's protocol.",
        )
    if length < 8:
        raise ProtocolViolation("invalid length of startup packet")
    return length


def first_packet(packet: bytes) -> FirstPacket:
    """Read a whole first packet, length word included."""
    code: int = UINT32.unpack_from(packet, 4)[0]
    if code in (codes.SSL_REQUEST, codes.GSSENC_REQUEST):
        if len(packet) != 8:
            raise ProtocolViolation("invalid length of encryption request")
        return EncryptionRequest(code)
    if code == codes.CANCEL_REQUEST:
        # Protocol 3.2 allows secrets of 4 to 256 bytes.
        if not 16 <= len(packet) <= 12 + 256:
            raise ProtocolViolation("invalid length of cancel request")
        return CancelRequest(UINT32.unpack_from(packet, 8)[0], packet[12:])
    if code >> 16 != 3:
        raise ProtocolViolation(
            f"unsupported frontend protocol {code >> 16}.{code & 0xFFFF}: this proxy supports 3.0 to 3.2",
            hint="This port speaks PostgreSQL's protocol.",
        )
    return StartupMessage(code, _startup_parameters(packet[8:]))


def _startup_parameters(body: bytes) -> dict[str, str]:
    if not body.endswith(b"\x00"):
        raise ProtocolViolation("invalid startup packet layout: expected terminator as last byte")
    parts = body[:-1].split(b"\x00")
    # name\0value\0 ... \0: an even number of strings and an empty rest; an empty *value* is a value.
    if parts.pop() != b"" or len(parts) % 2:
        raise ProtocolViolation("invalid startup packet layout: expected pairs of names and values")
    names = [_text(name) for name in parts[::2]]
    if "" in names:
        raise ProtocolViolation("invalid startup packet layout: a parameter without a name")
    return dict(zip(names, map(_text, parts[1::2]), strict=True))


def _text(raw: bytes) -> str:
    """Bytes of an unknown encoding, kept whole: what is not UTF-8 survives the way back through `encode.cstring`."""
    return raw.decode("utf-8", "surrogateescape")


def error_fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse by their code letter.

    A server that sends no SQLSTATE or no message is a server all the same: missing fields are simply missing.
    """
    fields: dict[str, str] = {}
    for part in body.split(b"\x00"):
        if part:
            fields.setdefault(chr(part[0]), part[1:].decode("utf-8", "replace"))
    return fields


def parameter_status(body: bytes) -> tuple[str, str]:
    """Name and value of a ParameterStatus."""
    name, value, rest = _cstrings(body, 2)
    if rest:
        raise ProtocolViolation("malformed ParameterStatus")
    return _text(name), _text(value)


def data_row(body: bytes) -> list[str | None]:
    """The columns of a DataRow in text format."""
    columns: list[str | None] = []
    position = 2
    try:
        for _ in range(codes.INT16.unpack_from(body)[0]):
            size: int = INT32.unpack_from(body, position)[0]
            position += 4
            columns.append(None if size < 0 else _text(body[position : position + size]))
            position += max(0, size)
    except struct.error:
        raise ProtocolViolation("malformed DataRow") from None
    return columns


def notification(body: bytes) -> tuple[bytes, bytes]:
    """Channel and payload of a NotificationResponse, in the client encoding of the connection it came on."""
    channel, payload, rest = _cstrings(body[4:], 2)
    if rest:
        raise ProtocolViolation("malformed NotificationResponse")
    return channel, payload


def authentication(body: bytes) -> tuple[int, bytes]:
    """The kind of an authentication request and the data that follows it."""
    if len(body) < 4:
        raise ProtocolViolation("malformed authentication request")
    return INT32.unpack_from(body)[0], body[4:]


def sasl_mechanisms(data: bytes) -> list[str]:
    """The mechanisms that an AuthenticationSASL offers, in the server's order of preference."""
    if not data.endswith(b"\x00\x00"):
        raise ProtocolViolation("malformed list of SASL mechanisms")
    return [name.decode("ascii", "replace") for name in data[:-2].split(b"\x00")]


def backend_key_data(body: bytes) -> tuple[int, bytes]:
    """Process id and secret of a BackendKeyData; secrets have 4 to 256 bytes."""
    if not 8 <= len(body) <= 4 + 256:
        raise ProtocolViolation("malformed BackendKeyData")
    return UINT32.unpack_from(body)[0], body[4:]


def password(body: bytes) -> bytes:
    """The password of a PasswordMessage."""
    value, rest = _cstrings(body, 1)
    if rest:
        raise ProtocolViolation("malformed PasswordMessage")
    return value


def sasl_initial_response(body: bytes) -> tuple[str, bytes]:
    """Mechanism and first data of a SASLInitialResponse; absent data is empty data."""
    mechanism, rest = _cstrings(body, 1)
    if len(rest) < 4:
        raise ProtocolViolation("malformed SASLInitialResponse")
    length: int = INT32.unpack_from(rest)[0]
    data = rest[4:]
    if (length == -1 and data) or (length != -1 and length != len(data)):
        raise ProtocolViolation("malformed SASLInitialResponse")
    return mechanism.decode("ascii", "replace"), data


def _cstrings(body: bytes, count: int) -> list[bytes]:
    """``count`` NUL-terminated strings from the front of ``body``, then what is left."""
    parts = body.split(b"\x00", count)
    if len(parts) <= count:
        raise ProtocolViolation("a string in the message has no end")
    return parts

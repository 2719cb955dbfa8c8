"""The messages of the extended protocol, as the console reads them (PostgreSQL manual, "Message Formats")."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import attrs

from ...errors import ProtocolViolation
from ...wire.codes import INT16, INT32

if TYPE_CHECKING:
    from collections.abc import Callable

_TEXT: Final = 0
_BINARY: Final = 1


@attrs.frozen
class Parse:
    """A statement's name and text, and how many types of parameters are named."""

    name: bytes
    text: str
    parameters: int


@attrs.frozen
class Bind:
    """A portal's name, its statement's, how many values there are, and for each column, or for all, if it is binary."""

    portal: bytes
    statement: bytes
    values: int
    formats: tuple[bool, ...]


@attrs.frozen
class Mention:
    """Describe and Close: ``kind`` is S for a statement, P for a portal."""

    kind: bytes
    name: bytes


@attrs.frozen
class Execute:
    """A portal's name, and how many rows are wanted; 0 for all."""

    portal: bytes
    max_rows: int


class _Reader:
    """Takes a body apart from front to back. Raises what `struct` and `bytes` raise."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._position = 0

    def cstring(self) -> bytes:
        end = self._body.index(0, self._position)
        text, self._position = self._body[self._position : end], end + 1
        return text

    def take(self, size: int) -> bytes:
        if size < 0 or self._position + size > len(self._body):
            raise ValueError("the body is too short")
        self._position += size
        return self._body[self._position - size : self._position]

    def int16(self) -> int:
        number: int = INT16.unpack(self.take(2))[0]
        if number < 0:
            raise ValueError("a negative count")
        return number

    def int32(self) -> int:
        number: int = INT32.unpack(self.take(4))[0]
        return number

    def end(self) -> None:
        if self._position != len(self._body):
            raise ValueError("the body is too long")


def read(kind: int, body: bytes) -> Parse | Bind | Mention | Execute:
    """One message of the letters ``PBDCE``. Raises `ProtocolViolation`."""
    reader = _Reader(body)
    try:
        found = _READERS[kind](reader)
        reader.end()
    except (ValueError, struct.error):
        raise ProtocolViolation(f"malformed message {chr(kind)!r}") from None
    return found


def _parse(reader: _Reader) -> Parse:
    name, text, count = reader.cstring(), reader.cstring().decode("utf-8", "replace"), reader.int16()
    reader.take(4 * count)
    return Parse(name, text, count)


def _bind(reader: _Reader) -> Bind:
    portal, statement = reader.cstring(), reader.cstring()
    reader.take(2 * reader.int16())
    count = reader.int16()
    for _ in range(count):
        reader.take(max(0, reader.int32()))
    formats = [reader.int16() for _ in range(reader.int16())]
    if not {_TEXT, _BINARY}.issuperset(formats):
        raise ValueError("an unknown format")
    return Bind(portal, statement, count, tuple(each == _BINARY for each in formats))


def _mention(reader: _Reader) -> Mention:
    kind, name = reader.take(1), reader.cstring()
    if kind not in (b"S", b"P"):
        raise ValueError("neither a statement nor a portal")
    return Mention(kind, name)


def _execute(reader: _Reader) -> Execute:
    return Execute(reader.cstring(), max(0, reader.int32()))


_READERS: Final[dict[int, Callable[[_Reader], Parse | Bind | Mention | Execute]]] = {
    ord("P"): _parse,
    ord("B"): _bind,
    ord("D"): _mention,
    ord("C"): _mention,
    ord("E"): _execute,
}

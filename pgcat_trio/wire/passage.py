"""A server's side of a connection that is passed on as it comes: nothing is held back, left out or put in.

`Passage.feed` walks over the headers, so that it is known where messages end, and what the server was last heard of.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ..errors import ProtocolViolation
from . import codes, messages

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_HEADER: Final = struct.Struct("!BI")
_NOTED: Final = frozenset(
    (codes.READY_FOR_QUERY, codes.COPY_BOTH_RESPONSE, codes.ERROR_RESPONSE, codes.PARAMETER_STATUS)
)
_MAX_LENGTH: Final = 0x7FFFFFFF
"""The length is a signed number on the wire."""


class Passage:
    """One server connection's codec. ``parameters`` is kept up to date with what the server reports."""

    __slots__ = ("_body_bytes", "_header", "at_work", "last_error", "parameters", "streaming")

    def __init__(self, parameters: MutableMapping[str, str]) -> None:
        self.parameters = parameters
        self.streaming = False
        """CopyBoth is under way: the server reads and writes all the time."""
        self.at_work = False
        """Something was asked of it, and its ReadyForQuery has not come."""
        self.last_error: dict[str, str] | None = None
        """The last ErrorResponse since the last ReadyForQuery: a server's last words when the connection ends."""
        self._header = b""  # the beginning of a header that has been passed on
        self._body_bytes = 0  # what is still to come of a message whose header has been

    @property
    def missing_bytes(self) -> int:
        """How much is needed at least to come to the end of what has begun; 0 between two messages."""
        return self._body_bytes or (_HEADER.size - len(self._header) if self._header else 0)

    def feed(self, data: bytes) -> None:
        """Note what is about to be passed on.

        Raises `ProtocolViolation` and stays where it was: then it should not be, and the connection makes no sense.
        """
        position = min(self._body_bytes, len(data))
        if position < self._body_bytes:
            self._body_bytes -= position
            return
        if self._header:
            data = self._header + data
        end = len(data)
        while end - position >= _HEADER.size:
            kind, length = _HEADER.unpack_from(data, position)
            if not 4 <= length <= _MAX_LENGTH:
                raise ProtocolViolation(f"the server sent a message {chr(kind)!r} with the impossible length {length}")
            stop = position + 1 + length
            if kind in _NOTED:
                self._note(kind, data[position + _HEADER.size : stop], whole=stop <= end)
            position = stop
        self._body_bytes = max(0, position - end)
        self._header = data[position:]

    def _note(self, kind: int, body: bytes, whole: bool) -> None:
        """What does not arrive in one piece with its header is not read: rare, and only the log would be the poorer."""
        if kind == codes.READY_FOR_QUERY:
            self.at_work = self.streaming = False
            self.last_error = None
        elif kind == codes.COPY_BOTH_RESPONSE:
            self.streaming = True
        elif kind == codes.ERROR_RESPONSE:
            self.last_error = messages.error_fields(body) if whole else {}
        elif whole:
            name, value = messages.parameter_status(body)
            self.parameters[name] = value

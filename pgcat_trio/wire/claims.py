"""Which of a client's messages the proxy answers itself: those with a command for it, and those about such a one.

A command may be prepared and bound like any statement. So a client's names for them are kept here, as of the last
message that was taken; what they stand for is whoever answers them to know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import codes
from .usual import BOUND

if TYPE_CHECKING:
    from collections.abc import Callable

_TEXTS: Final = frozenset((codes.QUERY, codes.PARSE))
_NAMING: Final = frozenset((codes.BIND, codes.DESCRIBE, codes.EXECUTE, codes.CLOSE))
_CLOSING: Final = frozenset((codes.SYNC, codes.FLUSH))
CLAIMABLE: Final = _TEXTS | _NAMING | {codes.SYNC}
"""Messages that may be about a command, or change what is."""

_STATEMENT: Final = ord("S")


def _string(data: bytes, start: int, stop: int) -> bytes:
    end = data.find(0, start, stop)
    return data[start : end if end >= 0 else stop]


def _never(_: bytes) -> bool:
    return False


def text_of(data: bytes, start: int, stop: int) -> bytes:
    """The SQL of a whole Query or Parse that begins at ``start``."""
    at = start + 5
    if data[start] == codes.PARSE:
        at = data.find(0, at, stop) + 1
    return _string(data, at, stop)


class Claims:
    """The proxy's share of what one client says: nothing, as long as nobody says what a command is.

    ``is_command`` is asked about each text; ``deallocates`` about each that may be the DEALLOCATE of a command, while
    there are prepared ones.
    """

    __slots__ = ("deallocates", "is_command", "portals", "statements")

    def __init__(
        self, is_command: Callable[[bytes], bool] = _never, deallocates: Callable[[bytes], bool] = _never
    ) -> None:
        self.is_command = is_command
        self.deallocates = deallocates
        self.statements: set[bytes] = set()
        """Names of prepared commands; b"" for the unnamed statement."""
        self.portals: set[bytes] = set()
        """Names of bound ones."""

    def may_cover(self, shape: int, subject: bytes, text: bytes, _executes: bool) -> bool:
        """Whether a usual request (see `wire.usual`) must be looked at message by message."""
        if shape == BOUND:
            return bool(self.statements) and subject in self.statements
        return bool(self.statements) or self.is_command(text)

    def take(self, data: bytes, start: int, stop: int, *, own: bool | None) -> bool | None:
        """Whether a message is the proxy's, as those of its batch before it are (``own``; None for the first).

        None if it begins a new batch. Nothing is changed by it then; else it is taken. A Sync or Flush belongs to
        whatever it ends.
        """
        mine = stop <= len(data) and self._covers(data, start, stop)
        if own is not None and mine is not own and (mine or data[start] not in _CLOSING):
            return None
        if mine or self.statements or self.portals:
            self._note(data, start, stop, own=mine)
        return mine or bool(own)

    def _covers(self, data: bytes, start: int, stop: int) -> bool:
        """Whether a whole message is about a command. A Parse that gives a command's name to another text is, too."""
        kind = data[start]
        at = start + 5
        if kind in _TEXTS:
            text = text_of(data, start, stop)
            if self.is_command(text) or (self.statements and self.deallocates(text)):
                return True
            name = _string(data, at, stop) if kind == codes.PARSE and self.statements else b""
            return name != b"" and name in self.statements
        if kind not in _NAMING or not (self.statements or self.portals):
            return False
        if kind == codes.EXECUTE:
            return _string(data, at, stop) in self.portals
        if kind == codes.BIND:
            return _string(data, data.find(0, at, stop) + 1, stop) in self.statements
        return _string(data, at + 1, stop) in (self.statements if data[at] == _STATEMENT else self.portals)

    def _note(self, data: bytes, start: int, stop: int, *, own: bool) -> None:
        kind = data[start]
        at = start + 5
        if kind == codes.QUERY or kind == codes.SYNC:
            self.portals.clear()
            if kind == codes.QUERY:
                self.statements.discard(b"")
        elif kind == codes.PARSE:
            (self.statements.add if own else self.statements.discard)(_string(data, at, stop))
        elif kind == codes.BIND:
            (self.portals.add if own else self.portals.discard)(_string(data, at, stop))
        elif kind == codes.CLOSE and own:
            names = self.statements if data[at] == _STATEMENT else self.portals
            names.discard(_string(data, at + 1, stop))

"""The proxy's answers to a client's commands, in the simple and the extended protocol: as a server's would look.

Prepared and bound commands are kept here; which messages are about them is told by `wire.claims`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ..errors import (
    DuplicateStatement,
    InFailedTransaction,
    ProtocolViolation,
    ProxyError,
    TooManyStatements,
    UnknownName,
)
from ..routing.commands import Command, ExplainRoute, is_command, parse_command
from ..wire import codes, encode
from ..wire.claims import Claims, text_of
from ..wire.statements import messages_in
from .deallocate import clears, deallocated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..routing.explain import Row

_TEXT: Final = 25  # the type's OID
_PARSE_COMPLETE: Final = encode.message(b"1", b"")
_BIND_COMPLETE: Final = encode.message(b"2", b"")
_CLOSE_COMPLETE: Final = encode.message(b"3", b"")
_PROPERTIES: Final = (("property", _TEXT), ("value", _TEXT))
_BINARY: Final = b"\0\1"
_NO_DATA: Final = encode.message(b"n", b"")
_NOT_IN_FAILED: Final = frozenset((codes.QUERY, codes.PARSE, codes.BIND, codes.EXECUTE))

_MAX_STATEMENTS: Final = 1000
"""Names that one client may have for prepared commands at a time."""


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")


@attrs.frozen
class Deallocate:
    """DEALLOCATE of a prepared command."""

    name: bytes
    tag: str = "DEALLOCATE"


Prepared = Command | ExplainRoute | Deallocate


@attrs.define
class Answer:
    """What the client is told. ``error``: why it went wrong.

    ``rest``: where the Sync or Flush is that ends the messages, if they came to it; else where they end.
    """

    data: bytes = b""
    error: ProxyError | None = None
    rest: int = 0


class Commands:
    """One client's commands. ``obey`` carries one out and returns the value of a SHOW; it may raise `ProxyError`.

    ``explain`` says where a text would go.
    """

    __slots__ = ("_explain", "_formats", "_obey", "_portals", "_statements", "claims")

    def __init__(self, obey: Callable[[Command], str | None], explain: Callable[[bytes], Iterable[Row]]) -> None:
        self._obey = obey
        self._explain = explain
        self._statements: dict[bytes, Prepared] = {}
        self._portals: dict[bytes, Prepared] = {}
        self._formats: dict[bytes, bytes] = {}
        self.claims = Claims(is_command, self._deallocates)

    def answer(self, batch: bytes, *, failed: bool, taken: Callable[[bytes], bool]) -> Answer:
        """Answer messages up to the Sync or Flush at their end, or to an error.

        ``failed``: the client is in a transaction that can only be rolled back. ``taken`` is asked whether a name is
        that of a prepared statement.
        """
        answer = Answer(rest=len(batch))
        for kind, start, stop in messages_in(batch):
            if kind == codes.SYNC or kind == codes.FLUSH:
                answer.rest = start
                break
            try:
                if failed and kind in _NOT_IN_FAILED:
                    raise InFailedTransaction(
                        "current transaction is aborted, commands ignored until end of transaction block"
                    )
                answer.data += self._answer(kind, batch[start:stop], taken)
            except TooManyStatements:
                raise
            except ProxyError as error:
                answer.error = error
                answer.data += encode.error_response(error, severity="ERROR")
                # What would have come is not known any more.
                self.claims.statements = set(self._statements)
                self.claims.portals = set(self._portals)
                break
        return answer

    def _answer(self, kind: int, message: bytes, taken: Callable[[bytes], bool]) -> bytes:
        if kind == codes.QUERY:
            self._statements.pop(b"", None)
            command = self._read(text_of(message, 0, len(message)))
            result = self._carry_out(command)
            return _description(command, simple=True) + result
        if kind == codes.PARSE:
            name = message[5 : message.find(0, 5)]
            self._parse(name, text_of(message, 0, len(message)), taken)
            return _PARSE_COMPLETE
        if kind == codes.BIND:
            self._bind(message)
            return _BIND_COMPLETE
        if kind == codes.EXECUTE:
            return self._carry_out(self._find(self._portals, message[5 : message.find(0, 5)]))
        name = message[6 : message.find(0, 6)]
        book = self._statements if message[5:6] == b"S" else self._portals
        if kind == codes.CLOSE:
            book.pop(name, None)
            return _CLOSE_COMPLETE
        if book is self._portals:
            return _description(self._find(book, name), self._formats[name])
        command = self._find(book, name)
        return _parameters(command) + _description(command)

    def _find(self, book: dict[bytes, Prepared], name: bytes) -> Prepared:
        found = book.get(name)
        if found is None:
            kind = "prepared statement" if book is self._statements else "portal"
            raise UnknownName(f'{kind} "{_shown(name)}" does not exist')
        return found

    def _read(self, text: bytes) -> Prepared:
        name = deallocated(text)
        return Deallocate(name) if name in self._statements else parse_command(text)

    def _parse(self, name: bytes, text: bytes, taken: Callable[[bytes], bool]) -> None:
        if name and (name in self._statements or taken(name)):
            raise DuplicateStatement(f'prepared statement "{_shown(name)}" already exists')
        if len(self._statements) >= _MAX_STATEMENTS:
            raise TooManyStatements(
                f"too many prepared commands for the proxy: a client may have {_MAX_STATEMENTS}",
                hint="Close those that are not needed any more.",
            )
        self._statements.pop(name, None)
        self._statements[name] = self._read(text)

    def _bind(self, message: bytes) -> None:
        """Bind: the formats that a client wants are noted, for text they are the same bytes."""
        portal_end = message.find(0, 5)
        end = message.find(0, portal_end + 1)
        portal, name = message[5:portal_end], message[portal_end + 1 : end]
        formats = end + 3 + 2 * int.from_bytes(message[end + 1 : end + 3])
        count = int.from_bytes(message[formats : formats + 2])
        command = self._find(self._statements, name)
        wanted = _parameter_count(command)
        if count != wanted:
            raise ProtocolViolation(
                f'bind message supplies {count} parameters, but prepared statement "{_shown(name)}" requires {wanted}'
            )
        at = formats + 2
        for _ in range(count):
            at += 4 + max(0, int.from_bytes(message[at : at + 4], signed=True))
        self._portals[portal] = command
        self._formats[portal] = message[at + 2 : at + 4]

    def _carry_out(self, command: Prepared) -> bytes:
        value: str | None = None
        if isinstance(command, Deallocate):
            self._statements.pop(command.name, None)
            self.claims.statements.discard(command.name)
        elif isinstance(command, ExplainRoute):
            rows = b"".join(map(encode.data_row, self._explain(command.sql)))
            return rows + encode.command_complete(command.tag)
        else:
            value = self._obey(command)
        row = b"" if value is None else encode.data_row([value])
        return row + encode.command_complete(command.tag)

    def _deallocates(self, text: bytes) -> bool:
        if clears(text):
            self._statements.clear()
            self.claims.statements.clear()
        return deallocated(text) in self._statements


def _parameter_count(command: Prepared) -> int:
    return command.parameters if isinstance(command, ExplainRoute) else 0


def _parameters(command: Prepared) -> bytes:
    count = _parameter_count(command)
    return encode.message(b"t", codes.INT16.pack(count) + codes.UINT32.pack(_TEXT) * count)


def _description(command: Prepared, result_format: bytes = b"", *, simple: bool = False) -> bytes:
    if isinstance(command, ExplainRoute):
        return encode.row_description(_PROPERTIES, [result_format == _BINARY] * len(_PROPERTIES))
    if isinstance(command, Deallocate) or command.value is not None:
        return b"" if simple else _NO_DATA
    description = encode.row_description([(command.subject.value, _TEXT)])
    return description[:-2] + result_format if result_format else description

"""The console by the extended protocol: statements and portals of one connection.

A command has no parameters and is the same for everybody, so a statement is its words, and a portal its statement with
the formats of its columns; it is carried out by the first Execute. Portals end with the next Sync: nothing here is a
transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from ...errors import FeatureNotSupported, ProxyError
from ...wire import encode
from . import requests
from .answers import Answer, data_rows, refusal
from .commands import header_of
from .statements import split_statements

if TYPE_CHECKING:
    from .answers import Column

Run = Callable[[list[str]], Awaitable[Answer]]
"""Carries out a command."""

PARSE_COMPLETE: Final = encode.message(b"1", b"")
BIND_COMPLETE: Final = encode.message(b"2", b"")
CLOSE_COMPLETE: Final = encode.message(b"3", b"")
NO_DATA: Final = encode.message(b"n", b"")
PORTAL_SUSPENDED: Final = encode.message(b"s", b"")
NO_PARAMETERS: Final = encode.message(b"t", b"\0\0")

_MAX_STATEMENTS: Final = 1000
"""More than any tool prepares: this keeps one that forgets to close them from filling the memory."""


@attrs.frozen
class _Statement:
    words: list[str]
    """None at all for an empty statement."""
    header: Sequence[Column]


@attrs.define
class _Portal:
    statement: _Statement
    binary: Sequence[bool]
    """For each column."""
    answer: Answer | None = None
    given: int = 0
    """How many of the answer's rows have been given already."""


class Extended:
    """Answers the messages Parse, Bind, Describe, Execute and Close; ``run`` is what carries out a command."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._statements: dict[bytes, _Statement] = {}
        self._portals: dict[bytes, _Portal] = {}

    async def answer(self, kind: int, body: bytes) -> bytes:
        """The answer to one message. Raises `ProxyError` with what to tell instead, up to the next Sync."""
        request = requests.read(kind, body)
        match request:
            case requests.Parse():
                return self._parse(request)
            case requests.Bind():
                return self._bind(request)
            case requests.Execute():
                return await self._execute(request)
            case requests.Mention():
                return self._describe(request) if kind == ord("D") else self._close(request)

    def sync(self) -> None:
        """A Sync came."""
        self._portals.clear()

    def _parse(self, request: requests.Parse) -> bytes:
        statements = split_statements(request.text)
        if len(statements) > 1:
            raise refusal("42601", "cannot insert multiple commands into a prepared statement")
        words = statements[0] if statements else []
        if request.parameters or any(word.startswith("$") for word in words):
            raise FeatureNotSupported(
                "the admin console takes no parameters", hint="Write the values into the command."
            )
        if request.name and request.name in self._statements:
            raise refusal("42P05", f'prepared statement "{_text(request.name)}" already exists')
        if len(self._statements) >= _MAX_STATEMENTS:
            raise refusal("53400", f"the admin console keeps {_MAX_STATEMENTS} prepared statements at most")
        self._statements[request.name] = _Statement(words, header_of(words) if words else ())
        return PARSE_COMPLETE

    def _bind(self, request: requests.Bind) -> bytes:
        statement = self._statement(request.statement)
        if request.values:
            raise refusal("08P01", f"bind message supplies {request.values} parameters, but there are none")
        columns, formats = len(statement.header), request.formats
        if len(formats) not in (0, 1, columns):
            raise refusal("08P01", f"bind message has {len(formats)} result formats but query has {columns} columns")
        binary = formats * columns if len(formats) == 1 else formats or (False,) * columns
        if request.portal and request.portal in self._portals:
            raise refusal("42P03", f'portal "{_text(request.portal)}" already exists')
        self._portals[request.portal] = _Portal(statement, binary)
        return BIND_COMPLETE

    def _describe(self, request: requests.Mention) -> bytes:
        if request.kind == b"S":
            header = self._statement(request.name).header
            return NO_PARAMETERS + (encode.row_description(header) if header else NO_DATA)
        portal = self._portal(request.name)
        header = portal.statement.header
        return encode.row_description(header, portal.binary) if header else NO_DATA

    async def _execute(self, request: requests.Execute) -> bytes:
        portal = self._portal(request.portal)
        if not portal.statement.words:
            return encode.EMPTY_QUERY_RESPONSE
        said = b""
        if portal.answer is None:
            portal.answer = await self._run(portal.statement.words)
            said = portal.answer.notices
        answer, start = portal.answer, portal.given
        stop = start + request.max_rows if request.max_rows else len(answer.rows)
        portal.given = min(stop, len(answer.rows))
        said += data_rows(answer.header, answer.rows[start : portal.given], portal.binary)
        return said + (PORTAL_SUSPENDED if stop < len(answer.rows) else encode.command_complete(answer.tag))

    def _close(self, request: requests.Mention) -> bytes:
        if request.kind == b"S":
            self._statements.pop(request.name, None)
        else:
            self._portals.pop(request.name, None)
        return CLOSE_COMPLETE

    def _statement(self, name: bytes) -> _Statement:
        found = self._statements.get(name)
        if found is None:
            raise _missing("26000", "prepared statement", name)
        return found

    def _portal(self, name: bytes) -> _Portal:
        found = self._portals.get(name)
        if found is None:
            raise _missing("34000", "portal", name)
        return found


def _missing(sqlstate: str, what: str, name: bytes) -> ProxyError:
    return refusal(sqlstate, f'{what} "{_text(name)}" does not exist' if name else f"unnamed {what} does not exist")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")

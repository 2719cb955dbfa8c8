"""What a client's names for prepared statements stand for. Every change comes with the way to take it back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from ..errors import TooManyStatements
from ..wire import codes
from ..wire.statements import is_named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..pool.statements import Statement, Statements
    from ..routing.route import Route, Router

MAX_NAMES: Final = 10_000
"""Names that one client may have at a time."""

MAX_TEXT_BYTES: Final = 16 * 1024 * 1024
"""Bytes of the texts behind them."""


class Names:
    """What one client's names stand for: as of the last message that was translated, and undone if that fails."""

    __slots__ = ("by_name", "statements", "text_bytes")

    def __init__(self, statements: Statements) -> None:
        self.statements = statements
        self.by_name: dict[bytes, Statement] = {}
        self.text_bytes = 0

    def used(self, batch: bytes, mentions: Sequence[int]) -> list[Statement]:
        """The statements that a batch binds."""
        used = []
        for start in mentions:
            if batch[start] == codes.BIND:
                at = is_named(batch, start, len(batch))
                statement = self.by_name.get(batch[at : batch.find(0, at)]) if at else None
                if statement is not None:
                    used.append(statement)
        return used

    def route(self, batch: bytes, mentions: Sequence[int], texts: Sequence[bytes], router: Router) -> Route:
        """The route of a batch: that of the texts in it and of those that it names."""
        used = self.used(batch, mentions)
        if len(used) == 1 and not texts:
            return used[0].route(router)
        return router.route_batch([*texts, *(statement.text for statement in used)])

    # -- changes, and how to take them back ------------------------------------------------------------------------

    def define(self, name: bytes, statement: Statement) -> Callable[[], object]:
        """A client's Parse. Raises `TooManyStatements`."""
        names = self.by_name
        if len(names) >= MAX_NAMES or self.text_bytes + len(statement.tail) > MAX_TEXT_BYTES:
            raise TooManyStatements(
                f"too many prepared statements: a client may have {MAX_NAMES}, of {MAX_TEXT_BYTES >> 20} MiB together",
                hint="Close statements that are not needed any more, or make them unnamed.",
            )
        names[name] = statement
        self.text_bytes += len(statement.tail)
        return partial(self._take_out, name)

    def undefine(self, name: bytes) -> Callable[[], None]:
        """A client's Close or DEALLOCATE of a name that it has."""
        return partial(self._put_back, name, self._take_out(name))

    def clear(self) -> Callable[[], None]:
        """All names are gone."""
        before, self.by_name = self.by_name, {}
        text_bytes, self.text_bytes = self.text_bytes, 0
        return partial(self._restore, before, text_bytes)

    def uses(self, canonical: bytes) -> bool:
        """True if a name of the client's stands for the statement that servers know by this name."""
        return any(statement.name == canonical for statement in self.by_name.values())

    def rewind(self, batch: bytes, mentions: Sequence[int]) -> None:
        """Go back to before a batch of which the server has carried out no statement, to translate it once more.

        What it prepared itself is not defined any more; what else it names stands for what a new Parse of the same text
        would be, which is something else after `Statements.renew`.
        """
        for start in mentions:
            kind = batch[start]
            at = start + 5 if kind == codes.PARSE else is_named(batch, start, len(batch))
            name = batch[at : batch.find(0, at)] if at else b""
            if name not in self.by_name:
                continue
            if kind == codes.PARSE:
                self._take_out(name)
            elif kind != codes.CLOSE:
                self.by_name[name] = self.statements.find(self.by_name[name].tail)

    def _take_out(self, name: bytes) -> Statement:
        statement = self.by_name.pop(name)
        self.text_bytes -= len(statement.tail)
        return statement

    def _put_back(self, name: bytes, statement: Statement) -> None:
        self.by_name[name] = statement
        self.text_bytes += len(statement.tail)

    def _restore(self, by_name: dict[bytes, Statement], text_bytes: int) -> None:
        self.by_name = by_name
        self.text_bytes = text_bytes

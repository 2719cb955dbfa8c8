"""What a client's names for prepared statements stand for. Every change comes with the way to take it back."""

from __future__ import annotations

import itertools
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from ..errors import TooManyStatements
from ..wire import codes
from ..wire.descriptions import description_of
from ..wire.statements import messages_in, name_at
from ..wire.usual import BOUND

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..pool.statements import Prepared, Statement, Statements
    from ..routing.route import Route, Router
    from ..wire.downstream import Downstream

MAX_NAMES: Final = 10_000
"""Names that one client may have at a time."""

MAX_TEXT_BYTES: Final = 16 * 1024 * 1024
"""Bytes of the texts behind them."""


_MAX_GONE: Final = 20
"""Names that are given up while errors that tell of them may still come; more only in long pipelines."""

FOREIGN: Final = 0
"""Anything, which may be another client's."""
NOTHING: Final = 1
OWN: Final = 2
"""What the client has, be it nothing."""


class _Change:
    """What an unnamed statement has become, if no error comes between."""

    __slots__ = ("tail",)

    def __init__(self, tail: bytes | None) -> None:
        self.tail = tail


class Names:
    """What one client's names stand for: as of the last message that was translated, and undone if that fails.

    The unnamed statement is not shared. It lasts until the next Parse of one, even a failed one, a Close of it, or a
    simple Query (PostgreSQL manual, "Extended Query").
    """

    __slots__ = (
        "_changes",
        "_gone",
        "_unchanged",
        "alike",
        "by_name",
        "doubtful",
        "statements",
        "text_bytes",
        "unnamed",
        "unnamed_there",
    )

    def __init__(self, statements: Statements) -> None:
        self.statements = statements
        self.by_name: dict[bytes, Statement] = {}
        self.text_bytes = 0
        self._gone: deque[tuple[bytes, Statement]] = deque(maxlen=_MAX_GONE)
        self.alike: deque[bytes] = deque(maxlen=_MAX_GONE)
        """Names like those of servers' that it has used while they are nobody's, while errors may tell of them."""
        self.doubtful = False
        """A statement that takes names away has been bound, and not been executed yet."""
        self.unnamed: bytes | None = None
        """The Parse of its unnamed statement after the name, up to `LARGE_BYTES`; None if it has none."""
        self.unnamed_there = FOREIGN
        """What the backend that is held has in its place. To be reset with each lease."""
        self._unchanged: bytes | None = None
        self._changes: list[_Change] = []  # of the unnamed statement, since it was as above; the last one counts

    def bound(self, batch: bytes, downstream: Downstream) -> list[bytes]:
        """The texts of the statements that a batch binds and does not hold itself."""
        if downstream.shape == BOUND:
            text = self.text(downstream.subject)
            return [] if text is None else [text]
        used = []
        parsed = set()
        for kind, start, stop in messages_in(batch):
            if kind == codes.PARSE:
                parsed.add(batch[start + 5 : batch.find(0, start + 5)])
            elif kind == codes.SYNC:
                parsed.clear()  # it may have been skipped
            elif kind == codes.BIND and (at := name_at(batch, start, stop)):
                name = batch[at : batch.find(0, at)]
                if name not in parsed and (text := self.text(name)) is not None:
                    used.append(text)
        return used

    def route(self, batch: bytes, downstream: Downstream, router: Router) -> Route:
        """The route of a batch: that of the texts in it and of those that it names."""
        if downstream.shape == BOUND:
            statement = self.by_name.get(downstream.subject)
            if statement is not None:
                return statement.route(router)
        return router.route_batch([*downstream.texts, *self.bound(batch, downstream)])

    def may_hint(self, downstream: Downstream) -> bool:
        """False if no statement that a batch names has a comment."""
        statement = self.by_name.get(downstream.subject) if downstream.shape == BOUND else None
        return statement is None or statement.has_comment

    def text(self, name: bytes) -> bytes | None:
        """The SQL of the statement of this name, b"" for the unnamed one."""
        statement = self.by_name.get(name)
        if statement is not None:
            return statement.text
        return None if name or self.unnamed is None else self.unnamed.partition(b"\0")[0]

    def at_home(self, name: bytes) -> Statement:
        """The statement of a name that the client has, as one of `statements`.

        In another cluster it is another one: its servers may know the types by other numbers.
        """
        statement = self.by_name[name]
        if statement.shared_by is not self.statements:
            statement = self.by_name[name] = self.statements.find(statement.tail)
        return statement

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

    def learn(self, name: bytes, statement: Statement, prepared: Prepared, types: bytes, row: bytes | None) -> None:
        """What a server says of what a client has just prepared: it may be another statement than it was taken for."""
        current = self.statements.described(statement, description_of(statement.text, types, row))
        if current is statement:
            return
        if self.by_name.get(name) is statement:
            self.by_name[name] = current
        prepared.disown(statement.name)

    def define_unnamed(self, tail: bytes | None) -> Callable[[bool], None]:
        """A client's Parse, Close or loss (None) of the unnamed statement. What takes it back must be told if skipped.

        If not, it has failed: that takes the last one away all the same.
        """
        if self.unnamed is not (self._changes[-1].tail if self._changes else self._unchanged):
            self.settle()  # what has been set without us was set when nothing was under way
        change = _Change(tail)
        self._changes.append(change)
        before = self.unnamed_there
        self.unnamed, self.unnamed_there = tail, OWN
        return partial(self._undo_unnamed, change, before)

    def settle(self) -> None:
        """Nothing is under way: all changes are certain."""
        self._unchanged = self.unnamed
        self._changes.clear()
        self._gone.clear()
        self.alike.clear()

    def parse_failed(self, tail: bytes) -> None:
        """The Parse of the unnamed statement that was the last one before those that `define_unnamed` was told of."""
        if self._unchanged is tail:
            self._unchanged = None
        if self.unnamed is tail:
            self.unnamed = None

    def undefine(self, name: bytes) -> Callable[[], None]:
        """A client's Close or DEALLOCATE of a name that it has."""
        return partial(self._put_back, name, self._take_out(name))

    def clear(self) -> Callable[[], None]:
        """All names are gone."""
        before, self.by_name = self.by_name, {}
        self._gone.extend(before.items())
        text_bytes, self.text_bytes = self.text_bytes, 0
        return partial(self._restore, before, text_bytes)

    def name_for(self, canonical: bytes) -> bytes | None:
        """A name of the client's for the statement that servers know by this name, perhaps one it has just given up.

        None if it has none, or has just used that very name for nothing.
        """
        if canonical in self.alike:
            return None
        names = itertools.chain(self.by_name.items(), self._gone)
        return next((name for name, statement in names if statement.name == canonical), None)

    def rewind(self, batch: bytes) -> None:
        """Go back to before a batch of which the server has carried out no statement, to translate it once more.

        What it prepared itself is not defined any more.
        """
        for kind, start, _ in messages_in(batch):
            if kind == codes.PARSE:
                self._take_out(batch[start + 5 : batch.find(0, start + 5)])

    def _take_out(self, name: bytes) -> Statement | None:
        statement = self.by_name.pop(name, None)
        if statement is not None:
            self.text_bytes -= len(statement.tail)
            self._gone.append((name, statement))
        return statement

    def _put_back(self, name: bytes, statement: Statement | None) -> None:
        if statement is not None and name not in self.by_name:
            self.by_name[name] = statement
            self.text_bytes += len(statement.tail)

    def _undo_unnamed(self, change: _Change, before: int, skipped: bool) -> None:
        change.tail = None
        if skipped:
            self._changes.remove(change)
        self.unnamed = self._changes[-1].tail if self._changes else self._unchanged
        if before != OWN:
            self.unnamed_there = before

    def _restore(self, by_name: dict[bytes, Statement], text_bytes: int) -> None:
        self.by_name = by_name
        self.text_bytes = text_bytes

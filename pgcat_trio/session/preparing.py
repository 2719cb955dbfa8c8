"""Statements that clients share are prepared on a backend, and closed where they leave no room for others."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from ..wire.statements import CLOSE_COMPLETE, PARSE_COMPLETE, PREFIX, DescribedNote, close, describe, prepare
from .splice import Splice

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..pool.backend import Backend
    from ..pool.statements import Statement
    from .names import Names

CANONICAL: Final = PREFIX.encode()


class Preparing(Splice):
    """A batch in which something may be put that changes what its backend has."""

    __slots__ = ("_names", "_prepared")

    def __init__(self, batch: bytes, backend: Backend, names: Names) -> None:
        super().__init__(batch, backend)
        self._names = names
        self._prepared = backend.prepared

    def _prepare(self, statement: Statement, undo: Callable[[], object] | None = None) -> bytes:
        """Prepare a statement, and make room for it. With ``undo`` it is a client's own Parse, who gets the reply."""
        prepared, names = self._prepared, self._prepared.names
        was_there = names.pop(statement.name, None) is not None
        evictions = b""
        while prepared.leftovers:
            name = prepared.leftovers.pop()
            if name not in names:
                evictions += self._drop(name)
        while len(names) >= self._names.statements.size:
            evictions += self._drop(next(iter(names)))
            prepared.evictions += 1
        prepared.misses += 1
        self._note(CLOSE_COMPLETE)
        note = self._note(PARSE_COMPLETE, forward=undo is not None)
        names[statement.name] = note

        def failed() -> None:
            if names.get(statement.name) is note:
                del names[statement.name]
                if was_there:
                    prepared.leftovers.append(statement.name)  # the Close may have been skipped
            if undo is not None:
                undo()

        note.undo = failed
        return evictions + prepare(statement.name, statement.definition if undo is None else statement.tail)

    def _learn(self, name: bytes, statement: Statement) -> bytes:
        """Right behind its Parse: what the server has made of it."""
        self._notes.append(DescribedNote(partial(self._names.learn, name, statement, self._prepared)))
        return describe(statement.name)

    def _drop(self, name: bytes) -> bytes:
        """Close one of our statements on the backend."""
        self._prepared.names.pop(name, None)
        # It is not taken back: what is sent from now on, before this can have failed, takes it to be gone.
        self._note(CLOSE_COMPLETE, undo=partial(self._prepared.leftovers.append, name))
        return close(name)

    def _keep_apart(self, name: bytes, start: int) -> None:
        """A client names what it does not have: it must not find what is ours."""
        if name.startswith(CANONICAL):
            self._names.alike.append(name)
            self._insert(start, self._drop(name))

"""A client's statement is prepared anew, on a backend that lacks it: has it still the columns that the client goes by?

What a client has sent from the first message on that needs the statement waits for the answer: one round trip more than
on a backend that has it. If the columns have changed, that message is sent with the name of no statement, so that the
server refuses it in its turn and skips what it has to skip; the client gets the words in which a server refuses a
statement that is out of date (see `wire.statements.with_reason`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire.descriptions import description_of
from ..wire.statements import DescribedNote

if TYPE_CHECKING:
    from ..pool.statements import Prepared, Statement


class Check:
    """The question, and the answer. ``at`` is where in a batch the message starts that waits."""

    __slots__ = ("_prepared", "_statement", "at", "note", "refused")

    def __init__(self, at: int, statement: Statement, prepared: Prepared) -> None:
        self.at = at
        self.note = DescribedNote(self._learn)
        self.refused = False
        """The columns are others."""
        self._statement = statement
        self._prepared = prepared

    def _learn(self, types: bytes, row: bytes | None) -> None:
        statement = self._statement
        known = statement.description
        if known is not None and description_of(statement.text, types, row).columns != known.columns:
            self.refused = True
            self._prepared.disown(statement.name)

"""Prepared statements that many clients share: one for each text and parameter types in a cluster.

Clients have names of their own for them (`session.prepared`); servers know them by a name of ours, which is never used
for anything else as long as the process lives.

What a text means changes with the tables in it, and a server holds a client to what it was when the client prepared it:
the types that were inferred for its parameters stay, and so must the columns. So there is one statement for each
`Description` of the same Parse, and whoever prepares it learns from the server which one it is.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from ..routing.cache import MAX_TOTAL_BYTES, TextCache
from ..wire.statements import PREFIX

if TYPE_CHECKING:
    from ..routing.route import Route, Router
    from ..wire.descriptions import Description
    from ..wire.statements import Note

_numbers: Final = itertools.count(1)


class Statement:
    """A text with its parameter types. ``tail`` is a Parse message after its name, ``name`` what servers know it by."""

    __slots__ = ("__weakref__", "_era", "_route", "description", "has_comment", "name", "shared_by", "tail")

    def __init__(self, shared_by: Statements, tail: bytes, description: Description | None = None) -> None:
        self.shared_by = shared_by
        self.name = f"{PREFIX}{next(_numbers)}".encode()
        self.tail = tail
        self.description = description
        """What it is for all who have it; None while no server has said it."""
        self.has_comment = b"/*" in tail
        self._era: object = None
        self._route: Route | None = None

    @property
    def text(self) -> bytes:
        """The SQL."""
        return self.tail.partition(b"\0")[0]

    @property
    def definition(self) -> bytes:
        """As ``tail``, with the types that a server has inferred."""
        return self.tail if self.description is None else self.text + b"\0" + self.description.types

    @property
    def may_change(self) -> bool:
        """True if a server that prepares it now may find other columns than those that clients go by."""
        return self.description is not None and self.description.columns is not None

    def route(self, router: Router) -> Route:
        """Where this router sends the text; remembered for as long as the router decides alike."""
        if self._route is None or self._era is not router.era:
            self._era = router.era
            self._route = router.route(self.text)
        return self._route


class Statements:
    """The statements of one cluster: those that some client has a name for, and the ``size`` last parsed ones."""

    def __init__(self, size: int) -> None:
        self.size = size
        """How many statements one backend may have prepared."""
        self._by_tail: WeakValueDictionary[bytes, Statement] = WeakValueDictionary()  # the last one of each
        self._versions: WeakValueDictionary[tuple[bytes, Description], Statement] = WeakValueDictionary()
        self._recent: TextCache[Statement] = TextCache(size, max_total_bytes=MAX_TOTAL_BYTES)

    def find(self, tail: bytes) -> Statement:
        """The one statement with this text and these types."""
        statement = self._by_tail.get(tail)
        if statement is None:
            statement = self._by_tail[tail] = Statement(self, tail)
        if self._recent.get(tail) is not statement:
            self._recent.put(tail, statement)
        return statement

    def resize(self, size: int) -> None:
        """So many from now on; a backend that has more closes some when it prepares the next."""
        self.size = self._recent.max_entries = size

    def described(self, statement: Statement, description: Description) -> Statement:
        """What someone has who has just prepared this, and is told that: another statement if the tables have changed.

        Those who have it from before keep the old one, and a server refuses it to them, as it would without a proxy.
        """
        if statement.description is None:
            statement.description = description
            self._versions[statement.tail, description] = statement
        elif statement.description != description:
            tail = statement.tail
            statement = self._versions.get((tail, description)) or Statement(self, tail, description)
            self._versions[tail, description] = self._by_tail[tail] = statement
            self._recent.put(tail, statement)
        return statement


class Prepared:
    """What one backend has prepared, least recently used first: our name, and the note of the Parse that did it.

    Each use of a statement is a hit or a miss: a Describe or Bind that finds it, or has it prepared. A client's own
    Parse always has it prepared.
    """

    __slots__ = ("evictions", "hits", "leftovers", "misses", "names")

    def __init__(self) -> None:
        self.names: OrderedDict[bytes, Note] = OrderedDict()
        self.leftovers: list[bytes] = []
        """Names of which the Close was skipped after an error: not in the book any more, and still to be closed."""
        self.hits = 0
        self.misses = 0
        self.evictions = 0

    def has(self, statement: Statement, request: int) -> bool:
        """True if a Bind in the request of this number will find the statement, if the server comes to it at all.

        That counts as a hit; whoever is told False prepares it and counts the miss.
        """
        note = self.names.get(statement.name)
        if note is None or not (note.answered or note.request == request):
            return False
        self.names.move_to_end(statement.name)
        self.hits += 1
        return True

    def disown(self, name: bytes) -> None:
        """What the backend has by this name of ours is not what it should be: close it when room is made."""
        if self.names.pop(name, None) is not None:
            self.leftovers.append(name)

    def forget(self) -> None:
        """Nothing is known any more. What was about to be undone in the old book stays there."""
        if self.names:
            self.names = OrderedDict()
        if self.leftovers:
            self.leftovers = []

"""What is known about a text of SQL."""

from __future__ import annotations

import enum
from functools import cached_property
from typing import TYPE_CHECKING, Final

import attrs

from .effects import PINNING, Effect
from .functions import LOCKING_WORDS, WRITING_WORDS
from .lexer import is_word
from .names import calls
from .trees import ShardKey, shard_keys, tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .catalog import Catalog
    from .lexer import Statement


class TransactionControl(enum.Enum):
    """What a text that is one statement does to the transaction it stands in."""

    NONE = "none"
    BEGIN = "begin"
    BEGIN_READ_ONLY = "begin_read_only"  # and a hot standby can run it
    OTHER = "other"


_WRITES: Final = """
    INSERT UPDATE DELETE MERGE TRUNCATE CREATE ALTER DROP GRANT REVOKE COMMENT SECURITY REFRESH REINDEX CLUSTER VACUUM
    ANALYZE ANALYSE IMPORT REASSIGN NOTIFY REPACK
"""
_WRITING_FIRST_WORDS: Final = frozenset(_WRITES.split())


@attrs.frozen(slots=False)  # cached_property needs a __dict__
class StatementTraits:
    """What is known about a text; computed once for all texts that differ in their literals only.

    ``reads``: proven to run on any hot standby and to change nothing. ``why``: the reason, in words. The other traits
    say what can be seen in the text; they are looked up when asked for. Names are in lower case unless quoted.
    """

    reads: bool
    transaction_control: TransactionControl
    effects: Effect
    why: str
    statements: Sequence[Statement] = attrs.field(default=(), repr=False)
    catalog: Catalog | None = attrs.field(default=None, repr=False)

    @cached_property
    def kind(self) -> str:
        """The first word in lower case (``select``, ``insert``, ``create``); ``several`` statements, or ``""``."""
        if len(self.statements) > 1:
            return "several"
        first = self.statements[0].tokens[0] if self.statements else ""
        return "select" if first == "(" else first.lower() if is_word(first or "(") else ""

    @cached_property
    def writes(self) -> bool:
        """True if the text changes data or definitions by what its own words say; what is called may do so besides."""
        return any(
            statement.tokens[0] in _WRITING_FIRST_WORDS
            or (statement.tokens[0] == "COPY" and "FROM" in statement.tokens)
            or (statement.tokens[0] in _QUERIES and not WRITING_WORDS.isdisjoint(_unlocked(statement.tokens)))
            for statement in self.statements
        )

    @cached_property
    def locks(self) -> bool:
        """True if the text locks rows or tables by itself (FOR UPDATE, LOCK)."""
        return any(
            statement.tokens[0] == "LOCK"
            or any(
                one == "FOR" and two in LOCKING_WORDS
                for one, two in zip(statement.tokens, statement.tokens[1:], strict=False)
            )
            for statement in self.statements
        )

    @cached_property
    def tables(self) -> frozenset[str]:
        """``name`` or ``schema.name`` of the relations that the text names."""
        return tables([statement.tokens for statement in self.statements])

    @cached_property
    def functions(self) -> frozenset[str]:
        """``name`` or ``schema.name`` of what stands where a function is called: too many rather than too few."""
        return frozenset(name for statement in self.statements for name in calls(statement.tokens))

    @cached_property
    def volatile(self) -> frozenset[str]:
        """Those of the functions that are not known to be reads."""
        if self.catalog is None:
            return self.functions
        return frozenset(name for name in self.functions if not self.catalog.is_read(name))

    @property
    def pins(self) -> bool:
        """True if the session may have to keep its backend afterwards."""
        return bool(self.effects & PINNING)

    @property
    def temp(self) -> bool:
        """True if something temporary may be left."""
        return Effect.TEMPORARY in self.effects

    @cached_property
    def shard_keys(self) -> tuple[ShardKey, ...]:
        """Which slots of the text are compared with, or go into, which columns; see `trees.shard_keys`."""
        return shard_keys([statement.tokens for statement in self.statements])


_QUERIES: Final = frozenset({"SELECT", "WITH", "VALUES", "TABLE", "(", "EXPLAIN", "PREPARE", "DECLARE"})


def _unlocked(tokens: Sequence[str]) -> set[str]:
    """The words without those that belong to a row lock."""
    return {word for before, word in zip(("", *tokens), tokens, strict=False) if before not in ("FOR", "KEY")}

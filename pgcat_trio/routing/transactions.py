"""How transactions begin and end, and of which kind they are: by their own words, and by what the session has said.

PostgreSQL manual, "BEGIN", "SET TRANSACTION" and "Client Connection Defaults".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from pgcat_trio.routing.lexer import split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgcat_trio.routing.lexer import Tokens

_BEGINS: Final[dict[Tokens, str]] = {
    ("START", "TRANSACTION"): "START TRANSACTION",
    ("BEGIN", "TRANSACTION"): "BEGIN",
    ("BEGIN", "WORK"): "BEGIN",
    ("BEGIN",): "BEGIN",
}
"""And the tags of the answers."""

_ENDS: Final = {"COMMIT": "COMMIT", "END": "COMMIT", "ROLLBACK": "ROLLBACK", "ABORT": "ROLLBACK"}

_SERIALIZABLE: Final = ("ISOLATION", "LEVEL", "SERIALIZABLE")
_MODES: Final[dict[Tokens, tuple[str, bool]]] = {
    ("READ", "ONLY"): ("read_only", True),
    ("READ", "WRITE"): ("read_only", False),
    _SERIALIZABLE: ("serializable", True),
    ("ISOLATION", "LEVEL", "REPEATABLE", "READ"): ("serializable", False),
    ("ISOLATION", "LEVEL", "READ", "COMMITTED"): ("serializable", False),
    ("ISOLATION", "LEVEL", "READ", "UNCOMMITTED"): ("serializable", False),
    ("DEFERRABLE",): ("deferrable", True),
    ("NOT", "DEFERRABLE"): ("deferrable", False),
}

_LONGEST_BYTES: Final = 200
_MAY_BE_ONE: Final = re.compile(rb"[\s/-]|[bBsScCeErRaA]").match


@attrs.frozen
class Begin:
    """A text that begins a transaction and does nothing else. None: it leaves that to the session."""

    tag: str
    read_only: bool | None = None
    serializable: bool | None = None
    deferrable: bool | None = None


@attrs.frozen
class Defaults:
    """What a session's transactions are that do not say themselves."""

    read_only: bool = False
    serializable: bool = False

    def suit_standby(self, begin: Begin) -> bool:
        """True if a hot standby can run such a transaction: it reads only, and is not serializable."""
        read_only = self.read_only if begin.read_only is None else begin.read_only
        serializable = self.serializable if begin.serializable is None else begin.serializable
        return read_only and not serializable


USUAL: Final = Defaults()


def defaults_of(settings: Mapping[str, str]) -> Defaults | None:
    """What the settings of a session say about its transactions; None if that is nothing unusual."""
    found = Defaults(
        _is_true(settings.get("default_transaction_read_only", "")),
        settings.get("default_transaction_isolation", "").strip().lower() == "serializable",
    )
    return None if found == USUAL else found


def _is_true(value: str) -> bool:
    """As PostgreSQL reads a boolean: a word or its beginning, as far as it is only one's."""
    value = value.strip().lower()
    return value == "on" or value == "1" or (bool(value) and ("true".startswith(value) or "yes".startswith(value)))


def _tokens(sql: bytes) -> Tokens:
    """Those of a text that is one short statement, understood for certain; none otherwise."""
    if len(sql) > _LONGEST_BYTES or _MAY_BE_ONE(sql) is None:
        return ()
    statements = split(sql)
    return statements[0].tokens if len(statements) == 1 and statements[0].doubt is None else ()


def parse_begin(sql: bytes) -> Begin | None:
    """What a text begins; None if that is not all that it does, or not a transaction as the manual has it."""
    tokens = _tokens(sql)
    for words, tag in _BEGINS.items():
        if tokens[: len(words)] == words:
            modes = _modes(tokens[len(words) :])
            return None if modes is None else Begin(tag, **modes)
    return None


def begin_with(begin: Begin, sql: bytes) -> Begin:
    """What a transaction is after its first statement, if that is a SET TRANSACTION; as before if it is not."""
    tokens = _tokens(sql)
    modes = _modes(tokens[2:]) if tokens[:2] == ("SET", "TRANSACTION") else None
    return begin if modes is None else Begin(begin.tag, **{**_said(begin), **modes})


def _said(begin: Begin) -> dict[str, bool]:
    said = attrs.asdict(begin, filter=lambda field, _: field.name != "tag")
    return {name: value for name, value in said.items() if value is not None}


def _modes(tokens: Tokens) -> dict[str, bool] | None:
    """Transaction modes, each at most once, with or without commas between them; None for anything else."""
    modes: dict[str, bool] = {}
    while tokens:
        for words, (name, value) in _MODES.items():
            if tokens[: len(words)] == words and name not in modes:
                modes[name] = value
                tokens = tokens[len(words) :]
                break
        else:
            return None
        if tokens[:1] == (",",):
            tokens = tokens[1:]
            if not tokens:
                return None
    return modes


def end_of(sql: bytes) -> str | None:
    """The tag of the answer to a text that ends a transaction, and does not begin the next one; else None."""
    tokens = _tokens(sql)
    rest = tokens[1:]
    if rest[:1] in (("WORK",), ("TRANSACTION",)):
        rest = rest[1:]
    return _ENDS.get(tokens[0]) if tokens and rest in ((), ("AND", "NO", "CHAIN")) else None

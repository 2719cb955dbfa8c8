"""Which run-time settings a text changes, by name: what `effects.Effect.SETTINGS` does not say.

A name is all that is needed: whether the change was made, and to which value, only the server knows, and it is asked
(`session.keeping`). Names are in lower case. PostgreSQL manual, "SET", "RESET", "DISCARD", and set_config() in
"System Administration Functions".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from pgcat_trio.routing.effects import LONG_TEXT_BYTES
from pgcat_trio.routing.lexer import split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgcat_trio.routing.lexer import Tokens

_DEFAULTS: Final = ("transaction_isolation", "transaction_read_only", "transaction_deferrable")
OF_THE_TRANSACTION: Final = frozenset((*_DEFAULTS, "seed"))
"""Settings that end with the transaction, and one that is no setting but a command."""

# What stands for a setting without being its name, after SET [SESSION] or RESET.
_PHRASES: Final[dict[Tokens, tuple[str, ...]]] = {
    ("TIME", "ZONE"): ("timezone",),
    ("NAMES",): ("client_encoding",),
    ("SCHEMA",): ("search_path",),
    ("XML", "OPTION"): ("xmloption",),
    ("ROLE",): ("role",),
    ("AUTHORIZATION",): ("session_authorization", "role"),
    ("CHARACTERISTICS",): tuple(f"default_{name}" for name in _DEFAULTS),
    ("TRANSACTION",): (),
    ("CONSTRAINTS",): (),
}

_SET_CONFIG: Final = re.compile(rb"set_config\b", re.IGNORECASE)
_SET_CONFIG_OF: Final = re.compile(rb"set_config\s*\(\s*'([A-Za-z_][\w$.]*)'\s*(?:::\s*\w+\s*)?,", re.IGNORECASE)
_SET_CUSTOM: Final = re.compile(rb"\bset\s+(?:session\s+)?([a-z_]\w*\.[a-z_]\w*)\s*(?:=|to\b)", re.IGNORECASE)
"""Settings that no server knows of by itself: it does not list them."""


@attrs.frozen
class SettingChanges:
    """``names`` are set; ``resets`` go back to what they were at the beginning of the session.

    ``reset_all``: all of them do, except for who one is. ``unnamed``: there may be others, of which the text does not
    show the names.
    """

    names: frozenset[str] = frozenset()
    resets: frozenset[str] = frozenset()
    reset_all: bool = False
    unnamed: bool = False

    @property
    def goes_back(self) -> bool:
        """True if anything is reset."""
        return self.reset_all or bool(self.resets)

    def __or__(self, other: SettingChanges) -> SettingChanges:
        return SettingChanges(
            self.names | other.names,
            self.resets | other.resets,
            self.reset_all or other.reset_all,
            self.unnamed or other.unnamed,
        )


def setting_changes(sql: bytes) -> SettingChanges:
    """What a text may do to the settings of its session, `SET LOCAL` left out. Never raises."""
    if len(sql) > LONG_TEXT_BYTES:
        return SettingChanges(unnamed=True)
    names: set[str] = set()
    resets: set[str] = set()
    reset_all = unnamed = False
    for statement in split(sql):
        unnamed |= statement.doubt is not None
        tokens = statement.tokens
        if tokens[0] == "SET":
            (resets if _goes_back(tokens) else names).update(_named(tokens[1:]))
        elif tokens[0] == "RESET" and tokens[1:] != ("ALL",):
            resets.update(_named(tokens[1:]))
        elif tokens == ("DISCARD", "ALL"):
            resets.update(_PHRASES["AUTHORIZATION",])
        elif tokens[0] == "DO":
            names.update(name.decode().lower() for name in _SET_CUSTOM.findall(sql))
        reset_all |= tokens in (("RESET", "ALL"), ("DISCARD", "ALL"))
    called = [name.decode().lower() for name in _SET_CONFIG_OF.findall(sql)]
    unnamed |= len(called) != len(_SET_CONFIG.findall(sql))
    return SettingChanges(frozenset(names) | set(called), frozenset(resets), reset_all, unnamed)


def _goes_back(tokens: Tokens) -> bool:
    return tokens[-1] == "DEFAULT" or (tokens[-1] == "LOCAL" and tokens[-3:-1] == ("TIME", "ZONE"))


def _named(tokens: Tokens) -> Iterator[str]:
    """The settings that stand after SET or RESET."""
    if tokens[:1] == ("LOCAL",):
        return
    if tokens[:1] == ("SESSION",):
        tokens = tokens[1:]
    for phrase, names in _PHRASES.items():
        if tokens[: len(phrase)] == phrase:
            yield from names
            return
    name = ""
    for token in tokens:
        if token in ("TO", "="):
            break
        name += token.strip('"').lower()
    if name and name not in OF_THE_TRANSACTION:
        yield name

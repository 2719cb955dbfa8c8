"""What a statement may leave behind on the server connection that runs it.

A backend goes back to its pool clean or not at all, so every flag errs towards "may": a name in the text counts whether
or not it is called, and a text that cannot be lexed for certain may have left anything. What ends with the transaction
(``SET LOCAL``, plain cursors, row locks, ``pg_advisory_xact_lock``) leaves nothing. Effects of functions that only the
server can look into are not seen, except for ``DO`` and ``CALL``, which exist for their effects.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

import attrs

from pgcat_trio.routing.lexer import is_word, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgcat_trio.routing.lexer import Statement, Tokens

# Settings that follow a client from backend to backend, because every server reports their changes (ParameterStatus).
TRACKED_SETTINGS = (
    "client_encoding",
    "DateStyle",
    "TimeZone",
    "standard_conforming_strings",
    "IntervalStyle",
    "application_name",
)
# The same, from PostgreSQL 18 on.
REPORTED_SINCE_18 = ("search_path",)

# Above this size only the beginning of a text is lexed; the rest is searched for telling names, strings included.
LONG_TEXT_BYTES = 16 * 1024
_HEAD_BYTES = 1024


class Effect(enum.IntFlag):
    """What may be left on a server connection; ``NONE`` means that nothing is."""

    NONE = 0
    SETTINGS = enum.auto()
    PREPARED = enum.auto()  # also: statements of the session may be gone (DEALLOCATE, DISCARD)
    CURSORS = enum.auto()
    LISTEN = enum.auto()
    ADVISORY_LOCKS = enum.auto()
    TEMPORARY = enum.auto()
    LOADED = enum.auto()  # a library, a connection of dblink's: what no statement takes away
    STATEMENTS = enum.auto()  # prepared by SQL
    UNKNOWN = enum.auto()  # anything at all
    UNDOING = enum.auto()  # nothing new, but something of the above may be gone


PINNING = Effect.STATEMENTS | Effect.CURSORS | Effect.LISTEN | Effect.ADVISORY_LOCKS | Effect.TEMPORARY | Effect.LOADED
"""What a client wants to find again and only the connection can hold that it was left on."""


_BY_FIRST_WORD = {
    "RESET": Effect.SETTINGS | Effect.UNDOING,
    "DISCARD": Effect.UNDOING,
    "PREPARE": Effect.PREPARED | Effect.STATEMENTS,
    "DEALLOCATE": Effect.PREPARED | Effect.UNDOING,
    "LISTEN": Effect.LISTEN,
    "UNLISTEN": Effect.UNDOING,
    "CLOSE": Effect.UNDOING,
    "DROP": Effect.UNDOING,
    "LOAD": Effect.LOADED,
    "DO": Effect.UNKNOWN,
    "CALL": Effect.UNKNOWN,
}
_BY_NAME_PREFIX = (
    ("pg_advisory_lock", Effect.ADVISORY_LOCKS),
    ("pg_try_advisory_lock", Effect.ADVISORY_LOCKS),
    ("pg_advisory_unlock", Effect.UNDOING),
    ("pg_temp", Effect.TEMPORARY),
    ("pg_replication_origin_session_", Effect.LOADED),
    ("dblink_", Effect.LOADED),
)
_NAME_PREFIXES = tuple(prefix for prefix, _ in _BY_NAME_PREFIX)
_SET_CONFIG = "set_config"
_BEFORE_TEMPORARY = frozenset({"CREATE", "INTO", "LOCAL", "GLOBAL", "REPLACE"})


_FIRST_WORDS = tuple(word.lower().encode() for word in ("SET", *_BY_FIRST_WORD))
# Where a text has several statements or comments, a first word may stand behind a semicolon or a comment.
_LATER_FIRST_WORD = re.compile(rb"(?:;|\*/|[\r\n])\s*(?:" + b"|".join(_FIRST_WORDS) + rb")\b").search


def is_telling(sql: bytes) -> bool:
    """False if no word of the text could have an effect, wherever it stands: a quick look that spares us the lexer.

    Doubt about where strings end does not matter here: without such a word the text can mean nothing with an effect.
    """
    text = sql.lower()
    return (
        text.lstrip().startswith(_FIRST_WORDS)
        or b"temp" in text
        or b"hold" in text
        or b"set_config" in text
        or b"advisory" in text
        or b"dblink_" in text
        or b"pg_replication_origin_session_" in text
        or b'u&"' in text
        or (
            (b";" in text[:-1] or b"/" in text or b"\n" in text or b"\r" in text)
            and _LATER_FIRST_WORD(text) is not None
        )
    )


def effects_of(sql: bytes, *, search_path_reported: bool = False) -> Effect:
    """All that the statements of ``sql`` may leave behind. Never raises; linear in the length of ``sql``.

    A plain ``SET`` of a tracked setting as the only statement counts as leaving nothing: the proxy moves such settings
    itself. ``search_path`` belongs to them where the server reports it (``search_path_reported``).
    """
    if not is_telling(sql):
        return Effect.NONE
    if len(sql) > LONG_TEXT_BYTES:
        return _effects_of_long_text(sql)
    return effects_of_statements(split(sql), search_path_reported=search_path_reported)


def effects_of_statements(statements: Sequence[Statement], *, search_path_reported: bool = False) -> Effect:
    """`effects_of` for a text that has been split already."""
    tracked = frozenset[str]()
    if len(statements) == 1:
        tracked = _TRACKED_ON_18 if search_path_reported else _TRACKED
    effects = Effect.NONE
    for statement in statements:
        effects |= _effects_of_statement(statement, tracked)
    return effects


_TRACKED = frozenset(name.upper() for name in TRACKED_SETTINGS)
_TRACKED_ON_18 = _TRACKED | {name.upper() for name in REPORTED_SINCE_18}


def _effects_of_statement(statement: Statement, tracked: frozenset[str]) -> Effect:
    if statement.doubt:
        return Effect.UNKNOWN
    tokens = statement.tokens
    first = tokens[0]
    second = tokens[1] if len(tokens) > 1 else ""
    effects = _BY_FIRST_WORD.get(first, Effect.NONE)
    if first == "SET" and not _set_leaves_nothing(statement, tracked):
        effects |= Effect.SETTINGS
    elif first == "PREPARE" and second == "TRANSACTION":
        effects = Effect.NONE
    elif first == "DISCARD" and second == "ALL":
        effects |= Effect.SETTINGS | Effect.PREPARED
    elif first == "DECLARE" and "HOLD" in tokens:
        effects |= Effect.CURSORS
    previous = ""
    for position, token in enumerate(tokens):
        name = token.strip('"').lower()
        if name == _SET_CONFIG and not _is_local(tokens, position):
            effects |= Effect.SETTINGS
        elif name.startswith(_NAME_PREFIXES):
            effects |= _effects_of_name(name)
        elif token in ("TEMP", "TEMPORARY") and previous in _BEFORE_TEMPORARY and not _drops_on_commit(tokens):
            effects |= Effect.TEMPORARY
        previous = token
    return effects


def _is_local(tokens: Tokens, position: int) -> bool:
    """True for a call ``set_config(..., true)``, which lasts as long as its transaction."""
    if tokens[position + 1 : position + 2] != ("(",):
        return False
    depth = 0
    for end in range(position + 1, len(tokens)):
        depth += (tokens[end] == "(") - (tokens[end] == ")")
        if not depth:
            return tokens[end - 2 : end] == (",", "TRUE")
    return False


def _drops_on_commit(tokens: Tokens) -> bool:
    return tokens[0] == "CREATE" and any(
        tokens[at : at + 3] == ("ON", "COMMIT", "DROP") for at in range(3, len(tokens) - 2)
    )


def _effects_of_name(name: str) -> Effect:
    effects = Effect.NONE
    for prefix, effect in _BY_NAME_PREFIX:
        if name.startswith(prefix):
            effects |= effect
    return effects


def _set_leaves_nothing(statement: Statement, tracked: frozenset[str]) -> bool:
    words = statement.words
    if words[1:2] in (("LOCAL",), ("TRANSACTION",), ("CONSTRAINTS",)):
        return True
    if statement.tokens[-1] in ("DEFAULT", "LOCAL"):
        return False  # it goes back to what the client asked for when it connected
    match words[1:]:
        case ["TIME", "ZONE", *_] | ["SESSION", "TIME", "ZONE", *_]:
            return "TIMEZONE" in tracked
        case ["NAMES", *_] | ["SESSION", "NAMES", *_]:
            return "CLIENT_ENCODING" in tracked
        case ["SESSION", name, *_] | [name, *_]:
            return name in tracked
    return False


def _effects_of_long_text(sql: bytes) -> Effect:
    """Coarse: by the first statement's beginning, and by telling names anywhere in the text."""
    head = split(sql[:_HEAD_BYTES])
    if not head or not (is_word(head[0].tokens[0]) or head[0].tokens[0] == "("):
        return Effect.UNKNOWN  # nothing but comments so far
    if b";" in sql.rstrip(b"; \t\r\n"):
        return Effect.UNKNOWN  # possibly several statements
    effects = _effects_of_statement(attrs.evolve(head[0], doubt=None), frozenset())
    lowered = sql.lower()
    for prefix, effect in _BY_NAME_PREFIX:
        if prefix.encode() in lowered:
            effects |= effect
    if _SET_CONFIG.encode() in lowered:
        effects |= Effect.SETTINGS
    if b"temp" in lowered and head[0].tokens[0] in ("CREATE", "SELECT", "WITH"):
        effects |= Effect.TEMPORARY
    return effects

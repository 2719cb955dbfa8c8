"""The names in a statement's tokens: what it calls, and which relations it may mean.

Both err towards "may": a name counts wherever a call or a relation could stand. Names come as a server stores them: in
lower case unless quoted, without the quotes; letters outside ASCII stand as ``_`` (see `lexer.Statement`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .functions import SYNTAX_BEFORE_PARENTHESIS, SYNTAX_BEHIND
from .lexer import UNDERSCORES, is_name

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from .lexer import Tokens

MAX_NAME_BYTES: Final = 63
"""Of longer names PostgreSQL ignores the rest (NAMEDATALEN)."""

_BEFORE_RELATION: Final = frozenset({"FROM", "JOIN", ",", "ONLY", "TABLE", "(", "COPY", "USING", "INTO", "UPDATE"})


def plain(token: str) -> str:
    """The name that a word or a quoted identifier stands for, as far as a server reads it."""
    name = token[1:-1].replace('""', '"') if token[0] == '"' else token.lower()
    return name[:MAX_NAME_BYTES]


def spellings(name: str) -> tuple[str, str]:
    """What a name becomes in tokens: a letter outside ASCII is an underscore for each byte that a client's encoding has
    for it, in UTF-8 or in one that has a byte for each letter.
    """
    utf8, single = (name.encode(each, "replace").translate(UNDERSCORES).decode() for each in ("utf-8", "latin-1"))
    return utf8, single


def calls(tokens: Tokens, shadows: Container[str] = ()) -> Iterator[str]:
    """``name`` or ``schema.name`` of everything that stands before a "(" and is no syntax.

    ``shadows`` are names of functions that may be meant by words that could as well be syntax.
    """
    for index, text in enumerate(tokens):
        if text != "(" or index == 0 or not is_name(tokens[index - 1]):
            continue
        name = tokens[index - 1]
        if index > 2 and tokens[index - 2] == ".":
            yield f"{plain(tokens[index - 3])}.{plain(name)}"
        elif not _is_syntax(name, tokens[index - 2] if index > 1 else "") or plain(name) in shadows:
            yield plain(name)


def _is_syntax(word: str, before: str) -> bool:
    return word in SYNTAX_BEFORE_PARENTHESIS or before in SYNTAX_BEHIND.get(word, ())


def relations(tokens: Tokens) -> Iterator[str]:
    """``name`` or ``schema.name`` of everything that stands where a relation could, calls left out."""
    previous = ""
    for index, text in enumerate(tokens):
        if previous in _BEFORE_RELATION and is_name(text):
            end = index
            while tokens[end + 1 : end + 2] == (".",) and end + 2 < len(tokens) and is_name(tokens[end + 2]):
                end += 2
            if tokens[end + 1 : end + 2] != ("(",):
                name = plain(tokens[end])
                yield f"{plain(tokens[end - 2])}.{name}" if end > index else name
        previous = text


def attributes(tokens: Tokens) -> Iterator[str]:
    """What stands behind a dot: a column, or a function of the row (PostgreSQL manual, 36.5.3)."""
    for index, text in enumerate(tokens[:-1]):
        if text == "." and is_name(tokens[index + 1]):
            yield plain(tokens[index + 1])

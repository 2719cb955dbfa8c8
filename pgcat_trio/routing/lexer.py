"""One pass over SQL bytes: tokens, and where each statement begins and ends.

Rules: PostgreSQL manual, section 4.1 (lexical structure). The text is never decoded: every client encoding that a
PostgreSQL server also accepts keeps ASCII bytes ASCII, and a byte from 0x80 up is a letter, as in the server. What the
bytes alone cannot settle (``standard_conforming_strings = off``, encodings with a backslash as second byte,
unterminated quotes) is not guessed: the statement carries a ``doubt``, and callers go to the safe side.

Every quantifier is possessive and every unterminated construct ends the scan, so the time is linear in the length of
any input.
"""

from __future__ import annotations

import itertools
import re
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

LEADING_WORDS = 8

Tokens = tuple[str, ...]

# Two strings separated by white space that holds a newline are one string, lexed by the rules of the first.
_CONTINUED = rb"(?:[ \t\f\v]|--[^\n\r]*+)*+[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*+[\n\r])*+"

_TOKEN = re.compile(
    rb"""
      (?P<space>    (?: [ \t\n\r\f\v]++ | --[^\n\r]*+ )++ )
    | (?P<escaped>  [eE]'(?:[^'\\]++|''|\\.)*+'(?:%(continued)s'(?:[^'\\]++|''|\\.)*+')*+ )
    | (?P<string>   (?:[nNbBxX]|[uU]&)?'(?:[^']++|'')*+'(?:%(continued)s'(?:[^']++|'')*+')*+ )
    | (?P<quoted>   (?:[uU]&)?"(?:[^"]++|"")*+" )
    | (?P<word>     (?![eE]')[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*+ )
    | (?P<number>   0[xX][0-9A-Fa-f_]++ | 0[oO][0-7_]++ | 0[bB][01_]++
                  | (?:[0-9][0-9_]*+(?:\.(?!\.)[0-9_]*+)?|\.[0-9][0-9_]*+)(?:[eE][+-]?[0-9][0-9_]*+)? )
    | (?P<parameter>\$[0-9]++ )
    | (?P<dollar>   \$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*+)?\$ )
    | (?P<comment>  /\* )
    | (?P<operator> (?:(?!--|/\*)[-+*/<>=~!@\#%%^&|`?])++ )
    | (?P<punctuation> :: | := | [(),;.\[\]:] )
    """
    % {b"continued": _CONTINUED},
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(rb"/\*|\*/")
UNDERSCORES = bytes(range(128)) + b"_" * 128
"""For `bytes.translate`: what letters outside ASCII become in tokens."""
_BACKSLASH_AFTER_LETTER = re.compile(rb"[\x80-\xff]\\")

_BLOCK_CHANGE = {"CASE": 1, "END": -1}
# What a token becomes in `Statement.tokens`; other kinds keep their text.
DOUBTFUL = frozenset({"string", "escaped", "quoted", "unfinished"})
_PLACEHOLDER = {"escaped": "'x'", "string": "'x'", "dollar": "'x'"}


@attrs.frozen(slots=False)  # cached_property needs a __dict__
class Statement:
    """One statement of a text.

    ``start`` and ``end`` are byte offsets: the first byte of its first token, and the byte after its last (the
    semicolon is not part of it). ``tokens`` holds one str per token: words in upper case, quoted identifiers with
    their quotes, every string as ``'x'``, everything else as written; letters outside ASCII stand as ``_``. ``doubt``
    says why the text cannot be trusted to mean what it seems to mean, or is None.
    """

    start: int
    end: int
    tokens: Tokens
    doubt: str | None

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The leading keywords: up to eight words before the first token that is neither a word nor a comma."""
        words: list[str] = []
        for text in self.tokens:
            if is_word(text):
                words.append(text)
            elif text != ",":
                break
            if len(words) == LEADING_WORDS:
                break
        return tuple(words)


def is_word(token: str) -> bool:
    """Whether ``token`` is a keyword or an unquoted identifier."""
    return token[0].isalpha() or token[0] == "_"


def is_name(token: str) -> bool:
    """Whether ``token`` can be a name: a word or a quoted identifier."""
    return is_word(token) or token[0] == '"'


def is_literal(token: str) -> bool:
    """Whether ``token`` is a string, a number or a parameter."""
    return token[0] in "'$" or token[0].isdigit() or (token[0] == "." and len(token) > 1)


def split(sql: bytes) -> list[Statement]:
    """The statements of ``sql`` in order; empty ones are left out. Never raises.

    Semicolons inside parentheses (``CREATE RULE ... DO (a; b)``) and inside the body of an SQL-standard function
    (``BEGIN ATOMIC ... END``) do not end a statement.
    """
    statements: list[Statement] = []
    tokens: list[str] = []
    start = end = parentheses = blocks = 0
    doubt: str | None = None
    plain = sql.translate(UNDERSCORES).decode("ascii")
    upper = plain.upper()
    for kind, first, last in scan(sql):
        text = upper[first:last] if kind == "word" else _PLACEHOLDER.get(kind) or plain[first:last]
        if text == ";" and parentheses == 0 and blocks == 0:
            if tokens:
                statements.append(Statement(start, end, tuple(tokens), doubt))
            tokens, doubt = [], None
            continue
        if kind in DOUBTFUL:
            doubt = doubt or doubt_in(kind, sql, first, last)
        if not tokens:
            start = first
        tokens.append(text)
        end = last
        if kind != "word":
            if text == "(":
                parentheses += 1
            elif text == ")":
                parentheses = max(0, parentheses - 1)
        elif text == "ATOMIC":
            blocks += tokens[0] == "CREATE" and tokens[-2] == "BEGIN"
        elif blocks:
            blocks += _BLOCK_CHANGE.get(text, 0)
    if blocks:
        doubt = doubt or "a function body without an end"
    if tokens:
        statements.append(Statement(start, end, tuple(tokens), doubt))
    return statements


def scan(sql: bytes) -> Iterator[tuple[str, int, int]]:
    """(kind, start, end) of every token but white space and comments; the last one may be of kind ``unfinished``."""
    match, length, position = _TOKEN.match, len(sql), 0
    while position < length:
        start = position
        found = match(sql, position)
        if found is None:  # an open quote, or a byte no token starts with
            yield "unfinished", start, length
            return
        kind = found.lastgroup or ""
        position = found.end()
        if kind == "space":
            continue
        if kind == "comment":
            position = _end_of_comment(sql, position)
        elif kind == "dollar":
            close = sql.find(found.group(), position)
            position = close + position - start if close >= 0 else -1
        if position < 0:
            yield "unfinished", start, length
            return
        if kind != "comment":
            yield kind, start, position


def _end_of_comment(sql: bytes, position: int) -> int:
    """Offset after the block comment whose opening ends at ``position`` (comments nest); -1 if it never ends."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(sql, position):
        depth += 1 if edge.group() == b"/*" else -1
        if depth == 0:
            return edge.end()
    return -1


def doubt_in(kind: str, sql: bytes, start: int, end: int) -> str | None:
    """Why a token may not be what it seems, or None. Only tokens of the kinds in `DOUBTFUL` have to be asked about."""
    if kind == "string" and sql.find(b"\\'", start, end) >= 0:
        return "a backslash before a quote, which standard_conforming_strings may turn into an escape"
    if kind == "escaped" and _BACKSLASH_AFTER_LETTER.search(sql, start, end):
        return "a backslash after a letter outside ASCII, which some client encodings read as one letter"
    if kind == "quoted" and sql[start] != 0x22:
        return "an identifier with Unicode escapes"
    if kind == "unfinished":
        return "an unterminated quote or comment, or a byte that starts no token"
    return None


def comments(sql: bytes, limit: int) -> Iterator[bytes]:
    """The ``/* */`` comments that begin within the first ``limit`` bytes, without their edges. Never raises."""
    end = 0
    for _, first, last in itertools.chain(scan(sql), [("", len(sql), len(sql))]):
        # What is between two tokens is white space and comments.
        while end < first:
            found = _TOKEN.match(sql, end)
            if found is None:
                return
            end, start = found.end(), found.start()
            if found.lastgroup == "comment":
                end = _end_of_comment(sql, end)
                if end < 0 or start >= limit:
                    return
                yield sql[start + 2 : end - 2]
        end = last
        if end >= limit:
            return

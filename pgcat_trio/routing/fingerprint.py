"""What texts that differ in their literals have in common.

`without_literals` is the quick way, by two regular expressions: a key for a cache. `fingerprint` is the exact one, from
the lexer: a text for people, in which comments, white space and letter case are normalized too, and the literals. The
quick key tells more texts apart than the fingerprint does, never fewer, but for strings and numbers in each other's
place: that is what a decision may not depend on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from .functions import SYNTAX_BEFORE_PARENTHESIS, SYNTAX_BEHIND
from .lexer import DOUBTFUL, doubt_in, is_name, scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# -- the quick key ----------------------------------------------------------------------------------------------------

# A text in which nothing needs a lexer: every quote is closed, no backslash, no dollar quote, no comment but plain
# blocks, no letter outside ASCII that a number could belong to, no number in a quoted name.
_PLAIN: Final = re.compile(
    rb"""
    (?: [^"'\\$/\x80-\xff-]++
      | '[^'\\]*+'
      | "[A-Za-z_][A-Za-z0-9_]*+"
      | \$[0-9]
      | -(?!-)
      | /(?!\*)
      | /\*(?: [^*/'"\\$\x80-\xff]++ | '[^'*\\]*+' | /(?!\*) | \*(?!/) )*+\*/
    )*+
    """,
    re.VERBOSE,
).fullmatch
_LITERAL: Final = re.compile(rb"'[^']*+'|\b(?<!\$)[0-9]++(?:\.[0-9]++)?\b").sub
_COMMENT: Final = re.compile(rb"/\*.*?\*/", re.DOTALL).sub
_LIST: Final = re.compile(rb"(\bIN ?\(|\bARRAY ?\[)\0(?:, ?\0)++(?= ?[)\]])", re.IGNORECASE).sub
_ROWS: Final = re.compile(rb"(\bVALUES ?(\([^()\[]*+\)))(?:, ?\2)++", re.IGNORECASE).sub


def without_literals(sql: bytes) -> bytes:
    """The text with NUL (no statement can hold it) for its literals; the text itself where that takes a lexer to say.

    Block comments become blanks. Lists of literals (``IN (1, 2)``, ``ARRAY[1, 2]``, equal rows of ``VALUES``) become
    one, however long they are.
    """
    if _PLAIN(sql) is None:
        return sql
    key = _LITERAL(b"\0", sql)
    if b"/*" in key:  # no string is left that could hold this
        key = _COMMENT(b" ", key)
    # A search for bytes costs a tenth of what a regular expression does: most texts need none of these two.
    if b"\0," in key and (b"N (\0" in key or b"n (\0" in key or b"N(\0" in key or b"n(\0" in key or b"[\0" in key):
        key = _LIST(rb"\1" + b"\0...", key)
    if b"),(" in key or b"), (" in key:
        key = _ROWS(rb"\1, ...", key)
    return key


# -- the exact one ----------------------------------------------------------------------------------------------------

SLOT: Final = "?"
MORE: Final = "..."
_LITERAL_KINDS: Final = frozenset({"string", "escaped", "dollar", "number"})
_SYNTAX: Final = SYNTAX_BEFORE_PARENTHESIS | SYNTAX_BEHIND.keys()
_NO_BLANK_BEFORE: Final = frozenset({")", ",", ".", "]", "[", "::", ";"})
_NO_BLANK_AFTER: Final = frozenset({"", "(", ".", "[", "::"})


@attrs.frozen
class Fingerprint:
    """``text``: the statements in lower case, ``?`` for each literal (an operator's question marks are doubled), lists
    of literals shortened to their first, ``...`` after it. ``literals``: for each slot, in order, the literals that it
    stands for, as they were written. ``doubt``: why the text may mean something else, or None; see `lexer.Statement`.
    """

    text: str
    literals: tuple[tuple[bytes, ...], ...]
    doubt: str | None = None


def fingerprint(sql: bytes) -> Fingerprint:
    """The fingerprint of a text of any number of statements. Never raises; linear in the length of ``sql``."""
    shape: list[str] = []
    literals: list[bytes] = []
    doubt: str | None = None
    for kind, start, end in scan(sql):
        if kind in DOUBTFUL:
            doubt = doubt or doubt_in(kind, sql, start, end)
        if kind in _LITERAL_KINDS:
            shape.append(SLOT)
            literals.append(sql[start:end])
            continue
        token = sql[start:end].decode("utf-8", "replace")
        if kind == "word":
            token = token.lower()
        elif kind == "operator":
            token = token.replace("?", "??")
        shape.append(token)
    while shape and shape[-1] == ";":
        shape.pop()
    shape, slots = shortened(shape)
    return Fingerprint(_joined(shape), _grouped(literals, slots), doubt)


def shortened(shape: Sequence[str]) -> tuple[list[str], list[int]]:
    """The shape with each list of literals as one, and for each literal the slot that it belongs to.

    A shape is a text's tokens: words in lower case, `SLOT` for every literal.
    """
    short: list[str] = []
    slots: list[int] = []
    slot = position = 0
    while position < len(shape):
        word = shape[position]
        if word == SLOT:
            slots.append(slot)
            slot += 1
        short.append(word)
        position += 1
        row_at = len(short) - 1
        if word in "([":
            more = _more_literals(shape, position) if _begins_list(short) else 0
            if more:
                short += [SLOT, ",", MORE]
                slots += [slot] * (more + 1)
                slot += 1
                position += 2 * more + 1
            elif word == "(" and row_at and short[row_at - 1] == "values":
                row = _row(shape, position - 1)
                width = row.count(SLOT)
                rows = _rows_after(shape, position - 1, row) if row else 0
                if rows:
                    short += [*row[1:], ",", MORE]
                    slots += [*range(slot, slot + width)] * (rows + 1)
                    slot += width
                    position += len(row) - 1 + rows * (len(row) + 1)
    return short, slots


def _begins_list(short: Sequence[str]) -> bool:
    return short[-2:] in (["in", "("], ["array", "["])


def _more_literals(shape: Sequence[str], position: int) -> int:
    """How many literals follow the first one in a list that holds nothing else, up to its end."""
    more = 0
    while shape[position + 2 * more : position + 2 * more + 2] == [SLOT, ","]:
        more += 1
    end = position + 2 * more
    return more if shape[end : end + 1] == [SLOT] and shape[end + 1 : end + 2] in ([")"], ["]"]) else 0


def _row(shape: Sequence[str], position: int) -> list[str]:
    """The flat row that begins with the parenthesis at ``position``, or nothing."""
    for end in range(position + 1, len(shape)):
        if shape[end] in "([":
            break
        if shape[end] == ")":
            return list(shape[position : end + 1])
    return []


def _rows_after(shape: Sequence[str], position: int, row: Sequence[str]) -> int:
    """How many equal rows follow the one at ``position``."""
    rows, width = 0, len(row)
    at = position + width
    while shape[at : at + 1] == [","] and shape[at + 1 : at + 1 + width] == row:
        rows += 1
        at += width + 1
    return rows


def _grouped(literals: Sequence[bytes], slots: Sequence[int]) -> tuple[tuple[bytes, ...], ...]:
    groups: list[list[bytes]] = [[] for _ in range(max(slots, default=-1) + 1)]
    for literal, slot in zip(literals, slots, strict=True):
        groups[slot].append(literal)
    return tuple(map(tuple, groups))


def _joined(shape: Sequence[str]) -> str:
    return "".join(_spaced(shape))


def _spaced(shape: Sequence[str]) -> Iterator[str]:
    previous = ""
    for word in shape:
        called = word == "(" and _is_called(previous)
        if previous not in _NO_BLANK_AFTER and word not in _NO_BLANK_BEFORE and not called:
            yield " "
        yield word
        previous = word


def _is_called(word: str) -> bool:
    return word != "" and is_name(word) and word.upper() not in _SYNTAX

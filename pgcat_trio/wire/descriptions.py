"""What a server says of a prepared statement: the types of its parameters, and the columns that it returns."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_PLANNED: Final = re.compile(
    rb"(?:[\s(;]|--[^\n]*\n|/\*[^*/]*\*/)*(?:SELECT|INSERT|UPDATE|DELETE|MERGE|WITH|VALUES|TABLE)\b", re.IGNORECASE
)
"""The statements of which a server makes plans that it keeps. Of these it refuses to return other columns than when
they were prepared; what SHOW, FETCH and the like return may change (PostgreSQL, RevalidateCachedQuery)."""


class Description(NamedTuple):
    """The answer to a Describe of a statement."""

    types: bytes
    """The body of ParameterDescription, which is how a Parse ends that gives all types."""
    columns: bytes | None
    """What a server compares of the columns; None if nothing: there are none, or they may change."""


def description_of(text: bytes, types: bytes, row: bytes | None) -> Description:
    """``row`` is the body of RowDescription, None where the answer was NoData."""
    return Description(types, None if row is None or not _PLANNED.match(text) else _compared(row))


def _compared(row: bytes) -> bytes:
    """Names, types, lengths and modifiers of the columns; not which table they are from, and in which format they come.

    A table that is made anew with the same columns makes no difference to a server either.
    """
    kept = []
    at = 2
    for _ in range(int.from_bytes(row[:2])):
        end = row.index(0, at) + 1
        kept.append(row[at:end] + row[end + 6 : end + 16])
        at = end + 18
    return b"".join(kept)

"""What the console's commands answer with: rowsets, tags and refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...errors import ProxyError
from ...wire import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TEXT: Final = 25
INT4: Final = 23
NUMERIC: Final = 1700

Column = tuple[str, int]
"""A name and the OID of a type."""

Value = str | int | None
"""None is NULL: not known, or not measured."""


def columns(type_oid: int, names: str) -> tuple[Column, ...]:
    """Columns of one type; ``names`` are parted by white space."""
    return tuple((name, type_oid) for name in names.split())


def rowset(header: Sequence[Column], rows: Iterable[Sequence[Value]], tag: str) -> bytes:
    """RowDescription, DataRows and CommandComplete."""
    lines = [encode.data_row([_printable(value) for value in row]) for row in rows]
    return encode.row_description(header) + b"".join(lines) + encode.command_complete(tag)


def _printable(value: Value) -> str | None:
    # Names that clients made up may be in any encoding (see `wire.messages`); the console speaks UTF-8.
    return None if value is None else str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def refusal(sqlstate: str, message: str, hint: str | None = None) -> ProxyError:
    """An error of the administrator's: the command is answered with it and the console goes on."""
    error = ProxyError(message, hint=hint)
    error.sqlstate = sqlstate
    return error

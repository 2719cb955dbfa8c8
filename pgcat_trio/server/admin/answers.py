"""What the console's commands answer with: rows and a tag, or a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ...errors import ProxyError
from ...wire import encode
from ...wire.codes import INT16, INT32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TEXT: Final = 25
INT4: Final = 23
NUMERIC: Final = 1700

Column = tuple[str, int]
"""A name and the OID of a type."""

Value = str | int | None
"""None is NULL: not known, or not measured."""

_BASE: Final = 10_000


@attrs.frozen
class Answer:
    """What a command says: its notices, its rows if it has columns, its tag."""

    tag: str
    header: Sequence[Column] = ()
    rows: Sequence[Sequence[Value]] = ()
    notices: bytes = b""

    def whole(self) -> bytes:
        """By the simple protocol; without ReadyForQuery."""
        described = encode.row_description(self.header) if self.header else b""
        return self.notices + described + data_rows(self.header, self.rows) + encode.command_complete(self.tag)


def columns(type_oid: int, names: str) -> tuple[Column, ...]:
    """Columns of one type; ``names`` are parted by white space."""
    return tuple((name, type_oid) for name in names.split())


def rowset(header: Sequence[Column], rows: Iterable[Sequence[Value]], tag: str) -> Answer:
    """An answer with rows."""
    return Answer(tag, header, list(rows))


def data_rows(header: Sequence[Column], rows: Iterable[Sequence[Value]], binary: Sequence[bool] = ()) -> bytes:
    """One DataRow for each; ``binary`` says it of each column, where that is not none."""
    if not any(binary):
        return b"".join([encode.data_row([_printable(value) for value in row]) for row in rows])
    kinds = [type_oid if wanted else TEXT for (_, type_oid), wanted in zip(header, binary, strict=True)]
    encoded = ([_binary(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in rows)
    return b"".join([encode.data_row(values) for values in encoded])


def _printable(value: Value) -> str | None:
    # Names that clients made up may be in any encoding (see `wire.messages`); the console speaks UTF-8.
    return None if value is None else str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _binary(value: Value, type_oid: int) -> str | bytes | None:
    """As the types' send functions have it; of numeric (numeric_send) there are whole numbers only."""
    if value is None or type_oid == TEXT:
        return _printable(value)
    number = int(value)
    if type_oid == INT4:
        return INT32.pack(number)
    digits: list[int] = []
    rest = abs(number)
    while rest:
        rest, digit = divmod(rest, _BASE)
        digits.append(digit)
    sign = 0x4000 if number < 0 else 0
    head = (len(digits), max(0, len(digits) - 1), sign, 0)
    return b"".join(INT16.pack(each) for each in (*head, *reversed(digits)))


def refusal(sqlstate: str, message: str, hint: str | None = None) -> ProxyError:
    """An error of the administrator's: the command is answered with it and the console goes on."""
    error = ProxyError(message, hint=hint)
    error.sqlstate = sqlstate
    return error

"""What drivers send for one statement, recognized at a glance: a walk over all its messages costs several times more.

Whatever does not look exactly so is left to the walk (`wire.downstream`), faults and all.
"""

from __future__ import annotations

from typing import Final

from . import codes, encode

OTHER: Final = 0
"""Anything."""
QUERY: Final = 1
"""One Query."""
PARSED: Final = 2
"""Parse, Bind, Describe, Execute, Sync of the unnamed statement, or the beginning of that and a Sync."""
BOUND: Final = 3
"""Bind, Describe, Execute, Sync of a statement that was prepared earlier."""

_DESCRIBE_STATEMENT: Final = encode.message(b"D", b"S\0")
_DESCRIBE_PORTAL: Final = encode.message(b"D", b"P\0")
_EXECUTES: Final = [encode.message(b"E", b"\0" + codes.INT32.pack(rows)) for rows in (0, 1)]

_AFTER_PARSE: Final = {
    encode.SYNC: False,
    _DESCRIBE_STATEMENT + encode.SYNC: False,
}
_AFTER_BIND: Final = {
    describe + execute + encode.SYNC: True for execute in _EXECUTES for describe in (_DESCRIBE_PORTAL, b"")
}
"""How it may go on, to its end, and whether that executes anything."""

_LONGER: Final = max(map(len, (*_AFTER_PARSE, *_AFTER_BIND))) + 1
_SHORTEST: Final = 14


def glance(data: bytes) -> tuple[int, bytes, bytes, bool] | None:
    """Of a `PARSED` or `BOUND` request and nothing else: which of them, what it is about, its text, if it executes.

    What it is about is the Parse but for its header and empty name, or the name of the statement that is bound; the
    text is b"" where there is none.
    """
    if len(data) < _SHORTEST or data[5]:
        return None  # the Parse or the portal has a name
    if data[0] == codes.PARSE:
        start = 1 + int.from_bytes(data[1:5])
        text_end = data.find(0, 6, start)
        if text_end < 0:
            return None
        executes = _AFTER_PARSE.get(data[start : start + _LONGER])
        if executes is None:
            if data[start : start + 1] != b"B" or data[start + 5 : start + 7] != b"\0\0":
                return None
            stop = start + 1 + int.from_bytes(data[start + 1 : start + 5])
            executes = _AFTER_BIND.get(data[stop : stop + _LONGER])
            if executes is None:
                return None
        return PARSED, data[6:start], data[6:text_end], executes
    if data[0] == codes.BIND:
        stop = 1 + int.from_bytes(data[1:5])
        name_end = data.find(0, 6, stop)
        executes = _AFTER_BIND.get(data[stop : stop + _LONGER])
        if executes is None or name_end < 0:
            return None
        return BOUND, data[6:name_end], b"", executes
    return None

"""Messages of the extended protocol, with the names, types and formats that drivers do not let one choose."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from pgcat_trio.wire import encode

from .client import bind, describe_portal, execute, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

query = encode.query
SYNC: Final = encode.SYNC
FLUSH: Final = encode.FLUSH
BEGIN, COMMIT, ROLLBACK, FAIL = map(query, ("begin", "commit", "rollback", "select 1/0"))
INT4, INT8, TEXT = 23, 20, 25  # oids
ONE, TWO, FAULTY = "select 1 as one", "select 'b' as b, 2 as two", "selec"
SERIES = "select n from generate_series(1, 5) n"
COPY_IN, COPY_OUT = "copy numbers from stdin", "copy (values (1), (2)) to stdout"
DIVISION = "select 1 / n from generate_series(0, 1) n"


def describe(name: str = "") -> bytes:
    return encode.message(b"D", b"S" + encode.cstring(name))


def close(name: str = "", kind: bytes = b"S") -> bytes:
    return encode.message(b"C", kind + encode.cstring(name))


def use(name: str = "") -> bytes:
    return bind(name=name) + describe_portal() + execute()


TWO_FORMATS: Final = encode.message(b"B", b"\0a\0" + struct.pack("!hhhhh", 2, 0, 0, 0, 0))
"""A Bind that the server refuses."""


def typed(sql: str, *types: int, name: str = "") -> bytes:
    """Parse with types of the parameters."""
    return encode.message(
        b"P", encode.cstring(name) + encode.cstring(sql) + struct.pack(f"!h{len(types)}I", len(types), *types)
    )


def bind_as(formats: Sequence[int], values: Sequence[bytes | None], results: Sequence[int], name: str = "") -> bytes:
    """Bind with formats: 0 is text, 1 is binary."""
    parts = [b"\0", encode.cstring(name), struct.pack(f"!h{len(formats)}h", len(formats), *formats)]
    parts.append(struct.pack("!h", len(values)))
    parts += [struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value for value in values]
    parts.append(struct.pack(f"!h{len(results)}h", len(results), *results))
    return encode.message(b"B", b"".join(parts))


def run(sql: str) -> bytes:
    """Parse, Bind, Execute, unnamed."""
    return parse(sql) + bind() + execute()


def is_named(message: bytes) -> bool:
    """True if the message names a statement."""
    kind, body = message[:1], message[5:]
    if kind == b"B":
        body = body.partition(b"\0")[2]  # after the portal's name
    elif kind in b"DC":
        body = body[1:] if body[:1] == b"S" else b""
    return kind in b"PBDC" and body[:1] not in (b"", b"\0")

"""A question of the proxy's own to a server, on a connection that no client shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ..errors import ServerError
from ..wire import encode

if TYPE_CHECKING:
    from ..net.transport import Transport
    from ..wire.upstream import Upstream

Row = list[str | None]


async def ask(transport: Transport, upstream: Upstream, sql: str) -> list[Row]:
    """All rows that the statements of ``sql`` answer, as text.

    Raises `ServerError` if the server refuses it, `ConnectionResetError` with the reason if the connection breaks, and
    `ProtocolViolation`. Then, but for the first, and after `Cancelled` the connection is of no more use. The caller
    bounds the time.
    """
    rows: list[Row] = []
    upstream.expected.sent_own_query()
    upstream.captured = rows
    try:
        await transport.send(encode.query(sql))
    except trio.BrokenResourceError as problem:
        raise ConnectionResetError(str(problem)) from None
    while upstream.expected.queue:
        data = await transport.receive()
        if not data:
            words = upstream.last_words or {}
            raise ConnectionResetError(words.get("M") or transport.fault or "it closed the connection")
        upstream.feed(data)
    error = upstream.take_swallowed_error()
    if error is not None:
        raise ServerError(error)
    return rows

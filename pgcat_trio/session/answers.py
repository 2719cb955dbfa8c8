"""What a client is told when no server answers: errors in the places where replies are due, each request's own.

A client of the simple protocol gets one error and one ReadyForQuery for each Query, one of the extended protocol for
each Sync (PostgreSQL manual, "Message Flow"). Never more: a ReadyForQuery that nobody asked for puts a driver that
pipelines out of step for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import BackendLost, ServerError
from ..wire import codes, encode
from ..wire.replies import COPY_END, COPY_ENDS, SWALLOW

if TYPE_CHECKING:
    from ..errors import ProxyError
    from ..pool.backend import Backend
    from ..wire.upstream import Upstream


def refusal(error: ProxyError, markers: bytes, unsynced: bool, status: int = codes.IDLE) -> bytes:
    """The answer to a batch (`wire.downstream`) that no server has seen: the session goes on.

    With ``unsynced`` the last ReadyForQuery is still owed: to the Sync to come, and all before it is to be discarded.
    """
    response = encode.error_response(error, severity="ERROR")
    requests = len(markers.translate(None, COPY_ENDS))
    return (response + encode.ready_for_query(status)) * requests + (response if unsynced else b"")


def lost(backend: Backend, reason: str, *, ends: bool) -> ProxyError:
    """What has become of a server that a client was using: in its own words, where it had some.

    With ``ends`` the client's connection ends, too: there is nothing to add to them.
    """
    upstream = backend.upstream
    hint = "The transaction may or may not have been committed; check before repeating it."
    if upstream.last_words is not None:
        return ServerError(upstream.last_words, hint=None if ends or upstream.quiet else hint)
    return BackendLost(f"lost the connection to server {backend.pool.server.address}: {reason}", hint=hint)


def told(upstream: Upstream) -> bool:
    """True if the client has seen an error of the server's since the last ReadyForQuery: it needs no second one."""
    return upstream.last_error is not None and not upstream.expected.swallowing


def loss(error: ProxyError, upstream: Upstream) -> bytes | None:
    """The answer to all that a lost server still owed; None if it owed nothing, so that nothing may be said yet.

    The transaction is gone with the server, so the client is told that it is in none.
    """
    expected = upstream.expected
    owed = [entry for entry in expected.queue if entry < COPY_END and entry != SWALLOW]
    if not (owed or expected.unsynced):
        return None
    response = encode.error_response(error, severity="ERROR")
    answer = (response + encode.ready_for_query()) * len(owed) + (response if expected.unsynced else b"")
    return answer.removeprefix(response) if told(upstream) else answer

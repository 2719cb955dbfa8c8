"""Conversations of the proxy's own with a backend: cleaning, checking, applying settings. And CancelRequest."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Final

import attrs
import trio

from ..errors import BackendLost, ServerError, ServerUnavailable
from ..routing.effects import Effect
from ..wire import codes, encode
from .connect import dial, start_tls
from .resolver import host_of

if TYPE_CHECKING:
    from ..config.model import General
    from .backend import Backend

CLEANING: Final[dict[Effect, str]] = {
    Effect.SETTINGS: "RESET SESSION AUTHORIZATION; RESET ALL",
    Effect.PREPARED: "DEALLOCATE ALL",
    Effect.STATEMENTS: "DEALLOCATE ALL",
    Effect.CURSORS: "CLOSE ALL",
    Effect.LISTEN: "UNLISTEN *",
    Effect.ADVISORY_LOCKS: "SELECT pg_catalog.pg_advisory_unlock_all()",
    Effect.TEMPORARY: "DISCARD TEMP",
    Effect.UNKNOWN: "DISCARD ALL",
}
"""What takes each effect away. An effect that is not here (LOAD, dblink) cannot be: the connection is closed."""

_NOT_THE_CLIENTS: Final = "Try again: nothing that a client asked for was under way."

_CANCEL_AGAIN_S: Final = 0.5
"""After this long without a word a query is cancelled again: a request that comes between two queries does nothing."""

GIVE_UP: Final = (
    encode.message(b"P", encode.cstring("") + encode.cstring("the client is gone") + bytes(2)) + encode.SYNC
)
"""The end of a request whose client is gone: a server rolls back what was not synced, where Sync alone would commit."""

_REMOVABLE: Final = functools.reduce(operator.or_, CLEANING)


def cleaning_sql(effects: Effect) -> str | None:
    """The statements that take these effects away, "" for none; None if no statement can."""
    if effects & ~_REMOVABLE:
        return None
    if Effect.UNKNOWN in effects:
        # Everything at once; it is not allowed together with other statements.
        return CLEANING[Effect.UNKNOWN]
    return "; ".join(dict.fromkeys(sql for effect, sql in CLEANING.items() if effect in effects))


async def exchange(backend: Backend, sql: str) -> None:
    """Run a query of our own on a backend that is quiet, and wait until it is quiet again.

    Raises `ServerError` if the server refuses it (the backend is quiet all the same) and `BackendLost` if it goes away.
    After `Cancelled` the backend is in the middle of the conversation: close it. The caller bounds the time.
    """
    backend.transport.unwatch()
    backend.upstream.expected.sent_own_query()
    await _send(backend, encode.query(sql))
    await drain(backend)
    error = backend.upstream.take_swallowed_error()
    if error is not None:
        raise ServerError(error)


async def drain(backend: Backend) -> None:
    """Read and drop what the backend still sends, until it owes nothing. Raises `BackendLost`; see `exchange`."""
    while backend.upstream.expected.queue or not backend.upstream.between_messages:
        await _hear(backend)
    backend.take_changed_parameters()


async def _hear(backend: Backend) -> None:
    data = await backend.transport.receive()
    if not data:
        backend.broken = "server closed the connection"
        reason = backend.last_words() or backend.transport.fault or "the server closed the connection"
        raise BackendLost(reason, hint=_NOT_THE_CLIENTS)
    backend.upstream.feed(data)


async def _stop(backend: Backend, options: General) -> None:
    """Bring what is under way to its end: a COPY fails, also one that begins only now, and each query is cancelled."""
    expected = backend.upstream.expected
    owed_when_cancelled = 0
    while not (expected.settled and backend.upstream.between_messages):
        if expected.copy_in:
            # A server that reads copy data listens to nothing else.
            await _send(backend, encode.copy_fail("the client is gone"))
            expected.sent(b"f", unsynced=False)
        if expected.unsynced:
            await _send(backend, GIVE_UP)
            expected.sent(b"S", unsynced=False)
        if expected.queue and len(expected.queue) != owed_when_cancelled:
            owed_when_cancelled = len(expected.queue)
            await send_cancel(backend, options)
        with trio.move_on_after(_CANCEL_AGAIN_S) as patience:
            await _hear(backend)
        if patience.cancelled_caught:
            owed_when_cancelled = 0
    backend.take_changed_parameters()


async def clean(backend: Backend, options: General, *, reset: bool) -> None:
    """Make a backend that somebody left in any state fit for the next one, or raise a `ProxyError` or OSError.

    What is running is cancelled, an open COPY fails, a transaction is rolled back, effects are taken away (with
    ``reset``). The caller bounds the time, and closes the backend if this raises anything, `Cancelled` included.
    """
    upstream = backend.upstream
    backend.transport.unwatch()
    await _stop(backend, options)
    if upstream.status != codes.IDLE:
        await exchange(backend, "ROLLBACK")
    effects = backend.effects
    if effects and reset:
        sql = cleaning_sql(effects)
        if sql is None:
            raise BackendLost("what the last user left behind cannot be taken away", hint=_NOT_THE_CLIENTS)
        await exchange(backend, sql)
        if effects & (Effect.SETTINGS | Effect.UNKNOWN):
            backend.settings = backend.settings.only(backend.reported)
        if effects & (Effect.PREPARED | Effect.UNKNOWN):
            backend.prepared.forget()
    backend.effects = Effect.NONE


async def _send(backend: Backend, data: bytes) -> None:
    backend.sending = True
    try:
        await backend.transport.send(data)
        backend.sending = False
    except trio.BrokenResourceError as problem:
        backend.broken = "server closed the connection"
        raise BackendLost(str(problem), hint=_NOT_THE_CLIENTS) from None


async def send_cancel(backend: Backend, options: General) -> None:
    """Ask the server to cancel what a backend runs, and wait until the server has taken notice.

    The postmaster signals the backend before it closes the connection that carried the request; so once this returns,
    a later query on that backend is safe from it. Encrypted if the backend is. Raises `ServerUnavailable`. The caller
    bounds the time.
    """
    target = backend.pool.target
    there = target
    if target.socket_path is None and target.dialer is None:
        # The name of the server may stand for several, or for another one by now.
        there = attrs.evolve(target, host=host_of(backend.transport.peer), resolver=None)
    transport = await dial(there, None, options)
    try:
        stream = await start_tls(transport, target) if backend.transport.encrypted else transport
        await stream.send(encode.cancel_request(backend.pid, backend.key))
        while await stream.receive(64):
            pass
    except trio.BrokenResourceError as problem:
        raise ServerUnavailable(f"cancel request to {target.address} failed: {problem}") from None
    finally:
        transport.close()

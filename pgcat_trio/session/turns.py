"""Whose turn it is while a session holds a backend, and since when: what the timeouts of `session.Session` go by.

The times are noted when bytes are taken and sent on, so no request has a timer of its own. A server counts a
statement's time from its arrival to its end, and a transaction's from its first statement on (PostgreSQL manual,
"Statement Behavior"); where a client sends several requests at once, the next begins when the last one has ended.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import trio

from ..wire import codes, encode

if TYPE_CHECKING:
    from ..pool.backend import Backend

_MAX_TAG_BYTES: Final = 64
"""PostgreSQL's own limit (COMPLETION_TAG_BUFSIZE)."""
_EXECUTED: Final = (b"s\x00\x00\x00\x04", encode.EMPTY_QUERY_RESPONSE)


class Turns:
    """The clock of one session. Times are Trio's, in seconds."""

    __slots__ = ("asked_at", "began_at", "heard_at", "rests_until", "since", "timed_out")

    def __init__(self) -> None:
        now = trio.current_time()
        self.heard_at = now
        """When the client said something last."""
        self.asked_at = now
        """When the running request came."""
        self.began_at = now
        """When the running transaction began on the server, explicit or not."""
        self.since = now
        """When the backend began to wait for the client; infinity while it is the backend's turn."""
        self.timed_out = False
        """The running request has been cancelled for its length."""
        self.rests_until = now
        """Until then it need not be looked at, as long as it has no backend and waits for none."""

    def leased(self, asked_at: float, now: float) -> None:
        """A backend is there for a request."""
        self.asked_at = asked_at
        self.began_at = now
        self.since = math.inf

    def asking(self, backend: Backend) -> None:
        """Something is about to be sent to a backend that is held already: a new request, if it waited for one."""
        upstream = backend.upstream
        expected = upstream.expected
        if expected.copy_in or self.since == math.inf:
            return
        self.asked_at = self.heard_at
        self.since = math.inf
        self.timed_out = False
        if expected.settled:
            upstream.last_error = None
            if upstream.status == codes.IDLE:
                self.began_at = self.heard_at

    def answered(self, backend: Backend, owed: int, data: bytes, *, executes: bool) -> None:
        """A backend that stays held, and owed so many ReadyForQuery, has sent ``data`` for the client.

        ``executes``: there was an Execute in what it was given last.
        """
        upstream = backend.upstream
        expected = upstream.expected
        now = trio.current_time()
        if len(expected.queue) < owed and not expected.copy_in:
            # One is over: from now on it runs the next one, if there are several.
            usage = backend.pool.usage
            usage.query_s += now - self.asked_at
            self.asked_at = now
            self.timed_out = False
            if upstream.status == codes.IDLE:
                usage.transaction_s += now - self.began_at
                self.began_at = now
        if expected.queue and not expected.copy_in:
            return
        if not expected.unsynced or expected.copy_in or not executes or _ends_an_execute(backend, data):
            self.since = now


def _ends_an_execute(backend: Backend, data: bytes) -> bool:
    """True if the last message of ``data`` says that an Execute is done, in whatever way.

    Messages are not counted. Row data that look like such an end would only make a transaction look idle.
    """
    if backend.upstream.last_error is not None or data.endswith(_EXECUTED):
        return True
    at = data.rfind(b"C\x00\x00\x00", -(_MAX_TAG_BYTES + 5))
    return at >= 0 and at + 1 + int.from_bytes(data[at + 1 : at + 5]) == len(data)

"""What a server still owes: one entry for each ReadyForQuery to come, in order.

A request ends, for the server, with exactly one ReadyForQuery: a Query and a FunctionCall cause one each, a Sync causes
one for all extended-protocol messages before it. Each entry says who gets the replies up to and including that
ReadyForQuery. COPY FROM STDIN needs care: while the server reads copy data it *ignores* Sync and Flush (PostgreSQL
manual, "COPY Operations"), and libpq sends that ignored Sync together with the Execute, before it can know.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from . import codes

QUERY_REPLY: Final = 0
"""Forward what a Query or a FunctionCall causes."""
SYNC_REPLY: Final = 1
"""Forward what a Sync ends."""
SWALLOW: Final = 2
"""The request was the proxy's own: the client sees nothing of the answer."""
COPY_END: Final = 3
"""No reply: a CopyDone or CopyFail was sent here, perhaps before the server has asked for copy data."""


class ExpectedReplies:
    """The queue of one backend. ``sent`` is told what goes out, ``ready`` and ``copy_in_begins`` what comes back."""

    __slots__ = ("copy_in", "queue", "unsynced")

    def __init__(self) -> None:
        self.queue: deque[int] = deque()
        self.unsynced = False
        """Extended-protocol messages were sent and no Sync yet."""
        self.copy_in = False
        """The server reads copy data."""

    @property
    def settled(self) -> bool:
        """True when the server owes nothing and waits for a new request."""
        return not (self.queue or self.unsynced or self.copy_in)

    @property
    def swallowing(self) -> bool:
        """True while what arrives answers a request of the proxy's own."""
        return bool(self.queue) and self.queue[0] == SWALLOW

    def sent(self, markers: bytes, unsynced: bool) -> None:
        """Note a run of client messages: the letters among ``QFScf`` in it, and whether it ends without a Sync."""
        for kind in markers:
            if self.copy_in:
                # The server consumes whatever comes; only the end of the copy has a meaning.
                if kind in (codes.COPY_DONE, codes.COPY_FAIL):
                    self.copy_in = False
            elif kind == codes.SYNC:
                self.queue.append(SYNC_REPLY)
                self.unsynced = False
            elif kind in (codes.QUERY, codes.FUNCTION_CALL):
                self.queue.append(QUERY_REPLY)
            elif self.queue or self.unsynced:
                self.queue.append(COPY_END)
        if unsynced:
            self.unsynced = True

    def sent_own_query(self) -> None:
        """Note that a Query of the proxy's own was sent."""
        self.queue.append(SWALLOW)

    def ready(self) -> int | None:
        """A ReadyForQuery arrived: drop and return the entry that it answers, None if nothing was expected."""
        queue = self.queue
        self.copy_in = False
        while queue:
            entry = queue.popleft()
            if entry != COPY_END:
                while queue and queue[0] == COPY_END and len(queue) == 1:
                    queue.popleft()
                return entry
        return None

    def copy_in_begins(self) -> None:
        """CopyInResponse arrived: Syncs sent before the end of the copy data will never be answered."""
        queue = self.queue
        at = 1 if queue and queue[0] == QUERY_REPLY else 0
        while len(queue) > at and queue[at] == SYNC_REPLY:
            del queue[at]
        if not at and SYNC_REPLY not in queue:
            self.unsynced = True  # the Sync that will be answered is yet to come
        if len(queue) > at and queue[at] == COPY_END:
            del queue[at]
        else:
            self.copy_in = True

    def failed(self) -> None:
        """ErrorResponse arrived: whatever COPY there was is over."""
        self.copy_in = False

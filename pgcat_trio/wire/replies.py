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
STRAY: Final = 4
"""The same right behind the entry before it: once that has been answered, servers ignore this."""

MIXED: Final = ord("m")
"""In ``markers``: a Query or FunctionCall after extended-protocol messages without a Sync between. No driver does that.
PostgreSQL 18 is left in a state where it refuses the next statement, whoever sends it, as an internal error."""
LATE: Final = ord("l")
"""In ``markers``: a CopyDone or CopyFail that no extended-protocol message of the batch comes before since the last end
of a request."""
COPY_ENDS: Final = bytes((codes.COPY_DONE, codes.COPY_FAIL, LATE))
"""The markers to which there is no ReadyForQuery."""


class ExpectedReplies:
    """The queue of one backend. ``sent`` is told what goes out, ``ready`` and ``copy_in_begins`` what comes back."""

    __slots__ = ("_ignored_sync", "copy_in", "in_doubt", "queue", "skipping", "unsynced")

    def __init__(self) -> None:
        self.queue: deque[int] = deque()
        self.unsynced = False
        """Extended-protocol messages were sent and no Sync yet."""
        self.copy_in = False
        """The server reads copy data."""
        self.in_doubt = False
        """Replies may come that nobody expects, for good: the connection must serve nobody else."""
        self.skipping = False
        """After an error in what has been sent last the server reads nothing but a Sync, and says nothing."""
        self._ignored_sync = False  # during the COPY that is under way, if the server has not failed it before

    @property
    def settled(self) -> bool:
        """True when the server owes nothing and waits for a new request."""
        return not (self.queue or self.unsynced or self.copy_in)

    @property
    def owes(self) -> bool:
        """True while a ReadyForQuery is to come."""
        return any(entry < COPY_END for entry in self.queue)

    @property
    def swallowing(self) -> bool:
        """True while what arrives answers a request of the proxy's own."""
        return bool(self.queue) and self.queue[0] == SWALLOW

    def sent(self, markers: bytes, unsynced: bool) -> None:
        """Note a run of client messages: its `Downstream.markers`, and whether it ends without a Sync."""
        queue = self.queue
        for kind in markers:
            if kind == codes.SYNC:
                if self.copy_in:
                    self._ignored_sync = True
                else:
                    queue.append(SYNC_REPLY)
                    self.unsynced = self.skipping = False
            elif self.skipping:
                continue
            elif kind in (codes.QUERY, codes.FUNCTION_CALL, MIXED):
                self.in_doubt |= self.unsynced or kind == MIXED
                # Also during a COPY: either the server has failed it already, or this ends the connection.
                queue.append(QUERY_REPLY)
                if not self.copy_in:
                    self.unsynced = False  # it ends what came before, as a Sync does
            elif self.copy_in:
                self.copy_in = False
            else:
                queue.append(STRAY if kind == LATE and not self.unsynced else COPY_END)
        if unsynced:
            self.unsynced = True
        if queue and queue[-1] >= COPY_END:
            self._drop_strays()

    def sent_own_query(self) -> None:
        """Note that a Query of the proxy's own was sent."""
        self.queue.append(SWALLOW)

    def ready(self) -> int | None:
        """A ReadyForQuery arrived: drop and return the entry that it answers, None if nothing was expected."""
        queue = self.queue
        self.copy_in = self._ignored_sync = False
        while queue:
            entry = queue.popleft()
            if entry < COPY_END:
                while queue and queue[0] == STRAY:
                    queue.popleft()
                if queue and queue[-1] >= COPY_END:
                    self._drop_strays()
                return entry
        # Not asked for, as far as we know: what else may come?
        self.in_doubt = True
        return None

    def _drop_strays(self) -> None:
        """Forget the ends of copies that no request under way can have begun: servers ignore them."""
        if not self.unsynced and all(entry >= COPY_END for entry in self.queue):
            self.queue.clear()

    def copy_in_begins(self) -> None:
        """CopyInResponse arrived: Syncs sent before the end of the copy data will never be answered."""
        queue = self.queue
        at = 1 if queue and queue[0] == QUERY_REPLY else 0
        while len(queue) > at and queue[at] == SYNC_REPLY:
            del queue[at]
            self._ignored_sync = True
        if not at and SYNC_REPLY not in queue:
            self.unsynced = True  # the Sync that will be answered is yet to come
        if len(queue) > at and queue[at] >= COPY_END:
            del queue[at]
        else:
            self.copy_in = True

    def failed(self) -> None:
        """ErrorResponse arrived: whatever COPY there was is over.

        It may have failed before the server came to a Sync that we think ignored, for example in a trigger: then that
        Sync is answered. There is no telling.
        """
        self.copy_in = False
        self.in_doubt |= self._ignored_sync
        self.skipping = self.unsynced and not self.queue

"""A batch with messages of the proxy's own put in, and the notes of what will be answered to it all."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ..wire.replies import QUERY_REPLY, SYNC_REPLY
from ..wire.statements import END, UNANSWERED, Note

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..pool.backend import Backend

_HEADER: Final = struct.Struct("!BI")


class Splice:
    """One batch on its way to one backend. Changes and notes go from its beginning to its end."""

    __slots__ = ("_backend", "_batch", "_copied", "_ends", "_front", "_notes", "_out", "_request", "needs_notes")

    def __init__(self, batch: bytes, backend: Backend) -> None:
        self._batch = batch
        self._backend = backend
        self._request = backend.upstream.statements.request
        self._out: list[bytes] = []
        self._copied = 0  # how much of the batch is in `_out`
        self._ends = False  # that is all that is sent
        self._notes: list[Note] = []
        self._front = 0, 0  # where in these two the batch begins
        self.needs_notes = bool(backend.upstream.statements)
        """False while the codec can do without the notes."""

    def result(self) -> bytes:
        """The bytes for the backend."""
        if self._ends:
            return b"".join(self._out)
        if not self._out:
            return self._batch
        self._out.append(self._batch[self._copied :])
        return b"".join(self._out)

    def put_down(self) -> None:
        """Tell the backend's codec what to expect."""
        replies = self._backend.upstream.statements
        queue = self._backend.upstream.expected.queue
        replies.expect(self._notes, sum(entry in (QUERY_REPLY, SYNC_REPLY) for entry in queue))
        replies.request = self._request

    def _note(self, kind: int, *, forward: bool = False, undo: Callable[[], object] | None = None) -> Note:
        note = Note(kind, forward=forward, request=self._request, undo=undo)
        self._notes.append(note)
        if not forward or undo is not None:
            self.needs_notes = True
        return note

    def _end_request(self) -> None:
        self._notes.append(Note(END, forward=True))
        self._request += 1

    def _put_before(self, data: bytes, reply: int, undo: Callable[[], object]) -> None:
        """Put a message before the whole batch; after an error among copy data it may be skipped."""
        out, notes = self._front
        self._out.insert(out, data)
        self._notes.insert(notes, Note(reply, forward=False))
        if self._front != (0, 0):
            self._notes.insert(notes, Note(UNANSWERED, forward=False, undo=undo))
        self.needs_notes = True

    def _begin_at(self, at: int) -> None:
        """What comes before this is copy data, among which a server understands nothing else."""
        self._insert(at, b"")
        self._front = len(self._out), len(self._notes)

    def _rename(self, start: int, stop: int, at: int, end: int, name: bytes) -> None:
        """Name another statement in a message, in which it is named from ``at`` to ``end``."""
        length = stop - start - 1 + len(name) - (end - at)
        self._replace(start, end, _HEADER.pack(self._batch[start], length) + self._batch[start + 5 : at] + name)

    def _insert(self, at: int, data: bytes) -> None:
        self._replace(at, at, data)

    def _end_with(self, at: int, data: bytes) -> None:
        """Leave out what follows."""
        self._replace(at, len(self._batch), data)
        self._ends = True

    def _replace(self, start: int, stop: int, data: bytes) -> None:
        self._out.append(self._batch[self._copied : start])
        self._out.append(data)
        self._copied = stop

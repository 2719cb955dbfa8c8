"""Replies about prepared statements: which of a server's are the client's, which answer what the proxy put in between.

Whoever translates statement names (`session.prepared`) adds messages of its own to a client's batch. The server answers
them in order, skips them after an error as it skips the client's, and says so by its silence. So there is one `Note`
for each reply ParseComplete, CloseComplete and (rarely) BindComplete to come, one for each Describe that was added, and
one `END` for each ReadyForQuery; what has no answer by then was not carried out, and what was assumed about it is
undone.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final

from . import codes, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PARSE_COMPLETE: Final = ord("1")
BIND_COMPLETE: Final = ord("2")
CLOSE_COMPLETE: Final = ord("3")
DESCRIBED: Final = ord("t")  # ParameterDescription, which is followed by one of these
ROW_DESCRIPTION: Final = ord("T")
NO_DATA: Final = ord("n")
REPLIES: Final = frozenset((PARSE_COMPLETE, BIND_COMPLETE, CLOSE_COMPLETE, DESCRIBED, ROW_DESCRIPTION, NO_DATA))

PREFIX: Final = "pgcat_"
"""What the proxy's own names for statements begin with. A client may use such names, too: they are kept apart."""


_OURS: Final = re.compile(rf"\b{PREFIX}[0-9]+\b")
_MAX_TROUBLE: Final = 20  # more at a time only in long pipelines
_ABOUT_STATEMENTS: Final = ("26000", "08P01")  # does not exist; has other parameters

END: Final = codes.READY_FOR_QUERY
UNANSWERED: Final = 0
"""The kind of a note for something that has no reply of its own: it was done if the next reply comes."""

_HARMLESS: Final = frozenset((PARSE_COMPLETE, BIND_COMPLETE, CLOSE_COMPLETE, *b"tTnNSEZ"))


class Note:
    """One reply to come. ``undo`` is called if it does not; ``request`` counts the ReadyForQuery of the backend."""

    __slots__ = ("answered", "forward", "kind", "request", "undo")

    def __init__(self, kind: int, *, forward: bool, request: int = 0, undo: Callable[[], object] | None = None) -> None:
        self.kind = kind
        self.forward = forward
        self.request = request
        self.undo = undo
        self.answered = False


class DescribedNote(Note):
    """The two replies to a Describe of a statement that directly follows its Parse: ``learn`` gets their bodies.

    The second is None if there are no columns.
    """

    __slots__ = ("_types", "learn")

    def __init__(self, learn: Callable[[bytes, bytes | None], object]) -> None:
        super().__init__(DESCRIBED, forward=False)
        self.learn = learn
        self._types = b""

    def hear(self, kind: int, body: bytes) -> bool:
        """True if that was the last of them."""
        if kind == DESCRIBED:
            self._types = body
            return False
        self.learn(self._types, body if kind == ROW_DESCRIPTION else None)
        return True


class StatementReplies:
    """The notes of one backend, in the order of the replies. Empty, and of no cost, while there is nothing to note.

    A request that was sent while it was empty has no notes and no `END`; `expect` makes up for the missing ends.
    """

    __slots__ = ("failed_parse", "notes", "parsing", "request", "skipping", "trouble")

    def __init__(self) -> None:
        self.notes: deque[Note] = deque()
        self.request = 0
        """The number of the request whose end has not been noted yet."""
        self.parsing: bytes | None = None
        """Instead of notes, for the one request under way that begins with a Parse of the unnamed statement: that Parse
        after the name, until it is answered."""
        self.failed_parse: bytes | None = None
        """The same if the answer was an error. Whoever looks resets it, and empties the next."""
        self.trouble: deque[bytes] = deque(maxlen=_MAX_TROUBLE)
        """ErrorResponses that may be about a statement that is shared, or about such a Parse: their bodies."""
        self.skipping = False
        """An error has come since the last ReadyForQuery: nothing that is sent before a Sync will be done."""

    def __bool__(self) -> bool:
        return bool(self.notes)

    def expect(self, notes: Iterable[Note], outstanding: int) -> None:
        """Add the notes of a batch about to be sent, before which the client is owed ``outstanding`` ReadyForQuery."""
        known = sum(note.kind == END for note in self.notes)
        self.notes.extend(Note(END, forward=True) for _ in range(outstanding - known))
        self.notes.extend(notes)

    @property
    def unsettled(self) -> bool:
        """True while a request that has been sent whole may still change what a client's names mean, or fail to."""
        changes = False
        for note in self.notes:
            changes |= note.undo is not None and (note.forward or note.kind == UNANSWERED)
            if changes and note.kind == END:
                return True
        return False

    def awaits(self, note: Note) -> bool:
        """True while the server may still come to the message that was noted so."""
        if note.answered or note not in self.notes:
            return False
        # After an error what follows is skipped up to the end of its request.
        first = next(other for other in self.notes if other is note or other.kind == END)
        return first is not note or not self.skipping

    def swallows(self, kind: int, body: bytes) -> bool:
        """One of `REPLIES` arrived: True if the client must not see it."""
        if kind == PARSE_COMPLETE and self.parsing is not None:
            self.parsing = None
            return False
        notes = self.notes
        if notes and isinstance(notes[0], DescribedNote):
            # Nothing comes between the answer to a Parse and that to the Describe that follows it.
            if notes[0].hear(kind, body):
                notes.popleft().answered = True
            return True
        while notes and notes[0].kind == UNANSWERED and kind in (PARSE_COMPLETE, CLOSE_COMPLETE):
            notes.popleft()
        if not notes or notes[0].kind != kind:
            return False
        note = notes.popleft()
        note.answered = True
        return not note.forward

    def failed(self, body: bytes, error: dict[str, str]) -> None:
        """ErrorResponse arrived, with these fields: the server skips the rest of the request."""
        self.skipping = True
        if self.parsing is not None:
            self.failed_parse, self.parsing = self.parsing, None
            self.trouble.append(body)
        elif our_name(error):
            self.trouble.append(body)

    def ready(self) -> None:
        """The ReadyForQuery of a client's request arrived: undo what was not done in it."""
        missed: list[Note] = []
        while self.notes:
            note = self.notes.popleft()
            if note.kind == END:
                break
            if note.kind != UNANSWERED or self.skipping:
                missed.append(note)
        self.skipping = False
        _undo(missed)

    def abandon(self) -> None:
        """No more replies will come: undo what has not been answered."""
        missed, self.notes = self.notes, deque()
        self.skipping = False
        _undo(missed)

    def merge(self, count: int) -> None:
        """The server ignores the next ``count`` Syncs (COPY): what follows them belongs to the same request."""
        for note in [note for note in self.notes if note.kind == END][:count]:
            self.notes.remove(note)


def _undo(notes: Iterable[Note]) -> None:
    for note in reversed(list(notes)):
        if note.undo is not None:
            note.undo()


# -- bytes ---------------------------------------------------------------------------------------------------------

STAND_IN: Final = PREFIX.encode() + b"stand_in"
"""The name of a statement that stands in for others: always parsed anew, never executed."""

OUT_OF_DATE: Final = PREFIX.encode() + b"0"
"""The name of no statement: who uses it is refused, in the place of one that would return other columns."""


def parse(name: bytes, tail: bytes) -> bytes:
    """Parse; ``tail`` is all that follows the name: text, NUL, parameter types."""
    return encode.message(b"P", name + b"\0" + tail)


def close(name: bytes) -> bytes:
    """Close of a statement. Closing one that does not exist is no error."""
    return encode.message(b"C", b"S" + name + b"\0")


def describe(name: bytes) -> bytes:
    """Describe of a statement. Two replies."""
    return encode.message(b"D", b"S" + name + b"\0")


def prepare(name: bytes, tail: bytes) -> bytes:
    """Close and Parse: prepares the statement whether or not there is one of that name. Two replies."""
    return close(name) + parse(name, tail)


DEFINE_STAND_IN: Final = prepare(STAND_IN, b"\0\0\0")
"""There is one. An empty text is allowed even in a failed transaction, and takes no snapshot."""

DEALLOCATE_STAND_IN: Final = b"DEALLOCATE " + STAND_IN


def name_at(data: bytes, start: int, stop: int) -> int:
    """Where the name of the statement of a Bind, Describe or Close begins, 0 if it is about none.

    ``start`` and ``stop`` are the message's; of a large one the end may be missing in ``data``.
    """
    at = start + 6
    if data[start] == codes.BIND:
        at = data.find(0, start + 5, stop) + 1  # after the portal's name
    elif data[start + 5 : at] != b"S":
        return 0
    return at if at and data.find(0, at, stop) >= 0 else 0


def messages_in(batch: bytes) -> Iterator[tuple[int, int, int]]:
    """The messages of a batch: kind, start, stop. Of a large one, the last, the end may be missing."""
    start = 0
    while len(batch) - start >= 5:
        stop = start + 1 + int.from_bytes(batch[start + 1 : start + 5])
        yield batch[start], start, stop
        start = stop


def nothing_done(replies: bytes) -> bool:
    """True if these are whole messages up to one last ReadyForQuery, and no statement was carried out in them."""
    position = 0
    kind = 0
    while len(replies) - position >= 5:
        kind = replies[position]
        if kind not in _HARMLESS:
            return False
        position += 1 + int.from_bytes(replies[position + 1 : position + 5])
    return position == len(replies) and kind == END


def our_name(error: dict[str, str]) -> bytes | None:
    """The name of ours, or like ours, that an error about a statement tells. The message holds it in any language."""
    found = _OURS.search(error.get("M", "")) if error.get("C") in _ABOUT_STATEMENTS else None
    return found and found[0].encode()


def with_name(replies: bytes, body: bytes, ours: bytes, theirs: bytes) -> bytes:
    """Replies in which each ErrorResponse of this body has another name in it."""
    return replies.replace(encode.message(b"E", body), encode.message(b"E", body.replace(ours, theirs)))


def with_reason(replies: bytes, body: bytes, error: dict[str, str]) -> bytes:
    """Replies in which a refusal to use `OUT_OF_DATE`, of this body, is what a server says of a statement that is.

    These are its words, never translated here (PostgreSQL, RevalidateCachedQuery).
    """
    reason = {"C": "0A000", "M": "cached plan must not change result type"}
    place = {"F": "plancache.c", "R": "RevalidateCachedQuery"}
    severity = {key: error[key] for key in "SV" if key in error}
    refusal = encode.report(b"E", {**severity, **reason, **place}.items())
    return replies.replace(encode.message(b"E", body), refusal)


def is_missing(error: dict[str, str]) -> bool:
    """True for the error of a name that is no statement's."""
    return error.get("C") == "26000"


def is_stale(error: dict[str, str]) -> bool:
    """True for the error of a statement whose tables have changed: it would return other columns than it was to."""
    return error.get("C") == "0A000" and error.get("R") == "RevalidateCachedQuery"

"""The client-facing side of the protocol, once a client has logged in.

`Downstream` cuts what a client sent into *batches*: runs of whole messages that can be given to a backend in one write.
Nothing is decoded that the proxy need not know, and no message is stored whole once it is larger than
`LARGE_BYTES`: its first part is handed out, then the rest as it arrives.
"""

from __future__ import annotations

import struct
from typing import Final

from . import codes
from .claims import CLAIMABLE, Claims
from .limits import MESSAGES, check_named_parse, impossible
from .replies import LATE, MIXED
from .statements import name_at
from .suspicions import may_deallocate, may_reset
from .usual import BOUND, OTHER, QUERY, glance

_LENGTH: Final = struct.Struct("!I")

LARGE_BYTES: Final = 64 * 1024
"""Messages and batches up to this size wait until they are whole; larger ones are streamed. One receive's worth: less
would stream ordinary statements (and so not read them), more would be memory that every client can claim."""

_UNSYNCED: Final = frozenset(b"PBDEC")
"""Messages of the extended protocol: the server answers for good only at the next Sync."""
MARKERS: Final = frozenset(b"QSFcf")
_BOUNDARIES: Final = frozenset(b"QSHF")
_ENDS: Final = frozenset((codes.SYNC, codes.QUERY))


class Downstream:
    """One client's codec. Feed it, then call `take` until it returns b"".

    The attributes after `take` describe the batch it returned. Errors are the client's: after `ProtocolViolation` the
    codec is of no further use.
    """

    __slots__ = (
        "_boundary",
        "_buffer",
        "_changes_names",
        "_max_message_bytes",
        "_open",
        "_position",
        "_prepares_deallocation",
        "_prepares_resets",
        "_resets",
        "_skip",
        "_whole_bytes",
        "claims",
        "complete",
        "continuation",
        "discarding",
        "doubtful",
        "executes",
        "markers",
        "named",
        "own",
        "shape",
        "subject",
        "terminated",
        "texts",
        "unsynced",
        "watching",
    )

    def __init__(self, max_message_bytes: int = codes.MAX_MESSAGE_BYTES) -> None:
        self._max_message_bytes = max_message_bytes
        self._whole_bytes = min(LARGE_BYTES, max_message_bytes + 1)  # what a whole message may have
        self._buffer = b""
        self._skip = 0  # bytes of a large message that are still to come
        self._position = 0  # how far the headers have been walked over
        self._boundary = 0  # the end of the last message that a server answers
        self.discarding = False
        """What comes before the next Sync is left out."""
        self._resets = False  # the request under way may set settings back: what comes behind it must wait
        self._prepares_resets = False  # any request from now on may
        self._prepares_deallocation = False  # a named statement takes names away
        self._changes_names = False  # the request under way has what may change the meaning of names
        self._open = False  # what was taken ends within a request
        self.claims = Claims()
        """What of it is for the proxy."""
        self.watching = False
        """Names of statements are translated: end a batch with the Sync after a Parse or Close that may have changed
        what a name means (only its outcome says what it means in the next one), keep a Parse of a named one whole."""
        self.terminated = False
        """Terminate was read; what follows it is not looked at."""
        self.markers = b""
        """The letters among ``QFScf`` of the batch, in order, `MIXED` or `LATE` in some places."""
        self.texts: list[bytes] = []
        """The SQL of each Query and Parse of the batch."""
        self.continuation = False
        """The batch is a further part of a large message."""
        self.complete = True
        """The batch ends where a request ends: with a Query, a FunctionCall or a Sync."""
        self.unsynced = False
        """The batch ends with extended-protocol messages for which no Sync was sent."""
        self.executes = False
        """The batch holds an Execute."""
        self.own = False
        """The batch is the proxy's to answer (see `wire.claims`); such a one ends with the request, if not before."""
        self.named = False
        """The batch prepares a named statement; if ``watching``, or uses what was prepared before it."""
        self.shape: int = OTHER
        """What kind of request the batch is, see `wire.usual`."""
        self.subject = b""
        """And what that is about."""
        self.doubtful = False
        """The batch holds SQL of which only the beginning was seen, or a FunctionCall."""

    @property
    def pending(self) -> bool:
        """True while something was fed that has not been taken."""
        return bool(self._buffer)

    @property
    def full(self) -> bool:
        """True when more should not be fed before something is taken."""
        return len(self._buffer) >= LARGE_BYTES

    @property
    def between_messages(self) -> bool:
        """True when what was taken so far ends at the end of a message."""
        return not self._skip

    def feed(self, data: bytes) -> None:
        """Take what the client sent. Nothing is looked at before `take`."""
        self._buffer = self._buffer + data if self._buffer else data

    def take(self, *, streaming: bool) -> bytes:
        """The next batch, b"" while there is none.

        With ``streaming`` (a backend is held) whatever is whole may go; without it a batch must end where the server
        will answer (Query, Sync, Flush, FunctionCall) or be too large to wait for.
        """
        self.continuation = self._skip > 0 and not self.discarding
        if self.continuation:
            return self._continue_large_message()
        if self.discarding:
            self._discard()
        data = self._buffer
        if not data or self.terminated or self.discarding:
            return b""
        if not self._position:
            if len(data) <= self._whole_bytes:
                if data[0] != codes.QUERY:
                    usual = glance(data)
                    if usual is not None and not self.claims.may_cover(*usual):
                        return self._take_usual(data, usual)
                elif data[1:5] == _LENGTH.pack(len(data) - 1):
                    text = data[5:-1]
                    if not (self.claims.is_command(text) or self.claims.statements):
                        return self._take_one_query(data, text)
            self._describe_nothing()
        self._walk(data)
        if not (streaming or self._boundary == self._position or self._position > LARGE_BYTES):
            # Whole requests may go; the messages after the last boundary wait for theirs.
            if not self._boundary:
                return b""
            data = data[: self._boundary]
            self._describe_nothing()
            self._walk(data)
        if not self._position:
            return b""  # not even one message: what was taken before it stays as it is
        self._open = not self.complete
        position, self._position = self._position, 0
        self._skip = max(0, position - len(self._buffer))
        data, self._buffer = self._buffer[:position], self._buffer[position:]
        return data

    def _describe_nothing(self) -> None:
        self._position = self._boundary = 0
        self.texts = []
        self.markers = b""
        self.unsynced = self.executes = self.named = self.doubtful = self.own = False
        self.shape = OTHER
        self._changes_names &= self._open
        self._resets &= self._open or self._prepares_resets

    def _take_one_query(self, data: bytes, text: bytes) -> bytes:
        """What most clients send most of the time: one whole Query."""
        self._buffer = b""
        self.texts = [text]
        self.markers = b"Q"
        self.complete = True
        self.unsynced = self.executes = self.named = self.doubtful = self.own = self._open = False
        self.shape = QUERY
        return data

    def _take_usual(self, data: bytes, usual: tuple[int, bytes, bytes, bool]) -> bytes:
        """What the others send."""
        self._buffer = b""
        self.shape, self.subject, text, self.executes = usual
        self.texts = [] if self.shape == BOUND else [text]
        self.markers = b"S"
        self.complete = True
        self.unsynced = self.doubtful = self.own = self._open = False
        self.named = self.watching and self.shape == BOUND
        return data

    def unread(self, data: bytes) -> None:
        """Put back the last batch, or the end of it: it is taken once more."""
        self._buffer = data + self._buffer
        self._position = 0

    def discard_until_sync(self) -> None:
        """Leave out whatever comes before the next Sync, as a server does after an error in the extended protocol."""
        self.discarding = True
        self._position = 0

    def _discard(self) -> None:
        data = self._buffer
        position, limit = self._skip, self._max_message_bytes
        while len(data) - position >= 5:
            kind = data[position]
            length: int = _LENGTH.unpack_from(data, position + 1)[0]
            if kind not in MESSAGES or not 4 <= length <= limit:
                raise impossible(kind, length, limit)
            if kind in (codes.SYNC, codes.TERMINATE):
                self.discarding = False
                break
            position += 1 + length
        self._skip = max(0, position - len(data))
        self._buffer = data[position:]

    def _continue_large_message(self) -> bytes:
        data = self._buffer
        self._describe_nothing()
        self.complete = False
        self._open = True
        if len(data) > self._skip:
            self._buffer = data[self._skip :]
            data = data[: self._skip]
        else:
            self._buffer = b""
        self._skip -= len(data)
        return data

    def _walk(self, data: bytes) -> None:
        """Go on over the headers of ``data`` from where the last walk ended, and describe what was passed.

        ``_position`` ends past the data when the last message is a large one whose rest has not arrived.
        """
        position = self._position
        boundary = self._boundary
        unsynced = self.unsynced
        watching, claims = self.watching, self.claims
        end = len(data)
        limit = self._max_message_bytes
        while end - position >= 5:
            kind = data[position]
            length: int = _LENGTH.unpack_from(data, position + 1)[0]
            stop = position + 1 + length
            if kind not in MESSAGES or not 4 <= length <= limit:
                raise impossible(kind, length, limit)
            if stop > end and kind != codes.TERMINATE and (length < LARGE_BYTES or self._must_be_whole(data, position)):
                break
            if kind in CLAIMABLE or self.own:
                own = claims.take(data, position, stop, own=self.own if position else None)
                if own is None:
                    boundary = position
                    break
                self.own = own
            if self.own:
                unsynced = kind not in _ENDS
                if kind in _BOUNDARIES:
                    boundary = position = stop
                    break
            elif kind in _UNSYNCED:
                if kind == codes.EXECUTE:
                    self.executes = True
                elif kind == codes.PARSE:
                    self._note_parse(data, position + 5, stop)
                    # After an error it may be skipped: then the unnamed statement is another.
                    self._changes_names |= unsynced or self._open or LATE in self.markers
                elif watching:
                    self._note_mention(data, position, stop)
                unsynced = True
            elif kind in MARKERS:
                mixed = unsynced and kind in (codes.QUERY, codes.FUNCTION_CALL)
                late = not unsynced and kind in (codes.COPY_DONE, codes.COPY_FAIL)
                self.markers += bytes((MIXED if mixed else LATE if late else kind,))
                if kind in _BOUNDARIES:
                    unsynced = False
                if kind == codes.QUERY:
                    # The text ends before its NUL, if the message has arrived that far.
                    text = data[position + 5 : stop - 1]
                    self.texts.append(text)
                    self._resets |= may_reset(text) is not None
                    self.doubtful |= stop > end
                elif kind == codes.FUNCTION_CALL:
                    self.doubtful = True
                if kind in _ENDS and (self._resets or (watching and self._changes_names_by(kind))):
                    boundary = position = stop
                    break
            elif kind == codes.TERMINATE:
                self.terminated = True
                break
            position = stop
            if kind in _BOUNDARIES:
                boundary = stop
        self._position = position
        self._boundary = boundary
        self.unsynced = unsynced
        self.complete = boundary == position and not unsynced

    def _changes_names_by(self, kind: int) -> bool:
        """The end of a request where names are watched; True if the batch ends with it as they have changed before."""
        if kind == codes.QUERY:
            self._changes_names |= may_deallocate(self.texts[-1])
        return self._changes_names

    def _note_parse(self, data: bytes, position: int, stop: int) -> None:
        name_end = data.find(0, position, stop)
        text_end = data.find(0, name_end + 1, stop) if name_end >= 0 else -1
        if name_end > position:
            self.named = self._changes_names = True
        if text_end < 0:
            self.doubtful = True
            text_end = min(stop, len(data))
        text = data[name_end + 1 : text_end]
        self.texts.append(text)
        if may_reset(text):
            self._resets = self._prepares_resets = True
        if self.watching:
            deallocates = may_deallocate(text)
            self._changes_names |= deallocates
            self._prepares_deallocation |= deallocates and name_end > position

    def _note_mention(self, data: bytes, position: int, stop: int) -> None:
        """A Bind, Describe or Close."""
        at = name_at(data, position, stop)
        if not at:
            return
        self._changes_names |= data[position] == codes.CLOSE or self._prepares_deallocation
        # Of the unnamed statement it may be one of this batch.
        self.named |= data[at] != 0 or not self.texts

    def _must_be_whole(self, data: bytes, position: int) -> bool:
        """True for a Parse of a named statement where names are translated, however long it is."""
        if not self.watching or data[position] != codes.PARSE or data[position + 5 : position + 6] == b"\0":
            return False
        check_named_parse(_LENGTH.unpack_from(data, position + 1)[0])
        return True

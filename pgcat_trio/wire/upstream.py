"""The backend-facing side of the protocol, once a server connection is ready for queries.

`Upstream.feed` walks over the headers of what a server sent and returns what is the client's. Bodies of messages that
mean nothing to the proxy (rows, copy data, completions) are neither decoded nor kept: a row of a gigabyte passes
through in pieces as it arrives.
"""

from __future__ import annotations

import struct
from typing import Final

from ..errors import ProtocolViolation
from . import codes, encode, messages
from .replies import SWALLOW, SYNC_REPLY, ExpectedReplies
from .statements import REPLIES, StatementReplies

_LENGTH: Final = struct.Struct("!I")

_TRACKED: Final = frozenset(
    (
        codes.READY_FOR_QUERY,
        codes.ERROR_RESPONSE,
        codes.PARAMETER_STATUS,
        codes.COPY_IN_RESPONSE,
        codes.COPY_BOTH_RESPONSE,
        codes.NOTIFICATION_RESPONSE,
    )
)
"""What the proxy reads. Everything else passes by its header alone."""

_TRACKED_WITH_NOTES: Final = _TRACKED | REPLIES
_TRACKED_WITH_ROWS: Final = _TRACKED_WITH_NOTES | {codes.DATA_ROW}

_QUERY_CANCELED: Final = "57014"

_MAX_LENGTH: Final = 0x7FFFFFFF
"""The length is a signed number on the wire: more would be negative to the client, who would lose its place."""

_HOLD_BYTES: Final = 1 << 20
"""A tracked message that arrives in pieces is held back until it is whole, up to this size; no server sends a larger
error text, so a larger one is passed on unread rather than kept."""


class Upstream:
    """One server connection's codec. Errors here are the server's: after `ProtocolViolation` close the connection."""

    __slots__ = (
        "_held",
        "_skip",
        "cancel_reason",
        "captured",
        "changed_parameters",
        "diverted",
        "expected",
        "failed",
        "last_error",
        "last_words",
        "queries",
        "statements",
        "status",
        "streaming",
        "swallowed_error",
        "transactions",
    )

    def __init__(self) -> None:
        self.expected = ExpectedReplies()
        self.statements = StatementReplies()
        self.status: int = codes.IDLE
        """Transaction status of the last ReadyForQuery: I, T or E."""
        self.changed_parameters: list[tuple[str, str]] = []
        """ParameterStatus values that arrived and have not been taken yet."""
        self.last_error: dict[str, str] | None = None
        """The last ErrorResponse since the last ReadyForQuery."""
        self.failed = False
        """An error arrived; whoever wants to know sets it back."""
        self.last_words: dict[str, str] | None = None
        """An ErrorResponse after which the server closes the connection (FATAL, PANIC). It is not the client's: whether
        the client's connection ends with it, too, is not the server's to say."""
        self.swallowed_error: dict[str, str] | None = None
        """An error in the answer to a request of the proxy's own."""
        self.captured: list[list[str | None]] | None = None
        """Where the rows go that answer a request of the proxy's own; None while nobody wants them."""
        self.diverted: list[bytes] | None = None
        """Where notifications go, each a whole message; None while they are passed on."""
        self.cancel_reason: str | None = None
        """Why the proxy itself has cancelled what runs, until that has ended: told in place of the server's message,
        which takes each cancel request for a user's."""
        self.streaming = False
        """CopyBoth has begun (replication): the connection serves nobody else any more."""
        self.queries = 0
        """ReadyForQuery that were a client's, so far."""
        self.transactions = 0
        """Those after which no transaction was open."""
        self._held = b""
        self._skip = 0

    @property
    def between_messages(self) -> bool:
        """True when nothing of a message has been passed on without its end."""
        return not self._skip

    @property
    def in_transaction(self) -> bool:
        """True when a transaction is open on the server for certain, explicit or (no Sync yet, COPY) implicit."""
        expected = self.expected
        return expected.unsynced or expected.copy_in or (self.status != codes.IDLE and not expected.queue)

    @property
    def quiet(self) -> bool:
        """True when the server is idle outside any transaction, owes nothing and is not in the middle of a message."""
        expected = self.expected
        return not (
            self.status != codes.IDLE
            or expected.queue
            or expected.unsynced
            or expected.copy_in
            or self._skip
            or self._held
            or self.streaming
        )

    def feed(self, data: bytes) -> bytes:
        """Take what the server sent; return what is the client's: ``data`` itself when all of it is."""
        position = 0
        if self._skip:
            if self._skip >= len(data):
                self._skip -= len(data)
                return b"" if self.expected.swallowing else data
            position = self._skip
            self._skip = 0
        elif self._held:
            data = self._held + data
            self._held = b""
        swallowing = self.expected.swallowing
        start = 0  # of the run that goes to the client (or, while swallowing, to nobody)
        kept: list[bytes] = []
        end = len(data)
        statements = self.statements
        tracked = _TRACKED_WITH_NOTES if statements.notes or statements.parsing is not None else _TRACKED
        if self.captured is not None:
            tracked = _TRACKED_WITH_ROWS
        while end - position >= 5:
            kind = data[position]
            length: int = _LENGTH.unpack_from(data, position + 1)[0]
            stop = position + 1 + length
            if not 4 <= length <= _MAX_LENGTH:
                raise ProtocolViolation(f"the server sent a message {chr(kind)!r} with the impossible length {length}")
            if kind in tracked and length <= _HOLD_BYTES:
                if stop > end:
                    break
                if kind in REPLIES:
                    if statements.swallows(kind, data[position + 5 : stop]):
                        kept.append(data[start:position])
                        start = stop
                    elif not (statements.notes or statements.parsing or self.captured is not None):
                        tracked = _TRACKED
                    position = stop
                    continue
                if kind == codes.NOTIFICATION_RESPONSE:
                    if self.diverted is not None:
                        self.diverted.append(data[position:stop])
                        if not swallowing:
                            kept.append(data[start:position])
                            start = stop
                    elif swallowing:
                        kept.append(data[position:stop])  # it answers nobody
                    position = stop
                    continue
                entry = self._track(kind, data[position + 5 : stop])
                if kind == codes.READY_FOR_QUERY:
                    if (entry == SWALLOW) != self.expected.swallowing:
                        if entry != SWALLOW:
                            kept.append(data[start:stop])
                        start = stop
                        swallowing = not swallowing
                elif kind == codes.ERROR_RESPONSE and (self.last_words or self.cancel_reason) and not swallowing:
                    kept += (data[start:position], self._reworded(data[position:stop]))
                    start = stop
            position = stop
        if position > end:
            self._skip = position - end
            position = end
        elif position < end:
            self._held = data[position:]
        if swallowing:
            return b"".join(kept)
        if not kept:
            return data if start == 0 and position == end else data[start:position]
        kept.append(data[start:position])
        return b"".join(kept)

    def _reworded(self, error: bytes) -> bytes:
        """What the client gets of an ErrorResponse that has just been tracked."""
        if self.last_words is not None:
            return b""
        fields = self.last_error or {}
        if fields.get("C") != _QUERY_CANCELED or self.cancel_reason is None:
            return error
        return encode.report(b"E", {**fields, "M": self.cancel_reason}.items())

    def take_swallowed_error(self) -> dict[str, str] | None:
        """The error, if any, in answer to a request of the proxy's own; it is reported once."""
        error, self.swallowed_error = self.swallowed_error, None
        return error

    def _track(self, kind: int, body: bytes) -> int | None:
        """Note one message that means something to the proxy; for ReadyForQuery return the entry that it answers."""
        if kind == codes.READY_FOR_QUERY:
            if len(body) != 1 or body[0] not in b"ITE":
                raise ProtocolViolation("the server sent a malformed ReadyForQuery")
            self.status = body[0]
            self.last_error = self.cancel_reason = None
            entry = self.expected.ready()
            if entry != SWALLOW:
                self.queries += 1
                if body == b"I":
                    self.transactions += 1
            statements = self.statements
            if statements.notes or statements.skipping:
                if entry != SWALLOW:
                    statements.ready()
                if self.expected.settled:
                    statements.abandon()
            return entry
        if kind == codes.PARAMETER_STATUS:
            self.changed_parameters.append(messages.parameter_status(body))
        elif kind == codes.DATA_ROW:
            if self.captured is not None and self.expected.swallowing:
                self.captured.append(messages.data_row(body))
        elif kind == codes.ERROR_RESPONSE:
            fields = messages.error_fields(body)
            if fields.get("V", fields.get("S")) in ("FATAL", "PANIC"):
                self.last_words = fields
                return None
            self.last_error = fields
            self.failed = True
            if self.expected.swallowing:
                self.swallowed_error = self.last_error
            self.expected.failed()
            self.statements.failed(body, self.last_error)
        elif kind == codes.COPY_IN_RESPONSE:
            syncs = self.expected.queue.count(SYNC_REPLY)
            self.expected.copy_in_begins()
            self.statements.merge(syncs - self.expected.queue.count(SYNC_REPLY))
        else:
            self.streaming = True
        return None

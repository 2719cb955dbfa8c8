"""PostgreSQL's main loop as far as replies go: what is answered, what is ignored, what is skipped.

After PostgresMain, exec_simple_query and CopyGetData of PostgreSQL 18; `test_against_server` holds it to the real one.
What a Query or an Execute comes to is written in its text or portal name: see `OUTCOMES`.
"""

from __future__ import annotations

from pgcat_trio.wire import encode

OUTCOMES = ("ok", "error", "copy", "refuse")
"""What a statement does: complete, fail, read copy data, or ask for copy data and fail before it reads any."""

ERROR = encode.report(b"E", [("S", "ERROR"), ("C", "22P02"), ("M", "as asked")])
READY = encode.ready_for_query()
COMPLETE = encode.command_complete("DONE")
COPY_IN = encode.message(b"G", b"\x00\x00\x00")

SYNC, FLUSH, COPY_DONE = encode.SYNC, encode.FLUSH, encode.COPY_DONE
COPY_FAIL = encode.copy_fail("no more")
DATA = encode.message(b"d", b"1\n")
BAD_DATA = encode.message(b"d", b"bad\n")
FUNCTION = encode.message(b"F", bytes(10))


def query(outcome: str) -> bytes:
    return encode.query(outcome)


def execute(outcome: str) -> bytes:
    return encode.message(b"E", encode.cstring(outcome) + bytes(4))


def messages_of(data: bytes) -> list[bytes]:
    """Cut whole messages apart."""
    found = []
    while data:
        end = 1 + int.from_bytes(data[1:5], "big")
        found.append(data[:end])
        data = data[end:]
    return found


class ServerModel:
    """A server that has logged a client in. ``replies`` is all it has answered, a message each."""

    def __init__(self) -> None:
        self.replies: list[bytes] = []
        self.copying = b""  # by which message, if it reads copy data
        self.skipping = False  # until the next Sync
        self.unsynced = False  # extended-protocol messages were carried out, and their end is still to come
        self.poisoned = False  # a Query came among extended-protocol messages: see `replies.MIXED`
        self.dead = False

    @property
    def at_rest(self) -> bool:
        return not (self.copying or self.skipping or self.unsynced)

    def receive(self, data: bytes) -> None:
        for message in messages_of(data):
            if not self.dead:
                (self._copy if self.copying else self._command)(message[:1], message[5:])

    def _copy(self, kind: bytes, body: bytes) -> None:
        if kind == b"c":
            self._end(COMPLETE)
        elif kind == b"f" or body.startswith(b"bad"):
            self._end(ERROR)
        elif kind not in b"dSH":
            self.dead = True  # FATAL: protocol synchronization was lost

    def _command(self, kind: bytes, body: bytes) -> None:
        if kind == b"S":
            self.skipping = self.unsynced = False
            self.replies.append(READY)
        elif kind in b"QE" and not self.skipping:
            self.copying = kind
            self.poisoned |= self.unsynced and kind == b"Q"
            self.unsynced = kind == b"E"
            outcome = body.partition(b"\x00")[0].decode()
            if outcome in ("copy", "refuse"):
                self.replies.append(COPY_IN)
            if outcome != "copy":
                self._end(COMPLETE if outcome == "ok" else ERROR)
        elif kind == b"F" and not self.skipping:
            self.poisoned |= self.unsynced
            self.unsynced = False
            self.replies += [COMPLETE, READY]

    def _end(self, reply: bytes) -> None:
        self.replies.append(reply)
        if self.copying == b"Q":
            self.replies.append(READY)
        else:
            self.skipping = reply == ERROR
        self.copying = b""

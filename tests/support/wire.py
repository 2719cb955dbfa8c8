"""A connection as bytes: what was sent, what came back, and which message each reply answers.

Blocking, because nothing is cheaper: tens of thousands of conversations are held through it. The proxy of such a test
runs in a thread of its own (`proxy.ProxyThread`).
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final, Self

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

TIMEOUT_S: Final = 10.0
READY: Final = b"Z"


class Wire:
    """A connection that libpq has logged in, and that is ours from then on."""

    def __init__(self, dsn: str) -> None:
        self._login = psycopg.connect(dsn, autocommit=True)
        self._socket = socket.socket(fileno=os.dup(self._login.fileno()))
        self._socket.settimeout(TIMEOUT_S)
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._login.close()

    def parameter(self, name: str) -> str | None:
        """What the login said of a parameter."""
        return self._login.info.parameter_status(name)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def message(self) -> bytes:
        """The next message, whole; b"" where the other side has closed the connection.

        Raises TimeoutError when nothing comes.
        """
        while (stop := self._end(0)) is None:
            if not self._receive():
                return b""
        return self._cut(stop)

    def replies(self, count: int) -> list[bytes]:
        """So many messages; fewer if nothing more comes in time, or the connection ends."""
        found: list[bytes] = []
        try:
            while len(found) < count and (message := self.message()):
                found.append(message)
        except TimeoutError:
            pass
        return found

    def answer_like(self, wanted: Sequence[bytes]) -> list[bytes]:
        """As many messages as are wanted, or up to as many ReadyForQuery where it ends with one."""
        found: list[bytes] = []
        missing = sum(message[:1] == READY for message in wanted) if wanted and wanted[-1][:1] == READY else -1
        while len(found) < len(wanted) and missing and (message := self.replies(1)):
            found += message
            missing -= message[0][:1] == READY
        return found

    def rest(self) -> list[bytes]:
        """All messages up to the end of the connection. Raises TimeoutError when that does not come."""
        while self._receive():
            pass
        return messages_of(self._cut(len(self._buffer)))

    def _end(self, start: int) -> int | None:
        stop = start + 1 + int.from_bytes(self._buffer[start + 1 : start + 5])
        return stop if start + 5 <= len(self._buffer) and stop <= len(self._buffer) else None

    def _cut(self, size: int) -> bytes:
        found = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return found

    def _receive(self) -> bool:
        try:
            data = self._socket.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        self._buffer += data
        return bool(data)


def messages_of(data: bytes) -> list[bytes]:
    """Cut whole messages apart. Raises ValueError if the last one is not whole."""
    found = []
    position = 0
    while position < len(data):
        stop = position + 1 + int.from_bytes(data[position + 1 : position + 5])
        if stop > len(data):
            raise ValueError("half a message")
        found.append(data[position:stop])
        position = stop
    return found


# -- which reply answers what ----------------------------------------------------------------------------------------

_ENDS: Final = {
    b"P": b"1E",
    b"B": b"2E",
    b"C": b"3E",
    b"D": b"TnE",
    b"E": b"CsIEG",
    b"S": b"Z",
    b"Q": b"ZG",
    b"F": b"Z",
}
"""The replies that are the last ones to a message (PostgreSQL manual, "Message Flow")."""


class Dialogue:
    """Takes a server's replies one by one from ``pull`` and gives each to the message that it answers.

    Copy data that fails is answered, here, when it ends: no test sends a Sync between the two.
    """

    def __init__(self, pull: Callable[[], bytes]) -> None:
        self._pull = pull
        self._copying = b""  # the message that began a COPY FROM STDIN that is under way
        self._skipping = False

    def answers(self, messages: Iterable[bytes]) -> list[list[bytes]]:
        """The replies to each message."""
        return [self._answer(message[:1]) for message in messages]

    def _answer(self, kind: bytes) -> list[bytes]:
        if self._copying:
            if kind not in b"cf":
                return []
            kind, self._copying = self._copying, b""
        elif kind == b"S":
            self._skipping = False
        elif self._skipping or kind not in _ENDS:
            return []
        found = [self._pull()]
        while found[-1][:1] not in _ENDS[kind]:
            found.append(self._pull())
        if found[-1][:1] == b"G":
            self._copying = kind
        self._skipping = kind != b"Q" and found[-1][:1] == b"E"
        return found


def asked_for(messages: Sequence[bytes], answers: Sequence[list[bytes]]) -> int:
    """How many of the answers must have come once the server has read all these messages, if no more are sent.

    It may keep an answer to itself until a request ends or somebody sends a Flush.
    """
    count = total = 0
    for message, found in zip(messages, answers, strict=False):
        total += len(found)
        if message[:1] in b"QSHF" or (found and found[-1][:1] == READY):
            count = total
    return count

"""The conversation on the connection that listens for all: one request at a time, notifications whenever they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import trio

from ..errors import BackendLost, ProtocolViolation, ProxyError, ServerError
from ..wire import codes, encode, messages
from ..wire.codes import UINT32

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..net.transport import Transport

_LOST_HINT: Final = "The server's log may say why."


class Board(Protocol):
    """Who wants to hear something (`listening.Switchboard`)."""

    async def next_change(self) -> bytes | None:
        """What the server is to be told next; None when nothing is wanted any more."""
        ...

    def confirmed(self) -> None:
        """The server has done what `next_change` said last."""
        ...

    def notified(self, message: bytes, channel: bytes, payload: bytes) -> None:
        """A notification, whole and in parts."""
        ...


class Wire:
    """Serves a `Board` on a connection that has logged in."""

    def __init__(self, board: Board, transport: Transport) -> None:
        self._board = board
        self._transport = transport
        self._ready = trio.Event()
        self._buffer = b""

    async def run(self) -> None:
        """Until nobody listens any more. Raises `BackendLost`, `ServerError` or `ProtocolViolation`."""
        problems: list[ProxyError] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, problems, nursery.cancel_scope)
            while (sql := await self._board.next_change()) is not None:
                self._ready = trio.Event()
                await self._send(encode.query(sql))
                await self._ready.wait()
                self._board.confirmed()
            await self._send(encode.TERMINATE)
            nursery.cancel_scope.cancel()
        if problems:
            raise problems[0]

    async def _send(self, data: bytes) -> None:
        try:
            await self._transport.send(data)
        except trio.BrokenResourceError:
            await trio.sleep_forever()  # the reader finds out how it ended, and its last words

    async def _read(self, problems: list[ProxyError], scope: trio.CancelScope) -> None:
        try:
            while True:
                data = await self._transport.receive()
                if not data:
                    raise BackendLost(self._transport.fault or "the server closed the connection", hint=_LOST_HINT)
                self._buffer += data
                for kind, message in self._messages():
                    self._hear(kind, message)
        except ProxyError as problem:
            problems.append(problem)
            scope.cancel()

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        buffer, position = self._buffer, 0
        while len(buffer) - position >= 5:
            length: int = UINT32.unpack_from(buffer, position + 1)[0]
            if not 4 <= length <= codes.MAX_MESSAGE_BYTES:
                raise ProtocolViolation(f"the server sent a message with the impossible length {length}")
            stop = position + 1 + length
            if stop > len(buffer):
                break
            yield buffer[position], buffer[position:stop]
            position = stop
        self._buffer = buffer[position:]

    def _hear(self, kind: int, message: bytes) -> None:
        if kind == codes.NOTIFICATION_RESPONSE:
            self._board.notified(message, *messages.notification(message[5:]))
        elif kind == codes.READY_FOR_QUERY:
            self._ready.set()
        elif kind == codes.ERROR_RESPONSE:
            raise ServerError(messages.error_fields(message[5:]))

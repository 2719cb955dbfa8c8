"""Trio streams as transports, and transports as Trio streams: what TLS is put together from.

`StreamTransport` keeps the contract of `transport`, but for watching: that needs a socket of one's own.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import trio

from .transport import RECEIVE_BYTES, Transport

if TYPE_CHECKING:
    from collections.abc import Callable


class StreamTransport(Transport):
    """Any Trio stream. Cannot be watched; ``send_nowait`` takes nothing."""

    def __init__(self, stream: trio.abc.Stream, *, peer: str = "", encrypted: bool = False) -> None:
        self.stream = stream
        self.peer = peer
        self.encrypted = encrypted
        self._closed = False

    def watch(self, handler: Callable[[bytes], bool]) -> bool:
        self.unwatch()
        return False

    def unwatch(self) -> None:
        innermost = _innermost(self.stream)
        if isinstance(innermost, TransportStream):
            innermost.transport.unwatch()

    def watch_unread(self, handler: Callable[[], None]) -> None:
        innermost = _innermost(self.stream)
        if isinstance(innermost, TransportStream):
            innermost.transport.watch_unread(handler)

    def send_nowait(self, data: bytes) -> int:
        return 0

    async def send(self, data: bytes) -> None:
        try:
            await self.stream.send_all(data)
            self.sent_bytes += len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as problem:
            self.fault = _reason(problem)
            raise trio.BrokenResourceError(self.fault) from None

    async def receive(self, max_bytes: int = RECEIVE_BYTES) -> bytes:
        if self._returned:
            return self._take_returned(max_bytes)
        try:
            # Memory streams return bytearray, sockets and TLS return bytes; callers see bytes only.
            data = bytes(await self.stream.receive_some(max_bytes))
            self.received_bytes += len(data)
            return data
        except (trio.BrokenResourceError, trio.ClosedResourceError) as problem:
            self.fault = _reason(problem)
            # A broken TLS stream says so at once, for ever: without this a reader could keep everybody else waiting.
            await trio.lowlevel.checkpoint()
            return b""

    def sever(self) -> None:
        innermost = _innermost(self.stream)
        if isinstance(innermost, TransportStream):
            innermost.transport.sever()
        else:
            _close_stream(innermost)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        _close_stream(_innermost(self.stream))

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        innermost = _innermost(self.stream)
        try:
            with contextlib.suppress(trio.BrokenResourceError, trio.BusyResourceError, OSError):
                if isinstance(self.stream, trio.SSLStream):
                    # Trio's own aclose says no goodbye to HTTPS peers; libpq takes that for an attack (close_notify).
                    await self.stream.unwrap()
                else:
                    await self.stream.aclose()
        finally:
            _close_stream(innermost)


class TransportStream(trio.abc.Stream):
    """The other way round: a Transport as a Trio stream, to put TLS on top of it."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        await self.transport.send(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self.transport.receive(max_bytes or RECEIVE_BYTES)

    async def aclose(self) -> None:
        self.transport.close()
        await trio.lowlevel.checkpoint()


def _innermost(stream: trio.abc.Stream) -> trio.abc.Stream:
    """What carries the bytes in the end: a TLS stream lets go of it when it is unwrapped."""
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    return stream


def _close_stream(stream: trio.abc.Stream) -> None:
    """Close without awaiting: nobody is told, the resources are free."""
    if isinstance(stream, TransportStream):
        stream.transport.close()
    elif isinstance(stream, trio.SocketStream):
        stream.socket.close()
    elif isinstance(stream, trio.StapledStream):
        for half in (stream.send_stream, stream.receive_stream):
            half.close()


def _reason(problem: BaseException) -> str:
    """OpenSSL's or the system's words, which Trio keeps as the cause."""
    return str(problem.__cause__ or problem) or type(problem).__name__

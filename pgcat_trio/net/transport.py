"""A byte stream, whatever carries it.

`SocketTransport` is a plain TCP or UNIX socket, the hot path; `streams.StreamTransport` is any Trio stream, in practice
TLS and the memory streams of the tests. Both have one contract:

* ``receive`` returns b"" when the peer is gone, however it went; ``fault`` then says how if it was not politely.
* ``send`` that is cancelled may have sent some, all or none (`trio.abc.SendStream.send_all`), and ``send_nowait`` may
  take a part: it is the caller who knows what a half-sent message means.
* ``send_nowait`` and a successful ``send`` on a socket are **not checkpoints**: these are the only exceptions to
  Trio's rule here, and every loop that uses them also waits for real (see `poller` for the fairness of the hot path).
"""

from __future__ import annotations

import contextlib
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from .poller import Poller

RECEIVE_BYTES: Final = 64 * 1024

_LINGER_S: Final = 0.25
"""How long a peer may take to read our last words: what it was saying at that moment arrives within a round trip."""


class Transport(ABC):
    """One end of a byte stream."""

    fault: str | None = None
    """How the stream broke, in the operating system's or OpenSSL's words; None while it has not."""

    peer: str = ""
    """The other end's address, for logs."""

    encrypted: bool = False
    """True on TLS."""

    @abstractmethod
    def watch(self, handler: Callable[[bytes], bool]) -> bool:
        """Have ``handler`` called with what arrives (b"" at the end), until it returns False or `unwatch`.

        Returns False where that needs a task: then call `receive` in a loop instead.
        """

    @abstractmethod
    def unwatch(self) -> None:
        """Call no handler any more; what arrives stays where it is."""

    @abstractmethod
    def watch_unread(self, handler: Callable[[], None]) -> None:
        """Have ``handler`` called once, as soon as something has arrived, without reading it; until `unwatch`.

        For streams that cannot be watched: so that the end of one that should be silent is noticed all the same.
        """

    @abstractmethod
    def send_nowait(self, data: bytes) -> int:
        """Send what can be sent at once and return how many bytes that was. Raises `trio.BrokenResourceError`."""

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Send all of ``data``. Raises `trio.BrokenResourceError`."""

    @abstractmethod
    async def receive(self, max_bytes: int = RECEIVE_BYTES) -> bytes:
        """Wait for bytes; b"" at the end. Cancelling it loses nothing."""

    @abstractmethod
    def close(self) -> None:
        """Close at once, without a farewell. Never raises, may be called twice."""

    @abstractmethod
    def sever(self) -> None:
        """Have whoever reads from it or writes to it find the end of the stream. Never raises; `close` is still due."""

    async def aclose(self) -> None:
        """Close politely where that means anything (TLS); closed in any case afterwards, also after `Cancelled`.

        On TLS this waits for the peer's goodbye: the caller bounds the time.
        """
        self.close()

    async def linger(self) -> None:
        """Give the peer a moment to read what was said last and to close; nothing that it still says is looked at.

        Closing with bytes unread makes the kernel reset the connection, and what was sent last is lost; and libpq does
        not look at it if the end comes at once behind it.
        """
        with trio.move_on_after(_LINGER_S):
            while await self.receive():
                pass

    def unread(self, data: bytes) -> None:
        """Put bytes back: the next `receive` returns them first."""
        self._returned = data + self._returned

    sent_bytes: int = 0
    """How much has been sent; on TLS, before it is encrypted."""

    received_bytes: int = 0

    _returned: bytes = b""

    def _take_returned(self, max_bytes: int) -> bytes:
        data, self._returned = self._returned[:max_bytes], self._returned[max_bytes:]
        return data


class SocketTransport(Transport):
    """A connected stream socket. Takes ownership; with a poller it can be watched."""

    def __init__(self, sock: socket.socket, poller: Poller | None = None) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._fd = sock.fileno()
        self._poller = poller
        self._handler: Callable[[bytes], bool] | None = None
        self._unread_handler: Callable[[], None] | None = None
        self._receiving = False
        self.peer = _peer_name(sock)
        # Bound methods: the hot path calls them for each transaction.
        self._recv_into = sock.recv_into
        self._send = sock.send

    @property
    def socket(self) -> socket.socket:
        """The socket itself, for options."""
        return self._socket

    def watch(self, handler: Callable[[bytes], bool]) -> bool:
        if self._poller is None or self._returned:
            return False
        self._handler = handler
        self._poller.add(self._fd, self)
        return True

    def unwatch(self) -> None:
        self._handler = self._unread_handler = None

    def watch_unread(self, handler: Callable[[], None]) -> None:
        if self._poller is not None:
            self._unread_handler = handler
            self._poller.add(self._fd, self)

    def on_readable(self) -> bool:
        """The poller's turn: one receive, one call."""
        handler, poller = self._handler, self._poller
        if handler is None or poller is None:
            unread_handler, self._unread_handler = self._unread_handler, None
            if unread_handler is not None:
                unread_handler()
            return False
        try:
            count = self._recv_into(poller.buffer)
        except BlockingIOError:
            return True
        except OSError as problem:
            self.fault = problem.strerror or str(problem)
            count = 0
        self.received_bytes += count
        if not handler(bytes(poller.view[:count])) and self._handler is handler:
            self._handler = None
        # At the end of the stream the socket stays readable for ever.
        return count > 0

    def send_nowait(self, data: bytes) -> int:
        try:
            sent = self._send(data)
        except BlockingIOError:
            return 0
        except OSError as problem:
            self.fault = problem.strerror or str(problem)
            raise trio.BrokenResourceError(self.fault) from None
        self.sent_bytes += sent
        return sent

    async def send(self, data: bytes) -> None:
        sent = self.send_nowait(data)
        while sent < len(data):
            try:
                await trio.lowlevel.wait_writable(self._socket)
            except trio.ClosedResourceError:
                raise trio.BrokenResourceError("closed") from None
            sent += self.send_nowait(memoryview(data)[sent : sent + (1 << 20)])  # type: ignore[arg-type]

    def sever(self) -> None:
        with contextlib.suppress(OSError):  # it has been closed, or was never connected
            self._socket.shutdown(socket.SHUT_RDWR)

    async def receive(self, max_bytes: int = RECEIVE_BYTES) -> bytes:
        if self._returned:
            return self._take_returned(max_bytes)
        if self._receiving or self._handler is not None:
            raise trio.BusyResourceError("this transport is being read already")
        if self._socket.fileno() < 0:
            return b""
        self._receiving = True
        try:
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                try:
                    data = self._socket.recv(max_bytes)
                    self.received_bytes += len(data)
                    return data
                except BlockingIOError:
                    continue
        except OSError as problem:
            self.fault = problem.strerror or str(problem)
            return b""
        except trio.ClosedResourceError:
            return b""
        finally:
            self._receiving = False

    def close(self) -> None:
        self.unwatch()
        if self._socket.fileno() < 0:
            return
        if self._poller is not None:
            self._poller.remove(self._fd)
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()


def _peer_name(sock: socket.socket) -> str:
    try:
        name = sock.getpeername()
    except OSError:
        return "disconnected"
    if isinstance(name, tuple):
        host, port = name[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return "unix socket"

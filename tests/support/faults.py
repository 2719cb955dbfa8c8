"""A relay in front of a server whose faults are switched while it runs: a black hole, refusals, resets, slowness."""

from __future__ import annotations

import contextlib
import math
import socket
import struct
from typing import TYPE_CHECKING, Final, Literal

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Mode = Literal["pass", "black hole", "refuse", "reset"]

_CHUNK_BYTES: Final = 65536
_BUFFERED_CHUNKS: Final = 64
_RESET: Final = struct.pack("ii", 1, 0)
_HOST: Final = "127.0.0.1"


@attrs.define(eq=False)
class FaultyLink:
    """The way to ``host:server_port``, by ``port`` of 127.0.0.1. Change ``latency_s`` and ``bytes_per_s`` at will.

    ``black hole``: new connections are accepted, nothing arrives any more, in either direction; what was sent comes
    late if the link is mended, as with TCP. ``refuse``: new connections are refused, those that are there go on.
    ``reset``: all connections are reset, new ones as soon as they come.
    """

    host: str
    server_port: int
    latency_s: float = 0.0
    """How long each byte is on its way, one way."""
    bytes_per_s: float = math.inf
    """In each direction of each connection."""
    port: int = 0
    mode: Mode = "pass"
    connections: int = 0
    _nursery: trio.Nursery | None = None
    _listening: trio.CancelScope | None = None
    _passable: trio.Event = attrs.field(factory=trio.Event)
    _links: set[tuple[trio.SocketStream, ...]] = attrs.field(factory=set)

    async def switch(self, mode: Mode) -> None:
        """Begin a fault, or end it (``pass``). When it returns the fault is there."""
        assert self._nursery is not None
        self.mode = mode
        if mode == "black hole":
            self._passable = trio.Event()
        else:
            self._passable.set()
        if mode == "reset":
            self.reset_all()
        if mode == "refuse" and self._listening is not None:
            self._listening.cancel()
            self._listening = None
            await trio.testing.wait_all_tasks_blocked()
        elif mode != "refuse" and self._listening is None:
            await self._nursery.start(self._listen)

    def reset_all(self) -> None:
        """Reset the connections that are there."""
        for link in tuple(self._links):
            _reset(*link)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Relay until cancelled. ``port`` is known when it has started."""
        self._passable.set()
        async with trio.open_nursery() as self._nursery:
            await self._nursery.start(self._listen)
            task_status.started()

    async def _listen(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        assert self._nursery is not None
        [listener] = await trio.open_tcp_listeners(self.port, host=_HOST, backlog=200)
        self.port = listener.socket.getsockname()[1]
        with trio.CancelScope() as self._listening:
            await trio.serve_listeners(
                self._serve, [listener], handler_nursery=self._nursery, task_status=_Started(task_status)
            )

    async def _serve(self, client: trio.SocketStream) -> None:
        self.connections += 1
        try:
            if self.mode == "reset":
                _reset(client)
                return
            # A connection to a server that is not there must look like one: reset, for it is too late to refuse it.
            await self._passable.wait()
            try:
                server = await trio.open_tcp_stream(self.host, self.server_port)
            except OSError:
                _reset(client)
                return
            link = (client, server)
            self._links.add(link)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._carry, client, server, nursery.cancel_scope)
                    nursery.start_soon(self._carry, server, client, nursery.cancel_scope)
            finally:
                self._links.remove(link)
                for stream in link:
                    stream.socket.close()
        finally:
            self.connections -= 1
            client.socket.close()

    async def _carry(self, source: trio.SocketStream, sink: trio.SocketStream, over: trio.CancelScope) -> None:
        """One direction, to its end; then both are over."""
        send, receive = trio.open_memory_channel[tuple[float, bytes]](_BUFFERED_CHUNKS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver, receive, sink)
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async with send:
                    while data := await source.receive_some(_CHUNK_BYTES):
                        await send.send((trio.current_time(), bytes(data)))
        over.cancel()

    async def _deliver(self, receive: trio.MemoryReceiveChannel[tuple[float, bytes]], sink: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with receive:
                async for sent_at, data in receive:
                    await trio.sleep_until(sent_at + self.latency_s)
                    await trio.sleep(len(data) / self.bytes_per_s)
                    await self._passable.wait()
                    await sink.send_all(data)


@attrs.frozen
class _Started:
    """`trio.serve_listeners` reports its listeners; whoever waits for us does not want them."""

    status: trio.TaskStatus[None]

    def started(self, _: object = None) -> None:
        self.status.started()


def _reset(*streams: trio.SocketStream) -> None:
    for stream in streams:
        if stream.socket.fileno() >= 0:
            with contextlib.suppress(OSError):
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            stream.socket.close()


@contextlib.asynccontextmanager
async def faulty_link(host: str, server_port: int, port: int = 0) -> AsyncIterator[FaultyLink]:
    """A link in the current Trio run, to ``host:server_port``."""
    link = FaultyLink(host, server_port, port=port)
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        yield link
        nursery.cancel_scope.cancel()

"""A relay in front of a real server: gives it TLS, or refuses it, and hears what comes in clear text."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Final

import attrs
import trio

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

SSL_REQUEST: Final = struct.pack("!II", 8, 80877103)
CANCEL_CODE: Final = 80877102


@attrs.define
class Relay:
    """Listens on ``port`` of 127.0.0.1. What it is asked in clear text is in ``packets``, whole first packets each."""

    host: str
    server_port: int
    port: int = 0
    tls: ssl.SSLContext | None = None
    """Speak TLS with this to those who ask; None: answer N."""
    cancel_delay_s: float = 0.0
    """How long a CancelRequest is on its way."""
    packets: list[bytes] = attrs.field(factory=list)
    encrypted: int = 0
    """Connections that spoke TLS."""

    async def serve(self, client: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            async with client:
                await self._serve(client)

    async def _serve(self, client: trio.abc.Stream) -> None:
        first = await self._packet(client)
        if first == SSL_REQUEST:
            await client.send_all(b"N" if self.tls is None else b"S")
            if self.tls is not None:
                client = trio.SSLStream(client, self.tls, server_side=True, https_compatible=True)
                self.encrypted += 1
            first = await self._packet(client)
        if first[4:8] == struct.pack("!I", CANCEL_CODE):
            await trio.sleep(self.cancel_delay_s)
        server = await trio.open_tcp_stream(self.host, self.server_port)
        async with server, trio.open_nursery() as nursery:
            await server.send_all(first)
            nursery.start_soon(self._copy, client, server, nursery.cancel_scope)
            nursery.start_soon(self._copy, server, client, nursery.cancel_scope)

    async def _packet(self, client: trio.abc.Stream) -> bytes:
        """A first packet: its length, then the rest. A relay of tests does not care for malformed ones."""
        packet = b""
        while len(packet) < 4 or len(packet) < struct.unpack_from("!I", packet)[0]:
            data = await client.receive_some(65536)
            if not data:
                raise trio.BrokenResourceError("left before its first packet")
            packet += data
        if not isinstance(client, trio.SSLStream):
            self.packets.append(packet)
        return packet

    @staticmethod
    async def _copy(source: trio.abc.Stream, sink: trio.abc.Stream, scope: trio.CancelScope) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            while data := await source.receive_some(65536):
                await sink.send_all(data)
        scope.cancel()


@contextlib.asynccontextmanager
async def running_relay(
    host: str, server_port: int, *, tls: ssl.SSLContext | None = None, cancel_delay_s: float = 0.0
) -> AsyncIterator[Relay]:
    """A relay in the current Trio run, to ``host:server_port``."""
    relay = Relay(host, server_port, tls=tls, cancel_delay_s=cancel_delay_s)
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        relay.port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, relay.serve, [listener])
        yield relay
        nursery.cancel_scope.cancel()

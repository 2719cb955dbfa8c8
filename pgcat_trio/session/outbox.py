"""What is on its way to the client: sent at once where the client reads, kept in order where it does not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import trio

from ..errors import ProxyError
from ..wire import encode

if TYPE_CHECKING:
    from ..net.transport import Transport

_FULL_BYTES: Final = 64 * 1024
"""One receive's worth, as `downstream.LARGE_BYTES`: what more than this waits, its cause should wait, too."""


class Outbox:
    """The one writer to a client. ``write`` never waits; what could not be sent waits for `flush`."""

    __slots__ = ("_backlog", "_in_flight_bytes", "_transport", "intact", "stalled_since")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._backlog = b""
        self._in_flight_bytes = 0
        self.intact = True
        """False once a send broke or was cut short: what the client has seen ends in the middle of a message."""
        self.stalled_since = math.inf
        """Since when the client has not read what is due, by Trio's clock."""

    @property
    def empty(self) -> bool:
        """True when all that was written is with the client's kernel."""
        return not self._backlog and self.stalled_since == math.inf

    @property
    def pending_bytes(self) -> int:
        """How much the client has yet to take."""
        return len(self._backlog) + self._in_flight_bytes

    @property
    def full(self) -> bool:
        """True when a client that does not read should not be listened to, either."""
        return self.pending_bytes >= _FULL_BYTES

    def write(self, data: bytes) -> bool:
        """Send, or keep for `flush`: True if nothing is left. Raises `trio.BrokenResourceError`."""
        if not self.empty:
            self._backlog += data
            return False
        try:
            sent = self._transport.send_nowait(data)
        except trio.BrokenResourceError:
            self.intact = False
            raise
        if sent == len(data):
            return True
        self._backlog = data[sent:]
        return False

    async def flush(self) -> None:
        """Send what was kept. Raises `trio.BrokenResourceError`; after that and after `Cancelled`, not ``intact``."""
        while self._backlog:
            data, self._backlog = self._backlog, b""
            self.stalled_since = trio.current_time()
            self._in_flight_bytes = len(data)
            self.intact = False
            await self._transport.send(data)
            self.intact = True
            self._in_flight_bytes = 0
            self.stalled_since = math.inf

    async def farewell(self, reason: ProxyError | str | None, *, linger: bool = False) -> None:
        """Send what is still due, and why it is over if that is an error, as far as the client can be told; close.

        With ``linger`` what was said last is not the client's to lose, either. The caller bounds the time.
        """
        if self.intact:
            try:
                await self.flush()
                if isinstance(reason, ProxyError):
                    await self._transport.send(encode.error_response(reason, severity="FATAL"))
                if linger or isinstance(reason, ProxyError):
                    await self._transport.linger()
            except trio.BrokenResourceError:
                return
        await self._transport.aclose()

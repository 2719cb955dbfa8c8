"""Online restart: a new process of this program takes over the listening sockets; nobody is refused in between.

The old process starts the new one as it was started itself, and gives it its sockets (`sockets.Legacy`). Both accept
clients from the moment that the new one is ready; then the old one stops, and ends when its last client has left. If
the new one ends before it is ready, nothing has happened.

They are connected by a pair of sockets. The new process says `READY` on it, and then passes on the CancelRequests whose
keys it does not know, as they were sent; the old one answers each with `DONE` when that has reached its server. A
process that has been replaced itself stays until the one before it has ended, so that there is somebody in between.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections import deque
from typing import TYPE_CHECKING, Final

import attrs
import structlog
import trio

from ..errors import ProxyError
from ..wire import encode, messages
from .ending import Manner
from .sockets import HANDOVER_VARIABLE, handed_over

if TYPE_CHECKING:
    from ..session.cancel import CancelKeys
    from .supervisor import Supervisor

log = structlog.get_logger("pgcat_trio")

READY: Final = b"r"
DONE: Final = b"d"

START_TIMEOUT_S: Final = 60.0
"""How long the new process may take: its servers may be slow to answer."""

_GIVING_UP_S: Final = 5.0
"""How long a new process that was not ready in time may take to end by itself."""


# -- the old process -----------------------------------------------------------------------------------------------


async def hand_over(supervisor: Supervisor) -> None:
    """Start a new process and leave it the clients to come; then pass its cancel requests on, as long as both live.

    Cancelling this before the new process is ready ends that one, too.
    """
    if supervisor.ending.manner is not None or supervisor.handing_over:
        log.warning("handover.failed", reason="this process is being replaced, or ending, already")
        return
    supervisor.handing_over = True
    try:
        await _hand_over(supervisor)
    except OSError as problem:
        log.error("handover.failed", reason=f"the new process cannot be started: {problem}")
    finally:
        supervisor.handing_over = False


async def _hand_over(supervisor: Supervisor) -> None:
    general = supervisor.general
    ours, theirs = socket.socketpair()
    numbers = [listener.socket.fileno() for listener in supervisor.listeners]
    legacy = handed_over(numbers, (general.host, general.port), theirs.fileno())
    async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as control:
        with theirs:
            process = await trio.lowlevel.open_process(
                [sys.executable, *sys.orig_argv[1:]],
                env={**os.environ, HANDOVER_VARIABLE: legacy},
                pass_fds=(*numbers, theirs.fileno()),
            )
        log.info("handover.begun", pid=process.pid)
        ready = False
        try:
            with trio.move_on_after(START_TIMEOUT_S):
                ready = await _hear(control) == READY
        finally:
            if not ready:
                process.terminate()
        if not ready:
            log.error("handover.failed", pid=process.pid, reason="the new process did not start")
            with trio.move_on_after(_GIVING_UP_S):
                await process.wait()
            process.kill()
            return
        log.info("handover.done", pid=process.pid)
        supervisor.ending.begin(Manner.WAIT_FOR_CLIENTS)
        with contextlib.suppress(trio.BrokenResourceError, ProxyError):
            await _pass_on(control, supervisor.cancel_keys)


async def _hear(control: trio.SocketStream) -> bytes:
    try:
        return bytes(await control.receive_some(1))
    except trio.BrokenResourceError:
        return b""


async def _pass_on(control: trio.SocketStream, keys: CancelKeys) -> None:
    """Carry out the cancel requests that the new process has got for us, until it has ended."""
    buffer = b""
    while data := await control.receive_some(4096):
        buffer += data
        while (length := messages.first_packet_length(buffer)) is not None and len(buffer) >= length:
            packet, buffer = messages.first_packet(buffer[:length]), buffer[length:]
            if isinstance(packet, messages.CancelRequest):
                found = keys.find(packet.pid, packet.secret)
                arrived = found.cancel() if found is not None else None
                if arrived is not None:
                    await arrived.wait()
            await control.send_all(DONE)


# -- the new process -----------------------------------------------------------------------------------------------


class Predecessor:
    """The process before this one, as long as it lives. Takes ``control`` over."""

    def __init__(self, control: socket.socket) -> None:
        self.gone = trio.Event()
        """Set when it has ended."""
        self._control = control
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(control))
        self._waiting: deque[trio.Event] = deque()

    async def run(self, keys: CancelKeys) -> None:
        """Say that this process accepts clients; until the other has ended, send it the requests that ``keys`` has not.

        After `Cancelled` it gets no more of them.
        """
        try:
            await self._stream.send_all(READY)
            log.info("handover.taken")
            keys.elsewhere = self._elsewhere
            while answers := await self._stream.receive_some(4096):
                for _ in answers:
                    self._waiting.popleft().set()
        except trio.BrokenResourceError:
            pass
        finally:
            keys.elsewhere = None
            self.gone.set()
            self._control.close()
            for arrived in self._waiting:
                arrived.set()

    def pass_on(self, packet: bytes) -> trio.Event | None:
        """Send a CancelRequest; the event is set when it has arrived, or cannot any more. None if it cannot be sent."""
        try:
            sent = self._control.send(packet)
        except OSError:
            return None
        if sent < len(packet):  # only if nobody has read for a long time
            self._control.shutdown(socket.SHUT_RDWR)
            return None
        arrived = trio.Event()
        self._waiting.append(arrived)
        return arrived

    def _elsewhere(self, pid: int, secret: bytes) -> _Elsewhere:
        return _Elsewhere(self, encode.cancel_request(pid, secret))


@attrs.frozen
class _Elsewhere:
    """Somebody whom only the process before may know (`session.cancel.Cancellable`)."""

    predecessor: Predecessor
    packet: bytes

    def cancel(self) -> trio.Event | None:
        return self.predecessor.pass_on(self.packet)

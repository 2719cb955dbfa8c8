"""One task that reads for everybody who is waiting.

Waking a Trio task and arming its socket again costs several times more than the few lines of Python that a transaction
needs. So sockets whose owner is *only waiting for bytes* are watched by one epoll set of our own, and the poller's task
calls the owner's handler with what arrived: a turn of the owner's loop, taken on its behalf. A handler never awaits. As
soon as it has to wait for anything it stops watching and wakes its own task, which goes on as any Trio code does.

Watched sockets are registered once and stay armed (level-triggered): a transaction costs no epoll_ctl. A socket that is
readable while nobody watches is taken out of the set until somebody does.
"""

from __future__ import annotations

import select
from typing import Final, Protocol

import trio

AVAILABLE: Final = hasattr(select, "epoll")
"""False off Linux: everything works there too, by one task a socket."""

_RECEIVE_BYTES: Final = 64 * 1024  # as in `transport`
_EVENTS_PER_ROUND: Final = 64
_EVENTS_PER_TURN: Final = 256
"""After so many events, some 5 ms, the other tasks get their turn, whatever the traffic. Asking for more costs a tenth
of a round of Trio's loop, so it is worth while even for a single event."""


class Watched(Protocol):
    """What the poller needs of a transport."""

    def on_readable(self) -> bool:
        """Read once and hand the bytes on; False when nobody wants them."""
        ...


class Poller:
    """The epoll set and its task. ``run`` must be running for anything watched to be read."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Watched] = {}
        # One buffer for all sockets: nothing awaits between reading into it and copying out of it. Pollers of other
        # threads have their own, for a thread gives way while it reads.
        self.buffer = bytearray(_RECEIVE_BYTES)
        self.view = memoryview(self.buffer)

    def add(self, fd: int, watched: Watched) -> None:
        """Watch ``fd``; nothing happens if it is watched already."""
        if fd not in self._watched:
            self._epoll.register(fd, select.EPOLLIN)
            self._watched[fd] = watched

    def remove(self, fd: int) -> None:
        """Stop watching ``fd``. Must be called before the descriptor is closed."""
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    async def run(self) -> None:
        """Serve for ever; after `Cancelled` nothing is watched any more."""
        poll = self._epoll.poll
        watched = self._watched
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                served = 0
                while served < _EVENTS_PER_TURN and (events := poll(0, _EVENTS_PER_ROUND)):
                    served += len(events)
                    for fd, _event in events:
                        # An earlier handler of this round may have closed this one.
                        transport = watched.get(fd)
                        if transport is not None and not transport.on_readable():
                            self.remove(fd)
        finally:
            watched.clear()
            self._epoll.close()

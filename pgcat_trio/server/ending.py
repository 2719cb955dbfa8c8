"""How the server comes to its end: who is waited for, and for how long.

Nobody is accepted any more once an end has begun. It may be begun again in less patience, never in more.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import structlog
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .listener import Connection

log = structlog.get_logger("pgcat_trio")


class Manner(enum.IntEnum):
    """The ways to end, the most patient one first. The first two are PgBouncer's, and have no time limit."""

    WAIT_FOR_CLIENTS = 1
    """Sessions go on as if nothing had happened, until their clients leave."""
    WAIT_FOR_SERVERS = 2
    """Sessions end between their transactions: at once where there is none."""
    DRAIN = 3
    """The same, and what is left after ``shutdown_timeout`` is cut."""
    CUT = 4
    """Sessions end now; what they run is cancelled on the servers."""


_WAITS_FOR: Final = {
    Manner.WAIT_FOR_CLIENTS: "clients",
    Manner.WAIT_FOR_SERVERS: "transactions",
    Manner.DRAIN: "transactions",
}


class Ending:
    """The end of one server. ``connections`` are its clients', ``timeout_s`` says what ``shutdown_timeout`` is then."""

    def __init__(self, connections: set[Connection], timeout_s: Callable[[], float]) -> None:
        self.begun = trio.Event()
        self.impatient = trio.Event()
        """Set once it is not only clients that are waited for."""
        self.manner: Manner | None = None
        self._connections = connections
        self._timeout_s = timeout_s
        self._sessions: trio.Nursery | None = None

    @property
    def draining(self) -> bool:
        """True once sessions are told to end."""
        return self.manner is not None and self.manner is not Manner.WAIT_FOR_CLIENTS

    def begin(self, manner: Manner) -> None:
        """End, or go on ending in less patience."""
        if self.manner is not None and manner <= self.manner:
            return
        self.manner = manner
        self.begun.set()
        if self.draining:
            self.impatient.set()
        if self._sessions is not None:
            self._proceed(self._sessions)

    def hasten(self) -> None:
        """What a signal means: let transactions end; if that is what it does already, do not wait any more."""
        self.begin(Manner.CUT if self.manner in (Manner.DRAIN, Manner.CUT) else Manner.DRAIN)

    def watch(self, sessions: trio.Nursery) -> None:
        """Nobody is accepted any more: cancel the nursery ``sessions`` as soon as the manner of the end allows."""
        self._sessions = sessions
        self._proceed(sessions)

    def over(self) -> None:
        """All sessions have ended."""
        self._sessions = None

    def connection_ended(self) -> None:
        """Somebody has left. Administrators may watch to the end, but nobody waits for them."""
        if self._sessions is not None and all(connection.console is not None for connection in self._connections):
            self._sessions.cancel_scope.cancel()

    def _proceed(self, sessions: trio.Nursery) -> None:
        manner, clients = self.manner, len(self._connections)
        if manner is Manner.CUT:
            log.warning("server.cutting", clients=clients)
            sessions.cancel_scope.cancel()
        elif manner is not None:
            timeout_s = self._timeout_s() if manner is Manner.DRAIN else None
            log.info("server.draining", clients=clients, waits_for=_WAITS_FOR[manner], timeout_s=timeout_s)
            if timeout_s is not None:
                sessions.start_soon(self._cut_after, timeout_s)
            if self.draining:
                for connection in tuple(self._connections):
                    connection.drain()
            self.connection_ended()

    async def _cut_after(self, timeout_s: float) -> None:
        await trio.sleep(timeout_s)
        self.begin(Manner.CUT)


async def see_off(errands: Iterable[trio.Event], limit_s: float) -> None:
    """Wait for what is still on its way, but no longer than ``limit_s``."""
    with trio.move_on_after(limit_s):
        for errand in errands:
            await errand.wait()

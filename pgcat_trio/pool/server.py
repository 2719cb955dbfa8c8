"""What is known about one PostgreSQL server, for all pools of all users alike.

`ServerState` is what the health checker has found out (`health`, `topology`): one fact, published once, seen by
everybody at the same moment. Bans are beside it: they are PgCat's, and an administrator's.
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Final

import attrs
import structlog

from .dialing import Dials

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config.model import Role

log = structlog.get_logger("pgcat_trio.pool")

MAX_DIALS: Final = 8
"""``max_dials``, where nothing else is said: enough to fill pools quickly, too few to overrun one just restarted."""


class Status(enum.StrEnum):
    """How a server is, and so what it may be asked: everything, nothing (``DOWN``, ``FENCED``), or all but reads."""

    UNKNOWN = "unknown"
    """Nobody has looked yet, or nobody looks (``healthcheck_interval = 0``)."""
    UP = "up"
    DOWN = "down"
    LAGGING = "lagging"
    """A replica that is behind by more than ``max_replica_lag``: it takes no reads while there is another."""
    FENCED = "fenced"
    """It takes itself for the primary, and another one is."""


@attrs.frozen(kw_only=True)
class ServerState:
    """What is known of a server. ``since``: when status, role or timeline changed last, by Trio's clock.

    ``role`` and what follows are what it said when it last answered, None before it did: whether it is the primary or a
    replica, the timeline, the WAL position that it has written (primary) or replayed (replica), and how far a replica
    is behind its primary, in bytes and in seconds.
    """

    status: Status = Status.UNKNOWN
    role: Role | None = None
    timeline: int | None = None
    replay_lsn: int | None = None
    lag_bytes: int | None = None
    lag_s: float | None = None
    since: float = -math.inf
    reason: str = ""

    @property
    def serves(self) -> bool:
        """False for a server that nothing may be sent to."""
        return self.status not in (Status.DOWN, Status.FENCED)


class Server:
    """One server by its address."""

    def __init__(self, address: str, ban_time_s: float) -> None:
        self.address = address
        self.ban_time_s = ban_time_s
        self.banned_at = -math.inf
        self.banned_until = -math.inf
        self.ban_reason = ""
        self.state = ServerState()
        self.replay_lsn: int | None = None
        """That of ``state``: what readers of their own writes compare with, for each of their reads."""
        self.latency_s = 0.0
        """How long it takes to answer, by the health checks: the highest of late, forgotten little by little."""
        self.recovered_at = -math.inf
        """When it last came back after having been down, by Trio's clock."""
        self.demoted = False
        """It is a standby, and has been the primary before: there is another primary, or will be."""
        self.reached = False
        """It has answered once at least."""
        self.watched = False
        """A health checker looks after it: whoever waits for it is told when it answers again."""
        self.suspected = False
        """Somebody had trouble with it, and it has not answered to a health check since."""
        self.alarm: Callable[[], None] = lambda: None
        """Makes its health checker look at once."""
        self.dials = Dials(MAX_DIALS)
        self.watchers: dict[Callable[[], None], None] = {}
        """Called, in this order, after each change of ``banned`` and of ``state`` (but for positions and lag), and when
        a server that was suspected has answered."""

    # -- health ----------------------------------------------------------------------------------------------------

    def suspect(self) -> None:
        """Somebody could not connect, or lost a connection: have a look now rather than later."""
        if not self.suspected:
            self.suspected = True
            self.alarm()

    def publish(self, state: ServerState) -> None:
        """Put a new state in force. Watchers are called if it changes who may be asked for what."""
        old, self.state = self.state, state
        self.replay_lsn = state.replay_lsn
        if state.serves and not old.serves:
            self.dials.succeeded()
        if (old.status, old.role, old.timeline) != (state.status, state.role, state.timeline):
            self.changed()

    def changed(self) -> None:
        """Tell all who want to know."""
        for watcher in tuple(self.watchers):
            watcher()

    # -- bans ------------------------------------------------------------------------------------------------------

    @property
    def banned(self) -> bool:
        """True from `ban` to `unban`; `expire_ban` is who looks at the clock."""
        return self.banned_until > -math.inf

    def ban(self, reason: str, now: float) -> None:
        """Take the server out of the reads for ``ban_time_s``. A ban that runs is not made longer."""
        if not self.banned and self.ban_time_s > 0:
            self._ban(reason, now, self.ban_time_s)

    def ban_by_hand(self, duration_s: float, now: float) -> None:
        """Take the server out of the reads for as long as an administrator wants, whatever ban may run already."""
        self._ban(f"AdminBan({duration_s:.0f})", now, duration_s)

    def unban(self) -> None:
        """End the ban, if there is one."""
        if self.banned:
            self.banned_at = self.banned_until = -math.inf
            log.info("server.unbanned", server=self.address, reason=self.ban_reason)
            self.changed()

    def expire_ban(self, now: float) -> None:
        """End the ban if its time is over."""
        if self.banned and now >= self.banned_until:
            self.unban()

    def _ban(self, reason: str, now: float, duration_s: float) -> None:
        self.banned_at = now
        self.banned_until = now + duration_s
        self.ban_reason = reason
        log.warning("server.banned", server=self.address, reason=reason, seconds=duration_s)
        self.changed()

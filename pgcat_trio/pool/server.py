"""What is known about one PostgreSQL server, for all pools of all users alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger("pgcat_trio.pool")


class Server:
    """One server by its address. Bans live here, so that all pools see them at the same moment."""

    def __init__(self, address: str, ban_time_s: float) -> None:
        self.address = address
        self.ban_time_s = ban_time_s
        self.banned_at = -math.inf
        self.banned_until = -math.inf
        self.ban_reason = ""
        self.watchers: set[Callable[[], None]] = set()
        """Called after each change of ``banned``."""

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
            self._changed()

    def expire_ban(self, now: float) -> None:
        """End the ban if its time is over."""
        if self.banned and now >= self.banned_until:
            self.unban()

    def _ban(self, reason: str, now: float, duration_s: float) -> None:
        self.banned_at = now
        self.banned_until = now + duration_s
        self.ban_reason = reason
        log.warning("server.banned", server=self.address, reason=reason, seconds=duration_s)
        self._changed()

    def _changed(self) -> None:
        for watcher in tuple(self.watchers):
            watcher()

"""How a server is, from what it answers to health checks (`rounds`): when that is believed, and who is told.

One checker a server, whatever the number of pools. While something is amiss, the server is asked four times as often.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import structlog

from ..config.model import Role
from ..errors import ProxyError
from .probe import Report, is_ill
from .server import ServerState, Status

if TYPE_CHECKING:
    from ..config.model import General
    from .server import Server
    from .topology import Topology

log = structlog.get_logger("pgcat_trio.pool")

_HURRY: Final = 4
"""How many times as often a server is asked while something is amiss."""

_MEMORY_S: Final = 10.0
"""A slow answer is half forgotten after seven seconds (Finagle's peak EWMA remembers as long)."""


def _nobody_looks() -> None:
    return


class Checker:
    """The health of one server. ``topologies``: the shards that it is in, filled in by `fleet.Fleet`."""

    def __init__(self, server: Server, options: General) -> None:
        self.server = server
        self.options = options
        self.topologies: list[Topology] = []
        self.alive: bool | None = None
        """By the thresholds; None before the first answer, or enough failures."""
        self.report: Report | None = None
        """What the server said last about itself."""
        self.reason = ""
        """Why it did not answer last."""
        self.failures = 0
        self.successes = 0
        """Results of one kind in a row."""
        self.was_primary = False
        """It has been seen as one."""
        self.fences: dict[Topology, str] = {}
        """Why it must not be used, though it answers."""
        self._lag: tuple[int, float] | None = None
        self._in_time = math.inf  # results in a row within max_replica_lag
        self._refusal = ""

    def pause_s(self, now: float) -> float:
        """How long the server may be left alone after it was asked."""
        usual_s = self.options.healthcheck_interval_s
        settled = not self.failures if self.alive else self.alive is False and not self.successes
        hurries = not settled or any(topology.hurries(now) for topology in self.topologies)
        return usual_s / _HURRY if hurries else usual_s

    def abandon(self) -> None:
        """Nobody looks after the server any more, and nothing is known of it."""
        self.server.watched = False
        self.server.alarm = _nobody_looks
        self.server.publish(ServerState())

    # -- what an answer means --------------------------------------------------------------------------------------

    def note(self, result: Report | ProxyError, now: float) -> None:
        """Judge an answer, or that there was none."""
        if isinstance(result, ProxyError) and is_ill(result):
            self._failed(result.message)
        else:
            self._answered(result, now)
        for topology in self.topologies:
            topology.review(now)
        self._lag = self._measure_lag(now)
        self.publish(now)
        for topology in self.topologies:
            for member in topology.members:
                if member is not self:
                    member.follow(now)
        if self.server.suspected and not self.failures and self.alive:
            self.server.suspected = False
            self.server.dials.succeeded()
            self.server.changed()

    def _failed(self, reason: str) -> None:
        self.failures += 1
        self.successes = 0
        self.server.suspected = True
        self.reason = reason
        if self.failures >= self.options.fail_after:
            self.alive = False

    def _answered(self, result: Report | ProxyError, now: float) -> None:
        self.failures = 0
        self.successes += 1
        server = self.server
        if self.alive is False:
            if self.successes < self.options.recover_after:
                return
            server.recovered_at = now
        self.alive = server.reached = True
        self.reason = ""
        if isinstance(result, Report):
            self.report = result
            self.was_primary |= not result.standby
            server.demoted = result.standby and self.was_primary
            fading = math.exp(-self.options.healthcheck_interval_s / _MEMORY_S)
            latency_s = result.latency_s
            server.latency_s = max(latency_s, latency_s + (server.latency_s - latency_s) * fading)
        elif result.message != self._refusal:
            self._refusal = result.message
            log.warning("server.check_refused", server=server.address, reason=result.message)

    def replaced(self, successor: str) -> None:
        """It does not answer, and another server has taken its place: no more patience with it."""
        self.alive = False
        self.reason = f"{self.reason}; {successor} has taken its place"

    def _measure_lag(self, now: float) -> tuple[int, float] | None:
        report = self.report
        if report is None or not report.standby or report.position is None:
            return None
        known = [topology for topology in self.topologies if topology.positions.last is not None]
        if not known:
            return None
        lag_bytes, lag_s = known[0].positions.lag(report.position, report.replayed_s, now)
        options = self.options
        too_late = 0 < options.max_replica_lag_s < lag_s or 0 < options.max_replica_lag_bytes < lag_bytes
        self._in_time = 0 if too_late else self._in_time + 1
        return lag_bytes, lag_s

    # -- telling ---------------------------------------------------------------------------------------------------

    def publish(self, now: float) -> None:
        """Make what is known the state of the server, and tell of what has changed."""
        old, report = self.server.state, self.report
        role = old.role if report is None else Role.REPLICA if report.standby else Role.PRIMARY
        status, reason = self._status(role)
        known = report or Report(standby=True)
        same = (old.status, old.role, old.timeline) == (status, role, known.timeline)
        lag_bytes, lag_s = self._lag if self._lag is not None and role is Role.REPLICA else (None, None)
        state = ServerState(
            status=status,
            role=role,
            timeline=known.timeline,
            replay_lsn=known.position,
            lag_bytes=lag_bytes,
            lag_s=lag_s,
            since=old.since if same else now,
            reason=reason,
        )
        if not same:
            self._tell(old, state)
        self.server.publish(state)

    def follow(self, now: float) -> None:
        """Something was found out about another server: publish what that changes."""
        state = self.server.state
        if self._status(state.role)[0] is not state.status:
            self.publish(now)

    def _status(self, role: Role | None) -> tuple[Status, str]:
        if self.alive is None:
            return Status.UNKNOWN, self.reason
        if not self.alive:
            return Status.DOWN, self.reason
        if self.fences:
            return Status.FENCED, next(iter(self.fences.values()))
        if role is Role.REPLICA and self._in_time < self.options.recover_after:
            return Status.LAGGING, "it is behind by more than max_replica_lag"
        return Status.UP, ""

    def _tell(self, old: ServerState, new: ServerState) -> None:
        address = self.server.address
        if old.role is not new.role:
            self._tell_role(old, new)
        if old.status is new.status:
            return
        if new.status is Status.UP:
            log.info("server.up", server=address, role=new.role, timeline=new.timeline, was=old.status)
        elif new.status is Status.DOWN:
            log.warning("server.down", server=address, role=new.role, reason=new.reason)
        elif new.status is Status.LAGGING:
            log.warning("server.lagging", server=address, lag_bytes=new.lag_bytes, lag_s=round(new.lag_s or 0.0, 3))
        elif new.status is Status.FENCED:
            log.error("server.fenced", server=address, timeline=new.timeline, reason=new.reason)

    def _tell_role(self, old: ServerState, new: ServerState) -> None:
        address = self.server.address
        if old.role is not None:
            log.warning("server.role_changed", server=address, role=new.role, was=old.role, timeline=new.timeline)
        configured = {topology.members[self] for topology in self.topologies} - {Role.AUTO, new.role}
        if configured:
            log.warning("server.role_mismatch", server=address, role=new.role, configured=", ".join(configured))

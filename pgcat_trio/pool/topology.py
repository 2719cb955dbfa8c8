"""The servers of one shard, seen together: which of them is the primary, how far the others are behind it.

Only servers with ``role = "auto"`` are what they say that they are; of two that take themselves for the primary, the
one on the newer timeline is. A timeline begins with a promotion (PostgreSQL manual, "Timelines"), so what is written on
an older one is lost: nothing is to be written there, also while the newer primary is away.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import structlog

from ..config.model import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .health import Checker
    from .probe import Report

log = structlog.get_logger("pgcat_trio.pool")

_MAX_SAMPLES: Final = 600
"""Positions of a primary that are remembered, to tell how long ago it was where a replica is now."""

_HURRY_S: Final = 60.0
"""How long servers are asked more often because there is no primary: it may stay away for good."""


class Positions:
    """Where a primary was, and when."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    @property
    def last(self) -> int | None:
        """Its newest position that is known."""
        return self._samples[-1][1] if self._samples else None

    def note(self, position: int, now: float) -> None:
        """It is there now."""
        samples = self._samples
        if samples and position < samples[-1][1]:
            samples.clear()  # another primary, or another history
        if not samples or position > samples[-1][1]:
            samples.append((now, position))
        if len(samples) > _MAX_SAMPLES:
            # Every other one of the older half: the further back, the less it matters.
            older = [samples.popleft() for _ in range(_MAX_SAMPLES // 2)]
            samples.extendleft(reversed(older[::2]))

    def lag(self, position: int, replayed_s: float | None, now: float) -> tuple[int, float]:
        """How far a replica is behind that has replayed up to ``position``: bytes and seconds.

        The seconds are counted from when the primary was first seen further on, so clocks need not agree, and a primary
        that writes nothing makes nobody late. Of what was written before anybody looked, the replica's own word counts.
        """
        if not self._samples:
            return 0, 0.0
        behind = max(0, self._samples[-1][1] - position)
        if not behind:
            return 0, 0.0
        index = next(number for number, (_, there) in enumerate(self._samples) if there > position)
        lag_s = now - self._samples[index][0]
        if index == 0 and replayed_s is not None and lag_s > 1.0:
            lag_s = max(lag_s, replayed_s)
        return behind, lag_s


class Topology:
    """The servers of one shard with their configured roles, in the order of their addresses."""

    def __init__(self, members: Mapping[Checker, Role], now: float) -> None:
        self.members = dict(members)
        self.positions = Positions()
        self.primary: Checker | None = None
        """Who takes the writes, as far as is known."""
        self._expects_primary = any(role in (Role.PRIMARY, Role.AUTO) for role in members.values())
        self._had_primary = False
        self._timeline = 0  # the newest on which there has been a primary
        self._system: str | None = None  # what that was a copy of
        self._since = now  # when the primary came, or went

    def hurries(self, now: float) -> bool:
        """True while there should be a primary and is none: its successor is to be found soon."""
        return self._expects_primary and self.primary is None and now - self._since < _HURRY_S

    def review(self, now: float) -> None:
        """Decide again, after something has been found out about a member."""
        claimants = [checker for checker, role in self.members.items() if self._claims(checker, role)]
        winner = self._choose(claimants)
        for checker, role in self.members.items():
            fenced = role is Role.AUTO and checker in claimants and checker is not winner
            self._fence(checker, winner, fenced=fenced)
        if winner is not None and winner.report is not None:
            self._follow(winner.report)
            if winner.report.position is not None and not (winner.failures or winner.report.standby):
                self.positions.note(winner.report.position, now)
        if winner is not self.primary:
            self._pass_to(winner, now)

    def inherit(self, former: Topology) -> None:
        """Go on with what a topology knew that a reload may have replaced by this one."""
        if not self.members.keys() & former.members.keys():
            return
        if former.primary in self.members:
            self.primary = former.primary
            self.positions = former.positions
            self._since = former._since
        self._had_primary |= former._had_primary
        if former._timeline > self._timeline:
            self._timeline, self._system = former._timeline, former._system

    def _follow(self, report: Report) -> None:
        timeline = report.timeline or 0
        same = report.system == self._system
        self._timeline = max(self._timeline, timeline) if same else timeline
        self._system = report.system

    def _claims(self, checker: Checker, role: Role) -> bool:
        """True for a server that would take writes, as far as it and the configuration say."""
        if role is Role.REPLICA or not checker.alive:
            return False
        if role is Role.PRIMARY:
            return checker.report is None or not checker.report.standby or not checker.was_primary
        return checker.report is not None and not checker.report.standby

    def _choose(self, claimants: list[Checker]) -> Checker | None:
        """The newest timeline wins; on one and the same, who is the primary already."""
        fixed = [checker for checker in claimants if self.members[checker] is Role.PRIMARY]
        if fixed:
            return fixed[0]
        known = [checker for checker in claimants if not self._is_outdated(checker)]
        return max(known, key=lambda checker: (_timeline(checker), checker is self.primary), default=None)

    def _is_outdated(self, checker: Checker) -> bool:
        report = checker.report
        assert report is not None
        if self._system is not None and report.system != self._system:
            # A cluster of its own, not a part of this one's history: it may only take an empty seat.
            return self.primary is not None and self.primary is not checker and bool(self.primary.alive)
        return report.timeline is not None and report.timeline < self._timeline

    def _fence(self, checker: Checker, winner: Checker | None, *, fenced: bool) -> None:
        if not fenced:
            checker.fences.pop(self, None)
            return
        if winner is not None and checker.failures:
            checker.replaced(winner.server.address)  # it is not there any more, so there is nothing to fence
            return
        timeline = winner.report.timeline if winner is not None and winner.report is not None else self._timeline
        who = winner.server.address if winner is not None else "another server"
        checker.fences[self] = f"{who} has been the primary since, on timeline {timeline}"

    def _pass_to(self, winner: Checker | None, now: float) -> None:
        former, self.primary = self.primary, winner
        if former is not None:
            self._since = now
            log.warning("failover.begin", lost=former.server.address, reason=former.reason or "it is a standby now")
        if winner is not None and self._had_primary:
            log.info("failover.end", primary=winner.server.address, seconds=round(now - self._since, 3))
        self._since = now
        self._had_primary |= winner is not None


def _timeline(checker: Checker) -> int:
    return checker.report.timeline or 0 if checker.report is not None else 0

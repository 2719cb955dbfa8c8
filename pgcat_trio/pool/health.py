"""Looking after one server: a question every ``healthcheck_interval``, and what the answers say about it.

One checker a server, whatever the number of pools: it asks on a connection of its own. Whoever has trouble with the
server (`Server.suspect`) makes it look at once; while something is amiss it looks four times as often.
"""

from __future__ import annotations

import contextlib
import math
import random
from typing import TYPE_CHECKING, Final

import structlog
import trio

from ..config.model import Role
from ..errors import ProxyError, ServerError, ServerUnavailable
from .probe import Probe, Report, is_ill
from .server import ServerState, Status

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..config.model import General
    from .connect import Target
    from .server import Server
    from .topology import Topology

log = structlog.get_logger("pgcat_trio.pool")

_HURRY: Final = 4
"""How many times as often a server is asked while something is amiss."""

_SHORTEST_PAUSE_S: Final = 0.1
"""However many have trouble with a server, it is not asked more often than that."""

_MEMORY_S: Final = 10.0
"""A slow answer is half forgotten after seven seconds (Finagle's peak EWMA remembers as long)."""


def _nobody_looks() -> None:
    return


_chance: Final = random.Random()
"""Its own, so that nobody's seed makes checkers keep step, and they change nobody's sequence."""


class Checker:
    """The health of one server. ``topologies``: the shards that it is in, filled in by `fleet.Fleet`."""

    def __init__(self, server: Server, target: Target, options: General) -> None:
        self.server = server
        self.options = options
        self.topologies: list[Topology] = []
        self.scope = trio.CancelScope()
        """Around `run`."""
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
        self._probe = Probe(target)
        self._rest_scope = trio.CancelScope()
        self._lag: tuple[int, float] | None = None
        self._in_time = math.inf  # results in a row within max_replica_lag
        self._refusal = ""

    def retarget(self, target: Target, options: General) -> None:
        """Go on with another login, or other options."""
        renewed = target != self._probe.target
        if renewed:
            self._probe.close()
        if renewed or options.healthcheck_interval_s < self.options.healthcheck_interval_s:
            self._rest_scope.cancel()
        self._probe.target = target
        self.options = options

    def move(self, host: str, addresses: Collection[str]) -> None:
        """The name ``host`` stands for these addresses now: ask there, if that is where the server is."""
        if self._probe.target.host == host and self._probe.is_astray(addresses):
            self._probe.close()
            self._rest_scope.cancel()

    async def run(self) -> None:
        """Look after the server until `scope` is cancelled; then nothing is left open, and nothing known of it."""
        server = self.server
        server.alarm = self._wake
        try:
            with self.scope:
                while True:
                    began = trio.current_time()
                    self._note(await self._look(), trio.current_time())
                    await self._rest(began)
        finally:
            self._probe.close()
            server.watched = False
            server.alarm = _nobody_looks
            server.publish(ServerState())

    def _wake(self) -> None:
        self._rest_scope.cancel()

    async def _look(self) -> Report | ProxyError:
        """Ask; a connection that has broken since the last time is replaced, which is no failure."""
        probe = self._probe
        try:
            if probe.is_open:
                with contextlib.suppress(ConnectionResetError):
                    return await probe.ask(self.options)
                probe.close()
            await self._connect()
            return await probe.ask(self.options)
        except ServerError as refusal:
            return refusal
        except ProxyError as problem:
            probe.close()
            return problem
        except ConnectionResetError as problem:
            probe.close()
            return ServerUnavailable(f"server {probe.target.address} broke off a health check: {problem}")

    async def _connect(self) -> None:
        """Connecting may take longer than an answer; that counts as so many failures, and is not given up for that."""
        failure: ProxyError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._count_silence)
            try:
                await self._probe.connect(self.options)
            except ProxyError as problem:
                failure = problem
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _count_silence(self) -> None:
        """The last time-out is told by `probe.Probe.connect` itself."""
        timeout_s = self.options.healthcheck_timeout_s
        for _ in range(math.ceil(self.options.connect_timeout_s / timeout_s) - 1):
            await trio.sleep(timeout_s)
            self._note(self._probe.silence(timeout_s), trio.current_time())

    async def _rest(self, began: float) -> None:
        with trio.CancelScope(deadline=began + self._pause_s(began)) as self._rest_scope:
            # As soon as its connection breaks there is something to look at.
            await self._probe.lost()
        if trio.current_time() < began + _SHORTEST_PAUSE_S:
            await trio.sleep_until(began + min(_SHORTEST_PAUSE_S, self.options.healthcheck_interval_s))

    def _pause_s(self, now: float) -> float:
        usual_s = self.options.healthcheck_interval_s
        settled = not self.failures if self.alive else self.alive is False and not self.successes
        hurries = not settled or any(topology.hurries(now) for topology in self.topologies)
        # No two of them keep step for long: fifty servers are not asked all at once.
        return usual_s / _HURRY if hurries else usual_s * _chance.uniform(0.95, 1.0)

    # -- what an answer means --------------------------------------------------------------------------------------

    def _note(self, result: Report | ProxyError, now: float) -> None:
        if isinstance(result, ProxyError) and is_ill(result):
            self._failed(result.message)
        else:
            self._answered(result, now)
        for topology in self.topologies:
            topology.review(now)
        self._lag = self._measure_lag(now)
        for member in {self, *(member for topology in self.topologies for member in topology.members)}:
            member.publish(now)
        if self.server.suspected and not self.failures and self.alive:
            self.server.suspected = False
            self.server.changed()

    def _failed(self, reason: str) -> None:
        self.failures += 1
        self.successes = 0
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
            latency_s = self._probe.latency_s
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

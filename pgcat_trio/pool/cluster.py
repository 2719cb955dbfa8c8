"""The servers behind one database and user: choosing one, waiting for a backend, giving it back.

`acquire_nowait` is the hot path and never waits; `enqueue` waits by callback, `acquire` as a task. One queue serves all
pools of the cluster: a waiter names the pools that would do, first come first served, and a backend that becomes free
goes straight to the first waiter that can use it. Hence an idle backend means that nobody waits for it, and nobody can
barge in.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from ..config.model import PoolMode, ReadAfterWrite, Role
from ..errors import PoolExhausted
from ..observe.repeats import Repeats
from ..routing.activity import Activity
from ..routing.hints import Hints
from ..routing.overrides import Routers
from . import failover
from .balancing import Balancer
from .catalog import CatalogKeeper
from .greetings import Greetings
from .pausing import holds
from .settings import Tracking
from .statements import Statements
from .waiting import ClusterRetired, TaskWaiter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config.model import Pool as PoolConfig
    from ..config.model import User
    from ..errors import ProxyError
    from .backend import Backend
    from .pool import Pool
    from .waiting import Waiter


class Cluster:
    """One database and user over the servers of one shard. Fill with `add` once, then use."""

    def __init__(self, config: PoolConfig, user: User, shard: int = 0) -> None:
        self.config = config
        self.user = user
        self.pools: list[Pool] = []
        self.shard = shard
        self.shards: tuple[Cluster, ...] = (self,)
        """The clusters of all shards of the pool, by their numbers; this one is among them."""
        self.sharded = False
        self.routers = Routers(config)
        self.router = self.routers.usual
        self.hints = Hints(config)
        self.activity = Activity.for_pool(config)
        """What has been written of late, where that matters; the users and shards of a pool share it."""
        self.tracking = Tracking(config.track_parameters)
        self.statements: Statements | None = None
        """The prepared statements that clients share; None where names are passed on as they are."""
        if config.prepared_statements_cache_size and user.pool_mode is PoolMode.TRANSACTION:
            self.statements = Statements(config.prepared_statements_cache_size)
        self.retired = False
        self.disabled = False
        """An administrator lets nobody new in."""
        self.waiters: deque[Waiter] = deque()
        self.repeats = Repeats()
        """Which of its sessions' failures to get a backend are worth a line."""
        self.healings = Repeats()
        """Which of the reads that replicas could not run are worth a line."""
        self.greetings = Greetings(self.pools, self.router.session.role)
        self.balancer = Balancer(self.pools)
        self._live = self.balancer.live
        self._chosen: Pool | None = None  # whose turn it was when there was no backend
        self.catalog = CatalogKeeper(self.name, self.router, self.pools, config.catalog_refresh_s)
        self.follow()

    @property
    def name(self) -> str:
        """For logs and messages: database and user."""
        return f"{self.config.name}/{self.user.username}"

    def follow(self) -> None:
        """What sessions look up for each request, by the configuration in force."""
        self.follows_writes = self.config.read_after_write is not ReadAfterWrite.OFF
        self.begins_lazily = self.config.lazy_begin and self.user.pool_mode is PoolMode.TRANSACTION

    @property
    def healthy(self) -> bool:
        """True if any of its servers may be chosen."""
        return bool(self._live[Role.ANY])

    def add(self, pool: Pool) -> None:
        """Make a pool a part of the cluster."""
        self.pools.append(pool)
        # Before the pool's own: what it closes must not be opened again.
        pool.server.watchers = {self.refresh: None, **pool.server.watchers}
        self.refresh()

    def remove(self, pool: Pool) -> None:
        """A pool is no part of the cluster any more; the caller retires it."""
        self.pools.remove(pool)
        if all(other.server is not pool.server for other in self.pools):
            pool.server.watchers.pop(self.refresh, None)
        self.greetings.forget(pool)
        self.refresh()

    def forgive(self, now: float) -> None:
        """Those who had nothing to wait for begin to wait now."""
        for waiter in self.waiters:
            if not waiter.pools:
                waiter.failed.clear()
                self._postpone(waiter, now + self.user.connect_timeout_s)

    def reconsider(self) -> None:
        """Those who wait may find something else to wait for: other servers, more places."""
        for waiter in list(self.waiters):
            if waiter in self.waiters:
                self._find_work_for(waiter)

    def refresh(self) -> None:
        """Find out anew who can be chosen, after any change of a server; and what those wait for who wait."""
        now = trio.current_time()
        self.balancer.refresh(self.config, now)
        self.greetings.choose()
        for waiter in tuple(self.waiters):
            if waiter not in self.waiters:
                continue
            if not waiter.pools:
                waiter.failed.clear()
            # What it has waited for a server is not held against it; nor does it wait on as if there were none.
            self._postpone(waiter, min(waiter.deadline, now + self.user.connect_timeout_s))
            if not self._waits_well(waiter):
                self._find_work_for(waiter)

    def _waits_well(self, waiter: Waiter) -> bool:
        """There is something that it waits for, and all of that would still do."""
        usable = self.balancer.usable
        allowed = (*usable[waiter.role], *(usable[Role.PRIMARY] if waiter.may_write else ()))
        return bool(waiter.pools) and all(pool in allowed for pool in waiter.pools)

    # -- choosing --------------------------------------------------------------------------------------------------

    def acquire_nowait(self, role: Role, now: float) -> Backend | None:
        """An idle backend, now the caller's, or None: then `acquire` waits for one."""
        live = self._live[role]
        if len(live) == 1:
            return live[0].take_idle(now)
        for pool in self.balancer.next_order(live):
            backend = pool.take_idle(now)
            if backend is not None:
                return backend
            if not pool.full:
                # A server that has room for one more backend shall open it: else the first one would keep the lead.
                self._chosen = pool
                return None
        return None

    def candidates(self, waiter: Waiter) -> Sequence[Pool]:
        """The pools that would do for a waiter, in order of preference; none if there are none, or all have failed it.

        When there is no replica left: the primary, where that is allowed, and otherwise those that are banned or lag
        behind all the same (PgCat unbans them all then).
        """
        balancer, role = self.balancer, waiter.role
        chosen, self._chosen = self._chosen, None
        live: Sequence[Pool] = balancer.order(balancer.live[role])
        if chosen is not None and chosen in live:
            live = (chosen, *(pool for pool in live if pool is not chosen))
        choices = [live]
        if waiter.may_write:
            choices.append(balancer.live[Role.PRIMARY])
        choices.append(balancer.order(balancer.usable[role]))
        for pools in choices:
            untried = [pool for pool in pools if pool not in waiter.failed and waiter.accepts(pool)]
            if untried:
                return untried
        return ()

    # -- waiting ---------------------------------------------------------------------------------------------------

    async def acquire(self, role: Role, fallback_to_primary: bool, *, patient: bool = True) -> Backend:
        """A backend, now the caller's. Waits ``connect_timeout_s`` at most, and as long again after each failed server;
        or ``query_wait_timeout_s`` in all, where that is set. With no server to wait for it waits for one
        (``failover_hold``), if it is ``patient``.

        Raises `PoolExhausted` when the time is over, `ServerUnavailable` or the server's own `ServerError` when no
        server can be reached, `ClusterRetired` after a reload. After any error and after `Cancelled` nothing is held.
        `sweep` must be called regularly: it keeps the time. A checkpoint only if it has to wait.
        """
        now = trio.current_time()
        backend = self.acquire_nowait(role, now)
        if backend is None:
            waiter = TaskWaiter(role, fallback_to_primary or self.config.replica_to_primary_failover_enabled)
            waiter.patient = patient
            waiter.deadline = now + self.user.wait_timeout_s
            backend = await waiter.wait(self)
            backend.pool.usage.wait_s += trio.current_time() - now
        backend.transport.unwatch()
        return backend

    def enqueue(self, waiter: Waiter) -> None:
        """Queue for a backend, after `acquire_nowait` had none. The waiter may be refused before this returns."""
        if self.retired:
            waiter.refused(ClusterRetired("the pool has been replaced"))
            return
        self.waiters.append(waiter)
        self._find_work_for(waiter)

    def leave(self, waiter: Waiter) -> None:
        """Give up the place in the queue."""
        self.waiters.remove(waiter)

    def _find_work_for(self, waiter: Waiter) -> None:
        """See to it that a waiter in the queue has something to wait for: a check, a dial, or others' backends."""
        waiter.pools = list(self.candidates(waiter))
        if not waiter.pools:
            if not holds(self.pools, waiter):
                self._hold_or_refuse(waiter)
            return
        now = trio.current_time()
        for pool in waiter.pools:
            backend = pool.take_idle(now)
            if backend is not None:
                self.waiters.remove(waiter)
                waiter.granted(backend)
                return
            if pool.check_soon():
                self._postpone(waiter, waiter.deadline + pool.options.healthcheck_timeout_s)
                return
            if self._open_for_waiters(pool):
                return

    def _open_for_waiters(self, pool: Pool) -> bool:
        """Have as many backends on their way as there are waiters that would take one; False if there is no place."""
        on_their_way = pool.opening
        for waiter in self.waiters:
            if pool in waiter.pools:
                if on_their_way:
                    on_their_way -= 1
                elif not pool.open_soon():
                    return False
        return True

    def _hold_or_refuse(self, waiter: Waiter) -> None:
        """No server would do for a waiter: let it wait for one where one may come, else tell it why there is none."""
        if self._may_hold(waiter):
            self._postpone(waiter, max(waiter.deadline, waiter.since + self.config.failover_hold_s))
            return
        self.waiters.remove(waiter)
        waiter.refused(failover.reason(self.name, self.pools, waiter))

    def _may_hold(self, waiter: Waiter) -> bool:
        may_wait = self.config.failover_hold_s and waiter.patient and waiter.may_write
        return bool(may_wait) and failover.may_come(self.pools, waiter)

    def _postpone(self, waiter: Waiter, deadline: float) -> None:
        """Not the waiter's time is over but a server's: what others hold it has not waited for. A bound is a bound."""
        if not self.user.query_wait_timeout_s:
            waiter.deadline = deadline

    def _exhausted(self, *, dialing: bool, paused: bool) -> PoolExhausted:
        key = "query_wait_timeout" if self.user.query_wait_timeout_s else "connect_timeout"
        hint = f"All are in use: raise pool_size or {key}, or shorten the transactions."
        if paused:
            hint = "An administrator has paused it (PAUSE); RESUME lets it go on."
        elif dialing:
            hint = "The server has not answered to a new connection yet."
        return PoolExhausted(
            f"no backend of pool {self.name} became free within {self.user.wait_timeout_s:g} s", hint=hint
        )

    def sweep(self, now: float) -> None:
        """Refuse those who have waited for too long; keep the pools in shape."""
        self.balancer.sweep(now)
        for pool in self.pools:
            pool.sweep(now)
            pool.server.dials.wake(now)
        for waiter in tuple(self.waiters):
            if waiter.deadline <= now and waiter in self.waiters:
                self._time_is_over(waiter, now)

    def _waits_in_vain(self, waiter: Waiter, now: float) -> bool:
        """What it waits for is a server that does not answer, which is about to be found out: as good as none."""
        left = waiter.since + self.config.failover_hold_s > now and not self.user.query_wait_timeout_s
        suspected = bool(waiter.pools) and all(pool.server.suspected for pool in waiter.pools)
        return left and suspected and self._may_hold(waiter)

    def _time_is_over(self, waiter: Waiter, now: float) -> None:
        unreached = not any(pool.backends for pool in waiter.pools)
        dialing = unreached and any(pool.opening for pool in waiter.pools)
        # Who waits for nothing but a dial hears how that ended: it has a deadline of its own.
        paused = not waiter.pools and holds(self.pools, waiter)
        if (dialing or paused) and not self.user.query_wait_timeout_s:
            return
        if self._waits_in_vain(waiter, now):
            self._postpone(waiter, waiter.since + self.config.failover_hold_s)
            return
        self.waiters.remove(waiter)
        if unreached and not (dialing or paused):
            waiter.refused(failover.reason(self.name, self.pools, waiter))
        else:
            waiter.refused(self._exhausted(dialing=dialing, paused=paused))

    # -- what pools report -----------------------------------------------------------------------------------------

    def offer(self, backend: Backend) -> bool:
        """Hand a clean backend to the first waiter that can use it (see `pool.Owner`)."""
        pool = backend.pool
        for waiter in self.waiters:
            if pool in waiter.pools:
                self.waiters.remove(waiter)
                waiter.granted(backend)
                return True
        return False

    def greeted(self, pool: Pool, parameters: dict[str, str]) -> None:
        """See `opening.Owner`."""
        self.greetings.greeted(pool, parameters)
        self.catalog.greeted(pool)

    def reported(self, pool: Pool, changes: list[tuple[str, str]]) -> None:
        """See `opening.Owner`."""
        self.greetings.reported(pool, changes)

    def opened_or_failed(self, pool: Pool, error: ProxyError | None) -> None:
        """A dial ended or a place became free: open for those who wait, or tell them that it is in vain."""
        if error is None:
            self._open_for_waiters(pool)
            return
        hopeless = not pool.backends and not pool.opening
        for waiter in [waiter for waiter in self.waiters if pool in waiter.pools]:
            # As long as there is hope, only those leave that have somewhere else to go.
            if waiter in self.waiters and (hopeless or len(waiter.pools) > 1):
                waiter.failed[pool] = error
                self._postpone(waiter, trio.current_time() + self.user.connect_timeout_s)
                self._find_work_for(waiter)

    # -- the end ---------------------------------------------------------------------------------------------------

    def retire(self) -> None:
        """A reload replaced this cluster: nothing new is leased, what is leased ends with its transaction."""
        self.retired = True
        self.catalog.retire()
        for pool in self.pools:
            pool.server.watchers.pop(self.refresh, None)
            pool.retire()
        while self.waiters:
            self.waiters.popleft().refused(ClusterRetired("the pool has been replaced"))

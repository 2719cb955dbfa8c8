"""The servers behind one database and user: choosing one, waiting for a backend, giving it back.

`acquire_nowait` is the hot path and never waits; `enqueue` waits by callback, `acquire` as a task. One queue serves all
pools of the cluster: a waiter names the pools that would do, first come first served, and a backend that becomes free
goes straight to the first waiter that can use it. Hence an idle backend means that nobody waits for it, and nobody can
barge in.
"""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Final

import trio

from ..config.model import LoadBalancing, PoolMode, Role
from ..errors import PoolExhausted, ServerUnavailable
from ..observe.repeats import Repeats
from ..routing.route import Router
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

_ROLES: Final = (Role.ANY, Role.PRIMARY, Role.REPLICA)


class Cluster:
    """One database and user over its servers. Fill with `add` once, then use."""

    def __init__(self, config: PoolConfig, user: User) -> None:
        self.config = config
        self.user = user
        self.pools: list[Pool] = []
        self.router = Router.for_pool(config)
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
        self.greetings = Greetings(self.pools, self.router.session.role)
        self._next = 0
        self._live: dict[Role, tuple[Pool, ...]] = dict.fromkeys(_ROLES, ())

    @property
    def name(self) -> str:
        """For logs and messages: database and user."""
        return f"{self.config.name}/{self.user.username}"

    def add(self, pool: Pool) -> None:
        """Make a pool a part of the cluster."""
        self.pools.append(pool)
        pool.server.watchers.add(self.refresh)
        self.refresh()

    def remove(self, pool: Pool) -> None:
        """A pool is no part of the cluster any more; the caller retires it."""
        self.pools.remove(pool)
        pool.server.watchers.discard(self.refresh)
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
        """Recompute who can be chosen, after a ban or its end."""
        for role in _ROLES:
            pools = [pool for pool in self.pools if role in (Role.ANY, pool.role)]
            usable = [pool for pool in pools if pool.role is Role.PRIMARY or not pool.server.banned]
            usable = [pool for pool in usable if not pool.paused]
            self._live[role] = tuple(usable)

    # -- choosing --------------------------------------------------------------------------------------------------

    def acquire_nowait(self, role: Role, now: float) -> Backend | None:
        """An idle backend, now the caller's, or None: then `acquire` waits for one."""
        live = self._live[role]
        if len(live) == 1:
            return live[0].take_idle(now)
        if not live:
            return None
        self._next = (self._next + 1) % len(live)
        for pool in self._ordered(live):
            backend = pool.take_idle(now)
            if backend is not None or not pool.full:
                # A server that has room for one more backend shall open it: else the first one would keep the lead.
                return backend
        return None

    def _ordered(self, pools: tuple[Pool, ...]) -> Sequence[Pool]:
        mode = self.config.load_balancing_mode
        count = len(pools)
        if count < 2:
            return pools
        if mode is LoadBalancing.ROUND_ROBIN:
            first = self._next % count
            return pools[first:] + pools[:first]
        shuffled = random.sample(pools, count)
        if mode is LoadBalancing.LOC:
            shuffled.sort(key=lambda pool: pool.busy)
        return shuffled

    def candidates(self, waiter: Waiter) -> list[Pool]:
        """The pools that would do for a waiter, in order of preference; none if they have all failed it.

        Raises `ServerUnavailable` if there are none in the configuration. When there is no replica left: the primary,
        where that is allowed, and otherwise those that are banned all the same (PgCat unbans them all then).
        """
        role = waiter.role
        configured = [pool for pool in self.pools if role in (Role.ANY, pool.role)]
        choices: list[Sequence[Pool]] = [self._ordered(self._live[role])]
        if waiter.fallback_to_primary or (role is Role.REPLICA and self.config.replica_to_primary_failover_enabled):
            choices.append(self._live[Role.PRIMARY])
        choices.append([pool for pool in configured if not pool.paused])
        if not any(choices) and not any(pool.paused for pool in self.pools):
            raise ServerUnavailable(
                f"no {role.value} server is configured for {self.name}", hint="Add one to the pool's servers."
            )
        for pools in choices:
            untried = [pool for pool in pools if pool not in waiter.failed]
            if untried:
                return untried
        return []

    # -- waiting ---------------------------------------------------------------------------------------------------

    async def acquire(self, role: Role, fallback_to_primary: bool) -> Backend:
        """A backend, now the caller's. Waits ``connect_timeout_s`` at most, and as long again after each failed server;
        or ``query_wait_timeout_s`` in all, where that is set.

        Raises `PoolExhausted` when the time is over, `ServerUnavailable` or the server's own `ServerError` when no
        server can be reached, `ClusterRetired` after a reload. After any error and after `Cancelled` nothing is held.
        `sweep` must be called regularly: it keeps the time. A checkpoint only if it has to wait.
        """
        now = trio.current_time()
        backend = self.acquire_nowait(role, now)
        if backend is None:
            waiter = TaskWaiter(role, fallback_to_primary)
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
        try:
            waiter.pools = self.candidates(waiter)
        except ServerUnavailable as error:
            self.waiters.remove(waiter)
            waiter.refused(error)
            return
        if not waiter.pools:
            if holds(self.pools, waiter):
                return
            self.waiters.remove(waiter)
            waiter.refused(next(reversed(waiter.failed.values())))
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
        wanted = sum(pool in waiter.pools for waiter in self.waiters)
        while pool.opening < wanted:
            if not pool.open_soon():
                return pool.opening >= wanted
        return True

    def _postpone(self, waiter: Waiter, deadline: float) -> None:
        """Not the waiter's time is over but a server's: what others hold it has not waited for. A bound is a bound."""
        if not self.user.query_wait_timeout_s:
            waiter.deadline = deadline

    def _exhausted(self, *, dialing: bool) -> PoolExhausted:
        key = "query_wait_timeout" if self.user.query_wait_timeout_s else "connect_timeout"
        all_in_use = f"All are in use: raise pool_size or {key}, or shorten the transactions."
        return PoolExhausted(
            f"no backend of pool {self.name} became free within {self.user.wait_timeout_s:g} s",
            hint="The server has not answered to a new connection yet." if dialing else all_in_use,
        )

    def sweep(self, now: float) -> None:
        """Refuse those who have waited for too long; keep the pools in shape."""
        for pool in self.pools:
            pool.sweep(now)
        for waiter in list(self.waiters):
            if waiter.deadline > now or waiter not in self.waiters:
                continue
            if not (waiter.pools or self.user.query_wait_timeout_s):
                continue  # what it waits for is paused
            dialing = any(pool.opening for pool in waiter.pools) and not any(pool.backends for pool in waiter.pools)
            # Who waits for nothing but a dial hears how that ended: it has a deadline of its own.
            if not dialing or self.user.query_wait_timeout_s:
                self.waiters.remove(waiter)
                waiter.refused(self._exhausted(dialing=dialing))

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
        for pool in self.pools:
            pool.server.watchers.discard(self.refresh)
            pool.retire()
        while self.waiters:
            self.waiters.popleft().refused(ClusterRetired("the pool has been replaced"))

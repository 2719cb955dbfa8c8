"""The servers behind one database and user: choosing one, waiting for a backend, giving it back.

`acquire_nowait` is the hot path and never waits; `acquire` queues. One queue serves all pools of the cluster: a waiter
names the pools that would do, first come first served, and a backend that becomes free goes straight to the first
waiter that can use it. Hence an idle backend means that nobody waits for it, and nobody can barge in.
"""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Final

import outcome
import trio

from ..config.model import LoadBalancing, Role
from ..errors import PoolExhausted, ProxyError, ServerUnavailable
from ..routing.route import Router

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config.model import Pool as PoolConfig
    from ..config.model import User
    from .backend import Backend
    from .pool import Pool

_MAX_SPELLINGS: Final = 1000
"""Clients choose the values that are remembered, so there is a bound; forgetting costs a round trip at a login."""

_ROLES: Final = (Role.ANY, Role.PRIMARY, Role.REPLICA)


class ClusterRetired(Exception):
    """A reload replaced this cluster while somebody waited in it: look the new one up and ask again."""


class Waiter:
    """One task in the queue and the pools it would take a backend from."""

    __slots__ = ("failed", "pools", "task")

    def __init__(self, task: trio.lowlevel.Task, pools: Sequence[Pool], failed: dict[Pool, ProxyError]) -> None:
        self.task = task
        self.pools = list(pools)
        self.failed = failed
        """The pools that could not open a backend while this task waited, and why."""


class Cluster:
    """One database and user over its servers. Fill with `add` once, then use."""

    def __init__(self, config: PoolConfig, user: User) -> None:
        self.config = config
        self.user = user
        self.pools: list[Pool] = []
        self.router = Router.for_pool(config)
        self.retired = False
        self.waiters: deque[Waiter] = deque()
        self.parameters: dict[str, str] | None = None
        """What a server of this cluster said about itself when it was last connected to; the primary's count most."""
        self.canonical: dict[tuple[str, str], str] = {}
        """How the servers spell the settings that clients asked for: (name, value) to value."""
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

    def refresh(self) -> None:
        """Recompute who can be chosen, after a ban or its end."""
        for role in _ROLES:
            pools = [pool for pool in self.pools if role in (Role.ANY, pool.role)]
            usable = [pool for pool in pools if pool.role is Role.PRIMARY or not pool.server.banned]
            self._live[role] = tuple(usable)

    def learn(self, name: str, value: str, spelling: str) -> None:
        """Remember how the servers spell a setting's value."""
        if len(self.canonical) >= _MAX_SPELLINGS:
            self.canonical.clear()
        self.canonical[name, value] = spelling

    # -- choosing --------------------------------------------------------------------------------------------------

    def acquire_nowait(self, role: Role, now: float) -> Backend | None:
        """An idle backend, now the caller's, or None: then `acquire` waits for one."""
        live = self._live[role]
        if len(live) == 1:
            return live[0].take_idle(now)
        if not live:
            return None
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
            self._next = (self._next + 1) % count
            return pools[self._next :] + pools[: self._next]
        shuffled = random.sample(pools, count)
        if mode is LoadBalancing.LOC:
            shuffled.sort(key=lambda pool: pool.busy)
        return shuffled

    def candidates(self, role: Role, fallback_to_primary: bool) -> list[Pool]:
        """The pools for a role in order of preference. Raises `ServerUnavailable` if there is none at all.

        When all replicas are banned: the primary, where that is allowed, and otherwise the banned ones all the same
        (PgCat unbans them all then).
        """
        pools = list(self._ordered(self._live[role]))
        if pools:
            return pools
        if fallback_to_primary or (role is Role.REPLICA and self.config.replica_to_primary_failover_enabled):
            pools = list(self._live[Role.PRIMARY])
        pools = pools or [pool for pool in self.pools if role in (Role.ANY, pool.role)]
        if not pools:
            raise ServerUnavailable(
                f"no {role.value} server is configured for {self.name}", hint="Add one to the pool's servers."
            )
        return pools

    # -- waiting ---------------------------------------------------------------------------------------------------

    async def acquire(self, role: Role, fallback_to_primary: bool) -> Backend:
        """A backend, now the caller's. Waits at most ``connect_timeout_s`` in all.

        Raises `PoolExhausted` when the time is over, `ServerUnavailable` or the server's own `ServerError` when no
        server can be reached, `ClusterRetired` after a reload. After any error and after `Cancelled` nothing is held.
        """
        timeout_s = self.user.connect_timeout_s
        with trio.move_on_after(timeout_s):
            failed: dict[Pool, ProxyError] = {}
            while True:
                if self.retired:
                    raise ClusterRetired
                candidates = [pool for pool in self.candidates(role, fallback_to_primary) if pool not in failed]
                if not candidates:
                    raise next(reversed(failed.values()))
                backend = self._take_any(candidates) or await self._wait(candidates, failed)
                if backend is not None and (not self._needs_check(backend) or await backend.pool.check(backend)):
                    return backend
        raise PoolExhausted(
            f"no backend of pool {self.name} became free within {timeout_s:g} s",
            hint="All are in use: raise pool_size or connect_timeout, or shorten the transactions.",
        )

    @staticmethod
    def _take_any(candidates: Sequence[Pool]) -> Backend | None:
        for pool in candidates:
            backend = pool.take_unchecked()
            if backend is not None:
                return backend
            if not pool.full:
                return None
        return None

    @staticmethod
    def _needs_check(backend: Backend) -> bool:
        return trio.current_time() - backend.idle_since > backend.pool.options.healthcheck_delay_s

    async def _wait(self, candidates: Sequence[Pool], failed: dict[Pool, ProxyError]) -> Backend | None:
        """Queue for a backend of these pools; None once all of them are in ``failed``."""
        waiter = Waiter(trio.lowlevel.current_task(), candidates, failed)
        self.waiters.append(waiter)
        for pool in candidates:
            if not pool.full:
                self._open_for_waiters(pool)
                break

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self.waiters.remove(waiter)
            return trio.lowlevel.Abort.SUCCEEDED

        backend: Backend | None = await trio.lowlevel.wait_task_rescheduled(abort)
        return backend

    def _open_for_waiters(self, pool: Pool) -> None:
        """Have as many backends on their way as there are tasks that would take one."""
        wanted = sum(pool in waiter.pools for waiter in self.waiters)
        while pool.opening < wanted and pool.open_soon():
            pass

    # -- what pools report -----------------------------------------------------------------------------------------

    def offer(self, backend: Backend) -> bool:
        """Hand a clean backend to the first waiter that can use it (see `pool.Owner`)."""
        pool = backend.pool
        for waiter in self.waiters:
            if pool in waiter.pools:
                self.waiters.remove(waiter)
                # From here on the waiter has it: a cancellation that comes now finds the wait over.
                trio.lowlevel.reschedule(waiter.task, outcome.Value(backend))
                return True
        return False

    def greeted(self, pool: Pool, parameters: dict[str, str]) -> None:
        """A new backend said these things about its server."""
        if self.parameters is None or pool.role is Role.PRIMARY:
            self.parameters = parameters

    def opened_or_failed(self, pool: Pool, error: ProxyError | None) -> None:
        """A dial ended or a place became free: open for those who wait, or tell them that it is in vain."""
        if error is not None and not pool.backends and not pool.opening:
            for waiter in [waiter for waiter in self.waiters if pool in waiter.pools]:
                waiter.pools.remove(pool)
                waiter.failed[pool] = error
                if not waiter.pools:
                    self.waiters.remove(waiter)
                    trio.lowlevel.reschedule(waiter.task, outcome.Value(None))
                else:
                    self._open_for_waiters(waiter.pools[0])
        elif error is None:
            self._open_for_waiters(pool)

    # -- the end ---------------------------------------------------------------------------------------------------

    def retire(self) -> None:
        """A reload replaced this cluster: nothing new is leased, what is leased ends with its transaction."""
        self.retired = True
        for pool in self.pools:
            pool.server.watchers.discard(self.refresh)
            pool.retire()
        while self.waiters:
            trio.lowlevel.reschedule(self.waiters.popleft().task, outcome.Error(ClusterRetired()))

"""Which servers may take what, and which of them does: roles, health, bans, zones, weights.

`Balancer.refresh` decides who may be chosen, after each change of a server; `Balancer.order` is on the hot path,
and only chooses among them.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Final

from ..config.model import LoadBalancing, Role
from .server import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..config.model import Pool as PoolConfig
    from .pool import Pool

    Pools = tuple[Pool, ...]

ROLES: Final = (Role.ANY, Role.PRIMARY, Role.REPLICA)

_SLOWEST_START: Final = 0.1
"""The part of its share that a server gets right after it has come back: its caches are cold."""

_QUICKEST_S: Final = 0.0001
"""What a server counts as that nobody has measured: busy ones among such are told apart all the same."""


class Balancer:
    """``pools`` is the cluster's own list. ``live``: who may be chosen for a role, those of the proxy's zone first.

    ``usable`` also has those that are banned or lag behind: better than nobody. Order them by `order`.
    """

    def __init__(self, pools: Sequence[Pool]) -> None:
        self.live: dict[Role, Pools] = dict.fromkeys(ROLES, ())
        self.usable: dict[Role, Pools] = dict.fromkeys(ROLES, ())
        self._pools = pools
        self._choose: Callable[[Balancer, Pools], Sequence[Pool]] = Balancer._at_random
        self._near: dict[Pools, int] = {}  # how many of these are of the proxy's zone, where that are not all
        self._even = True
        self._turn = 0
        self._had_turn: Pool | None = None
        self._starts_until = -math.inf

    def refresh(self, config: PoolConfig, now: float) -> None:
        """Find out anew who may be chosen: after a change of a server, of its ban or of the configuration."""
        self._choose = _CHOICES[config.load_balancing_mode]
        self._near.clear()
        self._had_turn = None
        for pool in self._pools:
            pool.credit = 0.0
            pool.role = pool.server.state.role or Role.REPLICA if pool.configured_role is Role.AUTO else pool.role
        for role in ROLES:
            usable = [pool for pool in self._pools if role in (Role.ANY, pool.role) and _is_usable(pool)]
            live = [pool for pool in usable if pool.role is Role.PRIMARY or _is_in_order(pool)]
            self.usable[role] = tuple(usable)
            self.live[role] = self._by_zone(live)
        self.weigh(now)

    def weigh(self, now: float) -> None:
        """Give each server its share; one that has just come back gets less at first."""
        self._starts_until = -math.inf
        for pool in self._pools:
            slow_start_s = pool.options.slow_start_s
            since_s = now - pool.server.recovered_at
            pool.share = float(pool.weight)
            if since_s < slow_start_s:
                pool.share *= max(_SLOWEST_START, since_s / slow_start_s)
                self._starts_until = max(self._starts_until, pool.server.recovered_at + slow_start_s)
        self._even = len({pool.share for pool in self._pools}) < 2

    def sweep(self, now: float) -> None:
        """Let servers that have come back grow into their shares."""
        if self._starts_until > -math.inf:
            self.weigh(now)

    def _by_zone(self, pools: list[Pool]) -> Pools:
        near = [pool for pool in pools if pool.options.zone is not None and pool.zone == pool.options.zone]
        if not near or len(near) == len(pools):
            return tuple(pools)
        ordered = (*near, *(pool for pool in pools if pool not in near))
        self._near[ordered] = len(near)
        return ordered

    # -- choosing --------------------------------------------------------------------------------------------------

    def next_order(self, pools: Pools) -> Sequence[Pool]:
        """The same as `order`, for a new request: whose turn it was has had it."""
        self._turn += 1
        if not self._even and self._choose is Balancer._in_turn:
            self._pass_turn(pools[: self._near.get(pools, len(pools))])
        return self.order(pools)

    def order(self, pools: Pools) -> Sequence[Pool]:
        """All of ``pools``, the best one first."""
        if len(pools) < 2:
            return pools
        near = self._near.get(pools) if self._near else None
        if near is None:
            return self._choose(self, pools)
        return (*self._ordered(pools[:near]), *self._ordered(pools[near:]))

    def _ordered(self, pools: Pools) -> Sequence[Pool]:
        return self._choose(self, pools) if len(pools) > 1 else pools

    def _at_random(self, pools: Pools) -> Sequence[Pool]:
        if self._even:
            return _shuffled(pools)
        # Efraimidis and Spirakis: sorted like this, each place is drawn by weight among those that are left.
        return sorted(pools, key=lambda pool: -math.log(1.0 - random.random()) / pool.share)

    def _least_busy(self, pools: Pools) -> Sequence[Pool]:
        return sorted(_shuffled(pools), key=lambda pool: pool.busy / pool.share)

    def _in_turn(self, pools: Pools) -> Sequence[Pool]:
        if self._even:
            first = self._turn % len(pools)
            return pools[first:] + pools[:first]
        return sorted(pools, key=lambda pool: -pool.credit)

    def _pass_turn(self, pools: Pools) -> None:
        """Smooth weighted round robin, as nginx does it: everybody earns a share, and who has most pays for all."""
        if self._had_turn is not None:
            self._had_turn.credit -= sum(pool.share for pool in pools)
        for pool in pools:
            pool.credit += pool.share
        self._had_turn = max(pools, key=lambda pool: pool.credit, default=None)

    def _quicker_of_two(self, pools: Pools) -> Sequence[Pool]:
        shuffled = self._at_random(pools)
        first, second, *others = shuffled
        if _cost(second) < _cost(first):
            return (second, first, *others)
        return shuffled


_CHOICES: Final[dict[LoadBalancing, Callable[[Balancer, Pools], Sequence[Pool]]]] = {
    LoadBalancing.RANDOM: Balancer._at_random,
    LoadBalancing.LOC: Balancer._least_busy,
    LoadBalancing.ROUND_ROBIN: Balancer._in_turn,
    LoadBalancing.EWMA: Balancer._quicker_of_two,
}


def _shuffled(pools: Pools) -> Sequence[Pool]:
    """In any order; `random.sample` takes a quarter of the time of a whole transaction."""
    if len(pools) == 2:
        return pools if random.random() < 0.5 else (pools[1], pools[0])
    return sorted(pools, key=lambda _: random.random())


def _cost(pool: Pool) -> float:
    """How long one more request would have to wait, more or less."""
    return max(pool.server.latency_s, _QUICKEST_S) * (pool.busy + 1) / pool.share


def _is_usable(pool: Pool) -> bool:
    """Nothing may be sent to a server that is paused, down or fenced off, or of which nobody knows yet what it is.

    Nor to a primary that has become a standby: its successor is waited for. One that has never been anything else is
    the primary all the same if the configuration says so; the server refuses what it cannot do.
    """
    server = pool.server
    if pool.paused or (pool.configured_role is Role.AUTO and server.state.role is None):
        return False
    return server.state.serves and not (pool.configured_role is Role.PRIMARY and server.demoted)


def _is_in_order(pool: Pool) -> bool:
    return not pool.server.banned and pool.server.state.status is not Status.LAGGING

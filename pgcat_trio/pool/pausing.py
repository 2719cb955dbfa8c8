"""Stopping traffic on purpose: a pool that is paused has no backends, and whoever wants one waits until it goes on.

As in PgBouncer, connections to the server are closed, each when it is given back: then the server can be restarted, or
another one take its place. In session mode, and for a client that is pinned, that is when the client lets go of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ..config.model import Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .cluster import Cluster
    from .pool import Pool
    from .waiting import Waiter

PoolKey = tuple[str, str]


class Pauses:
    """What administrators have stopped, by name: pools by database and user, servers by address. Outlives reloads."""

    def __init__(self) -> None:
        self.pools: set[PoolKey] = set()
        self.servers: set[str] = set()
        self.newcomers = False
        """Pools that a reload adds are paused from the start."""
        self.disabled: set[tuple[str, str | None]] = set()
        """Databases, and users of one, that take no new clients."""

    def holds(self, key: PoolKey, pool: Pool) -> bool:
        """True if this pool has no traffic."""
        return key in self.pools or pool.server.address in self.servers

    def apply(self, clusters: dict[PoolKey, Cluster]) -> None:
        """Pause those that are to be, let the others go on; the same for taking new clients."""
        for key, cluster in ((key, shard) for key, home in clusters.items() for shard in home.shards):
            cluster.disabled = not self.disabled.isdisjoint((key, (key[0], None)))
            wanted = {pool: self.holds(key, pool) for pool in cluster.pools}
            changed = [pool for pool in cluster.pools if pool.paused is not wanted[pool]]
            for pool in changed:
                pool.paused = wanted[pool]
            if not changed:
                continue
            if not all(wanted.values()):
                cluster.forgive(trio.current_time())  # before they are given something to wait for
            cluster.refresh()
            for pool in changed:
                if pool.paused:
                    pool.replace_backends("paused")
                pool.departures.unpark_all()  # those who wait for the pause to be complete
            cluster.reconsider()


def holds(pools: Iterable[Pool], waiter: Waiter) -> bool:
    """True if a waiter whom no other server can help may wait for one that is paused; reads do for any of them."""
    return any(pool.paused and (pool.role is Role.PRIMARY or waiter.role is not Role.PRIMARY) for pool in pools)


async def until_stopped(pools: Iterable[Pool]) -> bool:
    """Wait until no connection is left in those of the pools that are paused; False if all go on instead."""
    pools = list(pools)
    for pool in pools:
        while (pool.paused or pool.retired) and (pool.backends or pool.opening):
            await pool.departures.park()
    return all(pool.retired for pool in pools) or any(pool.paused for pool in pools)


async def until_replaced(pools: Iterable[Pool]) -> None:
    """Wait until the connections are gone that are not to be used again."""
    for pool in pools:
        while any(backend.retired for backend in pool.backends):
            await pool.departures.park()

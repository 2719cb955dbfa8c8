"""Who is there and what they do, counted at one moment: what several tables of `show` are made of.

Everything here is in a stable order: clusters by database and user, servers as the configuration lists them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...config.model import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...pool.backend import Backend
    from ...pool.cluster import Cluster
    from ...pool.pool import Pool
    from ...session.replication import Replication
    from ...session.session import Session
    from ..supervisor import Supervisor


def pools(supervisor: Supervisor) -> list[tuple[str, str, Cluster]]:
    """The pools in force by database and user, each with the cluster that stands for all of its shards."""
    return [(database, user, found) for (database, user), found in sorted(supervisor.directory.clusters.items())]


def clusters(supervisor: Supervisor) -> list[tuple[str, str, Cluster]]:
    """The clusters in force, one a shard, each with its database and user."""
    return [(database, user, shard) for database, user, found in pools(supervisor) for shard in found.shards]


def sessions(supervisor: Supervisor) -> list[Session]:
    """The clients of pools, longest connected first."""
    found = [connection.session for connection in supervisor.connections if connection.session is not None]
    found = [session for session in found if session.ended is None]
    return sorted(found, key=lambda session: session.started_at)


def replications(supervisor: Supervisor) -> list[tuple[str, Replication, Backend]]:
    """The clients with a walsender of their own, each with its address and the connection to that."""
    found = [(connection.peer, connection.replication) for connection in supervisor.connections]
    open_ones = [(peer, each, each.backend) for peer, each in found if each is not None and each.backend is not None]
    return sorted(open_ones, key=lambda row: row[1].started_at)


def client_state(session: Session) -> str:
    """``active`` with a backend, ``waiting`` for one, or ``idle``."""
    if session.backend is not None:
        return "active"
    return "waiting" if session.waiting_since < math.inf else "idle"


def counts(session: Session) -> tuple[int, int]:
    """The transactions and queries of a client that are over."""
    transactions, queries = session.transactions, session.queries
    if session.backend is not None:
        backend, upstream = session.backend, session.backend.upstream
        transactions += upstream.transactions - backend.counted_transactions
        queries += upstream.queries - backend.counted
    return transactions, queries


def backend_states(supervisor: Supervisor) -> dict[Backend, str]:
    """All open backends: ``idle``, ``active`` with a client, or ``tested`` while the proxy checks or cleans them.

    Those for replication, ``replication``, are none of their pools' own.

    Backends of a pool that a reload has replaced are there as long as a client has them.
    """
    leased = {session.backend for session in sessions(supervisor) if session.backend is not None}
    states: dict[Backend, str] = dict.fromkeys(leased, "active")
    leaving = (pool for _, pool in supervisor.directory.leaving())
    for pool in (*supervisor.directory.pools(), *leaving):
        idle = set(pool.idle)
        for backend in sorted(pool.backends - leased, key=lambda backend: backend.pid):
            states[backend] = "idle" if backend in idle else "tested"
    states.update((backend, "replication") for _, _, backend in replications(supervisor))
    return states


def address_names(cluster: Cluster) -> Iterator[tuple[str, Pool]]:
    """The pools of a cluster, each with PgCat's name for its server: ``<pool>_shard_<n>_replica_<m>`` and the like."""
    replicas = 0
    for pool in cluster.pools:
        name = f"{cluster.config.name}_shard_{cluster.shard}_{pool.role}"
        if pool.role is Role.REPLICA:
            name = f"{name}_{replicas}"
            replicas += 1
        yield name, pool


def seconds_and_microseconds(duration_s: float) -> tuple[int, int]:
    """A duration as two columns: whole seconds, and the microseconds that remain."""
    return divmod(round(duration_s * 1_000_000), 1_000_000)

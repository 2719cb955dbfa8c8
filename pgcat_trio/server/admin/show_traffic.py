"""SHOW POOLS, CLIENTS and SERVERS: what is going on. NULL stands for what is not counted: zero would be a claim."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import trio

from ...session.leftovers import reasons
from . import census
from .answers import NUMERIC, TEXT, columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..supervisor import Supervisor
    from .answers import Value

POOLS: Final = (
    *columns(TEXT, "database user pool_mode"),
    *columns(NUMERIC, "cl_idle cl_active cl_waiting cl_cancel_req"),
    *columns(NUMERIC, "sv_active sv_idle sv_used sv_tested sv_login maxwait maxwait_us"),
)

CLIENTS: Final = (
    *columns(TEXT, "client_id database user application_name state"),
    *columns(NUMERIC, "transaction_count query_count error_count age_seconds maxwait maxwait_us"),
    *columns(TEXT, "pinned"),
)

SERVERS: Final = (
    *columns(TEXT, "server_id database_name user address_id application_name state"),
    *columns(NUMERIC, "transaction_count query_count bytes_sent bytes_received age_seconds"),
    *columns(NUMERIC, "prepare_cache_hit prepare_cache_miss prepare_cache_eviction prepare_cache_size"),
)


def pools(supervisor: Supervisor) -> Iterator[tuple[Value, ...]]:
    """One row a database and user. ``maxwait`` is the time that the client has waited who waits longest now.

    Those who wait are counted where they queue: they may be at their login (session mode).
    """
    now = trio.current_time()
    clients = Counter(
        (session.database, session.user, census.client_state(session)) for session in census.sessions(supervisor)
    )
    backends = Counter((backend.pool, state) for backend, state in census.backend_states(supervisor).items())
    for database, user, cluster in census.pools(supervisor):
        pools = [pool for shard in cluster.shards for pool in shard.pools]
        waiters = [waiter for shard in cluster.shards for waiter in shard.waiters]
        yield (
            database,
            user,
            cluster.user.pool_mode,
            *(clients[database, user, state] for state in ("idle", "active")),
            len(waiters),
            sum(backend.cancelling for pool in pools for backend in pool.backends),
            *(sum(backends[pool, state] for pool in pools) for state in ("active", "idle")),
            0,  # PgBouncer's word for backends that await a check; here they are checked when they are taken
            sum(backends[pool, "tested"] for pool in pools),
            sum(pool.opening for pool in pools),
            *census.seconds_and_microseconds(now - min((waiter.since for waiter in waiters), default=now)),
        )


def clients(supervisor: Supervisor) -> Iterator[tuple[Value, ...]]:
    """One row a client, those with a walsender and administrators last.

    ``client_id`` is its address, ``maxwait`` the longest time that it has ever waited for a connection; ``pinned``,
    which PgCat does not have, says what keeps its backend.
    """
    now = trio.current_time()
    peers = {connection.session: connection.peer for connection in supervisor.connections}
    for session in census.sessions(supervisor):
        yield (
            peers[session],
            session.database,
            session.user,
            session.settings.values.get("application_name", ""),
            census.client_state(session),
            *census.counts(session),
            session.checkout_failures,
            int(now - session.started_at),
            *census.seconds_and_microseconds(max(session.max_wait_s, now - min(now, session.waiting_since))),
            reasons(session.pinned) or None,
        )
    for peer, replication, backend in census.replications(supervisor):
        name = backend.parameters.get("application_name", "")
        who = (peer, replication.database, replication.user, name)
        yield (*who, "replication", None, None, None, int(now - replication.started_at), None, None, None)
    consoles = [connection.console for connection in supervisor.connections if connection.console is not None]
    for console in sorted(consoles, key=lambda console: console.started_at):
        who = (console.peer, console.database, console.user, console.application_name)
        yield (*who, "idle", 0, None, None, int(now - console.started_at), 0, 0, None)


def servers(supervisor: Supervisor) -> Iterator[tuple[Value, ...]]:
    """One row a backend. ``server_id`` is the process id on its server, in hexadecimal."""
    now = trio.current_time()
    owners = {
        pool: (database, user, name)
        for database, user, cluster in census.clusters(supervisor)
        for name, pool in census.address_names(cluster)
    }
    for (database, user), pool in supervisor.directory.leaving():
        owners[pool] = (database, user, pool.target.address)
    for _, client, backend in census.replications(supervisor):
        owners.setdefault(backend.pool, (client.database, client.user, backend.pool.target.address))
    rows = [(owners[backend.pool], backend, state) for backend, state in census.backend_states(supervisor).items()]
    for owner, backend, state in sorted(rows, key=lambda row: (row[0], row[1].created_at, row[1].pid)):
        application_name = backend.settings.values.get("application_name") or "Undefined"
        upstream, transport = backend.upstream, backend.transport
        counts: tuple[Value, ...] = (upstream.transactions, upstream.queries)
        if state == "replication":
            counts = (None, None)  # nobody reads what it is asked
        counted = (*counts, transport.sent_bytes, transport.received_bytes, int(now - backend.created_at))
        prepared = backend.prepared
        statements = (prepared.hits, prepared.misses, prepared.evictions, len(prepared.names))
        yield (f"0x{backend.pid:08X}", *owner, application_name, state, *counted, *statements)

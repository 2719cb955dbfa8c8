"""EXPLAIN ROUTE: where a client's statement would go now, and why; by what holds for its session at this moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import trio

from ..config.model import PoolMode, Role
from ..pool.server import Status
from ..pool.waiting import TaskWaiter
from ..routing.commands import is_command
from ..routing.explain import Candidate, balancing, explain
from .leftovers import reasons

if TYPE_CHECKING:
    from ..pool.backend import Backend
    from ..pool.pool import Pool
    from ..routing.explain import Row
    from .steering import Steerer

_OWN: Final = [("role", "none"), ("reason", "the proxy answers it itself")]


def explain_route(session: Steerer, sql: bytes) -> list[Row]:
    """What there is to say, for people to read. The statement is not run, and nothing is remembered of it."""
    if is_command(sql):
        return _OWN
    cluster = session.cluster
    explanation = explain(session.router, sql, pooled_by_session=session.mode is PoolMode.SESSION)
    route = explanation.route
    kept = _kept(session)
    if kept is not None:
        backend, why = kept
        route = attrs.evolve(route, role=backend.pool.role, why=why, fallback_to_primary=False)
        pools = [backend.pool]
    else:
        waiter = TaskWaiter(route.role, route.fallback_to_primary or cluster.config.replica_to_primary_failover_enabled)
        pools = [*cluster.candidates(waiter)]
    now = trio.current_time()
    candidates = [_candidate(pool, now) for pool in pools]
    if kept is None:
        fitting = [pool for pool in cluster.pools if route.role in (Role.ANY, pool.role) and pool not in pools]
        candidates += [attrs.evolve(_candidate(pool, now), usable=False) for pool in fitting]
    explanation = attrs.evolve(explanation, route=route)
    return [*explanation.rows(cluster.shard, candidates, balancing(cluster.config))]


def _kept(session: Steerer) -> tuple[Backend, str] | None:
    """The backend that the session would not leave for a statement, and why."""
    backend = session.backend
    if backend is None:
        return None
    if session.mode is PoolMode.SESSION:
        return backend, "in session mode a session stays on its server"
    if backend.upstream.in_transaction:
        return backend, "a transaction stays on its server"
    if session.leftovers is not None and session.leftovers.pinned:
        return backend, f"the session keeps its server because of: {reasons(session.leftovers.pinned)}"
    return None


def _candidate(pool: Pool, now: float) -> Candidate:
    return Candidate(pool.target.address, pool.role, _state(pool, now))


def _state(pool: Pool, now: float) -> str:
    """In a few words, what is known of a server that matters for choosing it."""
    server, state = pool.server, pool.server.state
    words = [state.status.value if state.status is not Status.UNKNOWN else "not checked"]
    if state.lag_s is not None and state.lag_bytes is not None:
        words.append(f"{state.lag_bytes} bytes and {state.lag_s:.1f} s behind")
    if state.reason:
        words.append(state.reason)
    if server.banned:
        words.append(f"banned for {server.banned_until - now:.0f} s: {server.ban_reason}")
    if pool.paused:
        words.append("paused")
    return ", ".join(words)

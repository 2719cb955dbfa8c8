"""EXPLAIN ROUTE: where a client's statement would go now, and why; by what holds for its session at this moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from ..config.model import PoolMode, Role
from ..errors import InvalidCommand
from ..pool.server import Status
from ..pool.waiting import TaskWaiter
from ..routing.commands import is_command
from ..routing.explain import ANSWERED_HERE, Candidate, balancing, explain, refused
from .leftovers import reasons

if TYPE_CHECKING:
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.pool import Pool
    from ..routing.explain import Row
    from ..routing.route import Route
    from .steering import Steerer


def explain_route(session: Steerer, sql: bytes) -> list[Row]:
    """What there is to say, for people to read. The statement is not run, and nothing is remembered of it."""
    if is_command(sql):
        return ANSWERED_HERE
    explanation = explain(session.router, sql, pooled_by_session=session.mode is PoolMode.SESSION)
    kept = _kept(session)
    if kept is not None:
        backend, why = kept
        route = attrs.evolve(explanation.route, role=backend.pool.role, why=why, fallback_to_primary=False)
        cluster, candidates = session.cluster, [_candidate(backend.pool)]
    else:
        try:
            route, number = session.foresee(sql, explanation.route)
        except InvalidCommand as error:
            return refused(error.message)
        cluster = session.cluster.shards[number]
        candidates = _candidates(session, cluster, route)
    explanation = attrs.evolve(explanation, route=route)
    return [*explanation.rows(cluster.shard, candidates, balancing(cluster.config))]


class _Question(TaskWaiter):
    """What a request of this route would have to wait for."""

    __slots__ = ("_session",)

    def __init__(self, session: Steerer, cluster: Cluster, route: Route) -> None:
        super().__init__(route.role, route.fallback_to_primary or cluster.config.replica_to_primary_failover_enabled)
        self._session = session if route.fallback_to_primary else None

    def accepts(self, pool: Pool) -> bool:
        return self._session is None or not self._session.misfit(pool)


def _candidates(session: Steerer, cluster: Cluster, route: Route) -> list[Candidate]:
    """Who would be asked, in this order, and who would be if they were in another state."""
    question = _Question(session, cluster, route)
    chosen = cluster.candidates(question)
    others = [pool for pool in cluster.pools if route.role in (Role.ANY, pool.role) and pool not in chosen]
    candidates = [_candidate(pool) for pool in chosen]
    for pool in others:
        misfit = "" if question.accepts(pool) else session.misfit(pool)
        candidates.append(_candidate(pool, misfit, usable=False))
    return candidates


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


def _candidate(pool: Pool, misfit: str = "", *, usable: bool = True) -> Candidate:
    """A server, and in a few words what is known of it that matters for choosing it."""
    server, state = pool.server, pool.server.state
    words = [state.status.value if state.status is not Status.UNKNOWN else "not checked"]
    if state.lag_s is not None and state.lag_bytes is not None:
        words.append(f"{state.lag_bytes} bytes and {state.lag_s:.1f} s behind")
    if state.reason:
        words.append(state.reason)
    if server.banned:
        words.append(f"banned for {server.banned_until - trio.current_time():.0f} s: {server.ban_reason}")
    if pool.paused:
        words.append("paused")
    if misfit:
        words.append(misfit)
    return Candidate(pool.target.address, pool.role, ", ".join(words), usable)

"""Session mode: a client has its backend from the login on, because there a connection is a server's process.

So the process id that it is told, the parameters that are reported to it and the settings that it asked for are those
of that very process, as they are without a pool. A client that finds the pool full waits before it is welcomed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pool.exchange import exchange
from ..pool.settings import intern, settings_sql

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..pool.backend import Backend
    from .session import Session


async def take_backend(session: Session) -> Backend:
    """Wait for the session's backend: it is given back when the session is, whatever happens in between.

    Bounded as every wait for one, and raises what `Cluster.acquire` raises; after `Cancelled` the session has none.
    """
    route = session.cluster.router.session
    session.backend = await session.cluster.acquire(route.role, route.fallback_to_primary)
    return session.backend


async def settle_on(backend: Backend, session: Session, wanted: Mapping[str, str]) -> None:
    """Have the settings of a start-up packet on the session's backend.

    Raises `ServerError` with the server's own words if it refuses one, and `BackendLost`. After any error and after
    `Cancelled` the backend may have been left in the middle of the conversation. The caller bounds the time.
    """
    defaults = session.cluster.tracking.of((session.cluster.greetings.parameters or {}).items())
    asked = {**dict(defaults), **wanted}
    sql = settings_sql(backend.settings, intern(asked), backend.reported)
    if sql:
        await exchange(backend, sql)
    spelled = backend.settings.only(backend.reported).values  # what the server reports, it reports in its own spelling
    settled = intern({name: spelled.get(name, value) for name, value in asked.items()})
    backend.settings = settled
    session.begin_with(settled)

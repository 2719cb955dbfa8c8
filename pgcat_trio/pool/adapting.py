"""A cluster under a new configuration: what a reload does to one that stays the same object.

All of it is synchronous and takes nothing from anybody: a backend that has to go is closed when it is idle, or when it
is given back; who waits in the queue keeps the place. What the proxy knows stays: bans, statistics, remembered routes
and statements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ..config.keys import key_of
from ..config.model import Pool as PoolConfig
from ..routing.hints import Hints
from ..routing.overrides import Routers
from .catalog import CatalogKeeper
from .settings import Tracking

if TYPE_CHECKING:
    from ..config.model import General, User
    from .cluster import Cluster
    from .connect import Target
    from .pool import Pool

_NO_ROUTING: Final = frozenset(
    (
        *("users", "shards", "load_balancing_mode", "checkout_failure_limit", "cleanup_server_connections", "pinning"),
        *("track_parameters", "log_client_parameter_status_changes", "prepared_statements_cache_size"),
        *("read_after_write", "read_after_write_window_s", "lazy_begin"),
        *(field.name for field in attrs.fields(PoolConfig) if "key" in field.metadata and key_of(field).inherit),
    )
)
"""Fields of a pool that say nothing about where a statement goes: what is remembered outlives their change."""


def adapt(cluster: Cluster, config: PoolConfig, user: User) -> None:
    """Put the limits, timeouts and routing of ``config`` and ``user`` in force; the servers are not looked at."""
    if _routing(config) != _routing(cluster.config):
        _reroute(cluster, config)
    cluster.hints = Hints(config)
    if cluster.statements is not None:
        cluster.statements.resize(config.prepared_statements_cache_size)
    if config.track_parameters != cluster.config.track_parameters:
        cluster.tracking = Tracking(config.track_parameters)
    cluster.config, cluster.user = config, user
    cluster.follow()
    for pool in cluster.pools:
        pool.tracking = cluster.tracking
        pool.reset = config.cleanup_server_connections
        _limit(pool, user)


def adapt_pool(pool: Pool, options: General, target: Target) -> None:
    """Put what ``[general]`` says about a pool in force, and the way to its server."""
    pool.options = pool.switchboard.options = options
    pool.target = pool.switchboard.target = target


def rearrange(cluster: Cluster, added: list[Pool], removed: list[Pool], order: list[Pool]) -> None:
    """Servers come and go. ``order`` are all pools, in the order of the configuration."""
    for pool in added:
        cluster.add(pool)
    for pool in removed:
        cluster.remove(pool)
    cluster.pools.sort(key=order.index)
    for pool in removed:
        pool.retire()  # who listens on it finds the others


def _routing(config: PoolConfig) -> list[object]:
    return [getattr(config, field.name) for field in attrs.fields(PoolConfig) if field.name not in _NO_ROUTING]


def _reroute(cluster: Cluster, config: PoolConfig) -> None:
    """Other routers, which know what the last ones knew of the database."""
    cluster.routers = Routers(config)
    router = cluster.routers.usual
    router.use(cluster.router.catalog)
    router.learned, router.healed = cluster.router.learned, cluster.router.healed
    cluster.router = router
    cluster.greetings.go_home(router.session.role)
    cluster.catalog.retire()
    cluster.catalog = CatalogKeeper(cluster.name, router, cluster.pools, config.catalog_refresh_s)
    for pool in cluster.pools:
        if pool.backends:
            cluster.catalog.greeted(pool)


def _limit(pool: Pool, user: User) -> None:
    old, pool.user = pool.user, user
    pool.switchboard.connect_timeout_s = user.connect_timeout_s
    for backend in pool.backends:
        lifetime_s = (backend.expires_at - backend.created_at) * user.server_lifetime_s / old.server_lifetime_s
        backend.expires_at = backend.created_at + lifetime_s
    surplus = len(pool.backends) + pool.opening - user.pool_size
    while surplus > 0 and (idle := pool.take_unchecked()) is not None:
        pool.close(idle, "over the new pool_size")
        surplus -= 1
    leased = [backend for backend in pool.backends if not backend.retired]
    for backend in leased[: max(0, surplus)]:
        backend.retired = True

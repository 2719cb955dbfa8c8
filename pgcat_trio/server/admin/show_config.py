"""SHOW CONFIG, DATABASES and USERS: what is configured, and in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ...config.keys import key_of
from ...config.model import General, Role
from ...config.model import Pool as PoolConfig
from ...config.spelling import spelled
from . import census
from .answers import INT4, NUMERIC, TEXT, columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...pool.pool import Pool
    from ..supervisor import Supervisor
    from .answers import Value

CONFIG: Final = columns(TEXT, "key value default changeable")

DATABASES: Final = (
    *columns(TEXT, "name host port database force_user"),
    *columns(INT4, "pool_size min_pool_size reserve_pool"),
    *columns(TEXT, "pool_mode"),
    *columns(INT4, "max_connections current_connections paused disabled"),
    # PgCat has none of these: what the health checks say of the server.
    *columns(TEXT, "role status"),
    *columns(INT4, "timeline"),
    *columns(NUMERIC, "lag_bytes lag_ms"),
    *columns(TEXT, "reason"),
)

USERS: Final = columns(TEXT, "name pool_mode")


def config(supervisor: Supervisor) -> Iterator[tuple[Value, ...]]:
    """Every key that is no secret, with its value and default in the units of the file."""
    yield from _settings("", General, supervisor.config.general)
    for name, pool in sorted(supervisor.config.pools.items()):
        yield from _settings(f"pools.{name}.", PoolConfig, pool)
        users = ", ".join(user.username for user in pool.users)
        yield f'pools."{name}".shard_count', str(len(pool.shards)), "-", "yes"
        yield f'pools."{name}".users', users, "-", "yes"


def databases(supervisor: Supervisor) -> Iterator[tuple[Value, ...]]:
    """One row for each server of each database and user. ``disabled`` are those that are banned, too, as in PgCat."""
    for _, user, cluster in census.clusters(supervisor):
        settings = cluster.user
        for name, pool in census.address_names(cluster):
            banned = pool.role is Role.REPLICA and pool.server.banned
            where = (name, pool.target.host, pool.target.port, pool.target.database, user)
            sizes = (settings.pool_size, settings.min_pool_size, 0)
            counts = (settings.pool_mode, settings.pool_size, len(pool.backends))
            switches = (int(pool.paused), int(banned or cluster.disabled))
            yield (*where, *sizes, *counts, *switches, *_health(pool))


def _health(pool: Pool) -> tuple[Value, ...]:
    state = pool.server.state
    lag_ms = None if state.lag_s is None else round(state.lag_s * 1000)
    return pool.role, state.status, state.timeline, state.lag_bytes, lag_ms, state.reason or None


def users(supervisor: Supervisor) -> Iterator[tuple[Value, ...]]:
    """One row a database and user."""
    for _, user, cluster in census.pools(supervisor):
        yield user, cluster.user.pool_mode


def _settings(prefix: str, model: type[attrs.AttrsInstance], values: object) -> Iterator[tuple[Value, ...]]:
    for field in attrs.fields(model):
        if "key" not in field.metadata or "password" in field.name:
            continue
        key = key_of(field)
        default = None if field.default is attrs.NOTHING else spelled(field.default, key.units_per_second)
        value = spelled(getattr(values, field.name), key.units_per_second)
        if value is None and key.name == "query_parser_max_length":
            value = "unlimited"
        yield f"{prefix}{key.name}", value, default or "-", "no" if key.boot_only else "yes"

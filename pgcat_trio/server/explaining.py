"""``pgcat-trio explain``: where statements would go by the configuration alone. No server is asked, none must run."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs

from ..config.model import PoolMode, Role
from ..errors import ConfigError
from ..routing.explain import Candidate, balancing, explain
from ..routing.lexer import split
from ..routing.route import Router

if TYPE_CHECKING:
    from ..config.model import Config, Pool, User
    from ..routing.explain import Row

T = TypeVar("T")


def find_pool(config: Config, database: str | None, user: str | None) -> tuple[Pool, User]:
    """The pool and the user that are meant: the only ones, where no name is given. Raises `ConfigError`."""
    pool = _only("pool", {pool.name: pool for pool in config.pools.values()}, database, "--database")
    return pool, _only("user", {each.username: each for each in pool.users}, user, "--user", default=True)


def explain_statement(pool: Pool, user: User, sql: bytes) -> list[Row]:
    """Where a client's message with this text would go, be it one statement or several. Raises `ConfigError`."""
    if not split(sql):
        raise ConfigError("there is no statement")
    shard = pool.default_shard if isinstance(pool.default_shard, int) else 0
    explanation = explain(Router.for_pool(pool), sql, pooled_by_session=user.pool_mode is PoolMode.SESSION)
    explanation = attrs.evolve(explanation, remembered=None)
    servers = [Candidate(f"{server.host}:{server.port}", server.role) for server in pool.shards[shard].servers]
    fitting = [server for server in servers if explanation.route.role in (Role.ANY, server.role)]
    if not fitting and explanation.route.fallback_to_primary:
        fitting = [server for server in servers if server.role is Role.PRIMARY]
    return [*explanation.rows(shard, fitting, balancing(pool))]


def statements_of(text: bytes) -> list[bytes]:
    """The statements of a file, each as psql would send it."""
    return [text[statement.start : statement.end] for statement in split(text)]


def _only(what: str, known: dict[str, T], name: str | None, option: str, *, default: bool = False) -> T:
    if name is None and known and (default or len(known) == 1):
        return next(iter(known.values()))
    if name is not None and name in known:
        return known[name]
    names = ", ".join(sorted(known)) or "none"
    problem = f"which {what}?" if name is None else f"there is no {what} {name!r}:"
    raise ConfigError(f"{problem} {option} takes one of: {names}")

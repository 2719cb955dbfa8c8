"""``pgcat-trio explain``: where statements would go by the configuration alone. No server is asked, none must run."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import attrs

from ..config.model import PoolMode, Role
from ..errors import ConfigError, InvalidCommand
from ..routing.commands import is_command
from ..routing.explain import ANSWERED_HERE, Candidate, balancing, explain, refused
from ..routing.hints import Hints
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
    if is_command(sql):
        return ANSWERED_HERE
    dedicated = user.pool_mode is PoolMode.SESSION
    explanation = explain(Router.for_pool(pool), sql, pooled_by_session=dedicated)
    route, shard = explanation.route, pool.default_shard if isinstance(pool.default_shard, int) else 0
    try:
        hint = None if dedicated else Hints(pool).find(sql)
    except InvalidCommand as error:
        return refused(error.message)
    if hint is not None:
        route, shard = hint.on(route), shard if hint.shard is None else hint.shard
    if shard >= len(pool.shards):
        return refused(f"there is no shard {shard}")
    explanation = attrs.evolve(explanation, route=route, remembered=None)
    servers = [Candidate(f"{server.host}:{server.port}", server.role) for server in pool.shards[shard].servers]
    fitting = [server for server in servers if server.role is Role.AUTO or route.role in (Role.ANY, server.role)]
    if not fitting and route.fallback_to_primary:
        fitting = [server for server in servers if server.role is Role.PRIMARY]
    return [*explanation.rows(shard, fitting, balancing(pool))]


def statements_of(text: bytes) -> list[bytes]:
    """The statements of a file, each as psql would send it: with the comments before it."""
    ends = [statement.end for statement in split(text)]
    return [text[start:end].lstrip(b"; \t\r\n") for start, end in pairwise([0, *ends])]


def _only(what: str, known: dict[str, T], name: str | None, option: str, *, default: bool = False) -> T:
    if name is None and known and (default or len(known) == 1):
        return next(iter(known.values()))
    if name is not None and name in known:
        return known[name]
    names = ", ".join(sorted(known)) or "none"
    problem = f"which {what}?" if name is None else f"there is no {what} {name!r}:"
    raise ConfigError(f"{problem} {option} takes one of: {names}")

"""What a reload has to do: the difference of two configurations. Pure, so that it can be shown before it is done."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import attrs

from .keys import key_of
from .model import Config, General, Pool, Server, Shard, User
from .spelling import Changed, changes

if TYPE_CHECKING:
    from collections.abc import Iterator

PoolKey = tuple[str, str]
"""(name of the pool, name of the user): each such pair has backends of its own."""


class Reach(enum.IntEnum):
    """How far the change of a pool goes. Clients notice none of it."""

    IN_PLACE = 0
    """Limits, timeouts and routing: they act at once, and no backend is closed that is not over its new limit."""
    RECONNECT = 1
    """Backends are replaced at the end of their transactions."""
    REPLACE = 2
    """So is the whole pool: its clients go on with the new one."""


_RECONNECTING: Final = frozenset(
    ("server_tls", "server_tls_ca_file", "server_tls_certificate", "server_tls_private_key")
)
"""Keys of ``[general]`` that reach so far, in all pools."""

_REACH_OF_POOL: Final = {
    "default_shard": Reach.REPLACE,  # clients begin there
    "track_parameters": Reach.RECONNECT,  # which of a backend's parameters are a client's is noted when it is opened
}
_REACH_OF_USER: Final = dict.fromkeys(("server_username", "server_password", "pool_mode"), Reach.REPLACE)
_REACH_OF_SHARD: Final = {"database": Reach.REPLACE}


@attrs.frozen
class PoolChange:
    """One pool that a reload changes: how far, which keys, and servers that go and come, as ``host:port role``."""

    pool: PoolKey
    reach: Reach = Reach.IN_PLACE
    keys: tuple[Changed, ...] = ()
    servers_added: tuple[str, ...] = ()
    servers_removed: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What changes, for people."""
        servers = [f"server {each} added" for each in self.servers_added]
        servers += [f"server {each} retired" for each in self.servers_removed]
        return "; ".join([*map(str, self.keys), *servers]) or "only what is not built yet"


@attrs.frozen(kw_only=True)
class ReloadPlan:
    """Pools by (pool, user), each list sorted, and the keys of ``[general]`` that changed.

    ``unchanged`` pools and ``changed`` ones stay, ``removed`` ones are retired at the end of their transactions.
    ``live`` keys apply at once; ``boot_only`` ones need a restart, of which the operator should be told.
    """

    unchanged: tuple[PoolKey, ...] = ()
    changed: tuple[PoolChange, ...] = ()
    added: tuple[PoolKey, ...] = ()
    removed: tuple[PoolKey, ...] = ()
    live: tuple[Changed, ...] = ()
    boot_only: tuple[Changed, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do and nothing to say."""
        return not (self.changed or self.added or self.removed or self.live or self.boot_only)

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """The plan for people: what is done, to which pool of which user (or to ``[general]``), and why."""
        for changed in self.boot_only:
            yield "needs restart", "[general]", "", str(changed)
        for changed in self.live:
            yield "change", "[general]", "", str(changed)
        for pool, user in self.removed:
            yield "retire", pool, user, "not in the new configuration"
        for pool, user in self.added:
            yield "add", pool, user, "not in the old configuration"
        for change in self.changed:
            yield _VERBS[change.reach], *change.pool, change.words
        for pool, user in self.unchanged:
            yield "keep", pool, user, ""


_VERBS: Final = {Reach.IN_PLACE: "change", Reach.RECONNECT: "reconnect", Reach.REPLACE: "replace"}


def diff(old: Config, new: Config) -> ReloadPlan:
    """What changes from ``old`` to ``new``.

    A pool changes with anything in its own table, and with what it inherits from ``[general]`` (in PgCat the latter
    goes unnoticed until something in the pool's table changes too). A change to one user leaves the others alone.
    """
    before, after = _pools(old), _pools(new)
    both = sorted(before.keys() & after.keys())
    general = changes(old.general, new.general)
    shared = {name: changed for name, changed in general.items() if name in _RECONNECTING}
    pools = [_pool_change(before[key], after[key], key, shared) for key in both]
    boot_only = {field.name for field in attrs.fields(General) if key_of(field).boot_only}
    return ReloadPlan(
        unchanged=tuple(key for key, change in zip(both, pools, strict=True) if change is None),
        changed=tuple(change for change in pools if change is not None),
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        live=_sorted(changed for name, changed in general.items() if name not in boot_only),
        boot_only=_sorted(changed for name, changed in general.items() if name in boot_only),
    )


def keep_boot_only(running: General, new: General) -> General:
    """The new section with the running values of the keys that need a restart."""
    names = [field.name for field in attrs.fields(General) if key_of(field).boot_only]
    return attrs.evolve(new, **{name: getattr(running, name) for name in names})


def server_name(server: Server) -> str:
    """By this a server of a shard stays the same over a reload."""
    return f"{server.host}:{server.port} {server.role.value}"


def _pool_change(
    old: tuple[Pool, User], new: tuple[Pool, User], key: PoolKey, shared: dict[str, Changed]
) -> PoolChange | None:
    """``shared`` is what makes all pools connect anew."""
    if old == new and not shared:
        return None
    pool, user = changes(old[0], new[0]), changes(old[1], new[1])
    shards = list(zip(old[0].shards, new[0].shards, strict=False))
    in_shards = [changed for pair in shards for changed in changes(*pair).items()]
    servers_before, servers_after = (_servers(each[0].shards) for each in (old, new))
    reaches = [Reach.RECONNECT if shared else Reach.IN_PLACE]
    for found, table in ((pool, _REACH_OF_POOL), (user, _REACH_OF_USER), (dict(in_shards), _REACH_OF_SHARD)):
        reaches += [table[name] for name in found if name in table]
    if len(old[0].shards) != len(new[0].shards):
        reaches.append(Reach.REPLACE)  # keys belong to other shards
    if bool(old[0].prepared_statements_cache_size) != bool(new[0].prepared_statements_cache_size):
        reaches.append(Reach.REPLACE)  # whose names statements have on the servers is settled for a whole session
    keys = [*shared.values(), *pool.values(), *user.values(), *(changed for _, changed in in_shards)]
    keys += [changed for pair in shards for changed in _server_changes(*pair)]
    return PoolChange(
        key,
        max(reaches),
        tuple(dict.fromkeys(keys)),  # what a user inherits has changed in both
        tuple(name for name in servers_after if name not in servers_before),
        tuple(name for name in servers_before if name not in servers_after),
    )


def _servers(shards: tuple[Shard, ...]) -> tuple[str, ...]:
    """The servers of all shards, each with its shard's number where there are several."""
    several = len(shards) > 1
    return tuple(
        f"{server_name(server)} of shard {number}" if several else server_name(server)
        for number, shard in enumerate(shards)
        for server in shard.servers
    )


def _server_changes(old: Shard, new: Shard) -> Iterator[Changed]:
    """What has changed about the servers that stay."""
    before = {server_name(server): server for server in old.servers}
    for server in new.servers:
        name = server_name(server)
        for changed in changes(before.get(name, server), server).values():
            yield attrs.evolve(changed, key=f"{changed.key} of {name}")


def _sorted(found: Iterator[Changed]) -> tuple[Changed, ...]:
    return tuple(sorted(found, key=lambda changed: changed.key))


def _pools(config: Config) -> dict[PoolKey, tuple[Pool, User]]:
    pools = config.pools.values()
    bare = {pool.name: attrs.evolve(pool, users=()) for pool in pools}
    return {(pool.name, user.username): (bare[pool.name], user) for pool in pools for user in pool.users}

"""What a command is about: everything, a database, one user's pool of it, or a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .answers import refusal

if TYPE_CHECKING:
    from ...pool.pool import Pool
    from ..directory import Directory

PoolKey = tuple[str, str]


@attrs.frozen
class Selection:
    """Whole pools, by database and user, or servers by address, for all pools alike."""

    words: str
    """As the administrator said it; empty for everything."""
    keys: frozenset[PoolKey] = frozenset()
    addresses: frozenset[str] = frozenset()

    def includes(self, key: PoolKey, pool: Pool) -> bool:
        """True if a pool of this database and user is meant."""
        return key in self.keys or pool.server.address in self.addresses

    def pools(self, directory: Directory) -> list[Pool]:
        """The pools that are meant, with those that a reload has retired and that are still in use."""
        known = [(key, pool) for key, home in directory.clusters.items() for each in home.shards for pool in each.pools]
        return [pool for key, pool in [*known, *directory.leaving()] if self.includes(key, pool)]


def select(directory: Directory, command: str, arguments: list[str]) -> Selection:
    """What ``arguments`` mean: none at all, ``database``, ``database, user``, ``database user``, ``host[:port]``.

    Raises an error of SQLSTATE 42601 for anything else, 3D000 where nothing has that name.
    """
    if not arguments:
        return Selection("", frozenset(directory.clusters))
    match [word for word in arguments if word != ","]:
        case [database, user] if arguments[0] != "," and arguments[-1] != ",":
            found = frozenset({(database, user)} & directory.clusters.keys())
            missing = f"No pool configured for database: {database}, user: {user}"
        case [name] if len(arguments) == 1:
            found = frozenset(key for key in directory.clusters if key[0] == name)
            addresses = frozenset(
                pool.server.address for pool in directory.pools() if name in (pool.target.host, pool.server.address)
            )
            if addresses and not found:
                return Selection(name, addresses=addresses)
            missing = f"No pool configured for database: {name}, and no server is at {name}"
        case _:
            raise refusal("42601", f"usage: {command} [database [, user] | host:port]")
    if not found:
        raise refusal("3D000", missing, hint="SHOW DATABASES lists the pools and their servers.")
    return Selection(",".join(word for word in arguments if word != ","), found)

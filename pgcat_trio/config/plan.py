"""What a reload has to do: the difference of two configurations. Pure, so that it can be shown before it is done."""

from __future__ import annotations

import attrs

from .keys import key_of
from .model import Config, General, Pool, User

PoolKey = tuple[str, str]
"""(name of the pool, name of the user): each such pair has backends of its own."""


@attrs.frozen(kw_only=True)
class ReloadPlan:
    """Pools by (pool, user), each list sorted, and the names of the keys of ``[general]`` that changed.

    ``unchanged`` pools keep their backends, ``changed`` ones are replaced. ``live`` keys apply at once; ``boot_only``
    ones need a restart, of which the operator should be told.
    """

    unchanged: tuple[PoolKey, ...] = ()
    changed: tuple[PoolKey, ...] = ()
    added: tuple[PoolKey, ...] = ()
    removed: tuple[PoolKey, ...] = ()
    live: tuple[str, ...] = ()
    boot_only: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do and nothing to say."""
        return not (self.changed or self.added or self.removed or self.live or self.boot_only)


def diff(old: Config, new: Config) -> ReloadPlan:
    """What changes from ``old`` to ``new``.

    A pool changes with anything in its own table, and with what it inherits from ``[general]`` (in PgCat the latter
    goes unnoticed until something in the pool's table changes too). A change to one user leaves the others alone.
    """
    before, after = _pools(old), _pools(new)
    both = before.keys() & after.keys()
    changed_fields = (f for f in attrs.fields(General) if getattr(old.general, f.name) != getattr(new.general, f.name))
    keys = [key_of(field) for field in changed_fields]
    return ReloadPlan(
        unchanged=tuple(sorted(key for key in both if before[key] == after[key])),
        changed=tuple(sorted(key for key in both if before[key] != after[key])),
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        live=tuple(sorted(str(key.name) for key in keys if not key.boot_only)),
        boot_only=tuple(sorted(str(key.name) for key in keys if key.boot_only)),
    )


def keep_boot_only(running: General, new: General) -> General:
    """The new section with the running values of the keys that need a restart."""
    names = [field.name for field in attrs.fields(General) if key_of(field).boot_only]
    return attrs.evolve(new, **{name: getattr(running, name) for name in names})


def _pools(config: Config) -> dict[PoolKey, tuple[Pool, User]]:
    pools = config.pools.values()
    bare = {pool.name: attrs.evolve(pool, users=()) for pool in pools}
    return {(pool.name, user.username): (bare[pool.name], user) for pool in pools for user in pool.users}

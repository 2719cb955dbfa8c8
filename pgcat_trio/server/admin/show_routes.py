"""SHOW ROUTES: which statements there are, how often, where they go and why; those that come most often first."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

import attrs

from ...routing.explain import shown
from ...routing.route import Tally
from . import census
from .answers import NUMERIC, TEXT, columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...config.model import Role
    from ...pool.cluster import Cluster
    from ..supervisor import Supervisor
    from .answers import Value

    _Key = tuple[bytes | None, bool, Role, str]

ROUTES: Final = (
    *columns(TEXT, "database user role"),
    *columns(NUMERIC, "calls misses healed"),
    *columns(TEXT, "reason fingerprint"),
)

MAX_ROWS: Final = 100
"""Statements of one database and user: a router remembers thousands, of which the rare ones tell little."""


def routes(supervisor: Supervisor) -> Iterator[tuple[Value, ...]]:
    """One row for each statement of each database and user, literals left out of it; those of all shards are one.

    Those whose clients have chosen a role for themselves (``SET SERVER ROLE``) are told apart by it.

    ``misses`` counts how often it was decided, ``healed`` how often that had to be mended. Where the fingerprint is
    NULL no text was looked at. What is beyond `MAX_ROWS` is summed up in one row more.
    """
    for database, user, cluster in census.pools(supervisor):
        known = sorted(_counted(cluster).items(), key=lambda each: each[1].calls, reverse=True)
        for (text, exact, role, why), tally in known[:MAX_ROWS]:
            line = None if text is None else shown(text, exact=exact)
            yield (database, user, role.value, *attrs.astuple(tally), why, line)
        rest = Tally()
        for _, tally in known[MAX_ROWS:]:
            rest.add(tally)
        if len(known) > MAX_ROWS:
            yield (database, user, None, *attrs.astuple(rest), f"{len(known) - MAX_ROWS} more statements", None)


def _counted(cluster: Cluster) -> dict[_Key, Tally]:
    found: dict[_Key, Tally] = {}
    for shard in cluster.shards:
        for text, exact, route in chain.from_iterable(router.routes() for router in shard.routers):
            if text is not None or route.tally.calls:
                found.setdefault((text, exact, route.role, route.why), Tally()).add(route.tally)
    return found

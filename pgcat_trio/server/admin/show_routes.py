"""SHOW ROUTES: which statements there are, how often, where they go and why; those that come most often first."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from ...routing.explain import fingerprint
from . import census
from .answers import NUMERIC, TEXT, columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..supervisor import Supervisor
    from .answers import Value

ROUTES: Final = (
    *columns(TEXT, "database user role"),
    *columns(NUMERIC, "calls misses healed"),
    *columns(TEXT, "reason fingerprint"),
)

MAX_ROWS: Final = 100
"""Statements of one database and user: a router remembers thousands, of which the rare ones tell little."""


def routes(supervisor: Supervisor) -> Iterator[tuple[Value, ...]]:
    """One row for each statement of each database and user, literals left out of it.

    ``misses`` counts how often it was decided, ``healed`` how often that had to be mended. Where the fingerprint is
    NULL no text was looked at. What is beyond `MAX_ROWS` is summed up in one row more.
    """
    for database, user, cluster in census.clusters(supervisor):
        known = [(key, route) for key, route in cluster.router.routes() if key is not None or route.tally.calls]
        shown = heapq.nlargest(MAX_ROWS, known, key=lambda each: each[1].tally.calls)
        for key, route in shown:
            tally = route.tally
            counted = (tally.calls, tally.misses, tally.healed)
            text = None if key is None else fingerprint(key)
            yield (database, user, route.role.value, *counted, route.why, text)
        if len(known) > len(shown):
            seen = {id(route) for _, route in shown}
            rest = [route.tally for _, route in known if id(route) not in seen]
            sums = (sum(getattr(tally, name) for tally in rest) for name in ("calls", "misses", "healed"))
            yield (database, user, None, *sums, f"{len(rest)} more statements", None)

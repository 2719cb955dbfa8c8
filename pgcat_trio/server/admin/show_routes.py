"""SHOW ROUTES: which statements there are, how often, where they go and why; those that come most often first."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from ...routing.explain import shown
from . import census
from .answers import NUMERIC, TEXT, columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...routing.route import Route
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

    Those whose clients have chosen a role for themselves (``SET SERVER ROLE``) are told apart by it.

    ``misses`` counts how often it was decided, ``healed`` how often that had to be mended. Where the fingerprint is
    NULL no text was looked at. What is beyond `MAX_ROWS` is summed up in one row more.
    """
    for database, user, cluster in census.clusters(supervisor):
        every = chain.from_iterable(router.routes() for router in cluster.routers)
        known = [each for each in every if each[0] is not None or each[2].tally.calls]
        known.sort(key=_calls, reverse=True)
        for text, exact, route in known[:MAX_ROWS]:
            tally = route.tally
            counted = (tally.calls, tally.misses, tally.healed)
            line = None if text is None else shown(text, exact=exact)
            yield (database, user, route.role.value, *counted, route.why, line)
        rest = [route.tally for _, _, route in known[MAX_ROWS:]]
        if rest:
            sums = (sum(getattr(tally, name) for tally in rest) for name in ("calls", "misses", "healed"))
            yield (database, user, None, *sums, f"{len(rest)} more statements", None)


def _calls(known: tuple[bytes | None, bool, Route]) -> int:
    return known[2].tally.calls

"""What has been done by each user of a database on each server: counts that only grow, and their averages.

The hot path counts where it is anyway (queries on the connection, times where a lease ends); what is here adds that up
when somebody asks. A reload that replaces a pool replaces none of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from .backend import Backend

PERIOD_S: Final = 15.0
"""Averages are those of the last whole period: PgCat's (PgBouncer's ``stats_period`` is a minute)."""

UsageKey = tuple[str, str, str]
"""(name of the pool, name of the user, the shard, server and role)."""


@attrs.frozen
class Totals:
    """Since the proxy has started, or in a period. A query is a Query, a FunctionCall or a Sync of a client's."""

    transactions: float = 0
    queries: float = 0
    received_bytes: float = 0
    """From the server."""
    sent_bytes: float = 0
    transaction_s: float = 0.0
    """How long transactions were open, from the first request on."""
    query_s: float = 0.0
    """How long the server was at work, as clients see it: from a request to the end of its answer."""
    wait_s: float = 0.0
    """How long clients waited for a connection; a request that gets one at once adds nothing."""
    errors: float = 0
    """Requests that got no connection, or lost it."""

    def per(self, period_s: float, before: Totals) -> Totals:
        """The growth since ``before``, by the second."""
        grown = (now - then for now, then in zip(attrs.astuple(self), attrs.astuple(before), strict=True))
        return Totals(*(each / period_s for each in grown))


class Usage:
    """One user on one server. The public attributes are added to by whoever does what they count."""

    __slots__ = (
        "_backends",
        "_before",
        "_gone",
        "errors",
        "per_second",
        "query_s",
        "since",
        "transaction_s",
        "wait_s",
    )

    def __init__(self, now: float) -> None:
        self.transaction_s = 0.0
        self.query_s = 0.0
        self.wait_s = 0.0
        self.errors = 0
        self.per_second = Totals()
        """The averages of the last whole period."""
        self._backends: set[Backend] = set()
        self._gone = Totals()  # what closed backends have counted
        self._before = Totals()
        self.since = now
        """When the period began that is under way."""

    def opened(self, backend: Backend) -> None:
        """A connection that counts from now on."""
        self._backends.add(backend)

    def closed(self, backend: Backend) -> None:
        """It has counted all that it will."""
        if backend in self._backends:
            self._backends.remove(backend)
            self._gone = _sum(self._gone, backend)

    @property
    def in_use(self) -> bool:
        """True while there is a connection."""
        return bool(self._backends)

    @property
    def totals(self) -> Totals:
        """All there was until now."""
        found = self._gone
        for backend in self._backends:
            found = _sum(found, backend)
        times = {"transaction_s": self.transaction_s, "query_s": self.query_s, "wait_s": self.wait_s}
        return attrs.evolve(found, errors=self.errors, **times)

    def sweep(self, now: float) -> None:
        """Called a few times a second: at the end of a period the averages are taken."""
        period_s = now - self.since
        if period_s >= PERIOD_S:
            totals = self.totals
            self.per_second = totals.per(period_s, self._before)
            self._before, self.since = totals, now


def _sum(totals: Totals, backend: Backend) -> Totals:
    transport, upstream = backend.transport, backend.upstream
    return attrs.evolve(
        totals,
        transactions=totals.transactions + upstream.transactions,
        queries=totals.queries + upstream.queries,
        received_bytes=totals.received_bytes + transport.received_bytes,
        sent_bytes=totals.sent_bytes + transport.sent_bytes,
    )


class Usages:
    """All of them, by whom and where."""

    def __init__(self) -> None:
        self._by_key: dict[UsageKey, Usage] = {}

    def of(self, key: UsageKey, now: float) -> Usage:
        """The one of this user and server: the old one, if there was one."""
        found = self._by_key.get(key)
        if found is None:
            found = self._by_key[key] = Usage(now)
        return found

    def keep(self, wanted: set[Usage]) -> None:
        """Forget the others, as soon as they have no connection any more."""
        self._by_key = {key: usage for key, usage in self._by_key.items() if usage in wanted or usage.in_use}

    def sweep(self, now: float) -> None:
        """See `Usage.sweep`."""
        for usage in self._by_key.values():
            usage.sweep(now)

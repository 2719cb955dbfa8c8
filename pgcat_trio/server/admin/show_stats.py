"""SHOW STATS: what has been done on each server for each user, since the start and on average.

PgCat's columns, in its units: the times of transactions and queries are milliseconds, those of waits microseconds. An
average is that of the last whole period (`usage.PERIOD_S`): of counts, of bytes and of ``avg_wait_time`` by the second,
of ``avg_xact_time`` and ``avg_query_time`` for one transaction or query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import census
from .answers import NUMERIC, TEXT, columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...pool.usage import Totals
    from ..supervisor import Supervisor
    from .answers import Value

STATS: Final = (
    *columns(TEXT, "instance database user"),
    *columns(NUMERIC, "total_xact_count total_query_count total_received total_sent"),
    *columns(NUMERIC, "total_xact_time total_query_time total_wait_time total_errors"),
    *columns(NUMERIC, "avg_xact_count avg_query_count avg_recv avg_sent avg_errors"),
    *columns(NUMERIC, "avg_xact_time avg_query_time avg_wait_time"),
)

_MS: Final = 1000
_US: Final = 1_000_000


def stats(supervisor: Supervisor) -> Iterator[tuple[Value, ...]]:
    """One row for each server of each database and user."""
    for database, user, cluster in census.clusters(supervisor):
        for name, pool in census.address_names(cluster):
            yield (name, database, user, *_totals(pool.usage.totals), *_averages(pool.usage.per_second))


def _totals(totals: Totals) -> Iterator[int]:
    counts = (totals.transactions, totals.queries, totals.received_bytes, totals.sent_bytes)
    times = (totals.transaction_s * _MS, totals.query_s * _MS, totals.wait_s * _US)
    return map(round, (*counts, *times, totals.errors))


def _averages(rates: Totals) -> Iterator[int]:
    counts = (rates.transactions, rates.queries, rates.received_bytes, rates.sent_bytes, rates.errors)
    per_transaction_s = rates.transaction_s / rates.transactions if rates.transactions else 0.0
    per_query_s = rates.query_s / rates.queries if rates.queries else 0.0
    return map(round, (*counts, per_transaction_s * _MS, per_query_s * _MS, rates.wait_s * _US))

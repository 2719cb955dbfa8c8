"""What is to be measured, and what was."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final

import attrs

from .poolers import PGBOUNCER, PROXY, SPLITTING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .memory import Idle, Stream
    from .pgbench import Load, Run


SIMPLE: Final = "simple"
PREPARED: Final = "prepared"
"""The title of the loads that prepare their statement once."""


@attrs.frozen
class Plan:
    """How much is measured. ``seconds`` is the length of each run of pgbench; each result is a median of ``rounds``."""

    command: str
    rounds: int
    seconds: int
    idle_clients: int
    stream_rows: int


@attrs.define
class Results:
    """All measurements, as they come in; `runs` by load and way to the server, in the order of the rounds."""

    plan: Plan
    server_version: str
    load_average: float
    runs: dict[tuple[Load, str], list[Run]] = attrs.Factory(dict)
    idle: list[Idle] = attrs.Factory(list)
    streams: list[Stream] = attrs.Factory(list)

    def ways(self, load: Load) -> Iterator[tuple[str, list[Run]]]:
        """The ways that a load was sent, with their runs."""
        return ((name, runs) for (of, name), runs in self.runs.items() if of == load)

    def ratio(self, load: Load, name: str) -> float | None:
        """The median of the rounds' ratios of processor time per transaction, ``name`` to PgBouncer."""
        return _ratio(self.runs.get((load, name), ()), self.runs.get((load, PGBOUNCER), ()))

    def splitting_ratio(self, load: Load) -> float | None:
        """The same for the proxy with its query parser on to itself without."""
        return _ratio(self.runs.get((load, SPLITTING), ()), self.runs.get((load, PROXY), ()))

    def prepared_ratio(self, clients: int) -> float | None:
        """The same for the proxy's prepared statements to its simple protocol."""
        runs = {
            load.title: runs for (load, name), runs in self.runs.items() if name == PROXY and load.clients == clients
        }
        return _ratio(runs.get(PREPARED, ()), runs.get(SIMPLE, ()))


def _ratio(runs: Sequence[Run], others: Sequence[Run]) -> float | None:
    pairs = zip(runs, others, strict=False)
    ratios = [run.pooler_us / its.pooler_us for run, its in pairs if run.pooler_us and its.pooler_us]
    return median(ratios) if ratios else None

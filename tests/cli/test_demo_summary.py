"""When the demo says that all went well, and when not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from pgcat_trio.demo.summary import faults
from pgcat_trio.demo.workload import Tally, percentile_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgcat_trio.embedded import EmbeddedCluster


def nothing(_tally: Tally, _ports: list[int]) -> None:
    pass


def an_error(tally: Tally, _ports: list[int]) -> None:
    tally.failed(psycopg.OperationalError("connection refused\nIs the server running?"))


def a_write_on_a_replica(tally: Tally, ports: list[int]) -> None:
    tally.answered(ports[1], 0.001, write=True)


def no_read_on_the_second_replica(tally: Tally, ports: list[int]) -> None:
    tally.servers[ports[2]].reads = 0


def no_write(tally: Tally, ports: list[int]) -> None:
    tally.servers[ports[0]].writes = 0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (nothing, []),
        (an_error, ["client errors: 1, the last: connection refused"]),
        (a_write_on_a_replica, ["replica-1 answered 1 writes"]),
        (no_read_on_the_second_replica, ["replica-2 answered no read"]),
        (no_write, ["primary answered no write"]),
    ],
)
def test_faults(cluster: EmbeddedCluster, spoil: Callable[[Tally, list[int]], None], said: list[str]) -> None:
    ports = [server.port for server in cluster.servers]
    tally = Tally(ports)
    tally.answered(ports[0], 0.001, write=True)
    tally.answered(ports[1], 0.001, write=False)
    tally.answered(ports[2], 0.001, write=False)
    spoil(tally, ports)
    assert faults(cluster, tally) == said


@pytest.mark.parametrize(
    ("latencies_s", "percent", "shown"),
    [([], 50, "-"), ([0.0012], 99, "1.2"), ([0.001] * 99 + [1.0], 50, "1.0"), ([0.001] * 98 + [1.0] * 2, 99, "1000.0")],
)
def test_percentiles(latencies_s: list[float], percent: float, shown: str) -> None:
    assert percentile_ms(latencies_s, percent) == shown

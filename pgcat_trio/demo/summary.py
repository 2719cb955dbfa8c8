"""What the workload amounted to, and what was wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from .setup import ROWS
from .workload import percentile_ms

if TYPE_CHECKING:
    from ..embedded import EmbeddedCluster
    from .workload import Tally


def summary(cluster: EmbeddedCluster, tally: Tally, seconds: float) -> Table:
    """Reads, writes and latencies by server."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"{seconds:.1f} s, client errors: {tally.errors}")
    table.title_justify = "left"
    table.add_column("server")
    for heading in ("reads", "writes", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    for server in cluster.servers:
        count = tally.servers[server.port]
        latencies = (percentile_ms(count.latencies_s, percent) for percent in (50, 99))
        table.add_row(server.name, f"{count.reads:,}", f"{count.writes:,}", *latencies)
    return table


def faults(cluster: EmbeddedCluster, tally: Tally) -> list[str]:
    """Everything that did not go as it should; empty if all went well."""
    found = []
    if tally.errors:
        found.append(f"client errors: {tally.errors}, the last: {tally.last_error}")
    for server in cluster.servers:
        count = tally.servers[server.port]
        if server.role == "replica":
            if not count.reads:
                found.append(f"{server.name} answered no read")
            if count.writes:
                found.append(f"{server.name} answered {count.writes} writes")
        elif not count.writes:
            found.append(f"{server.name} answered no write")
    return found


async def lost_rows(cluster: EmbeddedCluster, tally: Tally) -> int:
    """How many of the rows that clients were told are written cannot be found on the primary."""
    written = sum(server.writes for server in tally.servers.values())
    found = int(await cluster.psql("select count(*) from visits"))
    return max(0, ROWS + written - found)

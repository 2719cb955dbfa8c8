"""Runs of pgbench: what clients see, and what the pooler paid for it."""

from __future__ import annotations

import os
import re
import statistics
from typing import TYPE_CHECKING, Final

import attrs
import trio

from .poolers import BenchError
from .process import cpu_time_s

if TYPE_CHECKING:
    from pathlib import Path

    from .poolers import Endpoint, Site

SCALE: Final = 10  # 1,000,000 accounts
SAMPLING_RATE: Final = 0.2
"""The part of the transactions that pgbench writes to its log: all of them would cost its clients time."""

SETUP_TIMEOUT_S: Final = 120.0
SPARE_TIME_S: Final = 60.0


@attrs.frozen
class Load:
    """What pgbench does: ``options`` of its command line, by so many ``clients`` at once."""

    title: str
    clients: int
    options: tuple[str, ...]
    threads: int = attrs.Factory(lambda self: min(self.clients, os.cpu_count() or 1), takes_self=True)


@attrs.frozen
class Run:
    """One run: transactions per second, their latency, and the pooler's processor time for each (None without one)."""

    tps: float
    p50_ms: float
    p99_ms: float
    pooler_us: float | None


def select_load(mode: str, clients: int) -> Load:
    """pgbench -S: one row by its primary key, in the ``simple`` or the ``extended`` protocol, or ``prepared``."""
    return Load(mode, clients, ("-S", "-M", mode))


def login_load(site: Site, clients: int = 4) -> Load:
    """Log in, ``SELECT 1``, leave, and again. A thread for each client: a login blocks its thread."""
    script = site.directory / "login.sql"
    script.write_text("SELECT 1;\n", encoding="ascii")
    return Load("login", clients, ("-C", "-f", str(script)), clients)


async def fill(site: Site) -> None:
    """Make pgbench's tables, and let the replicas catch up."""
    primary = site.cluster.primary
    await _pgbench(site, primary.host, primary.port, ["-i", "-q", "-s", str(SCALE)], SETUP_TIMEOUT_S)
    await primary.psql("checkpoint")
    await site.cluster.wait_caught_up(SETUP_TIMEOUT_S)


async def run(site: Site, endpoint: Endpoint, load: Load, seconds: int) -> Run:
    """One run. The processor time includes the logins of the clients, which are few beside their transactions."""
    log_prefix = site.directory / "transactions"
    before_s = cpu_time_s(endpoint.pid) if endpoint.pid is not None else 0.0
    arguments = [*load.options, "-n", "-c", str(load.clients), "-j", str(load.threads), "-T", str(seconds)]
    arguments += ["-l", f"--log-prefix={log_prefix}", f"--sampling-rate={SAMPLING_RATE}"]
    said = await _pgbench(site, endpoint.host, endpoint.port, arguments, seconds + SPARE_TIME_S)
    used_s = cpu_time_s(endpoint.pid) - before_s if endpoint.pid is not None else None
    transactions = int(_find(r"transactions actually processed: (\d+)", said))
    latencies_us = _take_latencies(log_prefix)
    if transactions == 0 or len(latencies_us) < 2:
        # pgbench's clock starts before its clients log in.
        raise BenchError(f"pgbench had {transactions} transactions in {seconds} s ({endpoint.name}): too few")
    hundredths = statistics.quantiles(latencies_us, n=100)
    return Run(
        tps=float(_find(r"^tps = ([\d.]+)", said)),
        p50_ms=hundredths[49] / 1000,
        p99_ms=hundredths[98] / 1000,
        pooler_us=used_s / transactions * 1e6 if used_s is not None else None,
    )


def _take_latencies(log_prefix: Path) -> list[int]:
    """Microseconds, the third column of the transaction logs, one log for each thread. Removes the logs."""
    latencies_us: list[int] = []
    for path in log_prefix.parent.glob(f"{log_prefix.name}.*"):
        with open(path, encoding="ascii") as lines:
            latencies_us += [int(line.split()[2]) for line in lines]
        path.unlink()
    return latencies_us


async def _pgbench(site: Site, host: str, port: int, arguments: list[str], timeout_s: float) -> str:
    cluster = site.cluster
    place = ["-h", host, "-p", str(port), "-U", cluster.superuser, cluster.database]
    command = [str(cluster.bin_dir / "pgbench"), *arguments, *place]
    with trio.move_on_after(timeout_s):
        result = await trio.run_process(
            command,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd=site.directory,
            env={**cluster.environ, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"},
            start_new_session=True,
        )
        said, complaints = result.stdout.decode(), result.stderr.decode().strip()
        if result.returncode != 0:
            raise BenchError(f"{' '.join(command)}\nended with status {result.returncode}:\n{complaints}")
        return said
    raise BenchError(f"{' '.join(command)}\nwas not done after {timeout_s:.0f} s")


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise BenchError(f"pgbench printed nothing like {pattern!r}:\n{text}")
    return match[1]

"""``python -m tests.bench [--quick] [--output FILE]``: measure, and write the page of results.

Progress goes to standard error, the page to standard output and to ``--output`` (a whole run: ``RESULTS.md`` here).
Exit code 1 if something failed, 130 after Ctrl-C; either way no process and no file is left behind.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from pgcat_trio.embedded import EmbeddedCluster, EmbeddedError

from . import memory, pgbench, poolers
from .poolers import DIRECT, PGBOUNCER, SPLITTING, BenchError, Site, running
from .process import raise_file_limit
from .report import TARGET_CLIENTS, markdown
from .results import PREPARED, Plan, Results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .poolers import Endpoint, Login

FULL: Final = Plan("python -m tests.bench", rounds=5, seconds=3, idle_clients=2000, stream_rows=1024 * 1024)
QUICK: Final = Plan("python -m tests.bench --quick", rounds=1, seconds=2, idle_clients=500, stream_rows=128 * 1024)
RESULTS_PATH: Final = Path(__file__).with_name("RESULTS.md")

MODES: Final = ("simple", "extended", PREPARED)
CLIENTS: Final = (1, TARGET_CLIENTS, 64)
WARM_UP_S: Final = 2
MAX_CONNECTIONS: Final = 300
# All of pgbench's tables in memory: what is measured is the way to the server, not its disk.
SERVER_SETTINGS: Final = {"shared_buffers": "256MB", "autovacuum": "off", "max_wal_size": "4GB"}
SPARE_FILES: Final = 500


async def measure(plan: Plan) -> Results:
    """Make all measurements, one after the other."""
    load_average = os.getloadavg()[0]
    raise_file_limit(plan.idle_clients + SPARE_FILES)
    _say("starting a primary and a replica")
    async with EmbeddedCluster(replicas=1, max_connections=MAX_CONNECTIONS, settings=SERVER_SETTINGS) as cluster:
        site = Site.prepare(cluster)
        version = (await cluster.psql("show server_version")).split()[0]
        results = Results(plan, version, load_average)
        await pgbench.fill(site)
        ways = poolers.available()
        selects = [pgbench.select_load(mode, clients) for mode in MODES for clients in CLIENTS]
        await _run_rounds(site, results, selects, ways, "trust")
        ways.remove(SPLITTING)
        await _run_rounds(site, results, [pgbench.login_load(site)], ways, "scram-sha-256")
        for name in ways:
            if name != DIRECT:
                _say(f"{plan.idle_clients} idle clients: {name}")
                results.idle.append(await memory.idle_clients(site, name, plan.idle_clients))
        for kind in memory.STREAMS:
            for name in ways:
                _say(f"streaming by {kind}: {name}")
                results.streams.append(await memory.stream(site, name, kind, plan.stream_rows))
    return results


async def _run_rounds(
    site: Site, results: Results, loads: Sequence[pgbench.Load], ways: Sequence[str], login: Login
) -> None:
    """Run every load on every way by turns, so that whatever else the machine does meets them all alike."""
    async with AsyncExitStack() as stack:
        endpoints = [await stack.enter_async_context(running(name, site, login)) for name in ways]
        for endpoint in endpoints:
            warm_up = next(load for load in reversed(loads) if _is_wanted(endpoint, load))
            await pgbench.run(site, endpoint, warm_up, WARM_UP_S)
        for round_number in range(1, results.plan.rounds + 1):
            for load in loads:
                _say(f"round {round_number} of {results.plan.rounds}: {load.title}, {load.clients} clients")
                for endpoint in endpoints:
                    if _is_wanted(endpoint, load):
                        run = await pgbench.run(site, endpoint, load, results.plan.seconds)
                        results.runs.setdefault((load, endpoint.name), []).append(run)


def _is_wanted(endpoint: Endpoint, load: pgbench.Load) -> bool:
    if endpoint.name == PGBOUNCER and load.title == PREPARED and not poolers.pgbouncer_prepares():
        return False
    return endpoint.name != SPLITTING or load.clients == TARGET_CLIENTS


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
    return [error]


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="What the proxy costs.")
    parser.add_argument("--quick", action="store_true", help="within two minutes, to try out the benchmark")
    parser.add_argument("--output", type=Path, help="write the page here (a whole run: RESULTS.md beside this module)")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell's "&" has it ignored
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # to end in order, as by Ctrl-C
    exit_code = 1
    try:
        page = markdown(trio.run(measure, QUICK if options.quick else FULL))
    except* KeyboardInterrupt:
        exit_code = 130
    except* (BenchError, EmbeddedError, ValueError) as group:
        for error in _leaves(group):
            print(f"bench: {error}", file=sys.stderr)
    else:
        print(page)
        output = options.output or (None if options.quick else RESULTS_PATH)
        if output is not None:
            output.write_text(page, encoding="utf-8")
        exit_code = 0
    return exit_code


if __name__ == "__main__":
    sys.exit(main())

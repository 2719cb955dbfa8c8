"""The results as a Markdown page: the machine, the targets in plain words, the tables."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from .memory import ROW_BYTES
from .pgbench import SCALE
from .poolers import PGBOUNCER, POOL_SIZE, PROXY, pgbouncer_prepares, pgbouncer_version
from .results import PREPARED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .pgbench import Load, Run
    from .results import Plan, Results

KB: Final = 1024
MB: Final = 1024 * 1024

TARGET_CLIENTS: Final = 16
TARGET_RATIO: Final = 4.0
TARGET_PREPARED_RATIO: Final = 1.2
TARGET_SPLITTING_RATIO: Final = 1.25
TARGET_IDLE_BYTES: Final = 40 * KB
TARGET_STREAM_BYTES: Final = 32 * MB


def markdown(results: Results) -> str:
    """The whole page."""
    blocks = [
        "# What the proxy costs",
        *_introduction(results.plan),
        "## Targets",
        _table(("target", "measured", ""), _targets(results)),
        *_pgbench_section(results),
        *_idle_section(results),
        *_stream_section(results),
        *_login_section(results),
        "## Machine",
        "\n".join(f"- {line}" for line in _machine(results)),
    ]
    return "\n\n".join(blocks) + "\n"


def _introduction(plan: Plan) -> Iterator[str]:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    yield (
        f"Measured on {today} by `{plan.command}`, which wrote this page. To repeat it, run the same at the top of the "
        "repository, on a machine that has nothing else to do."
    )
    if not shutil.which("pgbouncer"):
        yield "PgBouncer is not on this machine's PATH, so it is left out (on Debian: `apt install pgbouncer`)."
    elif not pgbouncer_prepares():
        yield f"{pgbouncer_version()} cannot do prepared statements in transaction mode (1.21 and later can)."
    if plan.rounds == 1:
        yield "A quick run, to try out the benchmark: one short round tells little."


def _targets(results: Results) -> Iterator[tuple[str, ...]]:
    for load in _select_loads(results):
        if load.clients == TARGET_CLIENTS:
            what = f"processor time per transaction at most {TARGET_RATIO:.0f} times PgBouncer's"
            where = f"({load.title} protocol, {load.clients} clients)"
            if load.title != PREPARED or pgbouncer_prepares():
                yield f"{what} {where}", *_verdict(results.ratio(load, PROXY), TARGET_RATIO, "{:.1f} times")
    what = f"prepared statements at most {TARGET_PREPARED_RATIO} times the processor time of the simple protocol"
    ratio = results.prepared_ratio(TARGET_CLIENTS)
    yield f"{what} ({TARGET_CLIENTS} clients)", *_verdict(ratio, TARGET_PREPARED_RATIO, "{:.2f} times")
    for load in _select_loads(results):
        if load.clients == TARGET_CLIENTS:
            what = f"reads split off at most {TARGET_SPLITTING_RATIO} times the processor time without"
            ratio = results.splitting_ratio(load)
            yield (
                f"{what} ({load.title}, {load.clients} clients)",
                *_verdict(ratio, TARGET_SPLITTING_RATIO, "{:.2f} times"),
            )
    of_idle = max((idle.used_bytes for idle in results.idle if idle.name == PROXY), default=None)
    clients = results.plan.idle_clients
    yield f"at most 40 KB per idle client ({clients} clients)", *_verdict(of_idle, TARGET_IDLE_BYTES, "{:.1f} KB", KB)
    of_streams = max((s.extra_bytes or 0 for s in results.streams if s.name == PROXY), default=None)
    what = f"at most 32 MB more memory while streaming {_stream_size(results)}"
    yield what, *_verdict(of_streams, TARGET_STREAM_BYTES, "{:.1f} MB", MB)


def _verdict(measured: float | None, target: float, form: str, unit: int = 1) -> tuple[str, str]:
    if measured is None:
        return "not measured", "unknown"
    return form.format(measured / unit), "**reached**" if measured <= target else "**not reached**"


def _pgbench_section(results: Results) -> Iterator[str]:
    plan = results.plan
    yield "## Reads by primary key (pgbench -S)"
    yield (
        f"Scale {SCALE}; both poolers in transaction mode with {POOL_SIZE} server connections; the ways by turns, each "
        f"for {plan.seconds} s a round; medians (rounds: {plan.rounds}). Processor time is the pooler's own, with the "
        f"kernel's work for it. “{PROXY}” has its query parser off; “splitting” has it on, and sends these reads to a "
        "replica."
    )
    header = ("clients", "", "transactions/s", "p50 ms", "p99 ms", "processor µs/transaction", "times PgBouncer's")
    for mode in dict.fromkeys(load.title for load in _select_loads(results)):
        yield "### Prepared statements" if mode == PREPARED else f"### {mode.capitalize()} protocol"
        loads = [load for load in _select_loads(results) if load.title == mode]
        yield _table(header, (row for load in loads for row in _select_rows(results, load)))


def _select_rows(results: Results, load: Load) -> Iterator[tuple[str, ...]]:
    for name, runs in results.ways(load):
        yield (
            str(load.clients),
            name,
            f"{median(run.tps for run in runs):,.0f}",
            f"{median(run.p50_ms for run in runs):.2f}",
            f"{median(run.p99_ms for run in runs):.2f}",
            _number(_pooler_us(runs), "{:.1f}"),
            _number(results.ratio(load, name) if name != PGBOUNCER else None, "{:.1f}"),
        )


def _idle_section(results: Results) -> Iterator[str]:
    yield "## Idle clients"
    yield (
        f"Resident memory of the pooler for each of {results.plan.idle_clients} clients, logged in by SCRAM over TCP: "
        "right after the login, and idle again after one statement each."
    )
    rows = ((i.name, f"{i.logged_in_bytes / KB:.1f}", f"{i.used_bytes / KB:.1f}") for i in results.idle)
    yield _table(("", "KB after the login", "KB after a statement"), rows)


def _stream_section(results: Results) -> Iterator[str]:
    yield f"## A result of {_stream_size(results)}"
    yield "Rows of 1 KB, read by one client as fast as they come. Memory is the pooler's highest above that before."
    rows = (
        (
            s.kind,
            s.name,
            f"{s.seconds:.1f}",
            f"{s.total_bytes / MB / s.seconds:,.0f}",
            _number(s.pooler_s, "{:.2f}"),
            _number(s.extra_bytes, "{:.1f}", MB),
        )
        for s in results.streams
    )
    yield _table(("", "", "s", "MB/s", "processor s", "more memory, MB"), rows)


def _login_section(results: Results) -> Iterator[str]:
    load = next((load for load, _ in results.runs if load not in _select_loads(results)), None)
    if load is None:
        return
    yield "## Logins"
    yield f"{load.clients} clients, each again and again: log in by SCRAM, `SELECT 1`, leave (pgbench -C)."
    rows = (
        (name, f"{median(run.tps for run in runs):,.0f}", _number(_pooler_us(runs), "{:.2f}", 1000))
        for name, runs in results.ways(load)
    )
    yield _table(("", "logins/s", "processor ms/login"), rows)


def _machine(results: Results) -> Iterator[str]:
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    models = [line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    yield f"{len(os.sched_getaffinity(0))} cores, {model}; Linux {platform.release()}"
    yield f"load average when it began: {results.load_average:.2f} (it should be near 0)"
    yield f"Python {platform.python_version()}, pgcat-trio {version('pgcat-trio')}, trio {version('trio')}"
    yield f"PostgreSQL {results.server_version}, on the same machine, as is pgbench"
    if shutil.which("pgbouncer"):
        yield pgbouncer_version()


def _select_loads(results: Results) -> list[Load]:
    return list(dict.fromkeys(load for load, _ in results.runs if "-S" in load.options))


def _pooler_us(runs: Iterable[Run]) -> float | None:
    values = [run.pooler_us for run in runs if run.pooler_us is not None]
    return median(values) if values else None


def _number(value: float | None, form: str, unit: int = 1) -> str:
    return "" if value is None else form.format(value / unit)


def _stream_size(results: Results) -> str:
    size_bytes = results.plan.stream_rows * ROW_BYTES
    return f"{size_bytes / (KB * MB):g} GB" if size_bytes >= KB * MB else f"{size_bytes / MB:.0f} MB"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)

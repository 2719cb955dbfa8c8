"""``pgcat-trio demo``: start everything, show it, end everything, and say how it went."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import attrs
import trio
from rich.console import Console
from rich.live import Live
from trio_util import periodic

from .._embedded_server import free_port
from ..config import load_config
from ..embedded import EmbeddedCluster, EmbeddedError
from ..observe import log as observe_log
from ..server.supervisor import Supervisor
from .setup import ADMIN, USER, Credentials, config_text, prepare
from .summary import faults, lost_rows, summary
from .view import View
from .workload import READERS, WRITERS, Client, Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from rich.console import RenderableType

INTERRUPTED: Final = 130
"""128 + SIGINT, as shells have it: ended before there was anything to judge."""

LOG_NAME: Final = "proxy.log"
LAST_TURN_S: Final = 5.0
"""How long the workload's clients get for their last answers."""

MAX_REPLICAS: Final = 8
_FRAME_S: Final = 0.25
_LINE_S: Final = 1.0
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal is gone


@attrs.frozen
class Options:
    """The command line."""

    replicas: int
    workload: bool
    seconds: float | None


def parse_options(arguments: Sequence[str]) -> Options:
    """The options in a command line; leaves the process when they are wrong, or for help."""
    parser = argparse.ArgumentParser(
        prog="pgcat-trio demo",
        description="Start a throw-away PostgreSQL cluster and the proxy, send some reads and writes through it and "
        "show live which server answers what.",
    )
    parser.add_argument("--replicas", type=int, default=2, metavar="N", help="streaming replicas (default: 2)")
    parser.add_argument("--no-workload", action="store_true", help="only serve")
    parser.add_argument("--seconds", type=float, metavar="N", help="end after so long (default: at Ctrl-C)")
    chosen = parser.parse_args(arguments)
    if not 0 <= chosen.replicas <= MAX_REPLICAS:
        parser.error(f"--replicas: from 0 to {MAX_REPLICAS}")
    if chosen.seconds is not None and not 0 < chosen.seconds < math.inf:
        parser.error("--seconds: more than 0")
    return Options(chosen.replicas, not chosen.no_workload, chosen.seconds)


async def run(options: Options) -> int:
    """Run the demo; returns its exit code: 0 only if all went well."""
    demo = Demo(options)
    with trio.open_signal_receiver(*_ENDING) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_signal, signals, nursery.cancel_scope)
            await demo.run()
            nursery.cancel_scope.cancel()
    return demo.exit_code


async def _cancel_at_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


class Demo:
    """One run. ``exit_code`` is right at every moment."""

    def __init__(self, options: Options) -> None:
        self.exit_code = INTERRUPTED
        self._options = options
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._live = self._console.is_terminal and not self._console.is_dumb_terminal

    async def run(self) -> None:
        """From nothing to nothing. After Cancelled no process and no file is left."""
        self._say(f"Starting PostgreSQL: a primary and {self._options.replicas} streaming replicas ...")
        try:
            async with EmbeddedCluster(replicas=self._options.replicas) as cluster:
                await self._run_proxy(cluster)
        except EmbeddedError as error:
            sys.stderr.write(f"pgcat-trio demo: {error}\n")
            self.exit_code = 1

    async def _run_proxy(self, cluster: EmbeddedCluster) -> None:
        credentials = Credentials()
        await prepare(cluster, credentials)
        path, port = cluster.directory / "pgcat.toml", free_port()
        text = config_text(cluster, credentials, port)
        _write_private(path, text)
        supervisor = Supervisor(load_config(path))
        tally = Tally([server.port for server in cluster.servers])
        view = View(cluster, supervisor, tally)
        with path.with_name(LOG_NAME).open("w", encoding="utf-8") as log_file:
            observe_log.configure(file=log_file, observer=view.observe)
            async with trio.open_nursery() as proxy:
                await proxy.start(supervisor.run)
                dsn = _dsn(USER, credentials.password, port, cluster.database)
                admin_dsn = _dsn(ADMIN, credentials.admin_password, port, "pgcat")
                self._introduce(cluster, path, text, dsn, admin_dsn)
                await self._drive(cluster, view, tally, dsn)
                proxy.cancel_scope.cancel()

    async def _drive(self, cluster: EmbeddedCluster, view: View, tally: Tally, dsn: str) -> None:
        """Show what happens, with the workload if there shall be one, and say at the end what it was."""
        begun = trio.current_time()
        lost: int | None = None
        try:
            async with trio.open_nursery() as showing:
                showing.start_soon(self._show, view)
                showing.start_soon(tally.measure_rates)
                await self._work(dsn, tally)
                showing.cancel_scope.cancel()
            if self._options.workload and cluster.primary.is_running:
                lost = await lost_rows(cluster, tally)
        finally:
            if self._options.workload:
                self._conclude(cluster, tally, lost, trio.current_time() - begun)
            else:
                self.exit_code = 0

    async def _work(self, dsn: str, tally: Tally) -> None:
        """Return when ``--seconds`` are over and the clients have their last answers."""
        stop = trio.Event()
        async with trio.open_nursery() as clients:
            for number in range(READERS + WRITERS if self._options.workload else 0):
                clients.start_soon(Client(dsn, tally, writer=number < WRITERS).run, stop)
            await trio.sleep(math.inf if self._options.seconds is None else self._options.seconds)
            stop.set()
            clients.cancel_scope.deadline = trio.current_time() + LAST_TURN_S

    # -- words -----------------------------------------------------------------------------------------------------

    def _introduce(self, cluster: EmbeddedCluster, path: Path, text: str, dsn: str, admin_dsn: str) -> None:
        seconds = self._options.seconds
        lines = {
            "configuration": path,
            "log": path.with_name(LOG_NAME),
            "application": dsn,
            "admin console": admin_dsn,
            "kill a replica": f"kill -9 {cluster.replicas[0].pid}" if cluster.replicas else None,
            "end": "Ctrl-C" if seconds is None else f"by itself after {seconds:g} s",
        }
        self._say(f"\n{text}")
        for what, how in lines.items():
            if how is not None:
                self._say(f"{what + ':':16}{how}")
        self._say("")

    async def _show(self, view: View) -> None:
        if self._live:
            with Live(console=self._console, auto_refresh=False) as live:
                async for _ in periodic(_FRAME_S):
                    live.update(view.screen(), refresh=True)
        else:
            while True:
                await trio.sleep(_LINE_S)
                for line in (*view.news(), view.line()):
                    self._say(line)

    def _conclude(self, cluster: EmbeddedCluster, tally: Tally, lost: int | None, seconds: float) -> None:
        """Say how it went. ``lost`` is None where nobody could look."""
        wrong = faults(cluster, tally)
        if lost:
            wrong.append(f"{lost} rows that clients were told are written cannot be found")
        self.exit_code = 1 if wrong else 0
        self._say(summary(cluster, tally, seconds))
        if not wrong:
            self._say("All went well: every replica answered reads, and only the primary wrote.")
            self._say("Every write that was acknowledged is there." if lost == 0 else "")
        for line in wrong:
            self._say(f"NOT WELL: {line}")

    def _say(self, what: RenderableType) -> None:
        self._console.print(what, soft_wrap=isinstance(what, str))


def _dsn(user: str, password: str, port: int, database: str) -> str:
    return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{port}/{quote(database, safe='')}"


def _write_private(path: Path, text: str) -> None:
    """Write a file that only we can read: it holds passwords."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)

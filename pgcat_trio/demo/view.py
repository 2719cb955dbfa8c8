"""The demo's state as rows, and these as a table for terminals (rich) or as plain lines."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..observe.log import quoted
from .workload import RECENT, percentile_ms

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from ..embedded import EmbeddedCluster, EmbeddedServer
    from ..server.supervisor import Supervisor
    from .workload import ServerTally, Tally

EVENTS_SHOWN: Final = 6
_EVENTS_KEPT: Final = 50

_HEAD: Final = ("timestamp", "level", "logger", "event")

_UNEXCITING: Final = ("backend.opened", "backend.closed", "client.")
_STYLES: Final = {"up": "green", "banned": "yellow", "down": "bold red", "WARNING": "yellow", "ERROR": "bold red"}


@attrs.frozen
class Row:
    """One server, as the proxy sees it and as its answers show it."""

    name: str
    role: str
    state: str
    reason: str
    pid: int | None
    backends: int
    tally: ServerTally

    @property
    def latencies(self) -> str:
        """p50 and p99 of the last answers."""
        kept = self.tally.latencies_s
        recent = list(islice(reversed(kept), RECENT))
        return f"{percentile_ms(recent, 50)} / {percentile_ms(recent, 99)}"


@attrs.define
class Event:
    """An event of the log, and how often it happened in a row."""

    time: str
    level: str
    text: str
    times: int = 1

    def __str__(self) -> str:
        return f"{self.time} {self.text}" + (f" ({self.times} times)" if self.times > 1 else "")


class View:
    """Everything there is to show. Give `observe` to the log."""

    def __init__(self, cluster: EmbeddedCluster, supervisor: Supervisor, tally: Tally) -> None:
        self.events: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        """The last events of the log that matter here."""
        self._cluster = cluster
        self._supervisor = supervisor
        self._tally = tally
        self._begun = trio.current_time()

    def observe(self, event: MutableMapping[str, Any]) -> None:
        """Remember an event of the log."""
        if event["event"].startswith(_UNEXCITING):
            return
        fields = (f"{key}={quoted(event[key])}" for key in event if key not in _HEAD)
        text = self._with_names(" ".join([event["event"], *fields]))
        if self.events and self.events[-1].text == text:
            self.events[-1].times += 1
        else:
            self.events.append(Event(event["timestamp"][11:19], event["level"], text))

    def _with_names(self, text: str) -> str:
        """A text about servers, with their names in place of their addresses."""
        for server in self._cluster.servers:
            text = text.replace(f"{server.host}:{server.port}", server.name)
        return text

    def rows(self) -> list[Row]:
        """One for each server, the primary first."""
        return [self._row(server) for server in self._cluster.servers]

    def _row(self, server: EmbeddedServer) -> Row:
        directory = self._supervisor.directory
        known = directory.servers.get(f"{server.host}:{server.port}")
        state, reason = "up", ""
        if known is not None and known.banned:
            left_s = known.banned_until - trio.current_time()
            state, reason = "banned", self._with_names(f"for {max(left_s, 0):.0f} s more: {known.ban_reason}")
        elif not server.is_running:
            state = "down"
        backends = sum(len(pool.backends) for pool in directory.pools() if pool.server is known)
        tally = self._tally.servers[server.port]
        return Row(server.name, server.role, state, reason, server.pid, backends, tally)

    # -- for terminals ---------------------------------------------------------------------------------------------

    def screen(self) -> Group:
        """The whole picture."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("server", "role", "state", "pid"):
            table.add_column(heading, no_wrap=True)
        for heading in ("reads", "/s", "writes", "/s", "p50 / p99 ms", "backends"):
            table.add_column(heading, justify="right", no_wrap=True)
        rows = self.rows()
        for row in rows:
            counts = (row.tally.reads, row.tally.reads_per_s, row.tally.writes, row.tally.writes_per_s)
            table.add_row(
                Text(row.name, style="bold"),
                row.role,
                Text(row.state, style=_STYLES[row.state]),
                str(row.pid or "-"),
                *(f"{count:,}" for count in counts),
                row.latencies,
                str(row.backends),
            )
        headline = Text(self.headline(), "bold red" if self._tally.errors else "")
        bans = [_line(f"{row.name} {row.state} {row.reason}", row.state) for row in rows if row.reason]
        events = [_line(str(event), event.level) for event in list(self.events)[-EVENTS_SHOWN:]]
        return Group(table, headline, *bans, Text(), *events)

    def headline(self) -> str:
        """Time, clients and errors in a line."""
        elapsed_s = trio.current_time() - self._begun
        last = f" (last: {self._tally.last_error})" if self._tally.errors else ""
        clients = len(self._supervisor.connections)
        return f"{elapsed_s:.0f} s, clients: {clients}, client errors: {self._tally.errors}{last}"

    # -- plain -----------------------------------------------------------------------------------------------------

    def news(self) -> list[str]:
        """The events since the last call, as lines."""
        lines = [str(event) for event in self.events]
        self.events.clear()
        return lines

    def line(self) -> str:
        """The whole picture in one line."""
        return " | ".join([self.headline(), *(_plain(row) for row in self.rows())])


def _line(text: str, style: str) -> Text:
    return Text(text, _STYLES.get(style, ""), overflow="ellipsis", no_wrap=True)


def _plain(row: Row) -> str:
    state = "" if row.state == "up" else f" {row.state},"
    rates = f"{row.tally.reads_per_s} reads/s, {row.tally.writes_per_s} writes/s, p50 / p99 {row.latencies} ms"
    return f"{row.name}:{state} {rates}"

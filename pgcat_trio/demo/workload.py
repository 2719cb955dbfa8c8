"""A small workload through the proxy: a few clients read and write one table, and each answer says who gave it."""

from __future__ import annotations

import random
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import attrs
import psycopg
import trio

from .setup import ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

READERS: Final = 8
WRITERS: Final = 2
PAUSE_S: Final = 0.02
PAUSE_AFTER_ERROR_S: Final = 0.2
CONNECT_TIMEOUT_S: Final = 5

RECENT: Final = 500
"""Answers per server that the live latencies are of."""

_KEPT: Final = 100_000
"""Answers per server that the summary's latencies are of."""

_READ: Final = "select inet_server_port(), (select note from visits where id = %s)"
_WRITE: Final = "insert into visits (note) values (%s) returning inet_server_port()"


@attrs.define
class ServerTally:
    """What one server answered."""

    reads: int = 0
    writes: int = 0
    reads_per_s: int = 0
    writes_per_s: int = 0
    latencies_s: deque[float] = attrs.field(factory=lambda: deque(maxlen=_KEPT))


class Tally:
    """What all clients saw: answers by the port of the server that gave them, and errors."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.servers = {port: ServerTally() for port in ports}
        self.errors = 0
        self.last_error = ""

    def answered(self, port: int, latency_s: float, *, write: bool) -> None:
        """Count one answer."""
        server = self.servers[port]
        server.latencies_s.append(latency_s)
        if write:
            server.writes += 1
        else:
            server.reads += 1

    def failed(self, error: psycopg.Error) -> None:
        """Count one error that a client was told."""
        self.errors += 1
        self.last_error = str(error).partition("\n")[0]

    async def measure_rates(self) -> None:
        """Keep the rates per second, for ever."""
        before = dict.fromkeys(self.servers, (0, 0))
        while True:
            await trio.sleep(1)
            for port, server in self.servers.items():
                reads, writes = before[port]
                server.reads_per_s, server.writes_per_s = server.reads - reads, server.writes - writes
                before[port] = server.reads, server.writes


class Client:
    """One connection to the proxy and what it does, turn by turn, in a thread each: psycopg knows no Trio."""

    def __init__(self, dsn: str, tally: Tally, *, writer: bool) -> None:
        self._dsn = dsn
        self._tally = tally
        self._writer = writer
        self._connection: psycopg.Connection[Any] | None = None

    async def run(self, stop: trio.Event) -> None:
        """Go on until ``stop``. After Cancelled a last request may still be on its way, in a thread by itself."""
        while not stop.is_set():
            try:
                port, latency_s = await trio.to_thread.run_sync(self._turn, abandon_on_cancel=True)
                self._tally.answered(port, latency_s, write=self._writer)
                pause_s = PAUSE_S
            except psycopg.Error as error:
                self._tally.failed(error)
                pause_s = PAUSE_AFTER_ERROR_S
            await trio.sleep(pause_s * random.uniform(0.5, 1.5))
        if self._connection is not None:
            self._connection.close()

    def _turn(self) -> tuple[int, float]:
        """One request: the port of the server that answered, and how long it took."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._dsn,
                autocommit=True,
                prepare_threshold=None,  # the next transaction may be on another backend
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="pgcat-trio demo",
            )
        begun = time.perf_counter()
        if self._writer:
            row = self._connection.execute(_WRITE, [f"written at {time.time():.3f}"]).fetchone()
        else:
            row = self._connection.execute(_READ, [random.randint(1, ROWS)]).fetchone()
        if row is None:
            raise psycopg.DataError("an answer without a row")
        return row[0], time.perf_counter() - begun


def percentile_ms(latencies_s: Sequence[float], percent: float) -> str:
    """The latency that so many percent of the answers did not exceed, in milliseconds; "-" where there are none."""
    if not latencies_s:
        return "-"
    ordered = sorted(latencies_s)
    return f"{1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]:.1f}"

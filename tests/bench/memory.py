"""A pooler's memory: for clients that do nothing, and while a large result runs through.

Each measurement is made on a pooler that was just started, because memory once taken is seldom given back: what one
measurement left behind would hide what the next one needs.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import psycopg
import trio

from .poolers import BenchError, running
from .process import cpu_time_s, forget_peak, peak_resident_bytes, resident_bytes

if TYPE_CHECKING:
    from .poolers import Endpoint, Site

ROW_BYTES: Final = 1024
"""What one row of a large result is on the wire, as a DataRow."""

STREAMS: Final = {
    "SELECT": "SELECT repeat('x', {text_chars}) FROM generate_series(1, {rows})",
    "COPY": "COPY (SELECT repeat('x', {text_chars}) FROM generate_series(1, {rows})) TO STDOUT",
}
ROW_OVERHEAD_BYTES: Final = 11  # DataRow: type 1, length 4, number of columns 2, length of the column 4
READY: Final = b"Z\x00\x00\x00\x05I"  # ReadyForQuery, idle
RECEIVE_BYTES: Final = 1 << 18
STREAM_TIMEOUT_S: Final = 60.0  # without a byte
CONNECT_TIMEOUT_S: Final = 10
SETTLE_S: Final = 1.0


@attrs.frozen
class Idle:
    """Resident memory for each of ``clients``, in bytes: once logged in, and idle again after a first statement."""

    name: str
    clients: int
    logged_in_bytes: float
    used_bytes: float


@attrs.frozen
class Stream:
    """A large result: how long it took, and the pooler's memory above what it had before (None without a pooler)."""

    name: str
    kind: str
    total_bytes: int
    seconds: float
    extra_bytes: int | None
    pooler_s: float | None


async def idle_clients(site: Site, name: str, clients: int) -> Idle:
    """Let so many clients log in by SCRAM, say one thing each, and sit there."""
    async with running(name, site, "scram-sha-256") as endpoint:
        idle = await trio.to_thread.run_sync(_idle_clients, site, endpoint, clients, abandon_on_cancel=True)
    return idle


async def stream(site: Site, name: str, kind: str, rows: int) -> Stream:
    """Read a result of so many rows, as fast as it comes. ``kind`` is one of `STREAMS`."""
    async with running(name, site, "scram-sha-256") as endpoint:
        result = await trio.to_thread.run_sync(_stream, site, endpoint, kind, rows, abandon_on_cancel=True)
    return result


def _idle_clients(site: Site, endpoint: Endpoint, clients: int) -> Idle:
    pid = endpoint.pid
    assert pid is not None
    with contextlib.ExitStack() as stack:
        connect = partial(_connect, site, endpoint)
        stack.enter_context(connect()).execute("SELECT 1")  # what the first client costs, none of the others does
        before = _settled_bytes(pid)
        connections = [stack.enter_context(connect()) for _ in range(clients)]
        logged_in = _settled_bytes(pid)
        for connection in connections:
            connection.execute("SELECT 1")
        used = _settled_bytes(pid)
    return Idle(endpoint.name, clients, (logged_in - before) / clients, (used - before) / clients)


def _settled_bytes(pid: int) -> int:
    time.sleep(SETTLE_S)
    return resident_bytes(pid)


def _stream(site: Site, endpoint: Endpoint, kind: str, rows: int) -> Stream:
    query = STREAMS[kind].format(text_chars=ROW_BYTES - ROW_OVERHEAD_BYTES, rows=rows)
    pid = endpoint.pid
    with _connect(site, endpoint) as connection:
        connection.execute("SELECT 1")
        before_s, before_bytes = (cpu_time_s(pid), resident_bytes(pid)) if pid is not None else (0.0, 0)
        if pid is not None:
            forget_peak(pid)
        start = time.perf_counter()
        total_bytes = _read_result(connection.fileno(), query)
        seconds = time.perf_counter() - start
        extra = peak_resident_bytes(pid) - before_bytes if pid is not None else None
        pooler_s = cpu_time_s(pid) - before_s if pid is not None else None
    if total_bytes < rows * (ROW_BYTES - ROW_OVERHEAD_BYTES):
        raise BenchError(f"{endpoint.name} sent {total_bytes} bytes for {rows} rows of {kind}")
    return Stream(endpoint.name, kind, total_bytes, seconds, extra, pooler_s)


def _read_result(fd: int, query: str) -> int:
    """Send a query on a connection that libpq has logged in, and count the bytes to the end of its result.

    Past libpq, which would keep a result of rows in memory, and is slower than what it is to measure.
    """
    body = query.encode() + b"\0"
    buffer = memoryview(bytearray(RECEIVE_BYTES))
    total, tail = 0, b""
    with socket.socket(fileno=os.dup(fd)) as connection:
        connection.settimeout(STREAM_TIMEOUT_S)
        connection.sendall(b"Q" + (len(body) + 4).to_bytes(4, "big") + body)
        while tail != READY:  # the rows are all x, so that nothing else looks like it
            received = connection.recv_into(buffer)
            if not received:
                raise BenchError(f"the connection was lost after {total} bytes of a result")
            total += received
            tail = (tail + bytes(buffer[max(0, received - len(READY)) : received]))[-len(READY) :]
    return total


def _connect(site: Site, endpoint: Endpoint) -> psycopg.Connection[Any]:
    cluster = site.cluster
    return psycopg.connect(
        host=endpoint.host,
        port=endpoint.port,
        user=cluster.superuser,
        password=cluster.password,
        dbname=cluster.database,
        sslmode="disable",
        gssencmode="disable",
        connect_timeout=CONNECT_TIMEOUT_S,
        autocommit=True,
    )

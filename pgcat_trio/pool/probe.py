"""The question that a health check asks a server, and the connection on which it does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import attrs
import trio

from ..errors import ProxyError, ServerError, ServerLoginFailed, ServerUnavailable
from ..wire import encode
from ..wire.upstream import Upstream
from .asking import ask
from .connect import open_connection
from .resolver import host_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ..config.model import General
    from ..net.poller import Poller
    from ..net.transport import Transport
    from .asking import Row
    from .connect import Target

_STARTUP: Final = {"application_name": "pgcat-trio health check", "client_encoding": "UTF8"}

_SHUTTING_DOWN: Final = "57P"
"""The class of SQLSTATE by which a server says itself that it is not there: starting up, shutting down, crashed."""

_IN_RECOVERY: Final = "(SELECT pg_catalog.pg_is_in_recovery() AS standby) AS _"

_QUESTIONS: Final = (
    # A standby's timeline is that of its last restart point, for whoever may not see pg_stat_wal_receiver.
    "SELECT standby, CASE WHEN standby THEN pg_catalog.pg_last_wal_replay_lsn() "
    "ELSE pg_catalog.pg_current_wal_lsn() END, "
    "CASE WHEN NOT standby THEN pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) END, "
    "CASE WHEN standby THEN (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()) END, "
    "CASE WHEN standby THEN pg_catalog.date_part('epoch', "
    "pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.pg_last_xact_replay_timestamp()) END, "
    f"(SELECT system_identifier FROM pg_catalog.pg_control_system()) FROM {_IN_RECOVERY}",
    # For servers that do not let everybody know as much.
    f"SELECT standby, NULL, NULL, NULL, NULL, NULL FROM {_IN_RECOVERY}",
)
_QUERIES: Final = tuple(map(encode.query, _QUESTIONS))


@attrs.frozen(kw_only=True)
class Report:
    """What a server says about itself. ``position`` is what a primary has written, or a standby replayed, in bytes.

    ``replayed_s`` is how long ago a standby's last transaction was committed on its primary; ``system`` names the
    database cluster that it is a copy of. None for what it does not tell.
    """

    standby: bool
    position: int | None = None
    timeline: int | None = None
    replayed_s: float | None = None
    system: str | None = None
    latency_s: float = 0.0
    """How long it took to answer."""

    @classmethod
    def of(cls, row: Row, latency_s: float) -> Report:
        """From the answer to a question; ValueError if it is none."""
        standby, position, file, timeline, replayed_s, system = row
        return cls(
            standby=standby == "t",
            position=None if position is None else wal_position(position),
            timeline=int(file[:8], 16) if file else int(timeline) if timeline else None,
            replayed_s=None if replayed_s is None else float(replayed_s),
            system=system,
            latency_s=latency_s,
        )


def wal_position(text: str) -> int:
    """``16/B374D848`` as a number of bytes (PostgreSQL manual, "pg_lsn Type"). Raises ValueError."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def is_ill(error: ProxyError) -> bool:
    """True if an error means that a server is not there: one that has words for us is ill only if it says so."""
    if isinstance(error, ServerError):
        return error.sqlstate.startswith(_SHUTTING_DOWN)
    return not isinstance(error, ServerLoginFailed)


class Probe:
    """One connection for health checks, which is opened again when it breaks.

    ``heard`` is called with what comes of `ask_nowait`, and with None when the connection has broken, or should be
    asked once more. It must neither raise nor await.
    """

    def __init__(
        self, target: Target, poller: Poller | None, heard: Callable[[Report | ProxyError | None], None]
    ) -> None:
        self.target = target
        self.pending = False
        """`ask_nowait` waits for its answer."""
        self.asked_at = -math.inf
        self._poller = poller
        self._heard = heard
        self._transport: Transport | None = None
        self._upstream = Upstream()
        self._rows: list[Row] = []
        self._question = 0

    @property
    def is_open(self) -> bool:
        """There is a connection."""
        return self._transport is not None

    async def connect(self, options: General) -> None:
        """Open the connection, within ``connect_timeout``. Raises as `connect.open_connection`."""
        with trio.move_on_after(options.connect_timeout_s):
            while self._transport is None:
                target = self.target
                greeting = await open_connection(target, self._poller, options, _STARTUP)
                if target != self.target:
                    greeting.transport.close()  # a reload came in between
                    continue
                self._transport, self._upstream, self._question = greeting.transport, Upstream(), 0
                self._transport.unread(greeting.rest)
            return
        raise self.silence(options.connect_timeout_s)

    def close(self) -> None:
        """Close the connection, if it is open. Never raises."""
        self.pending = False
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def is_astray(self, addresses: Collection[str]) -> bool:
        """True if it is connected to none of these addresses."""
        return self._transport is not None and host_of(self._transport.peer) not in addresses

    def silence(self, timeout_s: float) -> ServerUnavailable:
        """Nothing has been heard for so long."""
        return ServerUnavailable(f"server {self.target.address} did not answer within {timeout_s:g} s")

    # -- without a task --------------------------------------------------------------------------------------------

    def ask_nowait(self) -> bool:
        """Ask on a connection that can be watched; False where there is none, or it has broken."""
        transport = self._transport
        if transport is None or not transport.watch(self._on_data):
            return False
        question = _QUERIES[self._question]
        try:
            sent = transport.send_nowait(question)
        except trio.BrokenResourceError:
            sent = 0
        if sent < len(question):
            self.close()
            return False
        self._upstream.expected.sent_own_query()
        self._rows = self._upstream.captured = []
        self.asked_at = trio.current_time()
        self.pending = True
        return True

    def _on_data(self, data: bytes) -> bool:
        """What the server says; it is listened to all the time, so that its end is noticed."""
        try:
            self._upstream.feed(data)
        except ProxyError as problem:
            self.close()
            self._heard(problem)
            return False
        if not data:
            self.close()
            self._heard(None)
        elif self.pending and not self._upstream.expected.queue:
            self.pending = False
            error = self._upstream.take_swallowed_error()
            self._heard(self._read(self._rows) if error is None else self._ask_less(ServerError(error)))
        return self._transport is not None

    def _ask_less(self, refusal: ServerError) -> ServerError | None:
        """A server may refuse one question and answer the next; None then."""
        if is_ill(refusal) or self._question + 1 == len(_QUESTIONS):
            return refusal
        self._question += 1
        return None

    # -- with a task -----------------------------------------------------------------------------------------------

    async def ask(self, options: General) -> Report:
        """What the server says on the open connection, within ``healthcheck_timeout``.

        Raises `ConnectionResetError` if it breaks, `ServerUnavailable` if the server says nothing or no sense,
        `ServerError` if it refuses. After all of these but the last, and after `Cancelled`, call `close`.
        """
        with trio.move_on_after(options.healthcheck_timeout_s):
            while True:
                try:
                    return await self._converse()
                except ServerError as refusal:
                    if self._ask_less(refusal) is not None:
                        raise
        raise self.silence(options.healthcheck_timeout_s)

    async def _converse(self) -> Report:
        transport = self._transport
        if transport is None:
            raise ConnectionResetError("it is asked with another login from now on")
        transport.unwatch()
        self.asked_at = trio.current_time()
        answer = self._read(await ask(transport, self._upstream, _QUESTIONS[self._question]))
        if isinstance(answer, ProxyError):
            raise answer
        return answer

    def _read(self, rows: list[Row]) -> Report | ProxyError:
        latency_s = trio.current_time() - self.asked_at
        try:
            return Report.of(rows[0], latency_s)
        except (ValueError, IndexError):
            return ServerUnavailable(f"server {self.target.address} does not answer as PostgreSQL does")

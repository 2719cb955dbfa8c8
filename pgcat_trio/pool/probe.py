"""The question that a health check asks a server, and the connection on which it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import trio

from ..errors import ServerError, ServerLoginFailed, ServerUnavailable
from ..wire.upstream import Upstream
from .asking import ask
from .connect import open_connection
from .resolver import host_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..config.model import General
    from ..errors import ProxyError
    from ..net.transport import Transport
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

    @classmethod
    def of(cls, row: list[str | None]) -> Report:
        """From the answer to a question; ValueError if it is none."""
        standby, position, file, timeline, replayed_s, system = row
        return cls(
            standby=standby == "t",
            position=None if position is None else wal_position(position),
            timeline=int(file[:8], 16) if file else int(timeline) if timeline else None,
            replayed_s=None if replayed_s is None else float(replayed_s),
            system=system,
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
    """One connection for health checks, which is opened again when it breaks."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.latency_s = 0.0
        """How long the server took to answer last; connecting is not counted."""
        self._transport: Transport | None = None
        self._upstream = Upstream()
        self._question = 0

    @property
    def is_open(self) -> bool:
        """There is a connection."""
        return self._transport is not None

    async def connect(self, options: General) -> None:
        """Open the connection, within ``connect_timeout``. Raises as `connect.open_connection`."""
        with trio.move_on_after(options.connect_timeout_s):
            greeting = await open_connection(self.target, None, options, _STARTUP)
            self._transport, self._upstream, self._question = greeting.transport, Upstream(), 0
            self._transport.unread(greeting.rest)
            return
        raise self.silence(options.connect_timeout_s)

    async def ask(self, options: General) -> Report:
        """What the server says on the open connection, within ``healthcheck_timeout``.

        Raises `ConnectionResetError` if it breaks, `ServerUnavailable` if the server says nothing or no sense,
        `ServerError` if it refuses. After all of these but the last, and after `Cancelled`, call `close`.
        """
        with trio.move_on_after(options.healthcheck_timeout_s):
            try:
                return await self._converse()
            except ServerError as refusal:
                if is_ill(refusal) or self._question + 1 == len(_QUESTIONS):
                    raise
            self._question += 1
            return await self._converse()
        raise self.silence(options.healthcheck_timeout_s)

    def silence(self, timeout_s: float) -> ServerUnavailable:
        """Nothing has been heard for so long."""
        return ServerUnavailable(f"server {self.target.address} did not answer within {timeout_s:g} s")

    async def lost(self) -> None:
        """Return when the connection breaks, or the server says anything; wait for ever if there is none."""
        if self._transport is None:
            await trio.sleep_forever()
        else:
            self._transport.unread(await self._transport.receive())

    def is_astray(self, addresses: Collection[str]) -> bool:
        """True if it is connected to none of these addresses."""
        return self._transport is not None and host_of(self._transport.peer) not in addresses

    def close(self) -> None:
        """Close the connection, if it is open. Never raises."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    async def _converse(self) -> Report:
        assert self._transport is not None
        asked_at = trio.current_time()
        rows = await ask(self._transport, self._upstream, _QUESTIONS[self._question])
        self.latency_s = trio.current_time() - asked_at
        try:
            return Report.of(rows[0])
        except (ValueError, IndexError):
            raise ServerUnavailable(f"server {self.target.address} does not answer as PostgreSQL does") from None

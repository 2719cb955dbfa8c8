"""Replication connections: a walsender of the client's own, and everything passed on as it comes.

A walsender cannot be shared: it streams for as long as it lives (PostgreSQL manual, "Streaming Replication Protocol").
So whatever the pool's mode, the client gets a connection of its own to the primary, opened with the pool's credentials
and the start-up parameters of the client. It is none of ``pool_size``; the server's max_wal_senders bounds how many
there are. What either side says is passed on unread, but for where the server's messages end: by two tasks, each of
which waits until one side has taken what the other has said before it asks for more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
import trio

from ..config.model import Role
from ..errors import BackendLost, ProtocolViolation, ProxyError, ServerError, ServerUnavailable
from ..net.transport import RECEIVE_BYTES
from ..pool.backend import Backend
from ..pool.connect import open_connection
from ..wire import encode
from ..wire.passage import Passage
from .outbox import Outbox
from .relay import CLIENT_TERMINATED
from .session import FAREWELL_S, shutting_down
from .telling import CLIENT_LEFT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..net.transport import Transport
    from ..pool.cluster import Cluster
    from ..pool.connect import Greeting
    from ..pool.pool import Pool
    from .gateway import Gateway

log = structlog.get_logger("pgcat_trio.session")

SERVER_LEFT: Final = "server closed the connection"

_FALSE: Final = ("false", "no", "off", "0")
_OWN_MISTAKES: Final = ("28", "3D")
"""Classes of SQLSTATE by which a server refuses what the proxy logs in with."""

_NOT_PASSED_ON: Final = frozenset(("user", "database"))


def wants_replication(parameters: Mapping[str, str]) -> bool:
    """True where a startup packet asks for a walsender; a value that means nothing is the server's to refuse.

    PostgreSQL's ProcessStartupPacket: "database", or a boolean, of which parse_bool takes any unambiguous beginning.
    """
    value = parameters.get("replication")
    if value is None:
        return False
    word = value.lower()
    return not (word and word != "o" and any(each.startswith(word) for each in _FALSE))


def is_physical(parameters: Mapping[str, str]) -> bool:
    """True where no database is meant: libpq's programs name one that does not exist, "replication"."""
    return wants_replication(parameters) and parameters["replication"] != "database"


class Replication:
    """A client with a walsender. Call `connect`, then `run`, once each; `ended` then says why it is over."""

    def __init__(self, client: Transport, gateway: Gateway, cluster: Cluster, user: str, database: str) -> None:
        self.client = client
        self.user = user
        self.database = database
        self.cluster = cluster
        self.outbox = Outbox(client)
        self.backend: Backend | None = None
        """The connection to the walsender; its pool does not know it."""
        self.passage = Passage({})
        self.started_at = trio.current_time()
        self.ended: ProxyError | str | None = None
        """Why it is over: an error that the client is told, or words for the log."""
        self.transactions: int | None = None
        """Nobody counts them."""
        self._gateway = gateway
        self._closing = False
        self._scope: trio.CancelScope | None = None

    @property
    def reported(self) -> Mapping[str, str]:
        """The ParameterStatus values of the server."""
        return self.backend.parameters if self.backend is not None else {}

    async def connect(self, parameters: Mapping[str, str]) -> None:
        """Open the connection to the primary for a client's start-up ``parameters``, within ``connect_timeout``.

        Raises `ServerUnavailable` if there is no primary or it does not answer, `ServerError` with its own words if it
        refuses. After any error and after `Cancelled` nothing is open.
        """
        pool = self._primary()
        wanted = {
            name: value
            for name, value in parameters.items()
            if name not in _NOT_PASSED_ON and not name.startswith("_pq_.")
        }
        timeout_s = pool.user.connect_timeout_s
        try:
            with trio.move_on_after(timeout_s):
                greeting = await open_connection(pool.target, None, pool.options, wanted)
                # No await from here on: the connection is owned by the time anything can be cancelled.
                self._connected(pool, greeting)
                return
        except ServerError as refusal:
            if refusal.sqlstate.startswith(_OWN_MISTAKES):
                raise
            # What it does not like is what the client has asked for: the client hears just that.
            raise ServerError(refusal.fields) from None
        raise ServerUnavailable(f"server {pool.target.address} did not answer within {timeout_s:g} s")

    def _connected(self, pool: Pool, greeting: Greeting) -> None:
        greeting.transport.unread(greeting.rest)
        now = trio.current_time()
        self.backend = Backend(pool, greeting.transport, greeting.parameters, greeting.pid, greeting.key, now)
        self.passage = Passage(self.backend.parameters)

    def _primary(self) -> Pool:
        for pool in self.cluster.pools:
            if pool.role is Role.PRIMARY:
                return pool
        raise ServerUnavailable(
            f"no primary server is configured for {self.cluster.name}, and replication needs one",
            hint="Add one to the pool's servers.",
        )

    async def run(self, first: bytes = b"") -> None:
        """Pass on until one side ends or has to. ``first`` is what the client has sent already.

        Whatever ends it, `Cancelled` included, both connections are closed.
        """
        assert self.backend is not None
        backend = self.backend
        who = {"user": self.user, "database": self.database, "pool": backend.pool.name, "pid": backend.pid}
        log.info("replication.begun", **who, application_name=backend.parameters.get("application_name", ""))
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                nursery.start_soon(self._to_client, backend)
                await self._to_server(backend, first)
        finally:
            self.finish(shutting_down())
            if self.passage.missing_bytes:
                self.outbox.intact = False
            self.release()
            with trio.move_on_after(FAREWELL_S, shield=True):
                await self.outbox.farewell(self.ended, linger=self.ended == SERVER_LEFT)
            self.client.close()
            reason = self.ended.message if isinstance(self.ended, ProxyError) else self.ended
            log.info("replication.ended", **who, reason=reason, server_said=(self.passage.last_error or {}).get("M"))

    def finish(self, reason: ProxyError | str) -> None:
        """End it, now. The first reason counts."""
        if self.ended is None:
            self.ended = reason
        if self._scope is not None:
            self._scope.cancel()

    def release(self) -> None:
        """Close the connection to the server, if there is one. Synchronous; may be called twice."""
        backend, self.backend = self.backend, None
        if backend is None:
            return
        backend.transport.close()
        server_left = self.ended == SERVER_LEFT or isinstance(self.ended, BackendLost)
        if self.passage.at_work and not (self.passage.streaming or server_left or self.ended == CLIENT_TERMINATED):
            # At work on SQL or on a base backup, it notices that nobody is there only when it has something to say.
            backend.pool.cancel_soon(backend)

    def cancel(self) -> trio.Event | None:
        """A CancelRequest of the client's: passed on whatever the walsender does, as it would arrive there itself."""
        return self.backend.pool.cancel_soon(self.backend) if self.backend is not None else None

    def drain(self) -> None:
        """End it between two messages to the client: at once if that is now."""
        self._closing = True
        if self.outbox.empty and not self.passage.missing_bytes:
            self.finish(shutting_down())

    def sweep(self, now: float) -> None:
        """Enforce the timeouts: called a few times a second."""
        if 0 < self._gateway.general.client_write_timeout_s < now - self.outbox.stalled_since:
            self.finish("client does not read what it asked for (client_write_timeout)")

    # -- the tasks -------------------------------------------------------------------------------------------------

    async def _to_server(self, backend: Backend, first: bytes) -> None:
        reason = CLIENT_LEFT
        data = first or await self.client.receive()
        while data:
            self.passage.at_work = True
            try:
                await backend.transport.send(data)
            except trio.BrokenResourceError:
                return  # its last words may still be there to read
            reason = CLIENT_TERMINATED if data.endswith(encode.TERMINATE) else CLIENT_LEFT
            data = await self.client.receive()
        self.finish(self.client.fault or reason)

    async def _to_client(self, backend: Backend) -> None:
        passage = self.passage
        try:
            await self.outbox.flush()  # of the welcome
            while not self._closing or passage.missing_bytes:
                # At a shutdown not a byte more than what ends the message that is under way.
                limit = min(passage.missing_bytes, RECEIVE_BYTES) if self._closing else RECEIVE_BYTES
                data = await backend.transport.receive(limit)
                if not data:
                    self.finish(self._end_of_server(backend))
                    return
                passage.feed(data)
                if not self.outbox.write(data):
                    await self.outbox.flush()
            self.finish(shutting_down())
        except ProtocolViolation as problem:
            self.finish(self._lost(backend, problem.message))
        except trio.BrokenResourceError:
            self.finish(self.client.fault or CLIENT_LEFT)

    def _end_of_server(self, backend: Backend) -> ProxyError | str:
        """Why it is over with the server: one that closes the connection in order has said why, if there is a why."""
        fault = backend.transport.fault
        return SERVER_LEFT if fault is None or self.passage.last_error is not None else self._lost(backend, fault)

    @staticmethod
    def _lost(backend: Backend, reason: str) -> BackendLost:
        return BackendLost(
            f"lost the connection to server {backend.pool.server.address}: {reason}",
            hint="Connect again, and go on from the last position that was received.",
        )

"""The nursery of one client: two tasks, a codec on each side, and at most one leased backend.

``ingress`` (client to backend) and ``egress`` (backend to client) live as long as the session. Most of the time both
are parked, and the poller takes their turns for them: `_on_client` and `_on_backend` are those turns. A turn never
waits. What a socket does not take at once is left to the two tasks: ingress sends the rest to the backend, egress to the
client. While a session waits for a backend it is in the cluster's queue, and goes on when it is granted one.

Laws of this file:

* Only ingress, or a turn on its behalf, writes to the backend. Only the outbox writes to the client.
* Being granted a backend and storing it on the session is one step; the ``finally`` of `run` gives it back.
* Between transactions a session is *parked*: no backend, nothing owed, no partial message (`parked`).
* A statement goes to a replica only if it is proven to be a read; while one is under way on a replica, what is not
  proven waits until it is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from ..config.model import PoolMode, Role
from ..errors import (
    BackendLost,
    IdleInTransaction,
    ProtocolViolation,
    ProxyError,
    QueryCanceled,
    ServerError,
    ServerUnavailable,
    ShuttingDown,
)
from ..pool.cluster import ClusterRetired, Waiter
from ..pool.settings import settings_sql
from ..routing.effects import Effect
from ..wire import codes, encode
from ..wire.downstream import Downstream
from ..wire.replies import COPY_END, SWALLOW
from .outbox import Outbox
from .parking import Parking

if TYPE_CHECKING:

    from ..net.transport import Transport
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.settings import Settings
    from ..routing.route import Route, Router
    from .gateway import Gateway

log = structlog.get_logger("pgcat_trio.session")

FAREWELL_S = 2.0
"""How long the last words to a client may take: it may not be reading."""

CLIENT_LEFT = "client closed the connection"
CLIENT_TERMINATED = "client said goodbye"


class _Turn(Waiter):
    """A session's place in the queue for a backend, and what it will do with it."""

    __slots__ = ("batch", "route", "session")

    def __init__(self, session: Session, batch: bytes, route: Route) -> None:
        super().__init__(route.role, route.fallback_to_primary)
        self.session = session
        self.batch = batch
        self.route = route

    def granted(self, backend: Backend) -> None:
        self.session._granted(backend, self)

    def refused(self, reason: ProxyError) -> None:
        self.session._refused(reason, self)


class Session:
    """A client that has logged in. Call `run` once; `ended` then says why it is over."""

    __slots__ = (
        "_checkout_failures",
        "_egress_parking",
        "_gateway",
        "_heard_at",
        "_held",
        "_lost",
        "_mode",
        "_parking",
        "_reroutes",
        "_router",
        "_scope",
        "_timed_out",
        "_unsent",
        "_waiter",
        "backend",
        "client",
        "closing",
        "cluster",
        "database",
        "downstream",
        "ended",
        "outbox",
        "settings",
        "started_at",
        "transactions",
        "user",
    )

    def __init__(
        self, client: Transport, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings
    ) -> None:
        self.client = client
        self.user = user
        self.database = database
        self.cluster = cluster
        self.settings = settings
        self.downstream = Downstream(gateway.general.max_message_bytes)
        self.outbox = Outbox(client)
        self.backend: Backend | None = None
        self.ended: ProxyError | str | None = None
        """Why the session is over: an error that the client is told, or words for the log."""
        self.closing = False
        """End as soon as nothing is under way."""
        self.transactions = 0
        self.started_at = trio.current_time()
        self._gateway = gateway
        self._router: Router = cluster.router
        self._mode = cluster.user.pool_mode
        self._parking = Parking()
        self._egress_parking = Parking()
        self._scope: trio.CancelScope | None = None
        self._unsent = b""  # what the backend did not take at once: ingress sends it
        self._waiter: _Turn | None = None  # the place in the queue for a backend
        self._held = b""  # a batch that waits until the backend owes nothing
        self._reroutes = False  # the backend was chosen for a read only
        self._lost: ProxyError | None = None  # a transaction died while the client was not asking
        self._timed_out = False  # the running request has been cancelled for its length
        self._checkout_failures = 0
        self._heard_at = self.started_at

    @property
    def parked(self) -> bool:
        """True between transactions: nothing is held, owed or half-said."""
        return self.backend is None and self._waiter is None and not self.downstream.pending

    # -- the nursery -----------------------------------------------------------------------------------------------

    async def run(self, first: bytes = b"") -> None:
        """Serve the client until it leaves or has to. ``first`` is what it has sent already.

        Whatever ends the session, `Cancelled` included, the backend is given back and the client closed.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                nursery.start_soon(self._egress)
                if first:
                    self._on_client(first)
                if self.ended is None:
                    await self._ingress()
        finally:
            self.client.unwatch()
            self._leave_queue()
            self._release()
            if self.ended is None:
                self.ended = ShuttingDown("terminating connection due to administrator command")
            with trio.move_on_after(FAREWELL_S, shield=True):
                await self._farewell()
            self.client.close()

    def finish(self, reason: ProxyError | str) -> None:
        """End the session, now. The first reason counts."""
        if self.ended is None:
            self.ended = reason
            if self._scope is not None:
                self._scope.cancel()

    def drain(self) -> None:
        """End the session as soon as nothing is under way: at once if it is parked."""
        self.closing = True
        if self.parked or (self.backend is not None and self.backend.upstream.quiet and not self._unsent):
            self.finish(ShuttingDown("terminating connection due to administrator command"))

    async def _farewell(self) -> None:
        """Tell the client why, if it is somebody's fault and the client can still be told."""
        if isinstance(self.ended, ProxyError) and self.outbox.intact:
            try:
                await self.outbox.flush()
                await self.client.send(encode.error_response(self.ended, severity="FATAL"))
            except trio.BrokenResourceError:
                return
        await self.client.aclose()

    # -- ingress: client to backend --------------------------------------------------------------------------------

    async def _ingress(self) -> None:
        """Do what turns cannot: wait for a slow backend, and read from clients that need a task to be read (TLS)."""
        while True:
            if self._unsent:
                await self._send_rest()
            elif self._stalled or self.client.watch(self._on_client):
                await self._parking.park()
            else:
                self._on_client(await self.client.receive())

    @property
    def _stalled(self) -> bool:
        """True when nothing more can be taken from the client before something else has happened."""
        return self.downstream.terminated or (self._waits and self.downstream.full)

    @property
    def _waits(self) -> bool:
        """True when what the client has sent must wait: for a backend, for its answers, or for its socket."""
        return bool(self._unsent or self._held) or self._waiter is not None

    def _on_client(self, data: bytes) -> bool:
        """A turn of ingress: False when the client must wait, or the ingress task has to go on itself."""
        if not data:
            self.finish(self.client.fault or CLIENT_LEFT)
            return False
        self._heard_at = trio.current_time()
        self.downstream.feed(data)
        if not self._waits:
            self._advance()
        if self._unsent or self._stalled:
            self._parking.wake()
            return False
        return self.ended is None

    def _advance(self) -> None:
        """Send on whatever is complete, until there is nothing more or something to wait for."""
        downstream = self.downstream
        try:
            while True:
                batch = downstream.take(streaming=self.backend is not None)
                if not batch:
                    break
                self._forward(batch)
                if not downstream.pending or self._waits or self.ended is not None:
                    break
            if downstream.terminated and not self._waits:
                # What it has asked for before is still done, as a server would.
                self._settle(self.backend is None or self.backend.upstream.expected.settled)
        except Exception as problem:
            self._turn_failed(problem)

    def _go_on(self) -> None:
        """What the client had to wait for is there: take up what it has sent in the meantime."""
        self._advance()
        self._parking.wake()

    def _turn_failed(self, problem: Exception) -> None:
        """The boundary of errors: what a turn raises ends this session, and only this one."""
        if isinstance(problem, ProxyError):
            self.finish(problem)
        elif isinstance(problem, trio.BrokenResourceError):
            self.finish(self.client.fault or CLIENT_LEFT)
        else:
            log.error("session.bug", user=self.user, database=self.database, exc_info=problem)
            self.finish(ProxyError("internal error in the proxy", hint="The proxy's log has the details."))

    def _forward(self, batch: bytes) -> None:
        backend = self.backend
        if backend is None:
            self._begin(batch)
        elif self._mode is PoolMode.SESSION:
            self._send(backend, batch)
        else:
            route = self._route()
            if self._reroutes and route.role is Role.PRIMARY and backend.upstream.status == codes.IDLE:
                # It may belong to another server: first see whether this one has a transaction open.
                self._held = batch
                return
            if route.effects is not Effect.NONE:
                backend.effects |= route.effects
            self._send(backend, batch)

    def _begin(self, batch: bytes) -> None:
        """The start of a transaction, as far as the proxy knows: find a backend for it."""
        downstream = self.downstream
        if self._lost is not None and not downstream.continuation:
            error, self._lost = self._lost, None
            self._refuse(error)
        elif batch == encode.SYNC:
            self._say(encode.ready_for_query())
        elif downstream.continuation or not (
            downstream.texts or downstream.unsynced or downstream.markers.strip(b"cf")
        ):
            # The rest of what was refused, or copy data for a COPY that is over: servers drop it, too.
            return
        else:
            if self.cluster.retired:
                self._rebind()
            route = self._route()
            backend = self.cluster.acquire_nowait(route.role, self._heard_at)
            if backend is None:
                self._queue(_Turn(self, batch, route))
            else:
                self.backend = backend
                self._start(backend, batch, route)

    def _route(self) -> Route:
        downstream = self.downstream
        router = self._router
        if self._mode is PoolMode.SESSION:
            return router.session
        if downstream.doubtful:
            return router.unknown
        texts = downstream.texts
        if not downstream.complete and downstream.executes:
            # More may follow in the same implicit transaction, and it may write.
            route = router.in_doubt(router.route_batch(texts))
        elif len(texts) == 1:
            route = router.route(texts[0])
        else:
            route = router.route_batch(texts)
        return route.with_effects(Effect.PREPARED) if downstream.named else route

    def _start(self, backend: Backend, batch: bytes, route: Route) -> None:
        """First bytes to a backend just leased, with the client's settings before them if it lacks any."""
        self._reroutes = self._router.splitting and backend.pool.role is Role.REPLICA
        if route.effects is not Effect.NONE:
            backend.effects |= route.effects
        if backend.settings is not self.settings:
            sql = settings_sql(backend.settings, self.settings)
            if sql:
                backend.upstream.expected.sent_own_query()
                backend.settings = self.settings
                batch = encode.query(sql) + batch
        if not (self.outbox.empty and backend.transport.watch(self._on_backend)):
            backend.transport.unwatch()
            self._egress_parking.wake()
        self._send(backend, batch)

    def _send(self, backend: Backend, batch: bytes) -> None:
        downstream = self.downstream
        backend.upstream.expected.sent(downstream.markers, downstream.unsynced)
        try:
            sent = backend.transport.send_nowait(batch)
        except trio.BrokenResourceError as problem:
            # Its last words may still be there to read; egress finds them, and the end behind them.
            backend.broken = str(problem)
            return
        if sent < len(batch):
            backend.sending = True
            self._unsent = batch[sent:]
            self._parking.wake()

    async def _send_rest(self) -> None:
        """The backend did not take everything at once: wait until it has."""
        backend = self.backend
        if backend is not None:
            try:
                await backend.transport.send(self._unsent)
                backend.sending = False
            except trio.BrokenResourceError as problem:
                backend.broken = str(problem)
        self._unsent = b""
        self._release_if_quiet()
        self._go_on()

    # -- the queue for a backend -----------------------------------------------------------------------------------

    def _queue(self, waiter: _Turn) -> None:
        waiter.deadline = self._heard_at + self.cluster.user.connect_timeout_s
        self._waiter = waiter
        self.cluster.enqueue(waiter)

    def _leave_queue(self) -> None:
        if self._waiter is not None:
            self.cluster.leave(self._waiter)
            self._waiter = None

    def _granted(self, backend: Backend, waiter: _Turn) -> None:
        self.backend = backend
        self._waiter = None
        try:
            self._start(backend, waiter.batch, waiter.route)
        except Exception as problem:
            self._turn_failed(problem)
        if self.downstream.pending:
            self._go_on()

    def _refused(self, reason: ProxyError, waiter: _Turn) -> None:
        self._waiter = None
        try:
            if isinstance(reason, ClusterRetired):
                self._rebind()
                self._queue(waiter)
                return
            self._checkout_failed(reason)
        except Exception as problem:
            self._turn_failed(problem)
        if self.downstream.pending:
            self._go_on()

    def _checkout_failed(self, error: ProxyError) -> None:
        self._checkout_failures += 1
        limit = self.cluster.config.checkout_failure_limit
        log.warning(
            "session.no_backend", user=self.user, database=self.database, reason=error.message, sqlstate=error.sqlstate
        )
        self._refuse(error)
        if limit and self._checkout_failures >= limit:
            raise ServerUnavailable(f"checkout failure limit reached ({self._checkout_failures} / {limit})")

    def _rebind(self) -> None:
        """A reload replaced the cluster: go on with the new one. Raises `ShuttingDown` if there is none."""
        cluster = self._gateway.find_cluster(self.database, self.user)
        if cluster is None:
            raise ShuttingDown(f'the pool for database "{self.database}" and user "{self.user}" has been removed')
        self.cluster = cluster
        self._router = cluster.router
        self._mode = cluster.user.pool_mode

    # -- egress: backend to client ---------------------------------------------------------------------------------

    async def _egress(self) -> None:
        """Do what turns cannot: wait for a slow client, and read from backends that need a task to be read (TLS)."""
        while True:
            try:
                await self.outbox.flush()
            except trio.BrokenResourceError:
                self.finish(self.client.fault or CLIENT_LEFT)
            backend = self.backend
            if backend is None or backend.transport.watch(self._on_backend):
                await self._egress_parking.park()
            else:
                data = await backend.transport.receive()
                if self.backend is backend:
                    self._on_backend(data)

    def _on_backend(self, data: bytes) -> bool:
        """A turn of egress: False when the backend is not this session's to read any more, or not now."""
        backend = self.backend
        assert backend is not None
        upstream = backend.upstream
        try:
            if not data:
                self._backend_lost(backend, backend.transport.fault or "the server closed the connection")
                return False
            data = upstream.feed(data)
            if upstream.changed_parameters:
                self._parameters_changed(backend)
            if upstream.swallowed_error is not None:
                backend.broken = "the client's settings were refused"
                raise ServerError(upstream.swallowed_error)
            self._release_if_quiet()
            if data:
                self._say(data)
            if self._held or self.downstream.terminated:
                self._settle(upstream.expected.settled)
        except ProtocolViolation as problem:
            self._backend_lost(backend, problem.message)
        except Exception as problem:
            self._turn_failed(problem)
        return self.backend is backend and self.outbox.empty

    def _settle(self, settled: bool) -> None:
        """Do what was put off until the backend owes nothing, if that is now."""
        if not settled:
            return
        if self._held:
            batch, self._held = self._held, b""
            self._reroutes = False
            self._forward(batch)
            self._go_on()
        else:
            self.finish(CLIENT_TERMINATED)

    def _release_if_quiet(self) -> None:
        """Give the backend back if its transaction is over and nothing more is on its way to it."""
        backend = self.backend
        if backend is None or not backend.upstream.quiet or backend.sending or not self.downstream.between_messages:
            return
        self._timed_out = False
        if self._mode is not PoolMode.SESSION:
            self._release()
        if self.closing and not self._held:
            self.finish(ShuttingDown("terminating connection due to administrator command"))

    def _release(self) -> None:
        """Give the backend back, in whatever state it is. Synchronous and total."""
        backend, self.backend = self.backend, None
        if backend is not None:
            self.transactions += 1
            backend.pool.transactions += 1
            backend.transport.unwatch()
            if not self.downstream.between_messages:
                backend.sending = True
            if self._mode is PoolMode.SESSION:
                backend.effects |= Effect.UNKNOWN
            backend.pool.release(backend)

    def _parameters_changed(self, backend: Backend) -> None:
        changes = backend.take_changed_parameters()
        if changes:
            self.settings = self.settings.with_changes(changes)
            if self.cluster.config.log_client_parameter_status_changes:
                for name, value in changes:
                    log.info("client.parameter_changed", user=self.user, database=self.database, name=name, value=value)

    # -- errors ----------------------------------------------------------------------------------------------------

    def _say(self, data: bytes) -> None:
        if not self.outbox.write(data):
            self._egress_parking.wake()

    def _refuse(self, error: ProxyError) -> None:
        """Answer the batch that was taken last with an error, as a server would: each request once, then ready."""
        downstream = self.downstream
        response = encode.error_response(error, severity="ERROR")
        requests = len(downstream.markers.translate(None, b"cf"))
        answer = (response + encode.ready_for_query()) * requests
        if downstream.unsynced:
            answer += response
            downstream.discard_until_sync()
        self._say(answer)

    def _backend_lost(self, backend: Backend, reason: str) -> None:
        """The server closed the connection, or broke the protocol. The session goes on where that is possible."""
        upstream = backend.upstream
        words = backend.last_words()
        reason = words or backend.broken or reason
        log.warning("backend.lost", pool=backend.pool.name, pid=backend.pid, user=self.user, reason=reason)
        backend.broken = reason
        error = BackendLost(
            f"lost the connection to server {backend.pool.server.address}: {reason}",
            hint="The transaction may or may not have been committed; check before repeating it.",
        )
        expected = upstream.expected
        intact = upstream.between_messages and self.downstream.between_messages
        owed = [entry for entry in expected.queue if entry not in (SWALLOW, COPY_END)]
        unsynced = expected.unsynced
        # What the server said last was an error already: the client needs no second one for the same request.
        told = upstream.last_error is not None and not expected.swallowing
        self._release()
        if self._mode is PoolMode.SESSION or not intact:
            self.finish(reason if told else error)
            return
        answer = encode.error_response(error)
        if owed or unsynced:
            reply = (answer + encode.ready_for_query()) * len(owed)
            if unsynced:
                reply += answer
                self.downstream.discard_until_sync()
            self._say(reply.removeprefix(answer) if told else reply)
        else:
            self._lost = error
        if self._held or self.downstream.terminated:
            self._settle(True)

    # -- from outside: cancellation and time -----------------------------------------------------------------------

    def cancel(self) -> None:
        """A CancelRequest for this session: whatever it runs or waits for ends; if it does neither, nothing happens."""
        if self._waiter is not None:
            self._leave_queue()
            self._refuse(QueryCanceled("canceling statement due to user request"))
            self._go_on()
        elif self.backend is not None and not self.backend.upstream.expected.settled:
            self.backend.pool.cancel_soon(self.backend)

    def sweep(self, now: float) -> None:
        """Enforce the timeouts: called a few times a second, for every session."""
        general = self._gateway.general
        if general.client_write_timeout_s and now - self.outbox.stalled_since > general.client_write_timeout_s:
            self.finish("client does not read what it asked for (client_write_timeout)")
        backend = self.backend
        if backend is None or not self.outbox.empty:
            return
        silent_s = now - self._heard_at
        upstream = backend.upstream
        limit_s = general.idle_client_in_transaction_timeout_s
        waits_for_client = upstream.expected.copy_in or not upstream.expected.queue
        if waits_for_client:
            if 0 < limit_s < silent_s and (upstream.status != codes.IDLE or not upstream.quiet):
                self.finish(IdleInTransaction("terminating connection due to idle-in-transaction timeout"))
            return
        limit_s = self.cluster.user.statement_timeout_s
        if 0 < limit_s < silent_s and not self._timed_out:
            self._timed_out = True
            backend.pool.cancel_soon(backend)

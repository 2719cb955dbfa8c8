"""The nursery of one client: two tasks, and the turns between them.

``ingress`` (client to backend) and ``egress`` (backend to client) live as long as the session. Most of the time both
are parked, and the poller takes their turns for them (`relay.Relay`). What a socket does not take at once is left to
the tasks: ingress sends the rest to the backend, egress to the client. They also read for those connections that the
poller cannot read (TLS).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import trio

from ..errors import IdleInTransaction, IdleSession, ProxyError, QueryCanceled, ShuttingDown, TransactionTimeout
from ..pool.greetings import identity
from .relay import Relay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..net.transport import Transport
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.settings import Settings
    from .gateway import Gateway

FAREWELL_S: Final = 2.0
"""How long the last words to a client may take: it may not be reading."""

_REST_S: Final = 3.0
"""How long an idle session is not looked at, unless its own time comes before: thousands cost too much otherwise."""

_STATEMENT_TIMEOUT: Final = "canceling statement due to statement timeout"
_STATEMENT_WAITED: Final = QueryCanceled(
    _STATEMENT_TIMEOUT,
    hint="No connection to a server became free in time: raise statement_timeout or pool_size.",
)


def shutting_down() -> ShuttingDown:
    """What a client is told when the proxy ends its session, in PostgreSQL's words."""
    return ShuttingDown("terminating connection due to administrator command")


class Session(Relay):
    """A client that has logged in. Call `run` once; `ended` then says why it is over."""

    __slots__ = ("_busy_at", "_scope", "started_at")

    def __init__(
        self, client: Transport, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings
    ) -> None:
        super().__init__(client, gateway, cluster, user, database, settings)
        self.started_at = trio.current_time()
        self._busy_at = self.started_at  # when a sweep found it at work last
        self._scope: trio.CancelScope | None = None

    @property
    def reported(self) -> Mapping[str, str]:
        """The ParameterStatus values that hold for the client: its backend's, or those of any that it will get."""
        if self.backend is not None:
            return self.backend.parameters
        greetings, values = self.cluster.greetings, self.settings.values
        reported = {**(greetings.parameters or {}), **greetings.identities.get(identity(values), {})}
        return {**reported, **{name: value for name, value in values.items() if name in reported}}

    async def run(self, first: bytes = b"") -> None:
        """Serve the client until it leaves or has to. ``first`` is what it has sent already.

        Whatever ends the session, `Cancelled` included, the backend is given back and the client closed.
        """
        self.heard_at = trio.current_time()  # until now it could not say anything
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                nursery.start_soon(self._egress)
                if first:
                    self.on_client(first)
                if self.ended is None:
                    await self._ingress()
        finally:
            self.client.unwatch()
            self.stop_listening()
            self.leave_queue()
            if self.backend is not None and not self.backend.upstream.between_messages:
                self.outbox.intact = False
            self.tell_withheld()
            self.release()
            self.finish(shutting_down())
            with trio.move_on_after(FAREWELL_S, shield=True):
                await self.outbox.farewell(self.ended)
            self.client.close()

    def finish(self, reason: ProxyError | str) -> None:
        """End the session, now. The first reason counts."""
        super().finish(reason)
        if self._scope is not None:
            self._scope.cancel()

    def drain(self) -> None:
        """End the session as soon as nothing is under way: at once if it is parked."""
        self.closing = True
        if self.parked or (self.backend is not None and self.backend.upstream.quiet and not self.unsent):
            self.finish(shutting_down())

    # -- the tasks -------------------------------------------------------------------------------------------------

    async def _ingress(self) -> None:
        while self.ended is None:
            if self.unsent:
                await self._send_rest()
            elif self.stalled or self.client.watch(self.on_client):
                await self.ingress_parking.park()
            elif not (self.waits or self.may_send_unasked):
                self.on_client(await self.client.receive())
            elif (data := await self.ingress_parking.park_or(self.client.receive)) is not None:
                self.on_client(data)

    async def _send_rest(self) -> None:
        """The backend did not take everything at once: wait until it has."""
        backend = self.backend
        if backend is not None:
            try:
                await backend.transport.send(self.unsent)
                backend.sending = False
            except trio.BrokenResourceError as problem:
                backend.broken = str(problem)
        self.unsent = b""
        self.come_to_rest()
        self.egress_parking.wake()
        self.go_on()

    async def _egress(self) -> None:
        # Once the session has ended, what is still due to the client is the farewell's to send.
        while self.ended is None:
            try:
                if not self.outbox.empty:
                    await self.outbox.flush()
                    self.ingress_parking.wake()
                if self.downstream.terminated:
                    self.settle()
            except Exception as problem:
                self.turn_failed(problem)
            backend = self.backend
            if backend is None or self.giving_back or backend.transport.watch(self.on_backend):
                await self.egress_parking.park()
            else:
                receive = backend.transport.receive
                # What others, or we ourselves, say to the client meanwhile may have to be sent.
                waits = self.leftovers is not None or backend.upstream.expected.settled
                data = await (self.egress_parking.park_or(receive) if waits else receive())
                if data is not None and self.backend is backend:
                    self.on_backend(data)

    # -- time ------------------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Enforce the timeouts: called a few times a second, less often while it rests.

        Whatever ends the session is said by its farewell, once; nothing is said that would have to be answered.
        """
        if 0 < self.gateway.general.client_write_timeout_s < now - self.outbox.stalled_since:
            self.finish("client does not read what it asked for (client_write_timeout)")
        elif self.ended is not None:
            return
        elif self.backend is not None and not self.backend.upstream.quiet:
            self._busy_at = now
            self._sweep_transaction(self.backend, now)
        elif self.place is not None:
            self._busy_at = now
            if 0 < self.cluster.user.statement_timeout_s < now - self.place.since:
                self.give_up(_STATEMENT_WAITED)
        elif self.begun is not None:
            self._busy_at = now
            self._sweep_open(self.begun.at, self.heard_at if self.outbox.empty else math.inf, now)
        elif self.outbox.empty:
            self._sweep_idle(now)
        else:
            self._busy_at = now

    def _sweep_transaction(self, backend: Backend, now: float) -> None:
        self._sweep_open(self.began_at, self._silent_since(backend), now)
        statement_timeout_s = self.cluster.user.statement_timeout_s
        if self.ended is not None or self.timed_out:
            return
        if 0 < statement_timeout_s < now - self.asked_at and self._runs(backend):
            self.timed_out = True
            backend.upstream.cancel_reason = _STATEMENT_TIMEOUT
            backend.pool.cancel_soon(backend)

    def _sweep_open(self, began_at: float, silent_since: float, now: float) -> None:
        """A transaction is open, whether or not a server knows of it."""
        idle_timeout_s = self.gateway.general.idle_client_in_transaction_timeout_s
        if 0 < self.cluster.user.transaction_timeout_s < now - began_at:
            self.finish(TransactionTimeout("terminating connection due to transaction timeout"))
        elif 0 < idle_timeout_s < now - silent_since:
            self.finish(IdleInTransaction("terminating connection due to idle-in-transaction timeout"))

    def _sweep_idle(self, now: float) -> None:
        if self.cluster.retired and self.parked:
            # Those who say nothing are held to the new configuration, too.
            cluster = self.gateway.find_cluster(self.database, self.user)
            if cluster is not None and not cluster.retired:
                self.rebind()
        self.rests_until = now + _REST_S
        timeout_s = self.cluster.user.client_idle_timeout_s
        if timeout_s:
            ends_at = max(self.heard_at, self._busy_at) + timeout_s
            self.rests_until = min(self.rests_until, ends_at)
            if now > ends_at:
                self.finish(IdleSession("terminating connection due to idle-session timeout"))

    def _silent_since(self, backend: Backend) -> float:
        """Since when a transaction cannot go on before the client says or reads something; infinity while it can."""
        expected = backend.upstream.expected
        if self.unsent or not self.outbox.empty:
            return math.inf
        if not self._whole:
            return self.heard_at
        if expected.queue and not expected.copy_in:
            return math.inf
        return max(self.since, self.heard_at)

    def _runs(self, backend: Backend) -> bool:
        """True while a server would count a statement's time; that includes the time a COPY takes."""
        expected = backend.upstream.expected
        return (
            self._whole
            and not expected.swallowing
            and (bool(expected.queue) or expected.copy_in or self.since == math.inf)
        )

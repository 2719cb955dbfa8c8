"""The turns of a session: everything that it decides, none of it waits.

A turn takes bytes that have arrived (`on_client`, `on_backend`) or a backend that has become free (`Lease.granted`),
and sends on what can be sent at once. The poller takes turns on behalf of the session's tasks, which only do what turns
cannot (`session.Session`).

Laws of this file:

* Only turns write to the backend, whole messages; what it does not take is the ingress task's to send. Only the outbox
  writes to the client.
* A statement goes to a replica only if it is proven to be a read; while one is under way on a replica, what is not
  proven waits until it is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from ..config.model import PoolMode, Role
from ..errors import (
    ProtocolViolation,
    ServerError,
)
from ..pool.exchange import GIVE_UP
from ..pool.settings import settings_sql
from ..routing.effects import Effect
from ..routing.overrides import NO_OVERRIDES
from ..wire import encode
from ..wire.replies import COPY_ENDS
from .beginning import Beginner
from .lease import Place
from .names import FOREIGN
from .parking import Parking
from .telling import CLIENT_LEFT

if TYPE_CHECKING:
    from ..net.transport import Transport
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.settings import Settings
    from ..routing.route import Route
    from .gateway import Gateway

_EMPTY_QUERY: Final = encode.query("")

CLIENT_TERMINATED: Final = "client said goodbye"


class Relay(Beginner):
    """One client, its codec, and at most one backend. Between transactions it is `parked`."""

    __slots__ = ("_reroutes", "ingress_parking")

    def __init__(
        self, client: Transport, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings
    ) -> None:
        super().__init__(client, gateway, cluster, user, database, settings)
        self.ingress_parking = Parking()
        self._reroutes = False  # the backend was chosen for a read only

    # -- ingress: client to backend --------------------------------------------------------------------------------

    @property
    def stalled(self) -> bool:
        """True when nothing more can be taken from the client before something else has happened."""
        if self.backend is None and self.outbox.full:
            return True  # answers of our own: a server would stop reading, too
        return self.downstream.terminated or (self.waits and self.downstream.full)

    @property
    def waits(self) -> bool:
        """True when what the client has sent must wait: for a backend, for its answers, or for its socket."""
        return bool(self.unsent or self._held) or self.place is not None

    @property
    def may_send_unasked(self) -> bool:
        """True when an answer may lead to something that ingress has to send, though the client says nothing."""
        return self.leftovers is not None or self._again is not None or bool(self._reads) or self.written

    def on_client(self, data: bytes) -> bool:
        """A turn of ingress: False when the client must wait, or the ingress task has to go on itself."""
        if not data:
            self.finish(self.client.fault or CLIENT_LEFT)
            return False
        self.heard_at = trio.current_time()
        self.downstream.feed(data)
        if not self.waits:
            self._advance()
        if self.unsent or self.stalled:
            self.ingress_parking.wake()
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
                if not downstream.pending or self.waits or self.ended is not None:
                    break
            if downstream.terminated and not self.waits:
                # What it has asked for before is still done, as a server would.
                self.settle()
        except Exception as problem:
            self.turn_failed(problem)

    def go_on(self) -> None:
        """What the client had to wait for is there: take up what it has sent in the meantime."""
        if not self.waits and self.ended is None:
            self._advance()
        self.ingress_parking.wake()

    def _forward(self, batch: bytes) -> None:
        backend = self.backend
        if self.downstream.own:
            if self.mending or self.place is not None:
                self._held = batch
            else:
                self.steer(batch)
        elif backend is None:
            self._begin(batch)
        elif self.downstream.continuation:
            self._send(backend, batch, b"", unsynced=False)
            if not backend.upstream.expected.copy_in:
                self.asked_at = self.heard_at  # no server begins before it has read the whole
            # The server may have answered before the message was complete.
            self.come_to_rest()
        elif self.leftovers is not None and self.goes_back_soon(backend):
            self._held = batch  # what is reset is to be set again first
        elif self.mode is PoolMode.SESSION:
            self.used = True
            if self.cluster.sharded and (objection := self.object(batch)) is not None:
                self._deny(objection, backend, batch)
                return
            self.note_resets(backend, batch)
            self._send_request(backend, batch, Effect.NONE)
        else:
            route = self._route(batch)
            if self.names is not None and self._depends_on_answers(backend, route):
                self._held = batch
                return
            elsewhere = self.hint is not None or (self._reroutes and route.role is Role.PRIMARY)
            if self.mending or (elsewhere and self.strays(backend, route)):
                # It may belong to another server, unless what is under way opens a transaction on this one.
                self._held = batch
                return
            if route.effects is not Effect.NONE or self.objection is not None:
                denial = self.take_objection() or self.denial(batch, route.effects)
                if denial is not None:
                    self._deny(denial, backend, batch)
                    return
                self.note(backend, batch, route.effects)
            route.tally.calls += 1
            if self.cluster.follows_writes:
                self.note_writes(backend, route)
            first = self._reroutes and backend.upstream.quiet
            self._send_request(backend, batch, route.effects)
            if self._reroutes:
                self.keep(backend, batch, route, first=first)

    def _send_request(self, backend: Backend, batch: bytes, effects: Effect) -> None:
        """Send to a backend that is held already."""
        self.asking(backend)
        downstream = self.downstream
        if self.names is not None:
            batch = self._translate(self.names, backend, batch, effects)
        self._send(backend, batch, downstream.markers, downstream.unsynced)

    def _begin(self, batch: bytes) -> None:
        """The start of a transaction, as far as the proxy knows: find a backend for it."""
        downstream = self.downstream
        if self._lost is not None and not downstream.continuation:
            error, self._lost = self._lost, None
            self.refuse(error)
        elif batch == encode.SYNC:
            self._say(encode.ready_for_query(self.idle_status))
        elif downstream.continuation or not (
            downstream.texts or downstream.unsynced or downstream.markers.strip(COPY_ENDS)
        ):
            # The rest of what was refused, or copy data for a COPY that is over: servers drop it, too.
            return
        else:
            if self.cluster.retired:
                self.rebind()
            if (self.begun is not None or self.cluster.begins_lazily) and self.hold_back(batch):
                return
            route = self._route(batch)
            if (self.cluster.sharded or self.overrides is not NO_OVERRIDES) and self.choose_shard():
                route = self._route(batch)
            if route.effects is not Effect.NONE or self.objection is not None:
                denial = self.take_objection() or self.denial(batch, route.effects)
                if denial is not None:
                    self.refuse(denial)
                    return
            if self.begun is not None:
                route = self.route_of_begun(route)
            place = self.place_of_read(batch, route) if self.careful and route.role is not Role.PRIMARY else None
            backend = self.cluster.acquire_nowait(route.role, self.heard_at) if place is None else None
            if backend is None:
                self.queue(place or Place(self, batch, route))
            else:
                self.backend = backend
                self.leased(self.heard_at, self.heard_at)
                self.start(backend, batch, route)

    def start(self, backend: Backend, batch: bytes, route: Route) -> None:
        """First bytes to a backend just leased, with the client's settings before them if it lacks any."""
        route.tally.calls += 1
        self._reroutes = self.router.splitting and backend.pool.role is Role.REPLICA
        if self.mode is PoolMode.SESSION:
            self.used = True
            self.note_resets(backend, batch)
        elif route.effects is not Effect.NONE:
            self.note(backend, batch, route.effects)
        if self.cluster.follows_writes:
            self.note_writes(backend, route)
        downstream = self.downstream
        own_query = b""
        told = batch
        first = self.begun is None
        if self.names is not None:
            self.names.unnamed_there = FOREIGN
            told = self._translate(self.names, backend, batch, route.effects)
        elif downstream.named or not downstream.texts:
            own_query = _EMPTY_QUERY  # takes away the unnamed statement, which may be another client's
        self._open(backend, told, own_query, downstream.markers, unsynced=downstream.unsynced)
        if self._reroutes:
            self.keep(backend, batch, route, first=first)

    def _open(self, backend: Backend, batch: bytes, own_query: bytes, markers: bytes, *, unsynced: bool) -> None:
        if backend.settings is not self.settings:
            sql = settings_sql(backend.settings, self.settings, backend.reported)
            if sql:
                own_query = encode.query(sql)
            backend.settings = self.settings
        if own_query:
            backend.upstream.expected.sent_own_query()
        if self.begun is not None:
            own_query += self.take_begin(backend)
        if own_query:
            batch = own_query + batch
        if not (self.outbox.empty and backend.transport.watch(self.on_backend)):
            backend.transport.unwatch()
            self.egress_parking.wake()
        self._send(backend, batch, markers, unsynced)

    def _send(self, backend: Backend, batch: bytes, markers: bytes, unsynced: bool) -> None:
        backend.upstream.expected.sent(markers, unsynced)
        try:
            sent = backend.transport.send_nowait(batch)
        except trio.BrokenResourceError as problem:
            # Its last words may still be there to read; egress finds them, and the end behind them.
            backend.broken = str(problem)
            return
        if sent < len(batch):
            backend.sending = True
            self.unsent = batch[sent:]
            self.ingress_parking.wake()

    # -- egress: backend to client ---------------------------------------------------------------------------------

    def on_backend(self, data: bytes) -> bool:
        """A turn of egress: False when the backend is not this session's to read any more, or not now."""
        backend = self.backend
        assert backend is not None
        upstream = backend.upstream
        try:
            if not data:
                self._backend_lost(backend, backend.transport.fault or "the server closed the connection")
                return False
            owed = len(upstream.expected.queue)
            data = upstream.feed(data)
            if upstream.changed_parameters:
                self.parameters_changed(backend)
            leftovers = self.leftovers
            if upstream.swallowed_error is not None and not self.asks_for_itself:
                backend.broken = "the client's settings were refused"
                raise ServerError(upstream.swallowed_error)
            if self.asking_position and not upstream.expected.swallowing:
                self.take_position(backend)
            if self.names is not None and (self._again is not None or upstream.statements.trouble):
                answer = self._answered(self.names, backend, data)
                if answer is None:
                    return True
                data = answer
            if (self._reads or self._describing) and (data or upstream.failed):
                data = self.mended(backend, data)
                if self.backend is not backend:
                    return False
            if self._refusing and not upstream.expected.swallowing:
                self._refusing = False
                upstream.captured = None
                upstream.take_swallowed_error()
            if leftovers is not None:
                data = self.look_back(backend, data)
            self.release_if_quiet()
            if data:
                self._say(data)
            if self.notifications:
                self.tell_notifications()
            if self._held or self.downstream.terminated:
                self.settle()
            if self.backend is backend:
                self.answered(backend, owed, data, executes=self.downstream.executes)
        except ProtocolViolation as problem:
            self._backend_lost(backend, problem.message)
        except Exception as problem:
            self.turn_failed(problem)
        return self.backend is backend and self.outbox.empty

    def come_to_rest(self) -> None:
        """What was on its way to the backend is there: it may have nothing more to do."""
        backend = self.backend
        if backend is not None and self.leftovers is not None and backend.upstream.expected.settled:
            data = self.look_back(backend, b"")
            if data:
                self._say(data)
        if backend is not None and self.mending:
            self.heal_if_quiet(backend)
        else:
            self.release_if_quiet()

    def settle(self) -> None:
        """Do what was put off until the backend owes nothing, if that is now."""
        backend = self.backend
        expected = backend.upstream.expected if backend is not None else None
        if self._rest is not None:
            if backend is not None and self._send_rest_of_batch(backend):
                self.go_on()
        elif self._held:
            stays = self.mode is PoolMode.SESSION or self.pinned
            if backend is None or backend.upstream.in_transaction or (stays and backend.upstream.quiet):
                batch, self._held = self._held, b""
                self._reroutes = False
                self._forward(batch)
                self.go_on()
        elif expected is None or expected.settled or expected.copy_in:
            if self.outbox.empty:
                self.finish(CLIENT_TERMINATED)
        elif backend is not None and not (expected.owes or self.unsent):
            # What was not synced is answered so far, and no further.
            self._send(backend, GIVE_UP, b"S", unsynced=False)

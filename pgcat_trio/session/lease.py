"""A session's dealings with its pool: a place in the queue, a backend, and giving it back.

Laws of this file:

* Being granted a backend and storing it is one step, with no await between.
* `release` is synchronous and total: whatever state the backend is in, the pool knows what to do with it.
* The backend is given back as soon as its transaction is over, unless the whole session has it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import structlog
import trio

from ..config.model import PoolMode
from ..errors import ProxyError, QueryCanceled, ServerUnavailable, ShuttingDown
from ..pool.waiting import ClusterRetired, Waiter
from ..routing.effects import Effect
from ..wire import codes
from ..wire.downstream import Downstream
from .turns import Turns

if TYPE_CHECKING:
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.settings import Settings
    from ..routing.route import Route
    from .gateway import Gateway
    from .leftovers import Leftovers

log = structlog.get_logger("pgcat_trio.session")


class Place(Waiter):
    """A session's place in the queue for a backend, and what it will do with it."""

    __slots__ = ("batch", "lease", "route", "since")

    def __init__(self, lease: Lease, batch: bytes, route: Route) -> None:
        config = lease.cluster.config
        super().__init__(route.role, route.fallback_to_primary or config.replica_to_primary_failover_enabled)
        self.lease = lease
        self.batch = batch
        self.route = route
        self.since = lease.heard_at
        self.deadline = self.since + lease.cluster.user.wait_timeout_s

    def start(self, backend: Backend) -> None:
        """The backend is there: send the batch."""
        self.lease.start(backend, self.batch, self.route)

    def refuse(self, error: ProxyError) -> None:
        """There is none: answer the batch with an error."""
        self.lease.refuse(error)

    def granted(self, backend: Backend) -> None:
        self.lease.granted(backend, self)

    def refused(self, reason: ProxyError) -> None:
        self.lease.refused(reason, self)


class Lease(Turns, ABC):
    """At most one backend, or a place in the queue for one."""

    __slots__ = (
        "_held",
        "_refusing",
        "_settings_before",
        "backend",
        "checkout_failures",
        "closing",
        "cluster",
        "database",
        "downstream",
        "ended",
        "gateway",
        "leftovers",
        "max_wait_s",
        "mode",
        "place",
        "queries",
        "settings",
        "transactions",
        "unsent",
        "user",
    )

    def __init__(self, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings) -> None:
        super().__init__()
        self.gateway = gateway
        self.cluster = cluster
        self.mode = cluster.user.pool_mode
        self.user = user
        self.database = database
        self.settings = settings
        self._settings_before: Settings | None = None  # the transaction under way has changed them
        self.downstream = Downstream(gateway.general.max_message_bytes)
        self.backend: Backend | None = None
        self.place: Place | None = None
        """The place in the queue for a backend."""
        self.leftovers: Leftovers | None = None
        """What the client may have left on its backend, or has: then the backend is not given back yet."""
        self.unsent = b""
        """What the backend did not take at once: the ingress task sends it."""
        self.ended: ProxyError | str | None = None
        """Why the session is over: an error that the client is told, or words for the log."""
        self.closing = False
        """End as soon as nothing is under way."""
        self.transactions = 0
        self.queries = 0
        """As many as its backends have counted for it until they were given back; so are ``transactions``."""
        self.max_wait_s = 0.0
        """The longest wait for a backend."""
        self._held = b""  # a batch that waits until the backend owes nothing
        self.checkout_failures = 0
        self._refusing = False  # a transaction is being made to fail, by an error that the client does not see

    @property
    def parked(self) -> bool:
        """True between transactions: nothing is held, owed or half-said."""
        return self.backend is None and self.place is None and not self.downstream.pending

    @property
    def waiting_since(self) -> float:
        """Since when the session waits for a backend, by Trio's clock; infinity while it does not."""
        return math.inf if self.place is None else self.place.since

    @property
    def runs(self) -> bool:
        """True while the backend is at work on something of the client's, which a cancel request would find."""
        if self.backend is None:
            return False
        expected = self.backend.upstream.expected
        return not (expected.settled or expected.swallowing)

    def finish(self, reason: ProxyError | str) -> None:
        """End the session. The first reason counts."""
        if self.ended is None:
            self.ended = reason

    # -- what turns do with it (`relay.Relay`) ---------------------------------------------------------------------

    @abstractmethod
    def start(self, backend: Backend, batch: bytes, route: Route) -> None:
        """Send the first bytes to a backend that has just been leased."""

    @abstractmethod
    def refuse(self, error: ProxyError) -> None:
        """Answer the batch that was taken last with an error."""

    @abstractmethod
    def go_on(self) -> None:
        """What the client had to wait for is there: take up what it has sent in the meantime."""

    @abstractmethod
    def turn_failed(self, problem: Exception) -> None:
        """The boundary of errors: what a turn raises ends this session, and only this one."""

    # -- the queue for a backend -----------------------------------------------------------------------------------

    def queue(self, waiter: Place) -> None:
        """Wait for a backend; the place may be granted or refused before this returns."""
        self.place = waiter
        self.cluster.enqueue(waiter)

    def leave_queue(self) -> None:
        """Give up the place in the queue, if there is one."""
        if self.place is not None:
            self.cluster.leave(self.place)
            self.place = None

    def give_up(self, error: ProxyError) -> None:
        """Leave the queue; what waited there is answered with an error."""
        place = self.place
        self.leave_queue()
        try:
            (place or self).refuse(error)
        except Exception as problem:
            self.turn_failed(problem)
        self.go_on()

    def granted(self, backend: Backend, waiter: Place) -> None:
        """The wait is over."""
        self.backend = backend
        self.place = None
        now = trio.current_time()
        waited_s = now - waiter.since
        backend.pool.usage.wait_s += waited_s
        self.max_wait_s = max(self.max_wait_s, waited_s)
        self.leased(waiter.since, now)
        try:
            waiter.start(backend)
        except Exception as problem:
            self.turn_failed(problem)
        if self.downstream.pending:
            self.go_on()

    def refused(self, reason: ProxyError, waiter: Place) -> None:
        """The wait was in vain."""
        self.place = None
        try:
            if isinstance(reason, ClusterRetired):
                self.rebind()
                self.queue(waiter)
                return
            for pool in (waiter.pools or self.cluster.pools)[:1]:
                pool.usage.errors += 1
            self._checkout_failed(reason, waiter)
        except Exception as problem:
            self.turn_failed(problem)
        if self.downstream.pending:
            self.go_on()

    def _checkout_failed(self, error: ProxyError, waiter: Place) -> None:
        self.checkout_failures += 1
        limit = self.cluster.config.checkout_failure_limit
        repeats = self.cluster.repeats
        if not repeats.pass_over(error.message, trio.current_time()):
            log.warning(
                "session.no_backend",
                user=self.user,
                database=self.database,
                reason=error.message,
                sqlstate=error.sqlstate,
                **repeats.take_count(),
            )
        waiter.refuse(error)
        if limit and self.checkout_failures >= limit:
            raise ServerUnavailable(
                f"checkout failure limit reached ({self.checkout_failures} / {limit})",
                hint="Connect again, or raise checkout_failure_limit in the proxy's configuration.",
            )

    def rebind(self) -> None:
        """A reload replaced the cluster: go on with the new one. Raises `ShuttingDown` if there is none."""
        cluster = self.gateway.find_cluster(self.database, self.user)
        if cluster is None or cluster.retired:
            raise ShuttingDown(
                f'the pool for database "{self.database}" and user "{self.user}" has been removed',
                hint="It is not in the proxy's configuration any more.",
            )
        self.cluster = cluster
        self.mode = cluster.user.pool_mode

    # -- giving it back --------------------------------------------------------------------------------------------

    @property
    def giving_back(self) -> bool:
        """True when the backend is to be given back as soon as what is on its way to it has been sent: do not read."""
        backend = self.backend
        return (
            backend is not None
            and self.mode is not PoolMode.SESSION
            and backend.upstream.quiet
            and (backend.sending or not self._whole)
        )

    @property
    def _whole(self) -> bool:
        """True when what was sent to the backend ends with a message: of what is held, nothing has been sent."""
        return self.downstream.between_messages or bool(self._held)

    def release_if_quiet(self) -> None:
        """Give the backend back if its transaction is over and nothing more is on its way to it."""
        backend = self.backend
        if backend is None or not backend.upstream.quiet or backend.sending or not self._whole:
            return
        self.timed_out = False
        if self.leftovers is None and self.mode is not PoolMode.SESSION:
            self.give_back(backend)
        if self.closing and not self._held:
            self.finish(ShuttingDown("terminating connection due to administrator command"))

    def give_back(self, backend: Backend) -> None:
        """The backend is not needed any more: release it, now or soon."""
        self.release()

    def release(self) -> None:
        """Give the backend back, in whatever state it is. Synchronous and total."""
        backend, self.backend = self.backend, None
        if backend is not None:
            upstream = backend.upstream
            self.queries += upstream.queries - backend.counted
            self.transactions += upstream.transactions - backend.counted_transactions
            backend.counted, backend.counted_transactions = upstream.queries, upstream.transactions
            now = trio.current_time()
            if self.since == math.inf:  # what ended with that was the last request, and the transaction
                usage = backend.pool.usage
                usage.query_s += now - self.asked_at
                usage.transaction_s += now - self.began_at
            backend.transport.unwatch()
            if not self._whole:
                backend.sending = True
            if self.mode is PoolMode.SESSION or (self.leftovers is not None and self.leftovers.pinned):
                backend.effects |= Effect.UNKNOWN
            self.leftovers = None
            self._refusing = False
            self._settings_before = None
            backend.pool.release(backend, now)

    def parameters_changed(self, backend: Backend) -> None:
        """The server reported settings that follow the client."""
        changes = backend.take_changed_parameters()
        if changes:
            if self._settings_before is None:
                self._settings_before = self.settings
            if backend.upstream.status == codes.IDLE and backend.upstream.expected.settled:
                self._settings_before = None  # they have been committed
            self.settings = self.settings.with_changes(changes)
            if self.cluster.config.log_client_parameter_status_changes:
                for name, value in changes:
                    log.info("client.parameter_changed", user=self.user, database=self.database, name=name, value=value)

    def cancel(self) -> trio.Event | None:
        """A CancelRequest for this session: whatever it runs or waits for ends; if it does neither, nothing happens.

        The event, if there is one, is set once the server has taken notice: what the session sends then is safe.
        """
        if self.place is not None:
            self.give_up(QueryCanceled("canceling statement due to user request"))
        elif self.runs:
            assert self.backend is not None
            return self.backend.pool.cancel_soon(self.backend)
        return None

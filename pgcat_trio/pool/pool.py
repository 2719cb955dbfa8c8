"""The backends of one identity on one server: opening, keeping idle ones, cleaning, closing.

A pool decides nothing about who gets a backend: that is the cluster's (`cluster.Cluster`), to which every backend that
becomes free is offered. All bookkeeping is synchronous; whatever has to wait runs as a task of the pools' nursery.
"""

from __future__ import annotations

import contextlib
import random
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog
import trio

from ..config.model import Role
from ..errors import ProxyError, ServerError, ServerUnavailable, ShuttingDown
from ..observe.repeats import Repeats
from ..wire import encode
from .backend import Backend
from .connect import open_connection
from .exchange import clean, exchange, send_cancel
from .listening import Switchboard
from .settings import USUAL, Tracking

if TYPE_CHECKING:
    from ..config.model import General, User
    from ..net.poller import Poller
    from .connect import Target
    from .server import Server

log = structlog.get_logger("pgcat_trio.pool")

CLEANING_TIMEOUT_S: Final = 5.0
"""How long cleaning a backend may take before closing it is the better choice (PgDog waits as long)."""

CANCEL_TIMEOUT_S: Final = 10.0
"""PgBouncer's cancel_wait_timeout."""

_MAX_DIALS: Final = 8
"""Logins in flight per pool: enough to fill a pool quickly, too few to overrun a server that has just restarted."""

_FILL_RETRY_S: Final = 5.0
"""How long ``min_pool_size`` waits after a failed dial. Clients do not wait for it: each request dials anew."""

_LIFETIME_JITTER: Final = 0.1
"""Lifetimes are up to a tenth shorter, each by its own amount, so that a pool does not reconnect all at once."""


class Owner(Protocol):
    """Who is told what happens in a pool."""

    def offer(self, backend: Backend) -> bool:
        """Give a clean backend to whoever waits for one; False if nobody does."""
        ...

    def greeted(self, pool: Pool, parameters: dict[str, str]) -> None:
        """A new backend said these things about its server."""
        ...

    def reported(self, pool: Pool, changes: list[tuple[str, str]]) -> None:
        """A backend reported changed parameters."""
        ...

    def opened_or_failed(self, pool: Pool, error: ProxyError | None) -> None:
        """A dial ended, or a place became free."""
        ...


class Pool:
    """One server, one identity. ``nursery`` is the pools' nursery of the supervisor."""

    def __init__(
        self,
        owner: Owner,
        server: Server,
        role: Role,
        target: Target,
        user: User,
        options: General,
        nursery: trio.Nursery,
        poller: Poller | None,
        *,
        reset: bool = True,
        tracking: Tracking = USUAL,
    ) -> None:
        self.owner = owner
        self.server = server
        self.role = role
        self.target = target
        self.user = user
        self.options = options
        self.tracking = tracking
        self.backends: set[Backend] = set()
        """All open backends, leased and idle."""
        self.idle: deque[Backend] = deque()
        self.opening = 0
        self.transactions = 0
        """Transactions of clients, as far as the proxy sees them: leases that have ended."""
        self.retired = False
        self.switchboard = Switchboard(self.name, target, options, user.connect_timeout_s, nursery)
        self._nursery = nursery
        self._poller = poller
        self._reset = reset
        self._repeats = Repeats()
        self._fill_again_at = 0.0

    @property
    def name(self) -> str:
        """For logs: identity and server."""
        return f"{self.target.user}@{self.target.address}/{self.target.database}"

    @property
    def busy(self) -> int:
        """Backends that are not idle."""
        return len(self.backends) - len(self.idle)

    @property
    def full(self) -> bool:
        """No place for one more backend."""
        return len(self.backends) + self.opening >= self.user.pool_size

    # -- idle backends ---------------------------------------------------------------------------------------------

    def take_idle(self, now: float) -> Backend | None:
        """An idle backend that needs no check, now the caller's; None if there is none."""
        idle = self.idle
        if not idle:
            return None
        backend = idle[0] if self.options.server_round_robin else idle[-1]
        if now - backend.idle_since > self.options.healthcheck_delay_s:
            return None
        if self.options.server_round_robin:
            idle.popleft()
        else:
            idle.pop()
        return backend

    def take_unchecked(self) -> Backend | None:
        """An idle backend, whatever its age, now the caller's."""
        if not self.idle:
            return None
        backend = self.idle.popleft()
        backend.transport.unwatch()
        return backend

    def check_soon(self) -> bool:
        """Check the idle backend that is next, in a task; it is offered again afterwards. False if none is idle."""
        backend = self.take_unchecked()
        if backend is None:
            return False
        self._nursery.start_soon(self._check, backend)
        return True

    async def _check(self, backend: Backend) -> None:
        """Ask a backend whether it still answers; if not, it and its contemporaries are closed, and one is opened."""
        healthy = False
        try:
            with trio.move_on_after(self.options.healthcheck_timeout_s):
                await exchange(backend, "")
                healthy = True
        except ProxyError:
            pass
        finally:
            if not healthy:
                for other in [other for other in self.idle if other.idle_since <= backend.idle_since]:
                    self.idle.remove(other)
                    self.close(other, "failed health check")
                self.close(backend, "failed health check")
        if healthy:
            self.release(backend)

    def _put_idle(self, backend: Backend, now: float) -> None:
        backend.idle_since = now
        if self.owner.offer(backend):
            return
        self.idle.append(backend)
        if not backend.transport.watch(backend.on_idle_data):
            backend.transport.watch_unread(partial(self._stirred, backend))

    def _stirred(self, backend: Backend) -> None:
        """Something came over TLS while nobody asked: only a task can see what it is, by asking for more."""
        if backend in self.idle:
            self.idle.remove(backend)
            self._nursery.start_soon(self._check, backend)

    def _idle_data(self, backend: Backend, data: bytes) -> bool:
        """What a server says while nobody asked: a notice, a changed parameter, or goodbye."""
        try:
            if data:
                backend.upstream.feed(data)
                backend.take_changed_parameters()
                if backend.last_words() is None:
                    return True
            reason = backend.last_words() or backend.transport.fault or "server closed the connection"
        except ProxyError as problem:
            reason = problem.message
        self.idle.remove(backend)
        self.close(backend, reason)
        return False

    # -- giving back -----------------------------------------------------------------------------------------------

    def release(self, backend: Backend) -> None:
        """Take a backend back, in whatever state. Synchronous and total: the caller has nothing more to do with it."""
        if backend.clean:
            now = trio.current_time()
            if now < backend.expires_at:
                self._put_idle(backend, now)
            else:
                self.close(backend, "server_lifetime reached")
        elif backend.lost:
            abandoned = backend.broken is None and bool(backend.upstream.expected.queue)
            self.close(backend, backend.blemish)
            if abandoned:
                # A server at work notices that nobody is there only when it has something to say.
                self.cancel_soon(backend)
        elif backend.cancelling:
            backend.quarantined = True
        else:
            self._nursery.start_soon(self._recycle, backend)

    async def _recycle(self, backend: Backend) -> None:
        blemish = backend.blemish
        log.debug("backend.cleaning", pool=self.name, pid=backend.pid, reason=blemish)
        cleaned = False
        try:
            with trio.move_on_after(CLEANING_TIMEOUT_S):
                await clean(backend, self.options, reset=self._reset)
                cleaned = True
        except ProxyError as problem:
            blemish = f"{blemish}; {problem.message}"
        finally:
            if not (cleaned and backend.clean):
                self.close(backend, f"could not be cleaned: {blemish}")
        if cleaned and backend in self.backends:
            self._put_idle(backend, trio.current_time())

    def close(self, backend: Backend, reason: str) -> None:
        """Close a backend that is not on the idle stack and forget it. Never raises."""
        if backend not in self.backends:
            return
        self.backends.remove(backend)
        backend.broken = backend.broken or reason
        if not backend.sending:
            # If it is gone already, that is what we want.
            with contextlib.suppress(trio.BrokenResourceError):
                backend.transport.send_nowait(encode.TERMINATE)
        backend.transport.close()
        log.info("backend.closed", pool=self.name, pid=backend.pid, reason=reason)
        self.owner.opened_or_failed(self, None)

    def retire(self) -> None:
        """Close the idle backends now and the others when they come back."""
        self.retired = True
        self.switchboard.end(ShuttingDown("the pool has been replaced or closed"))
        for backend in self.backends:
            backend.retired = True
        while (idle := self.take_unchecked()) is not None:
            self.close(idle, "retired")

    # -- opening ---------------------------------------------------------------------------------------------------

    def open_soon(self) -> bool:
        """Start to open one more backend, if there is a place for it; False if not."""
        if self.full or self.retired or self.opening >= _MAX_DIALS:
            return False
        self.opening += 1
        self._nursery.start_soon(self._open)
        return True

    async def _open(self) -> None:
        error: ProxyError | None = None
        try:
            backend = await self._connect()
        except ProxyError as problem:
            error = problem
        finally:
            self.opening -= 1
        if error is not None:
            self._open_failed(error)
        elif self.retired:
            self.close(backend, "retired")
        else:
            self.release(backend)
        self.owner.opened_or_failed(self, error)

    async def probe(self) -> ProxyError | None:
        """Open one backend if there is none and keep it; the reason if that fails."""
        if self.backends or self.full:
            return None
        self.opening += 1
        try:
            backend = await self._connect()
        except ProxyError as error:
            self._open_failed(error)
            return error
        finally:
            self.opening -= 1
        self.release(backend)
        return None

    async def _connect(self) -> Backend:
        """One new backend, known to the pool. Nothing is left open after an error or `Cancelled`."""
        timeout_s = self.user.connect_timeout_s
        with trio.move_on_after(timeout_s):
            greeting = await open_connection(self.target, self._poller, self.options)
            # No await from here on: the connection is owned by the time anything can be cancelled.
            now = trio.current_time()
            backend = Backend(self, greeting.transport, greeting.parameters, greeting.pid, greeting.key, now)
            backend.expires_at = now + self.user.server_lifetime_s * (1 - _LIFETIME_JITTER * random.random())
            backend.on_idle_data = partial(self._idle_data, backend)
            self._hear_rest(backend, greeting.rest)
            self.backends.add(backend)
            self.owner.greeted(self, greeting.parameters)
            log.info("backend.opened", pool=self.name, pid=backend.pid, tls=greeting.transport.encrypted)
            return backend
        raise ServerUnavailable(f"server {self.target.address} did not answer within {timeout_s:g} s")

    @staticmethod
    def _hear_rest(backend: Backend, rest: bytes) -> None:
        """What the server said right after its login."""
        try:
            backend.upstream.feed(rest)
        except ProxyError as problem:
            backend.transport.close()
            address = backend.pool.target.address
            raise ServerUnavailable(
                f"server {address} does not keep to PostgreSQL's protocol: {problem.message}"
            ) from None
        backend.take_changed_parameters()

    def _open_failed(self, error: ProxyError) -> None:
        if self.retired:
            return
        now = trio.current_time()
        self._fill_again_at = now + _FILL_RETRY_S
        if not self._repeats.pass_over(error.message, now):
            refused = isinstance(error, ServerError)
            log.warning(
                "backend.refused" if refused else "backend.unreachable",
                pool=self.name,
                reason=error.message,
                **self._repeats.take_count(),
            )
        # A server that has words for us is ill only if it says so (class 57P: shutting down, starting up, crashed).
        ill = error.sqlstate.startswith("57P") if isinstance(error, ServerError) else True
        if ill and self.role is Role.REPLICA:
            self.server.ban(error.message, now)

    # -- cancelling ------------------------------------------------------------------------------------------------

    def cancel_soon(self, backend: Backend) -> trio.Event:
        """Send a CancelRequest for what a leased backend runs; it serves nobody else until that has arrived.

        The event is set when it has, or has failed to.
        """
        backend.cancelling += 1
        arrived = trio.Event()
        self._nursery.start_soon(self._cancel, backend, arrived)
        return arrived

    async def _cancel(self, backend: Backend, arrived: trio.Event) -> None:
        problem: str | None = f"the server did not take it within {CANCEL_TIMEOUT_S:g} s"
        try:
            with trio.move_on_after(CANCEL_TIMEOUT_S):
                await send_cancel(backend, self.options)
                problem = None
        except ProxyError as error:
            problem = error.message
        finally:
            if problem is not None:
                # It may still arrive: then it must not find another client's query.
                backend.broken = backend.broken or "a cancel request went astray"
                log.warning("cancel.failed", pool=self.name, pid=backend.pid, reason=problem)
            backend.cancelling -= 1
            arrived.set()
            if backend.quarantined and not backend.cancelling:
                backend.quarantined = False
                self.release(backend)

    # -- upkeep ----------------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Close what has been idle or alive for too long; keep ``min_pool_size`` open."""
        floor = self.user.min_pool_size
        for backend in list(self.idle):
            too_old = now >= backend.expires_at
            too_idle = now - backend.idle_since > self.user.idle_timeout_s and len(self.backends) > floor
            if too_old or too_idle:
                self.idle.remove(backend)
                self.close(backend, "server_lifetime reached" if too_old else "idle_timeout reached")
        if now >= self._fill_again_at and not self.server.banned:
            for _ in range(floor - len(self.backends) - self.opening):
                if not self.open_soon():
                    break

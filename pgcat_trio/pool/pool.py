"""The backends of one identity on one server: keeping idle ones, cleaning, closing (how they are opened: `opening`).

A pool decides nothing about who gets a backend: that is the cluster's (`cluster.Cluster`), to which every backend that
becomes free is offered. All bookkeeping is synchronous; whatever has to wait runs as a task of the pools' nursery.
"""

from __future__ import annotations

import contextlib
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
import trio

from ..errors import ProxyError
from ..wire import encode
from .exchange import clean, exchange, send_cancel
from .listening import Switchboard
from .opening import Opening
from .resolver import host_of
from .settings import USUAL, Tracking
from .usage import Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from ..config.model import General, Role, User
    from ..net.poller import Poller
    from .backend import Backend
    from .connect import Target
    from .opening import Owner
    from .server import Server

log = structlog.get_logger("pgcat_trio.pool")

CLEANING_TIMEOUT_S: Final = 5.0
"""How long cleaning a backend may take before closing it is the better choice (PgDog waits as long)."""

CANCEL_TIMEOUT_S: Final = 10.0
"""PgBouncer's cancel_wait_timeout."""


class Pool(Opening):
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
        weight: int = 1,
        zone: str | None = None,
        usage: Usage | None = None,
    ) -> None:
        super().__init__(owner, server, role, target, user, options, nursery, poller)
        self.tracking = tracking
        self.weight = weight
        self.zone = zone
        self.usage = usage or Usage(trio.current_time())
        self.idle: deque[Backend] = deque()
        self.switchboard = Switchboard(self.name, target, options, user.connect_timeout_s, nursery)
        self.errands: set[trio.Event] = set()
        """The cancel requests under way: each is set when it has arrived."""
        self.reset = reset
        """Backends are cleaned for the next client."""
        server.watchers[self.server_changed] = None

    @property
    def _pool(self) -> Pool:
        return self

    @property
    def busy(self) -> int:
        """Backends that are not idle."""
        return len(self.backends) - len(self.idle)

    def start_soon(self, async_fn: Callable[[], Awaitable[None]]) -> None:
        """Run something of the pool's owner for as long as pools live, if it does not end before."""
        self._nursery.start_soon(async_fn)

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

    def idle_data(self, backend: Backend, data: bytes) -> bool:
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
        self.server.suspect()
        return False

    # -- giving back -----------------------------------------------------------------------------------------------

    def release(self, backend: Backend, now: float | None = None) -> None:
        """Take a backend back, in whatever state. Synchronous and total: the caller has nothing more to do with it.

        ``now`` is for those who have just looked at the clock.
        """
        if backend.clean:
            now = now or trio.current_time()
            if now < backend.expires_at:
                self._put_idle(backend, now)
            else:
                self.close(backend, "server_lifetime reached")
        elif backend.lost:
            if backend.broken is not None or backend.last_words() is not None:
                self.server.suspect()
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
                await clean(backend, self.options, reset=self.reset)
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
        self.usage.closed(backend)
        self.departures.unpark_all()
        self.owner.opened_or_failed(self, None)
        if self.retired:
            self._forget_server()

    def retire(self) -> None:
        """The pool is not used any more: its backends go, and nobody is listened for."""
        self.retired = True
        self.switchboard.retire()
        self.replace_backends("retired")
        self._forget_server()

    def replace_backends(self, reason: str) -> None:
        """Close the idle backends now and the others when they come back."""
        self._replace(list(self.backends), reason)

    def move(self, addresses: Collection[str]) -> None:
        """The server's name stands for these addresses now: replace the backends that are connected to others."""
        stale = [backend for backend in self.backends if host_of(backend.transport.peer) not in addresses]
        self._replace(stale, "the server's name has another address")
        self.switchboard.move(addresses)

    def _replace(self, stale: Iterable[Backend], reason: str) -> None:
        for backend in stale:
            backend.retired = True
        for backend in [backend for backend in self.idle if backend.retired]:
            self.idle.remove(backend)
            backend.transport.unwatch()
            self.close(backend, reason)

    def _forget_server(self) -> None:
        """Care no more for a server of which nothing is left to end."""
        if not (self.backends or self.opening):
            self.server.watchers.pop(self.server_changed, None)

    def server_changed(self) -> None:
        """A server that is down, or fenced off, does not end its connections itself: who waits for it hears it now."""
        state = self.server.state
        if state.serves:
            return
        reason = f"server {self.target.address} is {state.status}: {state.reason}"
        while (idle := self.take_unchecked()) is not None:
            self.close(idle, reason)
        for backend in tuple(self.backends):
            backend.broken = backend.broken or reason
            backend.transport.sever()
        self.switchboard.sever()

    # -- cancelling ------------------------------------------------------------------------------------------------

    def cancel_soon(self, backend: Backend) -> trio.Event:
        """Send a CancelRequest for what a leased backend runs; it serves nobody else until that has arrived.

        The event is set when it has, or has failed to.
        """
        backend.cancelling += 1
        arrived = trio.Event()
        self.errands.add(arrived)
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
            self.errands.discard(arrived)
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
        if now >= self.fill_again_at and not self.server.banned:
            for _ in range(floor - len(self.backends) - self.opening):
                if not self.open_soon():
                    break

"""Opening the backends of a pool: as many dials at a time as a server can stand, and what becomes of each."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog
import trio

from ..config.model import Role
from ..errors import ProxyError, ServerError, ServerLoginFailed, ServerUnavailable
from ..observe.repeats import Repeats
from .backend import Backend
from .connect import open_connection
from .dialing import Pauses
from .probe import is_ill

if TYPE_CHECKING:
    from ..config.model import General, User
    from ..net.poller import Poller
    from .connect import Target
    from .pool import Pool
    from .server import Server

log = structlog.get_logger("pgcat_trio.pool")

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


class Opening(ABC):
    """The backends of one identity on one server, as far as they are opened. ``nursery`` is the pools'.

    ``configured_role`` is the configuration's word, ``role`` what the server is taken for (`balancing`).
    """

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
    ) -> None:
        self.owner = owner
        self.server = server
        self.configured_role = role
        self.role: Role = Role.REPLICA if role is Role.AUTO else role
        self.weight = 1
        self.zone: str | None = None
        self.share = 1.0
        """Its weight, less while its server has only just come back."""
        self.credit = 0.0
        """How long it has waited for its turn, in shares."""
        self.target = target
        self.user = user
        self.options = options
        self.backends: set[Backend] = set()
        """All open backends, leased and idle."""
        self.opening = 0
        """Dials under way."""
        self.retired = False
        self.last_error: ProxyError | None = None
        """Why the last dial failed; None when it did not."""
        self.paused = False
        """See `pausing`: no backend is opened."""
        self.departures = trio.lowlevel.ParkingLot()
        """Those who wait for backends to go."""
        self.pauses = Pauses()
        """Between its dials, while the server turns its login down."""
        self.fill_again_at = 0.0
        """When ``min_pool_size`` may be filled up again, by Trio's clock."""
        self._nursery = nursery
        self._poller = poller
        self._repeats = Repeats()

    @property
    def name(self) -> str:
        """For logs: identity and server."""
        return f"{self.target.user}@{self.target.address}/{self.target.database}"

    @property
    def full(self) -> bool:
        """No place for one more backend."""
        return len(self.backends) + self.opening >= self.user.pool_size

    @property
    @abstractmethod
    def _pool(self) -> Pool:
        """Itself, as others know it."""

    @abstractmethod
    def release(self, backend: Backend, now: float | None = None) -> None:
        """Take a backend back, in whatever state."""

    @abstractmethod
    def close(self, backend: Backend, reason: str) -> None:
        """Close a backend and forget it."""

    @abstractmethod
    def idle_data(self, backend: Backend, data: bytes) -> bool:
        """What a server says while nobody asked."""

    def open_soon(self) -> bool:
        """Start to open one more backend, if there is a place for it and the server may be dialed; False if not."""
        if self.full or self.retired or self.paused or not self.server.state.serves:
            return False
        if not self.server.dials.begin(self, trio.current_time()):
            return False
        self.opening += 1
        self._nursery.start_soon(self._open)
        return True

    def may_dial(self) -> None:
        """The server may be dialed again, after it could not be."""
        self.owner.opened_or_failed(self._pool, None)

    async def _open(self) -> None:
        error: ProxyError | None = None
        dials = self.server.dials
        try:
            backend = await self._connect()
        except ProxyError as problem:
            error = problem
        finally:
            self.opening -= 1
            dials.end()
            self.departures.unpark_all()
        if error is not None:
            self._open_failed(error)
        elif self.retired or self.paused or not self.server.state.serves:
            reason = (
                "retired" if self.retired else "paused" if self.paused else f"the server is {self.server.state.status}"
            )
            self.close(backend, reason)
        else:
            self.release(backend)
        self.owner.opened_or_failed(self._pool, error)
        dials.wake(trio.current_time())

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
            backend = Backend(self._pool, greeting.transport, greeting.parameters, greeting.pid, greeting.key, now)
            backend.expires_at = now + self.user.server_lifetime_s * (1 - _LIFETIME_JITTER * random.random())
            backend.on_idle_data = partial(self.idle_data, backend)
            self._hear_rest(backend, greeting.rest)
            self.backends.add(backend)
            self._pool.usage.opened(backend)
            self.last_error = None
            self.server.reached = True
            self.server.dials.succeeded()
            self.pauses.succeeded()
            self.owner.greeted(self._pool, greeting.parameters)
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
        self.last_error = error
        self.fill_again_at = now + _FILL_RETRY_S * random.uniform(0.75, 1.25)
        if not self._repeats.pass_over(error.message, now):
            refused = isinstance(error, ServerError)
            log.warning(
                "backend.refused" if refused else "backend.unreachable",
                pool=self.name,
                reason=error.message,
                **self._repeats.take_count(),
            )
        ill = is_ill(error)
        if ill:
            self.server.dials.failed(now)
        else:
            self.pauses.failed(now)
        if self.role is Role.REPLICA and (ill or isinstance(error, ServerLoginFailed)):
            self.server.ban(error.message, now)
        if ill:
            self.server.suspect()

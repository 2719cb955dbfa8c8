"""Read your writes (``read_after_write``): what a session has written is there when it reads.

* ``session``: for a while after each write all its reads go to the primary.
* ``lsn``: its reads go to replicas that have replayed its last commit, and to the primary while there is none. The
  position is asked for when the transaction has been answered, before the backend is given back: nobody waits for it,
  and who does not write does not ask. Who asks for more in the meantime is served by the same backend.

Whatever is not proven to be a read counts as a write, however it ends.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import structlog
import trio

from ..config.model import PoolMode, ReadAfterWrite, Role
from ..errors import FeatureNotSupported, PositionUnknown
from ..routing.commands import Subject
from ..routing.positions import parse_position, position_text
from ..wire.replies import SWALLOW
from .healing import Healer
from .lease import Place

if TYPE_CHECKING:
    from ..net.transport import Transport
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.pool import Pool
    from ..pool.settings import Settings
    from ..routing.commands import Command
    from ..routing.route import Route
    from .gateway import Gateway

log = structlog.get_logger("pgcat_trio.session")

_POSITION: Final = "SELECT pg_catalog.pg_current_wal_insert_lsn()"
"""Behind whatever has been committed, flushed or not (``synchronous_commit``)."""

_TO_PRIMARY: Final = "the session has written a moment ago"


class FreshPlace(Place):
    """The place of a read that not every replica may answer."""

    __slots__ = ()

    lease: Writer

    def accepts(self, pool: Pool) -> bool:
        return self.lease.is_fresh(pool)


class Writer(Healer):
    """A session that finds what it has written."""

    __slots__ = ("_fresh_until", "_position", "asking_position", "careful", "follows", "written")

    def __init__(
        self, client: Transport, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings
    ) -> None:
        super().__init__(client, gateway, cluster, user, database, settings)
        self.follows = False
        """The pool has it so."""
        self.careful = False
        """The session has written, or has been told of a position: not every replica will do."""
        self.written = False
        """The backend has been given what may write."""
        self.asking_position = False
        """The server is being asked where the last commit is."""
        self._position = 0  # what replicas must have replayed, in bytes
        self._fresh_until = -math.inf  # the primary is the one to read from, by Trio's clock
        self._follow()

    def _follow(self) -> None:
        kept = self.cluster.config.read_after_write is not ReadAfterWrite.OFF
        self.follows = kept and self.mode is not PoolMode.SESSION

    def rebind(self) -> None:
        super().rebind()
        self._follow()

    # -- writes ----------------------------------------------------------------------------------------------------

    def note_writes(self, backend: Backend, route: Route) -> None:
        """A batch of this route is being sent to a backend."""
        unasked = self._fresh_until == math.inf and not self.asking_position
        may_write = route.role is Role.PRIMARY or not self.router.splitting
        if backend.pool.role is Role.PRIMARY and (may_write or unasked):
            self.written = self.careful = True
            self._fresh_until = math.inf

    def start_again(self, backend: Backend, reads: bytes, markers: bytes) -> None:
        super().start_again(backend, reads, markers)
        if self.follows and backend.pool.role is Role.PRIMARY:
            self.written = self.careful = True  # they were none, perhaps
            self._fresh_until = math.inf

    def give_back(self, backend: Backend) -> None:
        if not self.written:
            self.release()
            return
        self.written = False
        config = self.cluster.config
        if config.read_after_write is ReadAfterWrite.LSN and not self.closing:
            self.asking_position = True
            self._send_own(backend, _POSITION)
            return
        if config.read_after_write_window_s:
            self._fresh_until = trio.current_time() + config.read_after_write_window_s
        self.release()

    @property
    def asks_for_itself(self) -> bool:
        return self.asking_position or super().asks_for_itself

    def take_position(self, backend: Backend) -> None:
        """The server has answered, or refused to: then it is asked again after the next read from it."""
        self.asking_position = False
        upstream = backend.upstream
        rows, upstream.captured = upstream.captured or [], None
        if upstream.take_swallowed_error() is None and rows and (position := parse_position(rows[0][0] or "")):
            self._position = position
            if not self.written:
                self._fresh_until = -math.inf

    def _backend_lost(self, backend: Backend, reason: str) -> None:
        """Whatever the client has asked for is answered if nothing but our question is left."""
        expected = backend.upstream.expected
        alone = self.asking_position and not expected.unsynced and all(entry == SWALLOW for entry in expected.queue)
        self.asking_position = False
        if not (alone and self._whole and self.leftovers is None):
            super()._backend_lost(backend, reason)
            return
        backend.broken = backend.last_words() or backend.broken or reason
        log.warning("backend.lost", pool=backend.pool.name, pid=backend.pid, user=self.user, reason=backend.broken)
        self.release()
        if self._held or self.downstream.terminated:
            self.settle()

    # -- reads -----------------------------------------------------------------------------------------------------

    def is_fresh(self, pool: Pool) -> bool:
        """True if a server has what this session has written."""
        if pool.role is Role.PRIMARY:
            return True
        known = self._fresh_until < trio.current_time()
        return known and (pool.server.replay_lsn or 0) >= self._position

    def misfit(self, pool: Pool) -> str:
        return "it may not have what the session has written" if self.careful and not self.is_fresh(pool) else ""

    def place_of_read(self, batch: bytes, route: Route) -> Place | None:
        """Where a read must queue because not all replicas will do; None if they will, or if there is no choice."""
        if not route.fallback_to_primary or all(map(self.is_fresh, self.cluster.balancer.live[route.role])):
            return None
        return FreshPlace(self, batch, route)

    # -- handing the position over ---------------------------------------------------------------------------------

    def _obey(self, command: Command) -> str | None:
        if command.subject is not Subject.POSITION:
            return super()._obey(command)
        if self.cluster.config.read_after_write is not ReadAfterWrite.LSN:
            raise FeatureNotSupported(
                f"{command} is not possible: the pool does not follow positions",
                hint='Set read_after_write = "lsn" for this pool in the proxy\'s configuration.',
            )
        if command.value is not None:
            self._position = parse_position(command.value) or 0
            self.careful |= self._position > 0
            return None
        if self._fresh_until == math.inf and self.backend is None:
            raise PositionUnknown(
                "the position of the last commit could not be asked for", hint="Ask again after the next statement."
            )
        return position_text(self._position) if self._position else ""

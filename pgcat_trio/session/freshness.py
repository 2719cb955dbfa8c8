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

import attrs
import structlog
import trio

from ..config.model import ReadAfterWrite, Role
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


@attrs.define
class Progress:
    """How far a session has written to one shard: what replicas must have replayed, in bytes.

    Until that time, by Trio's clock, it reads from the primary: infinity as long as the position is not known.
    """

    position: int = 0
    until: float = -math.inf


class Writer(Healer):
    """A session that finds what it has written."""

    __slots__ = ("_progresses", "asking_position", "careful", "written")

    def __init__(
        self, client: Transport, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings
    ) -> None:
        super().__init__(client, gateway, cluster, user, database, settings)
        self.careful = False
        """The session has written, or has been told of a position: not every replica will do."""
        self.written = False
        """The backend has been given what may write."""
        self.asking_position = False
        """The server is being asked where the last commit is."""
        self._progresses: dict[int, Progress] = {}  # by shard

    @property
    def _progress(self) -> Progress:
        return self._progresses.setdefault(self.cluster.shard, Progress())

    # -- writes ----------------------------------------------------------------------------------------------------

    def note_writes(self, backend: Backend, route: Route) -> None:
        """A batch of this route is being sent to a backend."""
        if backend.pool.role is Role.PRIMARY:
            unasked = self._progress.until == math.inf and not self.asking_position
            if route.role is Role.PRIMARY or not self.router.splitting or unasked:
                self._note_write()

    def _note_write(self) -> None:
        self.written = self.careful = True
        self._progress.until = math.inf

    def start_again(self, backend: Backend, reads: bytes, markers: bytes) -> None:
        super().start_again(backend, reads, markers)
        if self.cluster.follows_writes and backend.pool.role is Role.PRIMARY:
            self._note_write()  # they were no reads, perhaps

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
            self._progress.until = trio.current_time() + config.read_after_write_window_s
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
            progress = self._progress
            progress.position = position
            if not self.written:
                progress.until = -math.inf

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
        progress = self._progress
        return progress.until < trio.current_time() and (pool.server.replay_lsn or 0) >= progress.position

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
        progress = self._progress
        if command.value is not None:
            progress.position = parse_position(command.value) or 0
            self.careful |= progress.position > 0
            return None
        if progress.until == math.inf and self.backend is None:
            raise PositionUnknown(
                "the position of the last commit could not be asked for", hint="Ask again after the next statement."
            )
        return position_text(progress.position) if progress.position else ""

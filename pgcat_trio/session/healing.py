"""Reads that a replica could not run: run again elsewhere, before the client has seen anything of an answer.

A text that is proven to be a read may still call what writes, behind a view, an operator or a function; a hot standby
cancels what is in the way of its recovery; and replicas die. So a batch of reads is kept until the first bytes of its
answer are the client's. Only proven reads outside of explicit transactions are kept: run twice, they do nothing twice.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Final

import structlog
import trio

from ..config.model import Role
from ..pool.backend import NO_EFFECT
from ..routing.fingerprint import fingerprint
from ..routing.route import Route
from ..wire import codes
from ..wire.downstream import LARGE_BYTES
from ..wire.messages import error_fields
from ..wire.prelude import ends_in_description, first_error, says_nothing
from ..wire.statements import is_stale, messages_in, name_at
from ..wire.usual import OTHER
from . import answers
from .lease import Place
from .names import FOREIGN
from .prepared import translate
from .steering import Steerer

if TYPE_CHECKING:
    from ..errors import ProxyError
    from ..net.transport import Transport
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.pool import Pool
    from ..pool.settings import Settings
    from .gateway import Gateway

log = structlog.get_logger("pgcat_trio.session")

_STANDBY_ERRORS: Final = {
    "25006": True,  # cannot execute ... in a read-only transaction, or during recovery
    "0A000": True,  # cannot access temporary or unlogged relations during recovery; serializable mode in a hot standby
    "55000": False,  # recovery is in progress
    "40001": False,  # canceling statement due to conflict with recovery
    "40P01": False,  # the same, where recovery and the statement waited for each other
}
"""What a hot standby answers and a primary does not, by SQLSTATE (messages are translated), and whether that says
something about the statement. Where it was another error of that SQLSTATE, the primary answers with it once more.
PostgreSQL manual, "Hot Standby"; recovery conflicts that end the connection are losses."""

_NEEDS_SERIALIZABLE: Final = "GetSerializableTransactionSnapshot"
"""The routine that says that there is no serializable mode in a hot standby: not the statement's fault."""

_TO_PRIMARY: Final = Route(Role.PRIMARY, "a replica could not run it", NO_EFFECT, False)
_ELSEWHERE: Final = Route(Role.REPLICA, "the replica that ran it was lost", NO_EFFECT, True)

_LOGGED_CHARACTERS: Final = 200


class Repeat(Place):
    """The place of reads that are run again. The client may have sent more in the meantime."""

    __slots__ = ("markers",)

    lease: Healer

    def __init__(self, lease: Healer, reads: bytes, markers: bytes, route: Route) -> None:
        super().__init__(lease, reads, route)
        self.markers = markers
        self.since = lease.asked_at
        self.deadline = trio.current_time() + lease.cluster.user.wait_timeout_s

    def start(self, backend: Backend) -> None:
        self.lease.start_again(backend, self.batch, self.markers)

    def refuse(self, error: ProxyError) -> None:
        self.lease.refuse_reads(error, self.markers)


class Healer(Steerer):
    """A session that keeps what replicas are reading for it."""

    __slots__ = ("_complaint", "_described", "_describing", "_markers", "_prelude", "_reads", "_repeated")

    def __init__(
        self, client: Transport, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings
    ) -> None:
        super().__init__(client, gateway, cluster, user, database, settings)
        self._reads = b""  # what a replica was sent, while the client has seen nothing of the answer
        self._markers = b""  # of these
        self._prelude = b""  # the beginning of the answer, which says nothing yet
        self._complaint: dict[str, str] | None = None  # why they are run again once the replica has come to rest
        self._describing = False  # a statement is being prepared and described there, ahead of the rest of its request
        self._described = False  # it has been, and nothing else
        self._repeated = False  # a replica was lost with them already

    @abstractmethod
    def _open(self, backend: Backend, batch: bytes, own_query: bytes, markers: bytes, *, unsynced: bool) -> None:
        """Send the first bytes to a backend that has just been leased, and listen to it."""

    # -- what is kept ----------------------------------------------------------------------------------------------

    def keep(self, backend: Backend, batch: bytes, route: Route, *, first: bool) -> None:
        """A batch is being sent to a replica. ``first``: outside any transaction, and nothing is under way there."""
        downstream = self.downstream
        described = self._described
        self._describing = self._described = False
        reads = (
            route.role is not Role.PRIMARY
            and route.effects is NO_EFFECT
            and self.leftovers is None
            and (self.hint is None or self.hint.role is None)
            and not (downstream.continuation or downstream.doubtful)
            and len(self._reads) + len(batch) <= LARGE_BYTES
        )
        markers = self._markers_of_batch
        if not reads or markers.strip(b"QS"):
            self._let_go()
        elif not downstream.complete:
            self._let_go()
            if first and _describes(batch):
                self._describing = True
                backend.upstream.failed = False
        elif first or (described and self.names is not None and batch[:1] == b"B"):
            self._let_go()
            if self._names_stay(batch):
                self._reads, self._markers = batch, markers
                backend.upstream.failed = False
        elif self._reads and downstream.shape != OTHER and self._complaint is None:
            self._reads += batch
            self._markers += markers
        else:
            self._let_go()

    def _names_stay(self, batch: bytes) -> bool:
        """False if a request may depend on names that another one of the batch has changed."""
        downstream = self.downstream
        if self.names is None or len(self._markers_of_batch) == 1 or not downstream.named:
            return True
        return all(kind not in (codes.PARSE, codes.CLOSE) for kind, _, _ in messages_in(batch))

    def _let_go(self) -> None:
        """They are not to be run again: what was kept back of their answer is the client's."""
        prelude = self._prelude
        self.forget_reads()
        if prelude:
            self._say(prelude)

    def forget_reads(self) -> None:
        """They are not to be run again."""
        self._reads = self._prelude = b""
        self._complaint = None
        self._repeated = False

    @property
    def mending(self) -> bool:
        """True while reads have failed that are run again: what the client sends must wait."""
        return self._complaint is not None

    # -- answers ---------------------------------------------------------------------------------------------------

    def mended(self, backend: Backend, data: bytes) -> bytes:
        """What the client is to see of an answer to the reads that are kept; b"" while that is nothing."""
        upstream = backend.upstream
        if self._describing:
            self._described = ends_in_description(data)
            self._describing = not (self._described or upstream.failed)
            return data
        if self._complaint is None:
            data, self._prelude = self._prelude + data, b""
            if not upstream.failed:
                if not upstream.expected.settled and says_nothing(data) and len(data) <= LARGE_BYTES:
                    self._prelude = data
                    return b""
            else:
                self._complaint = self._standby_error(data)
            if self._complaint is None:
                self.forget_reads()
                return data
        self.heal_if_quiet(backend)
        return b""

    def heal_if_quiet(self, backend: Backend) -> None:
        """Run again what has failed, once the replica has nothing more to do."""
        if self._complaint is not None and backend.upstream.quiet and not backend.sending:
            self._heal(backend, self._complaint)

    def _standby_error(self, data: bytes) -> dict[str, str] | None:
        """The first error of an answer, if it is one that only a standby gives."""
        body = first_error(data)
        if body is None:
            return None
        error = error_fields(body)
        return error if error.get("C") in _STANDBY_ERRORS and not is_stale(error) else None

    def _heal(self, backend: Backend, error: dict[str, str]) -> None:
        sqlstate = error.get("C", "")
        texts = self._texts_of(self._reads)
        if error.get("R") == _NEEDS_SERIALIZABLE:
            # By default for its role, its database or the server: from now on it is known (`routing.transactions`).
            self.settings = self.settings.with_changes([("default_transaction_isolation", "serializable")])
        elif _STANDBY_ERRORS.get(sqlstate) and len(texts) == 1:
            self.router.learn_write(min(texts), f"a replica refused it with {sqlstate}")
        self._log_healing(backend, error.get("M", ""), sqlstate, texts)
        self._run_again(backend, _TO_PRIMARY, {})

    def _log_healing(self, backend: Backend, reason: str, sqlstate: str, texts: set[bytes]) -> None:
        self.router.healed += 1
        for text in texts:
            self.router.route(text).tally.healed += 1
        repeats = self.cluster.healings
        if repeats.pass_over(f"{sqlstate} {sorted(texts)}", trio.current_time()):
            return
        log.warning(
            "route.healed",
            user=self.user,
            database=self.database,
            pool=backend.pool.name,
            reason=reason,
            sqlstate=sqlstate,
            statement="; ".join(_without_values(text) for text in sorted(texts))[:_LOGGED_CHARACTERS],
            **repeats.take_count(),
        )

    def _texts_of(self, batch: bytes) -> set[bytes]:
        """The SQL of the statements that a batch runs."""
        texts: set[bytes | None] = set()
        for kind, start, stop in messages_in(batch):
            if kind == codes.QUERY:
                texts.add(batch[start + 5 : stop - 1])
            elif kind == codes.PARSE:
                texts.add(batch[start + 5 : stop].split(b"\0", 2)[1])
            elif kind == codes.BIND and self.names is not None and (at := name_at(batch, start, stop)):
                texts.add(self.names.text(batch[at : batch.find(0, at)]))
        return {text for text in texts if text}

    # -- losses ----------------------------------------------------------------------------------------------------

    def _backend_lost(self, backend: Backend, reason: str) -> None:
        """The server closed the connection, or broke the protocol: reads are run elsewhere, once."""
        if not self._reads or self._repeated or self.unsent or not self._whole:
            if self._prelude:
                self._say(self._prelude)
            self.forget_reads()
            super()._backend_lost(backend, reason)
            return
        reason = backend.last_words() or backend.broken or reason
        log.warning("backend.lost", pool=backend.pool.name, pid=backend.pid, user=self.user, reason=reason)
        backend.broken = reason
        failed = {backend.pool: answers.lost(backend, reason, ends=False)}
        backend.upstream.statements.abandon()
        words = backend.upstream.last_words or {}
        self._log_healing(backend, reason, words.get("C", "08006"), self._texts_of(self._reads))
        self._run_again(backend, _ELSEWHERE if self._complaint is None else _TO_PRIMARY, failed)

    # -- again -----------------------------------------------------------------------------------------------------

    def _run_again(self, backend: Backend, route: Route, failed: dict[Pool, ProxyError]) -> None:
        """Give the replica back, and queue for another server but those that have ``failed``."""
        place = Repeat(self, self._reads, self._markers, route)
        place.failed = failed
        self.forget_reads()
        self._again, self._aside = None, b""
        self._drop_rest()
        self.release()
        self.queue(place)

    def start_again(self, backend: Backend, reads: bytes, markers: bytes) -> None:
        """Another backend is there for what was read in vain."""
        if self.names is not None:
            self._take_trouble(self.names, backend)
            self.names.unnamed_there = FOREIGN
            self.names.rewind(reads)
            batch, _ = translate(self.names, reads, backend, NO_EFFECT, unsynced=False, waits=False)
        else:
            batch = reads
        self._open(backend, batch, b"", markers, unsynced=False)
        if backend.pool.role is Role.REPLICA:
            self._reads, self._markers, self._repeated = reads, markers, True
            backend.upstream.failed = False

    def refuse_reads(self, error: ProxyError, markers: bytes) -> None:
        """There is no other backend: the reads are answered with an error, and what waited for them goes on."""
        self._say(answers.refusal(error, markers, unsynced=False))
        if self._held:
            self.settle()


def _describes(batch: bytes) -> bool:
    """True if a batch ends where a statement is described, the only one, and the client waits for that."""
    kinds = bytes(kind for kind, _, _ in messages_in(batch))
    return kinds.endswith(b"DH") and kinds.count(b"D") == 1 and not kinds.strip(b"PDH")


def _without_values(text: bytes) -> str:
    """For the log, which is not to hold a client's data."""
    found = fingerprint(text)
    return found.text if found.doubt is None else f"a text of {len(text)} bytes"

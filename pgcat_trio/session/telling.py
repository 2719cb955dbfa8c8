"""What a client is told beside the answers of its server: refusals, and how a server was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
import trio

from ..config.model import PoolMode
from ..errors import ProxyError
from ..wire import codes
from . import answers
from .listening import Listener
from .outbox import Outbox
from .parking import Parking

if TYPE_CHECKING:
    from ..net.transport import Transport
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.settings import Settings
    from .gateway import Gateway

log = structlog.get_logger("pgcat_trio.session")

CLIENT_LEFT: Final = "client closed the connection"

FAILING_QUERY: Final = "SELECT pg_catalog.pgcat_refuses_this()"


class Teller(Listener):
    """A session that has a client to speak to."""

    __slots__ = ("_lost", "client", "egress_parking", "outbox")

    def __init__(
        self, client: Transport, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings
    ) -> None:
        super().__init__(gateway, cluster, user, database, settings)
        self.client = client
        self.outbox = Outbox(client)
        self.egress_parking = Parking()
        self._lost: ProxyError | None = None  # a transaction died while the client was not asking

    def turn_failed(self, problem: Exception) -> None:
        """The boundary of errors: what a turn raises ends this session, and only this one."""
        if isinstance(problem, ProxyError):
            self.finish(problem)
        elif isinstance(problem, trio.BrokenResourceError):
            self.finish(self.client.fault or CLIENT_LEFT)
        else:
            log.error("session.bug", user=self.user, database=self.database, exc_info=problem)
            self.finish(ProxyError("internal error in the proxy", hint="The proxy's log has the details."))

    @property
    def asks_for_itself(self) -> bool:
        """True while an error in an answer that the client does not see is no fault of its settings."""
        return self._refusing or (self.leftovers is not None and self.leftovers.question is not None)

    def _say(self, data: bytes) -> None:
        if not self.outbox.write(data):
            self.egress_parking.wake()

    def refuse(self, error: ProxyError, status: int = codes.IDLE) -> None:
        """Answer the batch that was taken last with an error; the transaction's ``status`` after that."""
        downstream = self.downstream
        self._say(answers.refusal(error, downstream.markers, downstream.unsynced, status))
        if downstream.unsynced:
            downstream.discard_until_sync()

    def _deny(self, error: ProxyError, backend: Backend, batch: bytes) -> None:
        """Answer a batch inside a transaction with an error, which fails the transaction as a server's own would."""
        upstream = backend.upstream
        if upstream.expected.unsynced or upstream.expected.copy_in:
            raise error  # what belongs to it has been sent, and would be carried out
        if not upstream.expected.settled:
            self._held = batch  # its answer is not the next one
            return
        status = upstream.status
        if status == codes.IN_TRANSACTION:
            self.fail_transaction(backend)
            status = codes.FAILED
        self.refuse(error, status)

    def fail_transaction(self, backend: Backend) -> None:
        """Make the transaction of a settled backend fail, as an error of the server's own would have."""
        self._refusing = True
        self._send_own(backend, FAILING_QUERY)

    def _backend_lost(self, backend: Backend, reason: str) -> None:
        """The server closed the connection, or broke the protocol. The session goes on where that is possible."""
        upstream = backend.upstream
        reason = backend.last_words() or backend.broken or reason
        log.warning("backend.lost", pool=backend.pool.name, pid=backend.pid, user=self.user, reason=reason)
        backend.broken = reason
        backend.pool.usage.errors += 1
        words = upstream.last_words
        # In the middle of a message an error would be taken for a part of it.
        intact = upstream.between_messages and self._whole
        ends = self.mode is PoolMode.SESSION or self.keeps or not intact
        error = answers.lost(backend, reason, ends=ends)
        if self._aside:
            aside, self._aside = self._aside, b""
            self._say(aside)
        if self.leftovers is not None and self.leftovers.withheld:
            self._say(self.leftovers.withheld)
        self._lose_rest(backend)
        answer = answers.loss(error, upstream)
        upstream.statements.abandon()
        unsynced = upstream.expected.unsynced
        if self._settings_before is not None:
            self.settings = self._settings_before  # what its transaction has set is rolled back
        self.release()
        if ends:
            told = words is None and answers.told(upstream)
            self.finish(error if upstream.between_messages and not told else reason)
            return
        if answer is None:
            self._lost = error
        else:
            self._say(answer)
        if unsynced:
            self.downstream.discard_until_sync()
        if self._held or self.downstream.terminated:
            self.settle()

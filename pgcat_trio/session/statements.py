"""A session's prepared statements: when a batch is translated, when it has to wait, and when it is repeated.

How it is translated is in `session.prepared`. Here are the turns' decisions about it, between `Lease` and `Relay`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from ..config.model import PoolMode
from ..routing.effects import Effect
from ..wire import codes
from ..wire.downstream import LARGE_BYTES
from ..wire.statements import has_kind, nothing_done
from .lease import Lease
from .names import Names
from .prepared import FORGETFUL, translate

if TYPE_CHECKING:
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.settings import Settings
    from ..routing.route import Route
    from .gateway import Gateway


class Translator(Lease):
    """A lease whose client's statement names are its own, where the pool translates them."""

    __slots__ = ("_again", "_aside", "names")

    def __init__(self, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings) -> None:
        super().__init__(gateway, cluster, user, database, settings)
        self.names: Names | None = None
        """What the names of this client's prepared statements stand for; None where they are passed on as they are."""
        if cluster.statements is not None:
            self.names = Names(cluster.statements)
            self.downstream.watching = True
        self._again: tuple[bytes, list[int]] | None = None  # the batch under way, with its mentions
        self._aside = b""  # the beginning of an answer that the client may not have to see

    @abstractmethod
    def _send(self, backend: Backend, batch: bytes, markers: bytes, unsynced: bool) -> None:
        """Send a batch to a backend that is held, and note what it will answer."""

    def _depends_on_answers(self, backend: Backend, route: Route) -> bool:
        """True if what this batch means is known only when the server has answered what was sent before."""
        mentions = self.downstream.named or Effect.PREPARED in route.effects
        return mentions and backend.upstream.statements.unsettled

    def _translate(self, names: Names, backend: Backend, batch: bytes) -> bytes:
        """The batch for this backend, and a note of it if it may be repeated."""
        downstream, upstream = self.downstream, backend.upstream
        self._again = None
        if not (
            downstream.named or downstream.unsynced or upstream.expected.unsynced or backend.effects & FORGETFUL
        ) or (downstream.continuation):
            return batch
        if (
            downstream.named
            and downstream.markers == b"S"
            and downstream.complete
            and len(batch) <= LARGE_BYTES
            and upstream.expected.settled
            and upstream.status == codes.IDLE
        ):
            self._again = batch, downstream.mentions
        return translate(names, batch, downstream.mentions, backend, unsynced=downstream.unsynced)

    def _repeats(self, names: Names, backend: Backend, data: bytes) -> bool:
        """After each answer: True if the request is under way once more, and the client is not to see this.

        That is when a statement was out of date or gone, and the client has seen nothing of the request and no
        statement of it was carried out. Without a Describe in it the client goes by the columns that it was told about
        before: then it must hear that they have changed.
        """
        upstream, replies = backend.upstream, backend.upstream.statements
        stale, missing = replies.stale, replies.missing
        if not (stale or missing):
            if data:
                self._again = None
            return False
        if self._again is not None and not upstream.expected.settled:
            self._aside = data  # a server does not wait for the ReadyForQuery before it sends an error
            return True
        replies.stale, replies.missing = False, None
        again, self._again = self._again, None
        if stale:
            names.statements.renew()
        elif missing and names.uses(missing):
            backend.prepared.forget()
        else:
            return False
        if again is None or not (upstream.quiet and nothing_done(data)):
            return False
        batch, mentions = again
        if stale and not has_kind(batch, codes.DESCRIBE):
            return False
        names.rewind(batch, mentions)
        self._send(backend, translate(names, batch, mentions, backend, unsynced=False), b"S", unsynced=False)
        return True

    def rebind(self) -> None:
        """A reload replaced the cluster: go on with the new one, as it goes about prepared statements."""
        super().rebind()
        if self.mode is PoolMode.SESSION:
            self.names = None
            self.downstream.watching = False
        elif self.names is not None and self.cluster.statements is not None:
            self.names.statements = self.cluster.statements

"""A session's prepared statements: when a batch is translated, when it has to wait, and when it is repeated.

How it is translated is in `session.prepared`. Here are the turns' decisions about it, between `Lease` and `Relay`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from ..config.model import PoolMode
from ..pool.backend import NO_EFFECT
from ..routing.effects import Effect
from ..wire import codes
from ..wire.downstream import LARGE_BYTES
from ..wire.messages import error_fields
from ..wire.statements import is_missing, is_stale, messages_in, misses_type, nothing_done, our_name, with_name
from ..wire.usual import PARSED, QUERY
from .lease import Lease
from .names import OWN, Names
from .prepared import FORGETFUL, bind_renamed, translate

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
        self._again: bytes | None = None  # the batch under way
        self._aside = b""  # the beginning of an answer that the client may not have to see

    @abstractmethod
    def _send(self, backend: Backend, batch: bytes, markers: bytes, unsynced: bool) -> None:
        """Send a batch to a backend that is held, and note what it will answer."""

    def _depends_on_answers(self, backend: Backend, route: Route) -> bool:
        """True if what this batch means is known only when the server has answered what was sent before."""
        replies = backend.upstream.statements
        if not (replies.notes and replies.unsettled):
            return False
        return self.downstream.named or Effect.PREPARED in route.effects

    def _translate(self, names: Names, backend: Backend, batch: bytes, effects: Effect) -> bytes:
        """The batch for this backend, and a note of it if it may be repeated. ``effects`` are the batch's.

        What drivers send most of the time is done here at once, the rest by `prepared.translate`.
        """
        downstream, upstream = self.downstream, backend.upstream
        replies, expected = upstream.statements, upstream.expected
        self._again = None
        forgetful = effects is not NO_EFFECT and bool(effects & FORGETFUL)
        if downstream.shape and expected.settled and not (replies.notes or replies.trouble or forgetful):
            subject = downstream.subject
            if downstream.shape == QUERY:
                names.unnamed, names.unnamed_there = None, OWN
                return batch
            if downstream.shape == PARSED:
                names.unnamed = replies.parsing = subject
                names.unnamed_there = OWN
                return batch
            statement = names.by_name.get(subject)
            if statement is not None and backend.prepared.has(statement, replies.request):
                if upstream.status == codes.IDLE:
                    self._again = batch
                return bind_renamed(batch, subject, statement.name)
            if not subject and names.unnamed_there == OWN:
                return batch
        elif downstream.continuation or not (downstream.markers or downstream.unsynced):
            return batch  # a part of a message, or of a COPY
        return self._translate_at_length(names, backend, batch, effects if forgetful else NO_EFFECT)

    def _translate_at_length(self, names: Names, backend: Backend, batch: bytes, effects: Effect) -> bytes:
        downstream, upstream = self.downstream, backend.upstream
        if upstream.expected.settled:
            self._take_trouble(names, backend)
            if (
                downstream.named
                and effects is NO_EFFECT
                and downstream.markers == b"S"
                and downstream.complete
                and len(batch) <= LARGE_BYTES
                and upstream.status == codes.IDLE
            ):
                self._again = batch
        return translate(names, batch, backend, effects, unsynced=downstream.unsynced)

    def _answered(self, names: Names, backend: Backend, data: bytes) -> bytes | None:
        """What the client is to see of an answer; None if it is to see nothing yet, or the request is repeated.

        That is when a statement was out of date or gone, and the client has seen nothing of the request and no
        statement of it was carried out. Without a Describe in it the client goes by the columns that it was told about
        before: then it must hear that they have changed.
        """
        upstream = backend.upstream
        if not upstream.statements.trouble:
            if data:
                self._again = None
            return data
        data, self._aside = self._aside + data, b""
        if self._again is not None and not upstream.expected.settled:
            self._aside = data  # a server does not wait for the ReadyForQuery before it sends an error
            return None
        again, self._again = self._again, None
        stale = missing = typeless = False
        for body in self._take_trouble(names, backend):
            error = error_fields(body)
            stale |= is_stale(error)
            typeless |= misses_type(error)
            ours = our_name(error)
            theirs = names.name_for(ours) if ours else None
            if ours and theirs is not None:
                missing |= is_missing(error)
                data = with_name(data, body, ours, theirs)
        if stale or typeless:
            names.statements.renew()
        elif missing:
            backend.prepared.forget()
        else:
            return data
        if again is None or not (upstream.quiet and nothing_done(data)):
            return data
        if stale and all(kind != codes.DESCRIBE for kind, _, _ in messages_in(again)):
            return data
        names.rewind(again)
        self._send(backend, translate(names, again, backend, NO_EFFECT, unsynced=False), b"S", unsynced=False)
        return None

    def _take_trouble(self, names: Names, backend: Backend) -> list[bytes]:
        """The errors that may concern statements: their bodies."""
        replies = backend.upstream.statements
        if replies.failed_parse is not None:
            names.parse_failed(replies.failed_parse)
            replies.failed_parse = None
        bodies = list(replies.trouble)
        replies.trouble.clear()
        return bodies

    def rebind(self) -> None:
        """A reload replaced the cluster: go on with the new one, as it goes about prepared statements."""
        super().rebind()
        if self.mode is PoolMode.SESSION:
            self.names = None
            self.downstream.watching = False
        elif self.names is not None and self.cluster.statements is not None:
            self.names.statements = self.cluster.statements

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
from ..wire.downstream import LARGE_BYTES, MARKERS
from ..wire.messages import error_fields
from ..wire.statements import OUT_OF_DATE, is_missing, messages_in, nothing_done, our_name, with_name, with_reason
from ..wire.usual import PARSED, QUERY
from .lease import Lease
from .names import OWN, Names
from .prepared import FORGETFUL, bind_renamed, translate

if TYPE_CHECKING:
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.settings import Settings
    from ..routing.route import Route
    from .checks import Check
    from .gateway import Gateway


class Rest:
    """What is known of a batch of which only the beginning has been sent, see `session.checks`."""

    __slots__ = ("check", "effects", "markers", "unsynced")

    def __init__(self, check: Check, effects: Effect, markers: bytes, unsynced: bool) -> None:
        self.check = check
        self.effects = effects
        self.markers = markers
        self.unsynced = unsynced


class Translator(Lease):
    """A lease whose client's statement names are its own, where the pool translates them."""

    __slots__ = ("_again", "_aside", "_rest", "names")

    def __init__(self, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings) -> None:
        super().__init__(gateway, cluster, user, database, settings)
        self.names: Names | None = None
        """What the names of this client's prepared statements stand for; None where they are passed on as they are."""
        if cluster.statements is not None:
            self.names = Names(cluster.statements)
            self.downstream.watching = True
        self._again: bytes | None = None  # the batch under way
        self._aside = b""  # the beginning of an answer that the client may not have to see
        self._rest: Rest | None = None  # about `_held`, if that is no whole batch

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
        names.statements = self.cluster.statements or names.statements
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
        return self._translate_part(names, backend, batch, effects)

    def _translate_part(
        self, names: Names, backend: Backend, batch: bytes, effects: Effect, check: Check | None = None
    ) -> bytes:
        """Up to where a check is to be made: then `downstream` describes what is sent, and the rest is held back."""
        downstream = self.downstream
        data, check = translate(names, batch, backend, effects, unsynced=downstream.unsynced, check=check)
        if check is not None:
            count = sum(kind in MARKERS for kind, _, _ in messages_in(batch[: check.at]))
            self._rest = Rest(check, effects, downstream.markers[count:], downstream.unsynced)
            self._held = batch[check.at :]
            self._again = None
            downstream.markers, downstream.unsynced = downstream.markers[:count], True
        return data

    def _send_rest_of_batch(self, backend: Backend) -> bool:
        """Go on with what a check has held back; False if its answer is still to come."""
        rest, names = self._rest, self.names
        if rest is None or names is None or backend.upstream.statements.awaits(rest.check.note):
            return False
        batch, self._held, self._rest = self._held, b"", None
        downstream = self.downstream
        downstream.markers, downstream.unsynced = rest.markers, rest.unsynced
        self.asking(backend)
        data = self._translate_part(names, backend, batch, rest.effects, rest.check)
        self._send(backend, data, downstream.markers, downstream.unsynced)
        return True

    @property
    def _markers_of_batch(self) -> bytes:
        """`Downstream.markers` of the whole batch that was taken last."""
        markers = self.downstream.markers
        return markers if self._rest is None else markers + self._rest.markers

    def _lose_rest(self, backend: Backend) -> None:
        """The backend is lost, and what was held back of a request with it."""
        if self._rest is not None:
            backend.upstream.expected.sent(self._rest.markers, self._rest.unsynced)
            self._drop_rest()

    def _drop_rest(self) -> None:
        if self._rest is not None:
            self._held, self._rest = b"", None

    def _answered(self, names: Names, backend: Backend, data: bytes) -> bytes | None:
        """What the client is to see of an answer; None if it is to see nothing yet, or the request is repeated.

        That is when a statement was gone, unseen by us, the client has seen nothing of the request, and no statement of
        it was carried out.
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
        missing = False
        for body in self._take_trouble(names, backend):
            error = error_fields(body)
            ours = our_name(error)
            if ours == OUT_OF_DATE and OUT_OF_DATE not in names.alike:
                data = with_reason(data, body, error)
                continue
            theirs = names.name_for(ours) if ours else None
            if ours and theirs is not None:
                missing |= is_missing(error)
                data = with_name(data, body, ours, theirs)
        if not missing:
            return data
        backend.prepared.forget()
        if again is None or not (upstream.quiet and nothing_done(data)):
            return data
        names.rewind(again)
        data, _ = translate(names, again, backend, NO_EFFECT, unsynced=False, waits=False)
        self._send(backend, data, b"S", unsynced=False)
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

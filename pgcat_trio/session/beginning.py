"""``lazy_begin``: a BEGIN is answered by the proxy, and goes to a server together with the first statement.

So a transaction holds no server connection before it has something to do, and none at all if that never comes. What
the first statement is decides nothing but one thing: SET TRANSACTION READ ONLY makes it a transaction for a replica.

Only a BEGIN that is alone in a simple query is held back, and only one that a server cannot refuse. Where the first
statement gets no server, the transaction has failed, as it would have on one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ..errors import ShuttingDown
from ..routing.transactions import USUAL, Begin, begin_with, end_of, parse_begin
from ..wire import codes, encode
from ..wire.usual import QUERY
from .choosing import READ_ONLY, Chooser
from .telling import FAILING_QUERY

if TYPE_CHECKING:
    from ..errors import ProxyError
    from ..net.transport import Transport
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.settings import Settings
    from ..routing.route import Route
    from .gateway import Gateway

_FAILING: Final = encode.query(FAILING_QUERY)


@attrs.define
class Begun:
    """A transaction that no server knows of yet. ``batch``: the client's own words; ``at``: when, by Trio's clock."""

    batch: bytes
    begin: Begin
    route: Route
    at: float
    failed: bool = False

    @property
    def status(self) -> int:
        """For ReadyForQuery."""
        return codes.FAILED if self.failed else codes.IN_TRANSACTION


class Beginner(Chooser):
    """A session whose transactions may have begun before they have a backend."""

    __slots__ = ("begun",)

    def __init__(
        self, client: Transport, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings
    ) -> None:
        super().__init__(client, gateway, cluster, user, database, settings)
        self.begun: Begun | None = None
        """The transaction that the client is in while no backend is."""

    @property
    def parked(self) -> bool:
        return self.begun is None and super().parked

    @property
    def idle_status(self) -> int:
        return codes.IDLE if self.begun is None else self.begun.status

    def hold_back(self, batch: bytes) -> bool:
        """Answer a batch that needs no server: the beginning of a transaction, or the end of one that was nothing."""
        downstream = self.downstream
        if downstream.shape != QUERY:
            return False
        text = downstream.texts[0]
        if self.begun is not None:
            return self._end(self.begun, text)
        begin = parse_begin(text) if self.cluster.begins_lazily else None
        if begin is None:
            return False
        route = self._route(batch)
        if self.hint is not None or self.objection is not None:
            return False  # it is to be heeded now
        self._forget_unnamed()
        self.begun = Begun(batch, begin, route, self.heard_at)
        self.rests_until = self.heard_at
        self._say(encode.command_complete(begin.tag) + encode.ready_for_query(codes.IN_TRANSACTION))
        return True

    def _forget_unnamed(self) -> None:
        if self.names is not None:
            self.names.unnamed = None  # a simple query takes it away

    def _end(self, begun: Begun, text: bytes) -> bool:
        tag = end_of(text)
        if tag is None:
            begun.begin = begin_with(begun.begin, text)
            return False
        self.begun = None
        self._forget_unnamed()
        tag = "ROLLBACK" if begun.failed else tag
        self._say(encode.command_complete(tag) + encode.ready_for_query())
        if self.notifications:
            self.tell_notifications()
        if self.closing:
            self.finish(ShuttingDown("terminating connection due to administrator command"))
        return True

    def route_of_begun(self, route: Route) -> Route:
        """Where the first statement of a transaction goes, with all that comes after it."""
        begun = self.begun
        assert begun is not None
        defaults = self.settings.transactions or USUAL
        of_begun = self.router.route(begun.batch[5:-1])  # the client may have said more about its servers since
        if self.router.splitting:
            suits = defaults.suit_standby(begun.begin)
            of_begun = self.router.route(READ_ONLY) if suits else self.router.in_doubt(of_begun)
        return attrs.evolve(of_begun, effects=route.effects)

    def foresee(self, sql: bytes, route: Route) -> tuple[Route, int]:
        route, shard = super().foresee(sql, route)
        return (route if self.begun is None else self.route_of_begun(route)), shard

    def fail_open_transaction(self) -> None:
        if self.begun is not None:
            self.begun.failed = True
        else:
            super().fail_open_transaction()

    def tell_notifications(self) -> None:
        if self.begun is None:
            super().tell_notifications()

    def refuse(self, error: ProxyError, status: int = codes.IDLE) -> None:
        if self.begun is not None:
            self.begun.failed = True
            status = codes.FAILED
        super().refuse(error, status)

    def take_begin(self, backend: Backend) -> bytes:
        """What goes to a backend before the first statement: then the transaction is the server's."""
        begun, self.begun = self.begun, None
        assert begun is not None
        self.began_at = begun.at
        expected = backend.upstream.expected
        expected.sent_own_query()
        if not begun.failed:
            return begun.batch
        self._refusing = True
        expected.sent_own_query()
        return begun.batch + _FAILING

"""Which server a batch needs: what its texts say, and what the client has said before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..config.model import PoolMode, Role
from ..routing.effects import Effect
from ..routing.route import Route
from ..routing.transactions import parse_begin
from .observing import Observer

if TYPE_CHECKING:
    from ..routing.transactions import Defaults

READ_ONLY: Final = b"BEGIN READ ONLY"


class Chooser(Observer):
    """A session that knows where its client's requests go."""

    __slots__ = ()

    def _route(self, batch: bytes) -> Route:
        downstream = self.downstream
        router = self.router
        if self.mode is PoolMode.SESSION:
            self.hint = None
            return self.heed(batch, router.session) if self.cluster.sharded else router.session
        texts = downstream.texts
        if downstream.doubtful:
            route = router.unknown
        elif not downstream.named:
            route = router.route(texts[0]) if len(texts) == 1 else router.route_batch(texts)
        elif self.names is None:
            # It keeps its server from now on, whatever comes later.
            route = router.in_doubt(router.route_batch(texts)).with_effects(Effect.PREPARED | Effect.STATEMENTS)
        else:
            route = self.names.route(batch, downstream, router)
        if downstream.executes and not downstream.complete:
            # More may follow in the same implicit transaction, and it may write.
            route = router.in_doubt(route)
        if self.cluster.activity is not None:
            route = self.observe(self.cluster.activity, batch, route)
        defaults = self.settings.transactions
        if defaults is not None and router.splitting:
            route = self._by_defaults(self._texts(batch), route, defaults)
        self.hint = None
        names = self.names if downstream.named else None
        if b"/*" in batch or self.cluster.hints.everywhere or (names is not None and names.may_hint(downstream)):
            route = self.heed(batch, route)
        return route

    def foresee(self, sql: bytes, route: Route) -> tuple[Route, int]:
        activity, defaults = self.cluster.activity, self.settings.transactions
        if activity is not None:
            route = self.foresee_by_activity(activity, route)
        if defaults is not None and self.router.splitting:
            route = self._by_defaults([sql], route, defaults)
        return super().foresee(sql, route)

    def _by_defaults(self, texts: list[bytes], route: Route, defaults: Defaults) -> Route:
        """The route of a batch in a session whose transactions are of another kind if they say nothing themselves."""
        begin = parse_begin(texts[0]) if len(texts) == 1 else None
        if begin is None:
            return self._of_serializable(route) if defaults.serializable else route
        if not defaults.suit_standby(begin):
            return self.router.in_doubt(route)
        return self.router.route(READ_ONLY).with_effects(route.effects)

    def _of_serializable(self, route: Route) -> Route:
        if route.role is Role.PRIMARY:
            return route
        return Route(Role.PRIMARY, "the session's transactions are serializable", route.effects, False, route.tally)

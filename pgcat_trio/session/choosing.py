"""Which server a batch needs: what its texts say, and what the client has said before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config.model import PoolMode
from ..routing.effects import Effect
from .freshness import Writer

if TYPE_CHECKING:
    from ..routing.route import Route


class Chooser(Writer):
    """A session that knows where its client's requests go."""

    __slots__ = ()

    def _route(self, batch: bytes) -> Route:
        downstream = self.downstream
        router = self.router
        if self.mode is PoolMode.SESSION:
            return router.session
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
        self.hint = None
        names = self.names if downstream.named else None
        if b"/*" in batch or self.cluster.hints.everywhere or (names is not None and names.may_hint(downstream)):
            route = self.heed(batch, route)
        return route

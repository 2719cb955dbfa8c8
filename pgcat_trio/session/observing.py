"""What a session writes, told to all that share its pool (``db_activity_based_routing``): see `routing.activity`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from ..config.model import Role
from ..routing.lexer import split
from ..routing.names import relations
from ..routing.route import Route
from .freshness import Writer

if TYPE_CHECKING:
    from ..net.transport import Transport
    from ..pool.cluster import Cluster
    from ..pool.settings import Settings
    from ..routing.activity import Activity
    from .gateway import Gateway

_HEAD_BYTES: Final = 1024
"""Of texts that are not read as a whole, the beginning shows what they write."""


class Observer(Writer):
    """A session whose reads keep away from replicas that may not have what others have just written."""

    __slots__ = ("_touched",)

    def __init__(
        self, client: Transport, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings
    ) -> None:
        super().__init__(client, gateway, cluster, user, database, settings)
        self._touched: frozenset[str] = frozenset()  # what the transaction under way writes

    def observe(self, activity: Activity, batch: bytes, route: Route) -> Route:
        """The route of a batch, to the primary where the pool's activity wants it there."""
        router = self.router
        if not router.splitting:
            return route
        now = self.heard_at
        activity.heard(now)
        read: set[str] = set()
        for text in self._texts(batch):
            traits = router.route(text).traits
            if traits is None or not traits.statements:
                self._touched |= {name for each in split(text[:_HEAD_BYTES]) for name in relations(each.tokens)}
            elif traits.writes:
                self._touched |= traits.tables
            else:
                read |= traits.tables
        if self._touched:
            activity.wrote(self._touched, now)
        why = activity.why_primary(read, now) if route.role is not Role.PRIMARY else None
        return route if why is None else Route(Role.PRIMARY, why, route.effects, False, route.tally, route.traits)

    def foresee_by_activity(self, activity: Activity, route: Route) -> Route:
        """As `observe`, for a batch that is not there; nothing is noted."""
        if not self.router.splitting or route.role is Role.PRIMARY or route.traits is None:
            return route
        why = activity.why_primary(route.traits.tables, trio.current_time())
        return route if why is None else Route(Role.PRIMARY, why, route.effects, False, route.tally, route.traits)

    def release(self) -> None:
        if self._touched:
            touched, self._touched = self._touched, frozenset()
            if self.cluster.activity is not None:
                self.cluster.activity.wrote(touched, trio.current_time())
        super().release()

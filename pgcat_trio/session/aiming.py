"""Where a client's requests go: what it has said about that, for good or in a hint, and the shard that follows from it.

In a transaction, and as long as a session keeps its server connection for other reasons, nothing can go elsewhere:
whoever asks for it is told so, instead of finding data in the wrong place.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import attrs

from ..config.model import DefaultShard, PoolMode, Role
from ..errors import FeatureNotSupported, InsideTransaction, InvalidCommand
from ..pool.waiting import ClusterRetired
from ..routing.overrides import NO_OVERRIDES
from .leftovers import reasons
from .telling import Teller

if TYPE_CHECKING:
    from ..errors import ProxyError
    from ..net.transport import Transport
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.pool import Pool
    from ..pool.settings import Settings
    from ..routing.commands import Command
    from ..routing.hints import Hint
    from ..routing.overrides import Overrides
    from ..routing.route import Route, Router
    from .gateway import Gateway
    from .lease import Place


def no_such_shard(number: int, count: int, consequence: str) -> InvalidCommand:
    """What is said about a number that is no shard's, in PgCat's words as far as they are clear."""
    return InvalidCommand(
        f"shard {number} is not configured{consequence}",
        hint=f"The pool has {count} shard{'s' if count > 1 else ''}; shard numbers start at 0.",
    )


def default_shard(cluster: Cluster) -> int:
    """The shard of whoever says nothing about it."""
    default, shards = cluster.config.default_shard, cluster.shards
    if isinstance(default, int):
        return default
    if default is DefaultShard.RANDOM_HEALTHY:
        shards = tuple(shard for shard in shards if shard.healthy) or shards
    return random.choice(shards).shard


class Aimer(Teller):
    """A session whose requests go where its client has said."""

    __slots__ = ("hint", "objection", "overrides")

    def __init__(
        self, client: Transport, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings
    ) -> None:
        super().__init__(client, gateway, cluster, user, database, settings)
        if cluster.sharded:
            self.cluster = cluster.shards[default_shard(cluster)]
        self.overrides: Overrides = NO_OVERRIDES
        self.hint: Hint | None = None
        """What the batch that was routed last says about where it belongs."""
        self.objection: ProxyError | None = None
        """Why that cannot be."""

    def rebind(self) -> None:
        number = self.cluster.shard
        super().rebind()
        if number < len(self.cluster.shards):
            self.cluster = self.cluster.shards[number]

    def refused(self, reason: ProxyError, waiter: Place) -> None:
        if isinstance(reason, ClusterRetired):
            # What waits is for this shard, which the new configuration may not have any more.
            home = self.gateway.find_cluster(self.database, self.user)
            if home is not None and self.cluster.shard >= len(home.shards):
                reason = no_such_shard(self.cluster.shard, len(home.shards), " any more")
        super().refused(reason, waiter)

    @property
    def router(self) -> Router:
        """What decides where this client's requests go."""
        cluster = self.cluster
        return cluster.router if self.overrides is NO_OVERRIDES else cluster.routers.find(self.overrides)

    def heed(self, batch: bytes, route: Route) -> Route:
        """The route with the hints of a batch; an objection is noted if they cannot be followed."""
        hints = self.cluster.hints
        found = set()
        try:
            for text in self._texts(batch):
                hint = hints.find(text)
                if hint is not None:
                    found.add(hint)
            if not found:
                return route
            if len(found) > 1:
                raise InvalidCommand(
                    "the hints of one request contradict each other",
                    hint="Send the statements in requests of their own.",
                )
            self.hint = hint = found.pop()
            if hint.shard is not None:
                self._heed_shard(hint.shard, sticky=hint.sticky)
        except InvalidCommand as error:
            self.objection = error
            return route
        return hint.on(route)

    def misfit(self, pool: Pool) -> str:
        """Why a server would not do for a read of this session, whatever its role and state; empty if it would."""
        return ""

    def foresee(self, sql: bytes, route: Route) -> tuple[Route, int]:
        """What would become of a text's route if it came now, and the shard that it would go to.

        For a session that has no backend. Raises `InvalidCommand` if a hint cannot be followed. Nothing changes by it.
        """
        hint = self.cluster.hints.find(sql)
        number = self.overrides.shard if hint is None or hint.shard is None else hint.shard
        if number is None:
            number = default_shard(self.cluster)
        if not 0 <= number < len(self.cluster.shards):
            raise no_such_shard(number, len(self.cluster.shards), ", as a hint says")
        return (route if hint is None else hint.on(route)), number

    def _heed_shard(self, number: int, *, sticky: bool) -> None:
        count = len(self.cluster.shards)
        if not 0 <= number < count:
            raise no_such_shard(number, count, ", as a hint says")
        backend = self.backend
        if backend is not None and number != self.cluster.shard and self._stays_on(backend):
            self.objection = self._held_by(backend, f"the hint shard={number}", f"one of shard {self.cluster.shard}")
        elif sticky:
            self.overrides = attrs.evolve(self.overrides, shard=number)

    def _stays_on(self, backend: Backend) -> bool:
        """True if what is sent next goes to the backend that is held, wherever it belongs."""
        stays = self.mode is PoolMode.SESSION or backend.upstream.in_transaction
        return stays or bool(self.pinned and backend.upstream.quiet)

    def strays(self, backend: Backend, route: Route) -> bool:
        """True if a batch belongs to another server than the one that is held, and can wait to go there."""
        if self._stays_on(backend):
            return False
        hint = self.hint
        shard = self.cluster.shard if hint is None or hint.shard is None else hint.shard
        return shard != self.cluster.shard or route.role not in (Role.ANY, backend.pool.role)

    def choose_shard(self) -> bool:
        """Go to the shard that the batch belongs to, before a backend is leased; True if that is another one."""
        cluster, hint = self.cluster, self.hint
        shards = cluster.shards
        number = self.overrides.shard if hint is None or hint.shard is None else hint.shard
        if number is None:
            number = default_shard(cluster)
        if number < len(shards):
            self.cluster = shards[number]
            return self.cluster is not cluster
        if self.objection is None:
            self.objection = no_such_shard(number, len(shards), " any more")
        return False

    def object(self, batch: bytes) -> ProxyError | None:
        """Why a batch must not go to the backend that is held for the whole session: a hint says so."""
        self.heed(batch, self.router.session)
        return self.take_objection()

    def take_objection(self) -> ProxyError | None:
        """Why the batch that was routed last is not to be run; told once."""
        objection, self.objection = self.objection, None
        return objection

    def _held_by(self, backend: Backend, command: Command | str, what: str) -> ProxyError:
        """Why a session cannot go to another server now."""
        if self.mode is PoolMode.SESSION:
            why = f"in session mode a session stays on its server, {what}"
            return FeatureNotSupported(f"{command} is not possible: {why}", hint="Use transaction mode for this user.")
        if not backend.upstream.quiet:
            return InsideTransaction(f"{command} cannot change the server, {what}, of a transaction that has begun")
        kept_by = reasons(self.leftovers.pinned) if self.leftovers is not None else ""
        return FeatureNotSupported(
            f"{command} is not possible: the session keeps its server, {what}, because of: {kept_by}",
            hint="Give that up first, or use another connection.",
        )

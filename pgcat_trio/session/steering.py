"""A client steers: its commands are answered in their place, and what they say holds from the next transaction on.

In a transaction, and as long as a session keeps its server connection for other reasons, a command may say only what
that server is already: whoever asks for another one is told so, instead of finding data in the wrong place.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from ..config.model import DefaultShard, PoolMode, Role
from ..errors import FeatureNotSupported, InsideTransaction, InvalidCommand, ProtocolViolation
from ..pool.waiting import ClusterRetired
from ..routing.commands import Command, Subject
from ..routing.overrides import NO_OVERRIDES
from ..routing.sharding import shard_of
from ..wire import codes, encode
from ..wire.replies import QUERY_REPLY, SYNC_REPLY
from ..wire.statements import CLOSE_COMPLETE, STAND_IN, Note, close
from .commands import Answer, Commands
from .explaining import explain_route
from .leftovers import reasons
from .names import FOREIGN
from .telling import Teller

if TYPE_CHECKING:
    from ..errors import ProxyError
    from ..net.transport import Transport
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.pool import Pool
    from ..pool.settings import Settings
    from ..routing.hints import Hint
    from ..routing.overrides import Overrides
    from ..routing.route import Route, Router
    from .gateway import Gateway
    from .lease import Place

_BARRIER: Final = close(STAND_IN) + encode.FLUSH
"""What is answered only when all before it is."""


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


class Steerer(Teller):
    """A session whose client may say where its requests go."""

    __slots__ = ("_barrier", "_commands", "hint", "objection", "overrides", "used")

    def __init__(
        self, client: Transport, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings
    ) -> None:
        super().__init__(client, gateway, cluster, user, database, settings)
        if cluster.sharded:
            self.cluster = cluster.shards[default_shard(cluster)]
        self.overrides: Overrides = NO_OVERRIDES
        self._commands = Commands(self._obey, partial(explain_route, self))
        self.downstream.claims = self._commands.claims
        self.hint: Hint | None = None
        """What the batch that was routed last says about where it belongs."""
        self.objection: ProxyError | None = None
        """Why that cannot be."""
        self.used = False
        """In session mode: the backend has been given something to do."""
        self._barrier: Note | None = None  # sent behind what has to be answered before a command

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

    # -- where a request goes --------------------------------------------------------------------------------------

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
            raise no_such_shard(number, len(self.cluster.shards), "as a hint says")
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

    # -- answering in the right place ------------------------------------------------------------------------------

    def steer(self, batch: bytes) -> None:
        """Answer messages about commands; they wait until everything before them has been answered."""
        backend = self.backend
        downstream = self.downstream
        if downstream.discarding:
            downstream.unread(batch)  # what they belong to has come to its end while they waited
            return
        if backend is None:
            self._answer(batch, self.idle_status)
            return
        expected = backend.upstream.expected
        if expected.copy_in:
            raise ProtocolViolation("a command for the proxy in the middle of a COPY")
        if expected.unsynced:
            self._answer_behind(backend, batch)
        elif expected.settled and not (self.leftovers is not None and self.leftovers.withheld):
            self._answer(batch, backend.upstream.status)
        else:
            self._held = batch

    def _answer(self, batch: bytes, status: int) -> None:
        answer = self._answer_to(batch, failed=status == codes.FAILED)
        rest = batch[answer.rest :]
        if answer.error is not None:
            rest = self._give_up_rest(batch)
            if status == codes.IN_TRANSACTION:
                status = codes.FAILED
                self.fail_open_transaction()
        if rest == encode.SYNC or batch[0] == codes.QUERY:
            answer.data += encode.ready_for_query(status)
        if answer.data:
            self._say(answer.data)

    @property
    def idle_status(self) -> int:
        """The status of the client's transaction while there is no backend."""
        return codes.IDLE

    def fail_open_transaction(self) -> None:
        """The transaction that the client is in has failed."""
        assert self.backend is not None
        self.fail_transaction(self.backend)

    def _give_up_rest(self, batch: bytes) -> bytes:
        """After an error everything is left out up to a Sync: that, if it is there already."""
        if batch.endswith(encode.SYNC):
            return encode.SYNC
        if batch[0] != codes.QUERY:
            self.downstream.discard_until_sync()
        return b""

    def _answer_behind(self, backend: Backend, batch: bytes) -> None:
        """Statements have been sent without a Sync: first their answers, and a Sync or Flush is the server's."""
        downstream, upstream = self.downstream, backend.upstream
        statements = upstream.statements
        if statements.skipping:
            self._barrier = None
            downstream.unread(batch)
            downstream.discard_until_sync()
        elif self._barrier is None:
            if self.names is None:
                raise FeatureNotSupported(
                    "a command for the proxy behind statements that are not followed by a Sync",
                    hint="Send it in a request of its own, not within a pipeline.",
                )
            self._barrier = Note(CLOSE_COMPLETE, forward=False, request=statements.request)
            owed = sum(entry in (QUERY_REPLY, SYNC_REPLY) for entry in upstream.expected.queue)
            statements.expect([self._barrier], owed)
            self._held = batch
            self._send(backend, _BARRIER, b"", unsynced=True)
        elif not self._barrier.answered:
            self._held = batch
        else:
            self._barrier = None
            answer = self._answer_to(batch, failed=upstream.status == codes.FAILED)
            if answer.error is not None:
                raise answer.error  # what belongs to it has been sent, and would be carried out
            self._say(answer.data)
            if answer.rest < len(batch):
                downstream.unread(batch[answer.rest :])

    def _answer_to(self, batch: bytes, *, failed: bool) -> Answer:
        names = self.names
        answer = self._commands.answer(
            batch, failed=failed, taken=lambda name: names is not None and name in names.by_name
        )
        if names is not None and (batch[0] == codes.QUERY or b"" in self._commands.claims.statements):
            # The client's unnamed statement is a command now, or gone.
            names.unnamed, names.unnamed_there = None, FOREIGN
        return answer

    # -- carrying out ----------------------------------------------------------------------------------------------

    def _obey(self, command: Command) -> str | None:
        """Carry a command out; the value, if it is a question."""
        if self._lost is not None:
            error, self._lost = self._lost, None
            raise error
        if command.value is None:
            return self._shown(command.subject)
        overrides = self.overrides
        if command.subject is Subject.ROLE:
            overrides = overrides.with_role(command)
            self._check_role(command, overrides)
        elif command.subject is Subject.PRIMARY_READS:
            overrides = overrides.with_primary_reads(command)
        else:
            overrides = self._with_shard(command)
        self.overrides = overrides if overrides != NO_OVERRIDES else NO_OVERRIDES
        return None

    def _shown(self, subject: Subject) -> str:
        if subject is Subject.SHARD:
            return "unset" if self.overrides.shard is None else str(self.overrides.shard)
        routers = self.cluster.routers
        return (routers.role if subject is Subject.ROLE else routers.primary_reads)(self.overrides)

    def _check_role(self, command: Command, overrides: Overrides) -> None:
        backend = self.backend
        if backend is not None and overrides.role not in (None, Role.ANY, backend.pool.role):
            self._leave(backend, command, f"a {backend.pool.role.value}")

    def _with_shard(self, command: Command) -> Overrides:
        shards = self.cluster.shards
        value = command.value or ""
        if command.subject is Subject.SHARDING_KEY:
            number = shard_of(int(value), len(shards), self.cluster.config.sharding_function)
        elif value == "any":
            number = self.cluster.shard if self.backend is not None else random.randrange(len(shards))
        else:
            number = int(value)
        if not 0 <= number < len(shards):
            raise no_such_shard(number, len(shards), f", staying on shard {self._shown(Subject.SHARD)}")
        if self.backend is not None and number != self.cluster.shard:
            self._leave(self.backend, command, f"one of shard {self.cluster.shard}")
        return attrs.evolve(self.overrides, shard=number)

    def _leave(self, backend: Backend, command: Command, what: str) -> None:
        """Give up the backend that is held, if the session has no use for this one rather than another."""
        if self.mode is not PoolMode.SESSION or self.used or not backend.upstream.quiet:
            raise self._held_by(backend, command, what)
        self.release()

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

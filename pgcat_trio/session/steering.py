"""A client steers: its commands are answered in their place, and what they say holds from the next transaction on.

As long as a session must stay on the server that it has, a command may say only what that server is already.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from ..config.model import PoolMode, Role
from ..errors import FeatureNotSupported, ProtocolViolation
from ..routing.commands import Command, Subject
from ..routing.overrides import NO_OVERRIDES
from ..routing.sharding import shard_of
from ..wire import codes, encode
from ..wire.replies import QUERY_REPLY, SYNC_REPLY
from ..wire.statements import CLOSE_COMPLETE, STAND_IN, Note, close
from .aiming import Aimer, no_such_shard
from .commands import Answer, Commands
from .explaining import explain_route
from .names import FOREIGN

if TYPE_CHECKING:
    from ..net.transport import Transport
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.settings import Settings
    from ..routing.overrides import Overrides
    from .gateway import Gateway

_BARRIER: Final = close(STAND_IN) + encode.FLUSH
"""What is answered only when all before it is."""


class Steerer(Aimer):
    """A session whose client gives commands."""

    __slots__ = ("_barrier", "_commands", "used")

    def __init__(
        self, client: Transport, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings
    ) -> None:
        super().__init__(client, gateway, cluster, user, database, settings)
        self._commands = Commands(self._obey, partial(explain_route, self))
        self.downstream.claims = self._commands.claims
        self.used = False
        """In session mode: the backend has been given something to do."""
        self._barrier: Note | None = None  # sent behind what has to be answered before a command

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
        owed = sum(entry in (QUERY_REPLY, SYNC_REPLY) for entry in upstream.expected.queue)
        if statements.skipping and not owed:
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

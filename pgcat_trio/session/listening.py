"""LISTEN in transaction mode: the channels of a client, whichever backend it has, and what is notified on them.

PostgreSQL manual, "NOTIFY": a client is notified between its transactions. What comes while a backend is at work for it
waits until that is done.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

import trio

from ..config.model import Pinning, Role
from ..errors import ServerUnavailable, SubscriptionLost
from ..pool.listening import MARKS, UNLISTEN_MARKS
from ..routing.effects import Effect
from ..routing.lexer import split
from ..wire import messages
from .keeping import Keeper
from .leftovers import EVERYTHING, Leftovers

if TYPE_CHECKING:
    from ..errors import ProxyError
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.listening import Joining, Switchboard
    from ..pool.settings import Settings
    from .gateway import Gateway
    from .outbox import Outbox

_MAX_BACKLOG_BYTES: Final = 8 * 1024 * 1024
"""Notifications that may wait for one client: a server would keep them on its disk."""

_UTF8_HINT: Final = "Listen with client_encoding UTF8."
_READ_HINT: Final = "Listen on a connection that reads all the time, and leave long transactions to others."

_MAX_NAME_BYTES: Final = 63
"""PostgreSQL's NAMEDATALEN, less the zero byte at the end: of a longer name the rest is dropped."""


class Listener(Keeper):
    """A session that may listen."""

    __slots__ = (
        "_backlog_bytes",
        "_board",
        "_board_shard",
        "_channels",
        "_former_board",
        "_giving_up",
        "_moving",
        "notifications",
    )

    outbox: Outbox

    def __init__(self, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings) -> None:
        super().__init__(gateway, cluster, user, database, settings)
        self._board: Switchboard | None = None
        self._board_shard = 0  # which is where the client has begun to listen, wherever it is now
        self._former_board: Switchboard | None = None  # as long as that is the one to tell us
        self._moving: Joining | None = None  # what will end that
        self._channels: frozenset[bytes] = frozenset()
        self._giving_up: frozenset[bytes] = frozenset()  # while we move
        self._backlog_bytes = 0
        self.notifications: list[bytes] = []
        """What the client has not been told yet."""

    @abstractmethod
    def _say(self, data: bytes) -> None:
        """Send to the client, or keep it until the client reads."""

    @abstractmethod
    def settle(self) -> None:
        """Do what was put off until the backend owes nothing, if that is now."""

    @property
    def listens(self) -> bool:
        """True if the client has channels that no backend of its own listens to."""
        return bool(self._channels)

    # -- what the client says --------------------------------------------------------------------------------------

    def note(self, backend: Backend, batch: bytes, effects: Effect) -> None:
        super().note(backend, batch, effects)
        if not self._channels:
            return
        if effects & (Effect.LISTEN | Effect.UNKNOWN) and backend.upstream.diverted is None:
            backend.upstream.diverted = []  # it may listen, too, to what others tell us already
        if Effect.UNDOING in effects:
            given_up = [channels for text in self._texts(batch) for channels in _given_up(text)]
            if given_up:
                if self.leftovers is None:
                    self.leftovers = Leftovers()
                self.leftovers.given_up += given_up

    def listen(self, backend: Backend, channels: frozenset[str]) -> bool:
        if not channels or backend.parameters.get("client_encoding") != "UTF8":
            return False
        if not self._channels and self._former_board is None:
            self._board = None
        here = backend.pool.switchboard
        if self._board is None:
            self._board_shard = self.cluster.shard
        board = self._board or here
        if not board.shares_marks_with(here):
            return False
        assert self.leftovers is not None
        names = frozenset(channel.encode("utf-8", "surrogateescape") for channel in channels) - {MARKS}
        self._board = board
        if names <= self._channels:
            self.leftovers.unlisten = EVERYTHING
        else:
            self._hand_over(board, names - self._channels, self.leftovers)
        return True

    def _hand_over(self, board: Switchboard, channels: frozenset[bytes], leftovers: Leftovers) -> None:
        leftovers.joining = board.subscribe(self, channels)
        leftovers.awaiting += not board.hears(leftovers.joining)

    def marked(self, backend: Backend, leftovers: Leftovers) -> None:
        board, joining = self._board, leftovers.joining
        assert joining is not None
        leftovers.joining = None
        diverted, backend.upstream.diverted = backend.upstream.diverted or [], []
        marks = [n for n, each in enumerate(diverted) if messages.notification(each[5:]) == (MARKS, joining.mark)]
        if marks and board is not None:
            leftovers.withheld += self._ours(diverted[: marks[0]])
            self._channels |= joining.channels
            leftovers.unlisten, leftovers.asked_again = EVERYTHING, False
            self._move_on()
            return
        leftovers.withheld += self._ours(diverted)
        leftovers.unlisten = leftovers.unlisten or UNLISTEN_MARKS
        if board is not None:
            board.forget(joining)
        if not leftovers.asked_again:  # a cancel request that came late, for example
            leftovers.asked_again = True
            self._board = board or backend.pool.switchboard
            self._hand_over(self._board, joining.channels, leftovers)
        else:
            self._stay(backend, leftovers, ServerUnavailable("the server cannot notify anybody"))

    def take_diverted(self, backend: Backend) -> bytes:
        diverted, backend.upstream.diverted = backend.upstream.diverted or [], None
        return self._ours(diverted)

    def _ours(self, diverted: list[bytes]) -> bytes:
        """Those notifications of the backend's that are told to the client by nobody else."""
        elsewhere = self._channels | {MARKS}
        return b"".join(each for each in diverted if messages.notification(each[5:])[0] not in elsewhere)

    def unlisten(self, given_up: list[bytes | None], channels: frozenset[str]) -> None:
        kept = {channel.encode("utf-8", "surrogateescape") for channel in channels}
        gone = self._channels if None in given_up else self._channels.intersection(filter(None, given_up))
        gone -= kept
        if self._board is None or not gone:
            return
        assert self.leftovers is not None
        self.leftovers.awaiting += 1
        self._channels -= gone
        if self._former_board is None:
            self._board.unsubscribe_soon(self, gone)
        else:
            self._giving_up |= gone

    def stop_listening(self) -> None:
        """The session is over."""
        if self.backend is not None:
            self.backend.upstream.diverted = None
        for board in filter(None, (self._board, self._former_board)):
            board.unsubscribe(self)

    # -- what the switchboard says ---------------------------------------------------------------------------------

    def notify(self, message: bytes, is_ascii: bool) -> None:
        if self.ended is not None:
            return
        if not is_ascii and self.settings.values.get("client_encoding") != "UTF8":
            self.finish(
                SubscriptionLost("a notification cannot be converted to the client's encoding", hint=_UTF8_HINT)
            )
            return
        self.notifications.append(message)
        self._backlog_bytes += len(message)
        if self._backlog_bytes + self.outbox.pending_bytes > _MAX_BACKLOG_BYTES:
            self.finish(SubscriptionLost("too many notifications wait for the client", hint=_READ_HINT))
        else:
            self.tell_notifications()

    def tell_notifications(self) -> None:
        """Pass on what has been notified, if the client is between its transactions."""
        backend, leftovers = self.backend, self.leftovers
        if backend is not None and (not backend.upstream.quiet or (leftovers is not None and leftovers.awaiting)):
            return
        notifications = self._take_notifications()
        if notifications:
            try:
                self._say(notifications)
            except Exception as problem:
                self.turn_failed(problem)

    def _take_notifications(self) -> bytes:
        notifications, self.notifications = b"".join(self.notifications), []
        self._backlog_bytes = 0
        return notifications

    def tell_withheld(self) -> None:
        """The session ends, whatever its backend is still being asked: what was done for the client, it is told."""
        if self.leftovers is not None and self.leftovers.withheld and self.outbox.intact:
            with contextlib.suppress(trio.BrokenResourceError):
                self._say(self.leftovers.withheld)

    def heard(self, joining: Joining) -> None:
        if joining is self._moving:
            self._move(joining)
        else:
            self._go_on()

    def left(self, board: Switchboard) -> None:
        if board is self._former_board:
            self._former_board = self._moving = None
            gone, self._giving_up = self._giving_up, frozenset()
            if gone and self._board is not None:
                self._board.unsubscribe_soon(self, gone)
            self._move_on()
        else:
            if self.leftovers is not None:
                self.leftovers.news += self._take_notifications()
            self._go_on()
            self._move_on()

    def unsubscribed(self, reason: ProxyError) -> None:
        leftovers, backend = self.leftovers, self.backend
        lost, self._channels = self._channels, frozenset()
        self._board = self._former_board = None
        if lost:
            self.finish(_lost(reason))
        elif leftovers is not None and backend is not None:
            leftovers.news += self._take_notifications()
            leftovers.awaiting = min(leftovers.awaiting, 1)
            if leftovers.joining is not None and not leftovers.marking:
                leftovers.joining = None
                self._stay(backend, leftovers, reason)
            self._go_on()

    def _stay(self, backend: Backend, leftovers: Leftovers, reason: ProxyError) -> None:
        """The channels that were to be handed over are listened to by the backend, as before."""
        if self.cluster.config.pinning is Pinning.DENY:
            self.finish(_lost(reason))
        else:
            self.pin(backend, leftovers, leftovers.pinned | Effect.LISTEN)

    def _go_on(self) -> None:
        """There is one thing less that the client must wait for."""
        leftovers, backend = self.leftovers, self.backend
        if leftovers is None or backend is None or not leftovers.awaiting or self.ended is not None:
            return
        leftovers.awaiting -= 1
        try:
            data = self.look_back(backend, b"")
            self.release_if_quiet()
            if data:
                self._say(data)
            self.tell_notifications()
            if self._held or self.downstream.terminated:
                self.settle()
        except Exception as problem:
            self.turn_failed(problem)

    # -- reloads ---------------------------------------------------------------------------------------------------

    def moved(self) -> None:
        """A reload has replaced the pool: be told by the switchboard of its successor, and by this one until then."""
        leftovers = self.leftovers
        if self._former_board is not None or (leftovers is not None and (leftovers.joining or leftovers.awaiting)):
            return  # one thing after the other
        cluster = self.gateway.find_cluster(self.database, self.user)
        shards = () if cluster is None or cluster.retired else cluster.shards
        pools = shards[self._board_shard].pools if self._board_shard < len(shards) else []
        pool = next((pool for pool in pools if pool.role is Role.PRIMARY), None)
        if pool is None:
            self.finish(_lost("its pool has been replaced"))
            return
        self._former_board, self._board = self._board, pool.switchboard
        self._moving = self._board.subscribe(self, self._channels)
        if self._board.hears(self._moving):
            self._move(self._moving)

    def _move(self, joining: Joining) -> None:
        former, board = self._former_board, self._board
        assert former is not None
        assert board is not None
        if former.shares_marks_with(board):
            former.unsubscribe_at(joining)
            board.set_mark(joining)
        else:
            board.join(joining)
            former.unsubscribe_soon(self, joining.channels)

    def _move_on(self) -> None:
        """See whether another reload has come while there was something to wait for."""
        if self._board is not None and self._board.retired and self._channels and self.ended is None:
            self.moved()


def _lost(reason: ProxyError | str) -> SubscriptionLost:
    words = reason if isinstance(reason, str) else reason.message
    return SubscriptionLost(f"nobody listens for this session any more: {words}")


def _given_up(text: bytes) -> list[bytes | None]:
    """The channels that a text gives up; None stands for all."""
    found: list[bytes | None] = []
    for statement in split(text):
        tokens = statement.tokens
        if tokens in (("UNLISTEN", "*"), ("DISCARD", "ALL")):
            found.append(None)
        elif len(tokens) == 2 and tokens[0] == "UNLISTEN":
            name = text[statement.end - len(tokens[1]) : statement.end]
            name = name[1:-1].replace(b'""', b'"') if name[:1] == b'"' else name.lower()
            found.append(name[:_MAX_NAME_BYTES])
    return found

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
from ..errors import SubscriptionLost
from ..routing.effects import Effect
from ..routing.lexer import split
from .keeping import Keeper
from .leftovers import Leftovers

if TYPE_CHECKING:
    from ..errors import ProxyError
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.listening import Switchboard
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

    __slots__ = ("_board", "_channels", "_former_board", "notifications")

    outbox: Outbox

    def __init__(self, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings) -> None:
        super().__init__(gateway, cluster, user, database, settings)
        self._board: Switchboard | None = None
        self._former_board: Switchboard | None = None  # while the new one does not listen yet
        self._channels: frozenset[bytes] = frozenset()
        self.notifications: list[bytes] = []
        """What the client has not been told yet."""

    @abstractmethod
    def _say(self, data: bytes) -> None:
        """Send to the client, or keep it until the client reads."""

    @property
    def listens(self) -> bool:
        """True if the client has channels that no backend of its own listens to."""
        return bool(self._channels)

    # -- what the client says --------------------------------------------------------------------------------------

    def note(self, backend: Backend, batch: bytes, effects: Effect) -> None:
        super().note(backend, batch, effects)
        if self._channels and Effect.UNDOING in effects:
            given_up = [channels for text in self._texts(batch) for channels in _given_up(text)]
            if given_up:
                if self.leftovers is None:
                    self.leftovers = Leftovers()
                self.leftovers.given_up += given_up

    def listen(self, backend: Backend, channels: frozenset[str]) -> bool:
        board = backend.pool.switchboard
        if not channels or backend.parameters.get("client_encoding") != "UTF8" or self._board not in (None, board):
            return False
        assert self.leftovers is not None
        names = frozenset(channel.encode("utf-8", "surrogateescape") for channel in channels)
        self._board = board
        self._channels |= names
        if board.subscribe(self, names):
            self.leftovers.handed_over = True
        else:
            self.leftovers.awaiting = names
        return True

    def unlisten(self, given_up: list[bytes | None]) -> None:
        if self._board is not None:
            channels = self._channels if None in given_up else self._channels.intersection(filter(None, given_up))
            self._channels -= channels
            self._board.unsubscribe(self, channels)

    def stop_listening(self) -> None:
        """The session is over."""
        for board in filter(None, (self._board, self._former_board)):
            board.unsubscribe(self, self._channels)

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
        self.tell_notifications()

    def tell_notifications(self) -> None:
        """Pass on what has been notified, if the client is between its transactions."""
        backend, leftovers = self.backend, self.leftovers
        if backend is not None and (not backend.upstream.quiet or (leftovers is not None and leftovers.awaiting)):
            return
        notifications, self.notifications = b"".join(self.notifications), []
        try:
            if len(notifications) + self.outbox.pending_bytes > _MAX_BACKLOG_BYTES:
                raise SubscriptionLost("too many notifications wait for the client", hint=_READ_HINT)
            if notifications:
                self._say(notifications)
        except Exception as problem:
            self.turn_failed(problem)

    def tell_withheld(self) -> None:
        """The session ends, whatever its backend is still being asked: what was done for the client, it is told."""
        if self.leftovers is not None and self.leftovers.withheld and self.outbox.intact:
            with contextlib.suppress(trio.BrokenResourceError):
                self._say(self.leftovers.withheld)

    def moved(self) -> None:
        """A reload has replaced the pool: listen where its successor does, and here as long as it does not yet."""
        cluster = self.gateway.find_cluster(self.database, self.user)
        pools = [] if cluster is None or cluster.retired else cluster.pools
        pool = next((pool for pool in pools if pool.role is Role.PRIMARY), None)
        moving = self._former_board is not None or (self.leftovers is not None and self.leftovers.awaiting)
        if pool is None or moving:
            self.finish(SubscriptionLost("nobody listens for this session any more: its pool has been replaced"))
            return
        self._former_board, self._board = self._board, pool.switchboard
        if self._board.subscribe(self, self._channels):
            self._leave_former_board()

    def _leave_former_board(self) -> None:
        former, self._former_board = self._former_board, None
        if former is not None:
            former.unsubscribe_soon(self, self._channels)

    def subscribed(self) -> None:
        self._leave_former_board()
        self._handed_over(Effect.NONE)

    def unsubscribed(self, reason: ProxyError) -> None:
        leftovers = self.leftovers
        lost = self._channels - leftovers.awaiting if leftovers is not None else self._channels
        self._channels, self._board = frozenset(), None
        if lost or self.cluster.config.pinning is Pinning.DENY:
            self.finish(SubscriptionLost(f"nobody listens for this session any more: {reason.message}"))
        else:
            self._handed_over(Effect.LISTEN)

    def _handed_over(self, pinned: Effect) -> None:
        """The client can go on: its channels are listened to elsewhere, or (``pinned``) stay where they are."""
        leftovers, backend = self.leftovers, self.backend
        if leftovers is None or backend is None or not leftovers.awaiting:
            return
        leftovers.awaiting = frozenset()
        leftovers.handed_over = not pinned
        try:
            self.pin(backend, leftovers, leftovers.pinned | pinned)
            data = self.look_back(backend, b"")
            if data:
                self._say(data)
        except Exception as problem:
            self.turn_failed(problem)


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

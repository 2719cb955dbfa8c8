"""One server connection that listens for all clients of a pool.

A thousand listening clients need no more than this connection: what is notified on a channel is passed on to all who
listen to it. It is open as long as somebody does, beside the backends that ``pool_size`` counts. If it breaks, nobody
can know what was missed: so all who listened are told, and by the way that they are prepared for.

Whoever comes here from another connection that listens (its own, or the switchboard of before a reload) begins with a
*mark*: a notification on a channel of the proxy's own, which both connections hear. A server has all notifications in
one order (PostgreSQL manual, "NOTIFY"), so what comes before the mark is the other connection's to tell, and what
comes after it is told here: nothing is lost, and nothing is told twice.
"""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING, Final, Protocol

import attrs
import structlog
import trio

from ..errors import ProxyError, ServerUnavailable, ShuttingDown
from .connect import open_connection
from .hearing import Wire
from .resolver import host_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ..config.model import General
    from ..net.transport import Transport
    from .connect import Target

log = structlog.get_logger("pgcat_trio.pool")

_STARTUP: Final = {"application_name": "pgcat-trio listener", "client_encoding": "UTF8"}

_BARRIER: Final = b""
"""A query that does nothing: before a server answers it, it says what it was notified of."""

LINGER_S: Final = 10.0
"""How long the connection stays when nobody listens any more: whoever comes back soon finds it."""

MARKS: Final = b"pgcat-trio marks " + secrets.token_hex(8).encode()
"""The channel of the marks of this process."""

UNLISTEN_MARKS: Final = f'UNLISTEN "{MARKS.decode()}"'

_numbers: Final = itertools.count(1)


@attrs.frozen(eq=False)
class Joining:
    """Somebody who will be told what is notified on some channels, from the mark on."""

    subscriber: Subscriber
    channels: frozenset[bytes]
    mark: bytes = attrs.field(init=False, factory=lambda: b"%d" % next(_numbers))

    @property
    def mark_sql(self) -> str:
        """Sets the mark; whoever runs it hears it, too. Nobody waits for a disk or a standby on its account."""
        channel = _quoted(MARKS).decode()
        return f"SET LOCAL synchronous_commit TO off; LISTEN {channel}; NOTIFY {channel}, '{self.mark.decode()}'"


class Subscriber(Protocol):
    """Somebody who listens. All calls come from within others' business: they must neither raise nor await."""

    def notify(self, message: bytes, payload_is_ascii: bool) -> None:
        """A NotificationResponse for one of the channels, as it came."""
        ...

    def heard(self, joining: Joining) -> None:
        """All its channels are listened to from now on: the mark may be set."""
        ...

    def left(self, board: Switchboard) -> None:
        """The channels that were to be left have been, and all that was notified on them before has been passed on."""
        ...

    def unsubscribed(self, reason: ProxyError) -> None:
        """Nothing is listened to any more, for this subscriber."""
        ...

    def moved(self) -> None:
        """Another switchboard has taken the place of this one, which goes on until nobody uses it."""
        ...


class Switchboard:
    """Who listens to what on one server. ``nursery`` is the pools' nursery; the connection is opened when needed."""

    def __init__(
        self, name: str, target: Target, options: General, connect_timeout_s: float, nursery: trio.Nursery
    ) -> None:
        self.name = name
        self.target = target
        self.options = options
        self.connect_timeout_s = connect_timeout_s
        self.channels: dict[bytes, set[Subscriber]] = {}
        """Who is told what; names in UTF-8."""
        self.pid = 0
        """The server process that listens; 0 while there is none."""
        self.retired = False
        self._nursery = nursery
        self._heard: set[bytes] = set()  # what the server has confirmed
        self._asked: set[bytes] = set()  # what it will have confirmed next
        self._joining: dict[bytes, Joining] = {}  # by their marks
        self._unheard: dict[bytes, Joining] = {}  # those of them whose channels are not all listened to yet
        self._leaving_at: dict[bytes, tuple[Subscriber, frozenset[bytes]]] = {}  # by marks
        self._leaving: list[tuple[Subscriber, frozenset[bytes]]] = []
        self._asked_leaving = self._leaving  # those who have left when the server answers
        self._marks: list[Joining] = []  # to be set by this connection
        self._changed = trio.Event()
        self._running = False
        self._transport: Transport | None = None

    def subscribe(self, subscriber: Subscriber, channels: frozenset[bytes]) -> Joining:
        """Tell it what is notified on some more channels, from a mark on: whoever calls this has it set.

        That may be as soon as the channels are listened to. If they are not yet, `Subscriber.heard` will be called.
        """
        joining = Joining(subscriber, channels)
        self._joining[joining.mark] = joining
        if not channels <= self._heard:
            self._unheard[joining.mark] = joining
        self._changed.set()
        if not self._running:
            self._running = True
            self._nursery.start_soon(self._run)
        return joining

    def hears(self, joining: Joining) -> bool:
        """True if the mark may be set."""
        return joining.mark not in self._unheard

    def shares_marks_with(self, other: Switchboard) -> bool:
        """True if both listen to the same database of the same server."""
        return (self.target.address, self.target.database) == (other.target.address, other.target.database)

    def set_mark(self, joining: Joining) -> None:
        """Have the mark set by this connection."""
        self._marks.append(joining)
        self._changed.set()

    def join(self, joining: Joining) -> None:
        """The mark has come, or none is needed."""
        if self._joining.pop(joining.mark, None) is not None:
            for channel in joining.channels:
                self.channels.setdefault(channel, set()).add(joining.subscriber)

    def forget(self, joining: Joining) -> None:
        """It will not join after all."""
        self._joining.pop(joining.mark, None)
        self._unheard.pop(joining.mark, None)
        self.unsubscribe(joining.subscriber, joining.channels)

    def unsubscribe(self, subscriber: Subscriber, channels: Iterable[bytes] | None = None) -> None:
        """Tell it no more of these channels; or of any, whether it has joined already or not."""
        for channel in tuple(self.channels) if channels is None else channels:
            listeners = self.channels.get(channel, set())
            listeners.discard(subscriber)
            if not listeners:
                self.channels.pop(channel, None)
        if channels is None:
            for joining in [each for each in self._joining.values() if each.subscriber is subscriber]:
                self.forget(joining)
        self._changed.set()

    def unsubscribe_soon(self, subscriber: Subscriber, channels: frozenset[bytes]) -> None:
        """The same, once all that has been notified until now has been passed on; then `Subscriber.left` is called."""
        self._leaving.append((subscriber, channels))
        self._changed.set()

    def unsubscribe_at(self, joining: Joining) -> None:
        """The same, when its mark comes: from there on it is told on another switchboard."""
        self._leaving_at[joining.mark] = joining.subscriber, joining.channels

    def retire(self) -> None:
        """The pool has been replaced, or is closed: everybody goes on elsewhere, or ends."""
        self.retired = True
        for subscriber in self._subscribers():
            subscriber.moved()

    def sever(self) -> None:
        """The server is down without a word: end the connection from here, and with it all that depends on it."""
        if self._transport is not None:
            self._transport.sever()

    def move(self, addresses: Collection[str]) -> None:
        """The server's name stands for these addresses now: who listens at another one hears nothing any more."""
        if self._transport is not None and host_of(self._transport.peer) not in addresses:
            self._transport.sever()

    def end(self, reason: ProxyError) -> None:
        """Tell everybody that it is over."""
        subscribers = self._subscribers()
        for mapping in (self.channels, self._joining, self._unheard, self._leaving_at):
            mapping.clear()
        self._leaving, self._asked_leaving, self._marks = [], [], []
        self._heard.clear()
        self._changed.set()
        for subscriber in subscribers:
            subscriber.unsubscribed(reason)

    def _subscribers(self) -> set[Subscriber]:
        leaving = (*self._leaving, *self._asked_leaving)
        others = {each.subscriber for each in self._joining.values()}.union(subscriber for subscriber, _ in leaving)
        return others.union(*self.channels.values())

    # -- the connection --------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Connect, and serve until nobody listens any more, or it breaks. In the end nothing is left open."""
        transport: Transport | None = None
        error: ProxyError = ShuttingDown("the proxy is shutting down")
        try:
            while self._wanted():
                transport = self._transport = await self._connect()
                await Wire(self, transport).run()
                transport.close()
                self._heard.clear()
                log.info("listener.closed", pool=self.name, pid=self.pid)
        except ProxyError as problem:
            error = problem
            log.warning("listener.lost", pool=self.name, reason=problem.message, clients=len(self._subscribers()))
        finally:
            self._running = False
            self._transport = None
            self.pid = 0
            self._heard.clear()
            if transport is not None:
                transport.close()
            self.end(error)

    async def _connect(self) -> Transport:
        with trio.move_on_after(self.connect_timeout_s):
            greeting = await open_connection(self.target, None, self.options, _STARTUP)
            self.pid = greeting.pid
            greeting.transport.unread(greeting.rest)
            log.info("listener.opened", pool=self.name, pid=self.pid)
            return greeting.transport
        raise ServerUnavailable(f"server {self.target.address} did not answer within {self.connect_timeout_s:g} s")

    def _wanted(self) -> set[bytes]:
        return set(self.channels).union(*(joining.channels for joining in self._joining.values()))

    async def next_change(self) -> bytes | None:
        """The statements that make the server hear what is wanted; None when nobody has wanted anything for a while."""
        while True:
            wanted = self._wanted()
            changes = self._changes(wanted)
            if changes or self._leaving:
                self._asked_leaving, self._leaving = self._leaving, []
                return b"; ".join(changes) or _BARRIER
            self._changed = trio.Event()
            if wanted:
                await self._changed.wait()
            else:
                with trio.move_on_after(LINGER_S):
                    await self._changed.wait()
                if not self._wanted():
                    return None

    def _changes(self, wanted: set[bytes]) -> list[bytes]:
        asked = wanted | {MARKS}
        changes = [b"LISTEN " + _quoted(channel) for channel in sorted(asked - self._heard)]
        changes += [b"UNLISTEN " + _quoted(channel) for channel in sorted(self._heard - asked)]
        marks, self._marks = self._marks, []
        changes += [joining.mark_sql.encode() for joining in marks]
        self._asked = asked
        self._heard &= asked  # whoever wants the others from now on has come too late
        return changes

    def confirmed(self) -> None:
        """The server has done what `next_change` said last."""
        self._heard = self._asked
        asked_leaving, self._asked_leaving = self._asked_leaving, []
        for subscriber, channels in asked_leaving:
            self.unsubscribe(subscriber, channels)
            subscriber.left(self)
        for joining in [each for each in self._unheard.values() if each.channels <= self._heard]:
            del self._unheard[joining.mark]
            joining.subscriber.heard(joining)

    def notified(self, message: bytes, channel: bytes, payload: bytes) -> None:
        """Pass a notification on, or see to those who waited for this mark."""
        if channel == MARKS:
            if payload in self._joining:
                self.join(self._joining[payload])
            if payload in self._leaving_at:
                subscriber, channels = self._leaving_at.pop(payload)
                self.unsubscribe(subscriber, channels)
                subscriber.left(self)
        for subscriber in tuple(self.channels.get(channel, ())):
            subscriber.notify(message, channel.isascii() and payload.isascii())


def _quoted(identifier: bytes) -> bytes:
    return b'"' + identifier.replace(b'"', b'""') + b'"'

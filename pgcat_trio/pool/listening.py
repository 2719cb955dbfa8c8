"""One server connection that listens for all clients of a pool.

A thousand listening clients need no more than this connection: what is notified on a channel is passed on to all who
listen to it. It is open as long as somebody does, beside the backends that ``pool_size`` counts. If it breaks, nobody
can know what was missed: so all who listened are told, and by the way that they are prepared for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import structlog
import trio

from ..errors import BackendLost, ProtocolViolation, ProxyError, ServerError, ServerUnavailable, ShuttingDown
from ..wire import codes, encode, messages
from ..wire.codes import UINT32
from .connect import open_connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..config.model import General
    from ..net.transport import Transport
    from .connect import Target

log = structlog.get_logger("pgcat_trio.pool")

_STARTUP: Final = {"application_name": "pgcat-trio listener", "client_encoding": "UTF8"}

_BARRIER: Final = b""
"""A query that does nothing: before a server answers it, it says what it was notified of."""

LINGER_S: Final = 10.0
"""How long the connection stays when nobody listens any more: whoever comes back soon finds it."""


_LOST_HINT: Final = "The server's log may say why."


class Subscriber(Protocol):
    """Somebody who listens. All calls come from within others' business: they must neither raise nor await."""

    def notify(self, message: bytes, payload_is_ascii: bool) -> None:
        """A NotificationResponse for one of the channels, as it came."""
        ...

    def subscribed(self) -> None:
        """All channels that were asked for are listened to from now on."""
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
        """Who wants to hear what; names in UTF-8."""
        self.pid = 0
        """The server process that listens; 0 while there is none."""
        self._nursery = nursery
        self._heard: set[bytes] = set()  # what the server has confirmed
        self._asked: set[bytes] = set()  # what it will have confirmed next
        self._waiting: dict[Subscriber, frozenset[bytes]] = {}
        self._leaving: list[tuple[Subscriber, frozenset[bytes]]] = []
        self._asked_leaving = self._leaving  # those who have left when the server answers
        self._changed = trio.Event()
        self._running = False
        self._transport: Transport | None = None

    def subscribe(self, subscriber: Subscriber, channels: frozenset[bytes]) -> bool:
        """Listen to some more channels: True if that is so already, else `Subscriber.subscribed` will be called."""
        for channel in channels:
            self.channels.setdefault(channel, set()).add(subscriber)
        if channels <= self._heard:
            return True
        self._waiting[subscriber] = channels | self._waiting.get(subscriber, frozenset())
        self._changed.set()
        if not self._running:
            self._running = True
            self._nursery.start_soon(self._run)
        return False

    def unsubscribe(self, subscriber: Subscriber, channels: frozenset[bytes]) -> None:
        """Listen to these channels no more."""
        for channel in channels:
            listeners = self.channels.get(channel, set())
            listeners.discard(subscriber)
            if not listeners:
                self.channels.pop(channel, None)
        missing = self._waiting.pop(subscriber, frozenset()) - channels
        if missing:
            self._waiting[subscriber] = missing
        self._changed.set()

    def unsubscribe_soon(self, subscriber: Subscriber, channels: frozenset[bytes]) -> None:
        """The same, once all that has been notified until now has been passed on."""
        self._leaving.append((subscriber, channels))
        self._changed.set()

    def retire(self) -> None:
        """The pool has been replaced, or is closed: everybody goes on elsewhere, or ends."""
        for subscriber in set(self._waiting).union(*self.channels.values()):
            subscriber.moved()

    def sever(self) -> None:
        """The server is down without a word: end the connection from here, and with it all that depends on it."""
        if self._transport is not None:
            self._transport.sever()

    def end(self, reason: ProxyError) -> None:
        """Tell everybody that it is over."""
        subscribers = set(self._waiting).union(*self.channels.values())
        self.channels.clear()
        self._waiting.clear()
        self._heard.clear()
        self._leaving.clear()
        self._changed.set()
        for subscriber in subscribers:
            subscriber.unsubscribed(reason)

    # -- the connection --------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Connect, and serve until nobody listens any more, or it breaks. In the end nothing is left open."""
        transport: Transport | None = None
        error: ProxyError = ShuttingDown("the proxy is shutting down")
        try:
            while self.channels:
                transport = self._transport = await self._connect()
                await _Wire(self, transport).run()
                transport.close()
                self._heard.clear()
                log.info("listener.closed", pool=self.name, pid=self.pid)
        except ProxyError as problem:
            error = problem
            log.warning("listener.lost", pool=self.name, reason=problem.message, clients=self._count())
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

    def _count(self) -> int:
        return len(set(self._waiting).union(*self.channels.values()))

    async def next_change(self) -> bytes | None:
        """The statements that make the server hear what is wanted; None when nobody has wanted anything for a while."""
        while True:
            sql = self._difference()
            if sql or self._leaving:
                self._asked_leaving, self._leaving = self._leaving, []
                return sql or _BARRIER
            self._changed = trio.Event()
            if self.channels:
                await self._changed.wait()
            else:
                with trio.move_on_after(LINGER_S):
                    await self._changed.wait()
                if not self.channels:
                    return None

    def _difference(self) -> bytes:
        wanted = set(self.channels)
        changes = [b"LISTEN " + _quoted(channel) for channel in sorted(wanted - self._heard)]
        changes += [b"UNLISTEN " + _quoted(channel) for channel in sorted(self._heard - wanted)]
        self._asked = wanted
        self._heard &= wanted  # whoever wants the others from now on has come too late
        return b"; ".join(changes)

    def confirmed(self) -> None:
        """The server has done what `next_change` said last."""
        self._heard = self._asked
        asked_leaving, self._asked_leaving = self._asked_leaving, []
        for subscriber, channels in asked_leaving:
            self.unsubscribe(subscriber, channels)
        for subscriber, channels in tuple(self._waiting.items()):
            if channels <= self._heard:
                del self._waiting[subscriber]
                subscriber.subscribed()

    def notified(self, message: bytes, channel: bytes, payload: bytes) -> None:
        """Pass a notification on."""
        for subscriber in tuple(self.channels.get(channel, ())):
            subscriber.notify(message, channel.isascii() and payload.isascii())


class _Wire:
    """The conversation: one request at a time, and notifications whenever they come."""

    def __init__(self, board: Switchboard, transport: Transport) -> None:
        self._board = board
        self._transport = transport
        self._ready = trio.Event()
        self._buffer = b""

    async def run(self) -> None:
        """Until nobody listens any more. Raises `BackendLost`, `ServerError` or `ProtocolViolation`."""
        problems: list[ProxyError] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, problems, nursery.cancel_scope)
            while (sql := await self._board.next_change()) is not None:
                self._ready = trio.Event()
                await self._send(encode.query(sql))
                await self._ready.wait()
                self._board.confirmed()
            await self._send(encode.TERMINATE)
            nursery.cancel_scope.cancel()
        if problems:
            raise problems[0]

    async def _send(self, data: bytes) -> None:
        try:
            await self._transport.send(data)
        except trio.BrokenResourceError:
            await trio.sleep_forever()  # the reader finds out how it ended, and its last words

    async def _read(self, problems: list[ProxyError], scope: trio.CancelScope) -> None:
        try:
            while True:
                data = await self._transport.receive()
                if not data:
                    raise BackendLost(self._transport.fault or "the server closed the connection", hint=_LOST_HINT)
                self._buffer += data
                for kind, message in self._messages():
                    self._hear(kind, message)
        except ProxyError as problem:
            problems.append(problem)
            scope.cancel()

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        buffer, position = self._buffer, 0
        while len(buffer) - position >= 5:
            length: int = UINT32.unpack_from(buffer, position + 1)[0]
            if not 4 <= length <= codes.MAX_MESSAGE_BYTES:
                raise ProtocolViolation(f"the server sent a message with the impossible length {length}")
            stop = position + 1 + length
            if stop > len(buffer):
                break
            yield buffer[position], buffer[position:stop]
            position = stop
        self._buffer = buffer[position:]

    def _hear(self, kind: int, message: bytes) -> None:
        if kind == codes.NOTIFICATION_RESPONSE:
            self._board.notified(message, *messages.notification(message[5:]))
        elif kind == codes.READY_FOR_QUERY:
            self._ready.set()
        elif kind == codes.ERROR_RESPONSE:
            raise ServerError(messages.error_fields(message[5:]))


def _quoted(identifier: bytes) -> bytes:
    return b'"' + identifier.replace(b'"', b'""') + b'"'

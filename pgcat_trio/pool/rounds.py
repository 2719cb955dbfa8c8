"""When each server is asked how it is, and how its answer comes.

One task goes round all servers that are due, as many as possible at a time, and only asks: what they answer the poller
hands in. So fifty servers cost little more than one. A server with which there is more to do (to connect, to speak TLS)
gets a task of its own for as long as that takes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import trio

from ..errors import ProxyError, ServerError, ServerUnavailable
from .probe import Probe

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..config.model import General
    from ..net.poller import Poller
    from .connect import Target
    from .health import Checker
    from .probe import Report

_SHORTEST_PAUSE_S: Final = 0.1
"""However many have trouble with a server, it is not asked more often than that."""

_TOGETHER_S: Final = 0.05
"""Servers that are due so soon are asked at once, too: they keep step from then on."""


class Rounds:
    """The round. ``nursery`` is the pools' nursery."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.watches: set[Watch] = set()
        self._next_at = math.inf
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Go round for ever; after `Cancelled` nobody is watched any more."""
        try:
            while True:
                now = trio.current_time()
                for watch in tuple(self.watches):
                    if watch.due_at <= now + _TOGETHER_S:
                        watch.visit(now)
                self._next_at = min((watch.due_at for watch in self.watches), default=math.inf)
                with trio.CancelScope(deadline=self._next_at) as self._scope:
                    await trio.sleep_forever()
        finally:
            for watch in tuple(self.watches):
                watch.stop()

    def wake(self, at: float) -> None:
        """Somebody is due at this time, which may be earlier than was known."""
        if at < self._next_at:
            self._next_at = self._scope.deadline = at


class Watch:
    """When and how one server is asked. What it says is its checker's to judge."""

    def __init__(self, checker: Checker, target: Target, poller: Poller | None, rounds: Rounds) -> None:
        self.checker = checker
        self.due_at = -math.inf
        self._rounds = rounds
        self._probe = Probe(target, poller, self._heard)
        self._began = -math.inf  # when it was visited last
        self._scope = trio.CancelScope()  # of the task that is at it
        checker.server.watched = True
        checker.server.alarm = self.hurry
        rounds.watches.add(self)
        rounds.wake(self.due_at)

    def stop(self) -> None:
        """Ask no more; then nothing is left open, and nothing known of the server."""
        self._rounds.watches.discard(self)
        self._scope.cancel()
        self._probe.close()
        self.checker.abandon()

    def retarget(self, target: Target, options: General) -> None:
        """Go on with another login, or other options."""
        sooner = options.healthcheck_interval_s < self.checker.options.healthcheck_interval_s
        self.checker.options = options
        if target != self._probe.target:
            self._probe.close()
            sooner = True
        self._probe.target = target
        if sooner:
            self.hurry()

    def move(self, host: str, addresses: Collection[str]) -> None:
        """The name ``host`` stands for these addresses now: ask there, if that is where the server is."""
        if self._probe.target.host == host and self._probe.is_astray(addresses):
            self._probe.close()
            self.hurry()

    def hurry(self) -> None:
        """Have a look as soon as that may be; whoever is at it already is soon enough."""
        if not self._probe.pending and self.due_at < math.inf:
            self._be_due(min(self.due_at, self._began + _SHORTEST_PAUSE_S))

    def visit(self, now: float) -> None:
        """It is due: ask, or see that it has not answered in time."""
        probe, timeout_s = self._probe, self.checker.options.healthcheck_timeout_s
        if probe.pending:
            self.due_at = probe.asked_at + timeout_s
            if now >= self.due_at:
                probe.close()
                self._judge(probe.silence(timeout_s), now)
            return
        self._began = now
        if probe.ask_nowait():
            self.due_at = now + min(timeout_s, self.checker.pause_s(now))
        else:
            self.due_at = math.inf
            self._rounds.nursery.start_soon(self._look)

    def _heard(self, result: Report | ProxyError | None) -> None:
        """What came from the poller; None if there is nothing to judge, but something to see to."""
        if result is None:
            self.hurry()
        else:
            self._judge(result, trio.current_time())

    def _judge(self, result: Report | ProxyError, now: float) -> None:
        self.checker.note(result, now)
        self._be_due(self._began + self.checker.pause_s(now))

    def _be_due(self, at: float) -> None:
        self.due_at = at
        self._rounds.wake(at)

    # -- with a task -----------------------------------------------------------------------------------------------

    def _stopped(self) -> bool:
        return self not in self._rounds.watches

    async def _look(self) -> None:
        with trio.CancelScope() as self._scope:
            if self._stopped():
                return
            try:
                result = await self._ask()
            finally:
                if self._stopped():
                    self._probe.close()
            self._judge(result, trio.current_time())

    async def _ask(self) -> Report | ProxyError:
        """Ask; a connection that has broken since the last time is replaced, which is no failure."""
        probe, options = self._probe, self.checker.options
        try:
            if probe.is_open:
                try:
                    return await probe.ask(options)
                except ConnectionResetError:
                    probe.close()
            await self._connect()
            return await probe.ask(options)
        except ServerError as refusal:
            return refusal
        except ProxyError as problem:
            probe.close()
            return problem
        except ConnectionResetError as problem:
            probe.close()
            return ServerUnavailable(f"server {probe.target.address} broke off a health check: {problem}")

    async def _connect(self) -> None:
        """Connecting may take longer than an answer; that counts as so many failures, and is not given up for that."""
        failure: ProxyError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._count_silence)
            try:
                await self._probe.connect(self.checker.options)
            except ProxyError as problem:
                failure = problem
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _count_silence(self) -> None:
        """The last time-out is told by `probe.Probe.connect` itself."""
        options = self.checker.options
        timeout_s = options.healthcheck_timeout_s
        for _ in range(math.ceil(options.connect_timeout_s / timeout_s) - 1):
            await trio.sleep(timeout_s)
            self.checker.note(self._probe.silence(timeout_s), trio.current_time())

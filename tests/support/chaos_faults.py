"""What can happen to a server, each with the way back."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Final

import attrs
import trio

from pgcat_trio import _embedded_guard as guard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgcat_trio.embedded import EmbeddedServer

    from .faults import FaultyLink

_FULL_BYTES: Final = 200 * 1024
"""With a full disk no file can grow; here none beyond this. WAL segments are of 1 MiB."""


@attrs.frozen
class Victim:
    """A server and the way to it."""

    server: EmbeddedServer
    link: FaultyLink

    async def kill(self) -> None:
        await self.server.kill()

    async def start(self) -> None:
        await self.server.start()

    async def freeze(self) -> None:
        self.server.freeze()

    async def thaw(self) -> None:
        self.server.thaw()

    async def restart(self) -> None:
        await self.server.restart()

    async def fill_disk(self) -> None:
        """Let no file grow: a server that cannot write its WAL panics, and cannot come up again."""
        self._limit(_FULL_BYTES)

    async def free_disk(self) -> None:
        self._limit(resource.RLIM_INFINITY)
        with trio.move_on_after(2):  # it may have given up, or be about to
            while self.server.is_running:  # noqa: ASYNC110
                await trio.sleep(0.05)
        await self.server.start()

    def _limit(self, size_bytes: int) -> None:
        for pid in guard.tree(self.server.pid) if self.server.pid is not None else ():
            try:
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, hard))
            except ProcessLookupError:
                continue

    async def swallow(self) -> None:
        await self.link.switch("black hole")

    async def reset(self) -> None:
        await self.link.switch("reset")

    async def mend(self) -> None:
        await self.link.switch("pass")

    async def slow_down(self) -> None:
        self.link.latency_s = 0.15  # each way

    async def speed_up(self) -> None:
        self.link.latency_s = 0.0

    async def nothing(self) -> None:
        """There is no way back, or none is needed."""


@attrs.frozen
class Fault:
    """How it begins and ends. ``outage``: the server cannot be used in between, and is found to be down."""

    begin: Callable[[Victim], Awaitable[None]]
    end: Callable[[Victim], Awaitable[None]]
    outage: bool = True


FAULTS: Final = {
    "kill -9": Fault(Victim.kill, Victim.start),
    "SIGSTOP": Fault(Victim.freeze, Victim.thaw),
    "restart": Fault(Victim.restart, Victim.nothing, outage=False),
    "black hole": Fault(Victim.swallow, Victim.mend),
    "resets": Fault(Victim.reset, Victim.mend),
    "300 ms": Fault(Victim.slow_down, Victim.speed_up, outage=False),
    "full disk": Fault(Victim.fill_disk, Victim.free_disk),
}

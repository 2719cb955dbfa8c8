"""What can happen to a server, each with the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgcat_trio.embedded import EmbeddedServer

    from .faults import FaultyLink

_FULL_BYTES: Final = 8192
"""With a full disk no file can grow; here nothing is written beyond this."""


BY_THE_FAULT: Final = frozenset(("08006", "57P01", "57P02", "57P03"))
"""What a client may be told of what was under way."""


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
        await self.server.limit_files(_FULL_BYTES)

    async def free_disk(self) -> None:
        """And start it anew: whether it has given up, or hangs, is a matter of chance."""
        await self.server.limit_files(None)
        await self.server.kill()
        await self.server.start()

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
    """How it begins and ends. ``outage``: servers of these roles cannot be used in between, and are found to be down.

    ``errors`` are those of servers that have it.
    """

    begin: Callable[[Victim], Awaitable[None]]
    end: Callable[[Victim], Awaitable[None]]
    outage: tuple[str, ...] = ("primary", "replica")
    errors: frozenset[str] = BY_THE_FAULT


FAULTS: Final = {
    "kill -9": Fault(Victim.kill, Victim.start),
    "SIGSTOP": Fault(Victim.freeze, Victim.thaw),
    "restart": Fault(Victim.restart, Victim.nothing, outage=()),
    "black hole": Fault(Victim.swallow, Victim.mend),
    "resets": Fault(Victim.reset, Victim.mend),
    "300 ms": Fault(Victim.slow_down, Victim.speed_up, outage=()),
    "full disk": Fault(Victim.fill_disk, Victim.free_disk, ("primary",), BY_THE_FAULT | {"53100", "XX000"}),
}

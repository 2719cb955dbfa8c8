"""The console's conversation: reads commands, writes rowsets. What the commands do is in `show` and `control`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import FeatureNotSupported
from ...wire.downstream import Downstream

if TYPE_CHECKING:
    from ...session.handshake import Login
    from ..supervisor import Supervisor


class Console:
    """One administrator's connection."""

    def __init__(self, supervisor: Supervisor, login: Login, first: bytes) -> None:
        self._supervisor = supervisor
        self._transport = login.transport
        self._downstream = Downstream()
        self._downstream.feed(first)

    async def run(self) -> None:
        """Answer until the administrator leaves."""
        raise FeatureNotSupported("the admin console is not built yet")

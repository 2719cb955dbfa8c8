"""How fast a server is dialed: so many logins in flight for all pools together, and pauses while it turns them down."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .opening import Opening

_PATIENCE: Final = 2
"""Failed dials in a row that are followed by another one at once: a restart closes many connections for one reason."""

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_JITTER: Final = 0.25
"""Pauses are a quarter longer or shorter, each by its own amount, so that proxies do not come back all at once."""


class Pauses:
    """How long to let be what has failed: from the third failure in a row on, each time twice as long."""

    def __init__(self) -> None:
        self.until = -math.inf
        self._failures = 0

    def failed(self, now: float) -> None:
        """Once more."""
        self._failures += 1
        if self._failures > _PATIENCE:
            pause_s = min(_FIRST_PAUSE_S * 2 ** min(self._failures - _PATIENCE - 1, 10), _LONGEST_PAUSE_S)
            self.until = now + pause_s * random.uniform(1 - _JITTER, 1 + _JITTER)

    def succeeded(self) -> None:
        """All is forgotten."""
        self._failures = 0
        self.until = -math.inf


class Dials:
    """The dials of one server. Pools that must wait for their turn get it in the order in which they came.

    A server that cannot be reached pauses for all of them; a login that it turns down for its own (`Opening.pauses`).
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self._pauses = Pauses()
        self._waiting: dict[Opening, None] = {}

    def begin(self, pool: Opening, now: float) -> bool:
        """Count one more dial; or False, and `Opening.may_dial` of ``pool`` will be called when it may try again."""
        if self.in_flight >= self.limit or now < max(self._pauses.until, pool.pauses.until):
            self._waiting[pool] = None
            return False
        self._waiting.pop(pool, None)
        self.in_flight += 1
        return True

    def end(self) -> None:
        """A dial is over. Whose turn it is comes by `wake`."""
        self.in_flight -= 1

    def failed(self, now: float) -> None:
        """The server could not be reached."""
        self._pauses.failed(now)

    def succeeded(self) -> None:
        """It takes connections: no more pauses."""
        self._pauses.succeeded()

    def wake(self, now: float) -> None:
        """Let pools that wait try again, as many as there is room for. Called after each dial, and by the sweep."""
        if not self._waiting or now < self._pauses.until:
            return
        for pool in tuple(self._waiting):
            if self.in_flight >= self.limit:
                return
            if now >= pool.pauses.until:
                del self._waiting[pool]
                pool.may_dial()

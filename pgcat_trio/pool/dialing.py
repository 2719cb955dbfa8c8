"""How fast a server is dialed: so many logins in flight for all pools together, and pauses while it turns them down."""

from __future__ import annotations

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


class Dials:
    """The dials of one server. Pools that must wait for their turn get it in the order in which they came."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self._failures = 0
        self._again_at = 0.0
        self._waiting: dict[Opening, None] = {}

    def begin(self, pool: Opening, now: float) -> bool:
        """Count one more dial; or False, and `Opening.may_dial` of ``pool`` will be called when it may try again."""
        if self.in_flight >= self.limit or now < self._again_at:
            self._waiting[pool] = None
            return False
        self._waiting.pop(pool, None)
        self.in_flight += 1
        return True

    def end(self) -> None:
        """A dial is over. Whose turn it is comes by `wake`."""
        self.in_flight -= 1

    def failed(self, now: float) -> None:
        """It came to nothing: from the third in a row on there is a pause before the next, each twice as long."""
        self._failures += 1
        if self._failures > _PATIENCE:
            pause_s = min(_FIRST_PAUSE_S * 2 ** min(self._failures - _PATIENCE - 1, 10), _LONGEST_PAUSE_S)
            self._again_at = now + pause_s * random.uniform(1 - _JITTER, 1 + _JITTER)

    def succeeded(self) -> None:
        """The server takes connections: no more pauses."""
        self._failures = 0
        self._again_at = 0.0

    def wake(self, now: float) -> None:
        """Let pools that wait try again, as many as there is room for. Called after each dial, and by the sweep."""
        while self._waiting and self.in_flight < self.limit and now >= self._again_at:
            pool = next(iter(self._waiting))
            del self._waiting[pool]
            pool.may_dial()

"""What the servers of a cluster say about themselves, and how they spell settings: what clients are told at login."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..config.model import Role
from .settings import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .pool import Pool

_MAX_SPELLINGS: Final = 1000
"""Clients choose the values that are remembered, so there is a bound; forgetting costs a round trip at a login."""

_STANDBY: Final = "in_hot_standby"
_SERVER_WIDE: Final = frozenset((_STANDBY, "server_version"))
"""Reported parameters that are the same on all connections to a server."""


_OF_IDENTITY: Final = ("is_superuser", "session_authorization")
"""Reported parameters that depend on who one is."""


def identity(settings: Mapping[str, str]) -> tuple[str | None, ...]:
    """The settings that make one somebody else than who logged in; None for those that do not."""
    return tuple(settings.get(name) for name in IDENTITY)


NOBODY_ELSE: Final = identity({})


class Greetings:
    """The newest greeting of each of ``pools``. ``home`` is the role that a session goes to before all others."""

    def __init__(self, pools: Sequence[Pool], home: Role) -> None:
        self.parameters: Mapping[str, str] | None = None
        """What a server of the role ``home`` said about itself when it was last connected to; None before any did."""
        self.canonical: dict[tuple[str, str], str] = {}
        """How the servers spell the settings that clients asked for: (name, value) to value."""
        self.identities: dict[tuple[str | None, ...], dict[str, str]] = {}
        """What servers report of those who are somebody else from the start, by the settings that make them so."""
        self._pools = pools
        self._home = home
        self._by_pool: dict[Pool, dict[str, str]] = {}

    def go_home(self, home: Role) -> None:
        """Sessions go to another role before all others from now on."""
        self._home = home
        self.choose()

    def forget(self, pool: Pool) -> None:
        """A pool has left. What it said holds until another one says something."""
        if self._by_pool.pop(pool, None) is not None:
            self.choose()

    def learn(self, name: str, value: str, spelling: str) -> None:
        """Remember how the servers spell a setting's value."""
        if len(self.canonical) >= _MAX_SPELLINGS:
            self.canonical.clear()
        self.canonical[name, value] = spelling

    def learn_identity(self, settings: Mapping[str, str], parameters: Mapping[str, str]) -> None:
        """Remember what a server reports of somebody with these settings."""
        if len(self.identities) >= _MAX_SPELLINGS:
            self.identities.clear()
        self.identities[identity(settings)] = {name: parameters[name] for name in _OF_IDENTITY if name in parameters}

    def greeted(self, pool: Pool, parameters: dict[str, str]) -> None:
        """A new backend said these things about its server."""
        self._by_pool.pop(pool, None)
        self._by_pool[pool] = dict(parameters)  # the last one is the newest
        self.choose()

    def reported(self, pool: Pool, changes: list[tuple[str, str]]) -> None:
        """A backend reported these changes; what holds for its server as a whole is noted."""
        news = {name: value for name, value in changes if name in _SERVER_WIDE}
        if news and pool in self._by_pool:
            self._by_pool[pool] |= news
            self.choose()

    def choose(self) -> None:
        """Decide again whose parameters clients are told: after any of them, or the role of a server, has changed."""
        if not self._by_pool:
            return
        home = self._home
        if home is Role.ANY and any(pool.role is Role.PRIMARY for pool in self._pools):
            home = Role.PRIMARY
        newest_first = list(reversed(self._by_pool))
        pool = next((pool for pool in newest_first if home in (Role.ANY, pool.role)), newest_first[0])
        self.parameters = self._by_pool[pool]
        found = pool.server.state.role
        if home in (Role.ANY, pool.role) and found is not None and _STANDBY in self.parameters:
            # It may have been promoted since it said so.
            self.parameters = {**self.parameters, _STANDBY: "off" if found is Role.PRIMARY else "on"}
        if home not in (Role.ANY, pool.role) and _STANDBY in self.parameters:
            # No server of the right role has been reached yet. This much is known of it all the same.
            self.parameters = {**self.parameters, _STANDBY: "off" if home is Role.PRIMARY else "on"}

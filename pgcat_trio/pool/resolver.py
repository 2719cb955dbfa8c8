"""The addresses of servers' names, where the proxy remembers them (``dns_cache_enabled``).

A name is looked up when it is dialed first, and again every ``dns_max_ttl``, by Trio's resolver (the system's, in
threads); dialing goes by what is remembered. When a name has got other addresses, whoever has connections to the old
ones is told. An answer that has nothing in common with the last one is a move. One that has may be a part of a longer
list, as round robin gives it: an address is gone when it was missing in three answers in a row.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Final

import attrs
import structlog
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ..config.model import General

log = structlog.get_logger("pgcat_trio.pool")

LOOKUP_TIMEOUT_S: Final = 5.0
"""A lookup that takes longer has failed: the last answer stays."""

_TICK_S: Final = 1.0
"""How exactly ``dns_max_ttl`` is kept."""

_MISSED: Final = 3


@attrs.define
class _Name:
    addresses: tuple[str, ...]
    """The last answer."""
    asked_at: float
    missed: dict[str, int]
    """In how many answers in a row an address was not, for all that are not gone."""
    failing: bool = False


class Resolver:
    """Names and their addresses. ``options`` are those in force, ``in_use`` says which names still matter.

    ``moved`` is called with a name and all the addresses that it stands for now, when any of them is gone.
    """

    def __init__(
        self,
        options: Callable[[], General],
        in_use: Callable[[], Collection[str]],
        moved: Callable[[str, Collection[str]], None],
    ) -> None:
        self.pending = 0
        """Lookups under way."""
        self._options = options
        self._in_use = in_use
        self._moved = moved
        self._names: dict[str, _Name] = {}

    async def addresses(self, host: str) -> tuple[str, ...]:
        """What to dial for a host, in this order: the name itself where nothing is remembered about names.

        Raises `OSError` if there is no answer. The caller bounds the time.
        """
        if not self._options().dns_cache_enabled or _is_address(host):
            return (host,)
        known = self._names.get(host)
        if known is None:
            addresses = await self._look_up(host)
            known = self._names.setdefault(host, _Name(addresses, trio.current_time(), dict.fromkeys(addresses, 0)))
        return known.addresses

    def remembered(self) -> list[tuple[str, float, tuple[str, ...]]]:
        """All names, each with the seconds until it is looked up again, and its addresses."""
        now, ttl_s = trio.current_time(), self._options().dns_max_ttl_s
        return [(host, max(0.0, each.asked_at + ttl_s - now), each.addresses) for host, each in self._names.items()]

    async def run(self) -> None:
        """Look names up again when it is time, for ever."""
        while True:
            await trio.sleep(_TICK_S)
            options, now = self._options(), trio.current_time()
            used = self._in_use() if options.dns_cache_enabled else ()
            for host in [host for host in self._names if host not in used]:
                del self._names[host]
            async with trio.open_nursery() as lookups:
                for host, name in self._names.items():
                    if now >= name.asked_at + options.dns_max_ttl_s:
                        lookups.start_soon(self._refresh, host, name)

    async def _refresh(self, host: str, name: _Name) -> None:
        reason = f"no answer within {LOOKUP_TIMEOUT_S:g} s"
        name.asked_at = trio.current_time()
        with trio.move_on_after(LOOKUP_TIMEOUT_S):
            try:
                addresses = await self._look_up(host)
            except OSError as problem:
                reason = problem.strerror or str(problem)
            else:
                name.failing = False
                self._answered(host, name, addresses)
                return
        if not name.failing:
            name.failing = True
            log.warning("dns.failed", host=host, reason=reason, stays=", ".join(name.addresses))

    def _answered(self, host: str, name: _Name, addresses: tuple[str, ...]) -> None:
        name.addresses = addresses
        moved = name.missed.keys().isdisjoint(addresses)
        missed = {each: count + 1 for each, count in name.missed.items() if each not in addresses}
        gone = [each for each, count in missed.items() if moved or count >= _MISSED]
        name.missed = {each: count for each, count in missed.items() if each not in gone} | dict.fromkeys(addresses, 0)
        if gone:
            log.info("dns.changed", host=host, addresses=", ".join(addresses), gone=", ".join(gone))
            self._moved(host, name.missed.keys())

    async def _look_up(self, host: str) -> tuple[str, ...]:
        self.pending += 1
        try:
            found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        finally:
            self.pending -= 1
        return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def host_of(peer: str) -> str:
    """The address in the name of a socket's other end (`net.transport.Transport.peer`)."""
    return peer.rpartition(":")[0].strip("[]")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

"""Requests for which there is no server: whether to wait for one, and what to tell those who have waited in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config.model import Role
from ..errors import ProxyError, ServerUnavailable
from .probe import is_ill
from .server import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .pool import Pool
    from .waiting import Waiter


def may_come(pools: Iterable[Pool], waiter: Waiter) -> bool:
    """True if a server may come, or come back, that a waiter could use: one that has answered before.

    Not one that has words for us, which will be the same next time; nor one that has never been there, as with a wrong
    address. Only a health checker can tell when it is there.
    """
    hopes = [pool for pool in pools if _could_take(pool, waiter) and not _refuses(pool, waiter)]
    return any(pool.server.watched and (pool.server.reached or _is_not_known_yet(pool)) for pool in hopes)


def reason(name: str, pools: Iterable[Pool], waiter: Waiter) -> ProxyError:
    """Why a waiter gets nothing, for its client: a server's own words, or what is known of those that would do."""
    if waiter.failed:
        return next(reversed(waiter.failed.values()))
    hopes = [pool for pool in pools if _could_take(pool, waiter)]
    for pool in hopes:
        if pool.last_error is not None:
            return pool.last_error
    if not hopes:
        return ServerUnavailable(
            f"no {waiter.role.value} server is configured for {name}", hint="Add one to the pool's servers."
        )
    states = "; ".join(_in_words(pool) for pool in hopes)
    return ServerUnavailable(f"no {waiter.role.value} server of {name} can be used: {states}")


def _could_take(pool: Pool, waiter: Waiter) -> bool:
    if waiter.role is Role.ANY or pool.configured_role is Role.AUTO:
        return True
    return pool.configured_role is waiter.role or (waiter.may_write and pool.configured_role is Role.PRIMARY)


def _refuses(pool: Pool, waiter: Waiter) -> bool:
    return pool in waiter.failed and not is_ill(waiter.failed[pool])


def _is_not_known_yet(pool: Pool) -> bool:
    return pool.configured_role is Role.AUTO and pool.server.state.status is Status.UNKNOWN


def _in_words(pool: Pool) -> str:
    state = pool.server.state
    known = f"{state.status} ({state.role})" if state.role is not None else str(state.status)
    return f"{pool.target.address} is {known}" + (f", {state.reason}" if state.reason else "")

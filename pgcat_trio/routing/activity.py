"""Reads of what has been written a moment ago go to the primary: PgCat's ``db_activity_based_routing``.

One pool's activity, for all of its clients, told by them: what is written by other ways is not known. Times are the
caller's, in seconds, of any clock that does not go back.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgcat_trio.config.model import Pool

_MANY_TABLES: Final = 1000
"""So many may be remembered before those that are over are looked for."""


class Activity:
    """``init_delay_s``: so long after its first request a pool reads from the primary only; first is, too, what comes
    after ``ttl_s`` without any. ``mutation_ttl_s``: so long after a write its tables are read there."""

    def __init__(self, init_delay_s: float, ttl_s: float, mutation_ttl_s: float) -> None:
        self.settings = (init_delay_s, ttl_s, mutation_ttl_s)
        self._begun_at = -math.inf
        self._heard_at = -math.inf
        # Until when they are to be read on the primary: tables as they were named, and by their last names alone.
        self._written: dict[str, float] = {}
        self._by_last_name: dict[str, float] = {}

    @classmethod
    def for_pool(cls, pool: Pool, known: Activity | None = None) -> Activity | None:
        """What a pool's configuration asks for: ``known``, if that is of the same settings; None if it is off."""
        if not pool.db_activity_based_routing:
            return None
        settings = (pool.db_activity_init_delay_s, pool.db_activity_ttl_s, pool.table_mutation_cache_ttl_s)
        return known if known is not None and known.settings == settings else cls(*settings)

    def heard(self, now: float) -> None:
        """A client has asked for something."""
        if now - self._heard_at > self.settings[1]:
            self._begun_at = now
        self._heard_at = now

    def wrote(self, tables: Iterable[str], now: float) -> None:
        """These are being written, or have been committed. Names are ``table`` or ``schema.table``."""
        until = now + self.settings[2]
        for table in tables:
            self._written[table] = until
            self._by_last_name[table.rpartition(".")[2]] = until
        if len(self._written) > _MANY_TABLES:
            self._written = {table: end for table, end in self._written.items() if end > now}
            self._by_last_name = {table: end for table, end in self._by_last_name.items() if end > now}

    def why_primary(self, tables: Iterable[str], now: float) -> str | None:
        """Why a read of these tables belongs to the primary; None if it does not.

        A name without a schema may be any table of that name.
        """
        if now - self._begun_at < self.settings[0]:
            return "the pool has just come to life"
        for table in tables:
            schema, _, last_name = table.rpartition(".")
            ends = self._written if schema else self._by_last_name
            if max(ends.get(table, now), self._written.get(last_name, now)) > now:
                return f"{table[:63]} has been written a moment ago"
        return None

"""Where a request goes: what `classify` says about its texts, under one pool's settings, remembered by text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from pgcat_trio.config.model import Role
from pgcat_trio.routing.cache import TextCache
from pgcat_trio.routing.classify import StatementTraits, TransactionControl, classify
from pgcat_trio.routing.effects import Effect, effects_of, is_telling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgcat_trio.config.model import Pool


@attrs.frozen
class Route:
    """The role a request needs, the reason in words, what it may leave behind.

    ``fallback_to_primary``: with no replica at hand the primary may take it.
    """

    role: Role
    why: str
    effects: Effect
    fallback_to_primary: bool

    def with_effects(self, effects: Effect) -> Route:
        """The same route for a request that leaves more behind."""
        return self if effects in self.effects else attrs.evolve(self, effects=self.effects | effects)


_LITERAL = re.compile(rb"'[^']*'|\b[0-9]+(?:\.[0-9]+)?\b")
# Where these occur, what looks like a literal may be none: then the whole text counts.
_NOT_PLAIN = re.compile(rb"[\\\"]|--|/\*|\$(?![0-9])")


def without_literals(sql: bytes) -> bytes:
    """The text with NUL (no statement can hold it) for its literals; the text itself where that takes a lexer to say.

    Texts that differ in their literals only have one route: what proves a read looks at no literal (`prove`), and
    neither do effects, which are those of words and names.
    """
    return sql if _NOT_PLAIN.search(sql) else _LITERAL.sub(b"\0", sql)


class Router:
    """Routes the texts of one pool. Neither method awaits, does I/O or raises, whatever the bytes are.

    Args:
        default_role: where everything goes without splitting.
        parser_enabled: PgCat's ``query_parser_enabled``; without it nothing is split.
        splitting: PgCat's ``query_parser_read_write_splitting``.
        primary_reads: whether the primary takes its share of the reads.
        max_length: texts of more bytes are not parsed and go to the primary; None for no limit but the built-in one.
        search_path_reported: the servers report ``search_path`` (PostgreSQL 18), so setting it leaves nothing behind.
        cache_entries: how many texts are remembered.
    """

    def __init__(
        self,
        default_role: Role,
        parser_enabled: bool,
        splitting: bool,
        primary_reads: bool,
        max_length: int | None,
        search_path_reported: bool = False,
        cache_entries: int = 4096,
    ) -> None:
        self.default_role = default_role
        self.splitting = parser_enabled and splitting
        self.max_length = max_length
        self.search_path_reported = search_path_reported
        self.cache: TextCache[Route] = TextCache(cache_entries)
        self.healed = 0
        """Requests that a replica could not run, and another server has (`session.healing`)."""
        self.generation = 0
        """Changes whenever a text that has been routed may be routed otherwise from now on."""
        self._read_role = Role.ANY if primary_reads else Role.REPLICA
        # Where requests go that there is nothing to say about.
        self._plain = self._unsplit(Effect.NONE)
        if self.splitting:
            self._plain = Route(Role.PRIMARY, "a statement prepared earlier", Effect.NONE, False)
        self.unknown = self.in_doubt(self._plain.with_effects(Effect.UNKNOWN))
        """The route of a request that cannot be read: a FunctionCall, a text of which only the beginning is here."""

        self.session = self.in_doubt(self._plain)
        """The route of a whole session: with splitting the primary, since nobody knows what is still to come."""

    @classmethod
    def for_pool(cls, pool: Pool) -> Router:
        """The router that a pool's configuration asks for."""
        return cls(
            pool.default_role,
            pool.query_parser_enabled,
            pool.query_parser_read_write_splitting,
            pool.primary_reads_enabled,
            pool.query_parser_max_length,
        )

    def in_doubt(self, route: Route) -> Route:
        """The same request where more may follow that belongs to it, unseen: with splitting, to the primary."""
        if not self.splitting or route.role is Role.PRIMARY:
            return route
        return Route(Role.PRIMARY, "more may follow in the same transaction", route.effects, False)

    def route(self, sql: bytes) -> Route:
        """The route of a text outside a transaction, given without its terminating NUL."""
        if not self.splitting:
            return self._route_unsplit(sql)
        key = without_literals(sql) if self.max_length is None or len(sql) <= self.max_length else sql
        found = self.cache.get(key)
        if found is None:
            found = self._decide(sql)
            self.cache.put(key, found)
        return found

    def learn_write(self, sql: bytes, why: str) -> None:
        """From now on, as long as it is remembered at all, whatever has the fingerprint of this text is no read."""
        before = self.route(sql)
        key = without_literals(sql) if self.max_length is None or len(sql) <= self.max_length else sql
        self.cache.put(key, Route(Role.PRIMARY, why, before.effects, False))
        self.generation += 1

    def _route_unsplit(self, sql: bytes) -> Route:
        # A text with parameters comes again; one with its values in it hardly does.
        if b"$" not in sql and not is_telling(sql):
            return self._plain
        found = self.cache.get(sql)
        if found is None:
            found = self._decide(sql)
            self.cache.put(sql, found)
        return found

    def route_batch(self, texts: Sequence[bytes]) -> Route:
        """One route for all that an extended-protocol request parses up to its Sync.

        A request that parses nothing executes what was prepared earlier, which is unknown here.
        """
        if not texts:
            return self._plain
        first, *others = (self.route(text) for text in texts)
        for other in others:
            first = _both(first, other)
        return first

    def _decide(self, sql: bytes) -> Route:
        if not self.splitting:
            return self._unsplit(effects_of(sql, search_path_reported=self.search_path_reported))
        traits = classify(sql, max_length=self.max_length, search_path_reported=self.search_path_reported)
        if _standby_can_run(traits):
            return Route(self._read_role, traits.why, traits.effects, True)
        return Route(Role.PRIMARY, traits.why, traits.effects, False)

    def _unsplit(self, effects: Effect) -> Route:
        return Route(self.default_role, "the pool's default role", effects, self.default_role is Role.ANY)


def _standby_can_run(traits: StatementTraits) -> bool:
    return traits.reads or traits.transaction_control is TransactionControl.BEGIN_READ_ONLY


def _both(one: Route, other: Route) -> Route:
    """The primary if either needs it; the effects of both."""
    stricter = other if other.role is Role.PRIMARY and one.role is not Role.PRIMARY else one
    return attrs.evolve(stricter, effects=one.effects | other.effects)

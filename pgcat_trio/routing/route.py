"""Where a request goes: what `classify` says about its texts, under one pool's settings, remembered by text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pgcat_trio.config.model import Role
from pgcat_trio.routing.cache import TextCache
from pgcat_trio.routing.catalog import EMPTY, NameList
from pgcat_trio.routing.classify import classify
from pgcat_trio.routing.effects import LONG_TEXT_BYTES, Effect, effects_of, is_telling
from pgcat_trio.routing.fingerprint import fingerprint, without_literals
from pgcat_trio.routing.traits import TransactionControl

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgcat_trio.config.model import Pool
    from pgcat_trio.routing.catalog import Catalog
    from pgcat_trio.routing.traits import StatementTraits


@attrs.define
class Tally:
    """How often a route was taken (``calls``), decided (``misses``), and found to be wrong and mended (``healed``)."""

    calls: int = 0
    misses: int = 0
    healed: int = 0

    def add(self, other: Tally) -> None:
        """Count together what was counted apart."""
        self.calls += other.calls
        self.misses += other.misses
        self.healed += other.healed


@attrs.frozen
class Route:
    """The role a request needs, the reason in words, what it may leave behind.

    ``fallback_to_primary``: with no replica at hand the primary may take it. ``tally`` is for whoever takes it to count
    in; routes made of this one share it. ``traits``: what it was decided by, where the pool splits and it is one text.
    """

    role: Role
    why: str
    effects: Effect
    fallback_to_primary: bool
    tally: Tally = attrs.field(factory=Tally, eq=False, repr=False)
    traits: StatementTraits | None = attrs.field(default=None, eq=False, repr=False)

    def with_effects(self, effects: Effect) -> Route:
        """The same route for a request that leaves more behind."""
        return self if effects in self.effects else attrs.evolve(self, effects=self.effects | effects)


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

    Texts that differ in their literals only have one route: what proves a read looks at no literal (`prove`), and
    neither do effects, which are those of words and names. So routes are remembered twice: in ``cache`` by what is
    quick to compute (`without_literals`), in ``decided`` by fingerprint, for texts whose literals take a lexer to find.
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
        self.catalog = EMPTY
        self.era = object()
        """Another one whenever routes that were given may not hold any longer."""
        self.cache: TextCache[Route] = TextCache(cache_entries)
        self.decided: TextCache[Route] = TextCache(cache_entries)
        self._past: dict[bytes, Tally] = {}  # of what has been forgotten
        self.learned: TextCache[str] = TextCache(cache_entries)
        """Texts that no replica can run, though they look like reads, and why: by fingerprint, see `learn_write`."""
        self.healed = 0
        """Requests that a replica could not run, and another server has (`session.healing`)."""
        self._read_role = Role.ANY if primary_reads else Role.REPLICA
        self._plain = self._unread("a statement prepared earlier", Effect.NONE)
        self.unknown = self._unread("a request that cannot be read as a whole", Effect.UNKNOWN)
        """The route of a request that cannot be read: a FunctionCall, a text of which only the beginning is here."""

        self.session = self._unread("a whole session, of which nobody knows what is still to come", Effect.NONE)
        """The route of a whole session: with splitting the primary."""

    @classmethod
    def for_pool(cls, pool: Pool) -> Router:
        """The router that a pool's configuration asks for."""
        router = cls(
            pool.default_role,
            pool.query_parser_enabled,
            pool.query_parser_read_write_splitting,
            pool.primary_reads_enabled,
            pool.query_parser_max_length,
        )
        lists = map(NameList.of, (pool.read_functions, pool.write_functions, pool.write_tables))
        router.catalog = EMPTY.with_lists(*lists)
        return router

    def in_doubt(self, route: Route) -> Route:
        """The same request where more may follow that belongs to it, unseen: with splitting, to the primary."""
        if not self.splitting or route.role is Role.PRIMARY:
            return route
        why = "more may follow in the same transaction"
        return Route(Role.PRIMARY, why, route.effects, False, route.tally)

    def use(self, catalog: Catalog) -> bool:
        """Decide by this catalog from now on, and by the lists of the one before; False if it says nothing new."""
        lists = (self.catalog.read_functions, self.catalog.write_functions, self.catalog.write_tables)
        catalog = catalog.with_lists(*lists)
        if catalog == self.catalog:
            return False
        self.catalog = catalog
        self.forget()
        return True

    def forget(self) -> None:
        """Decide everything anew; what was counted stays."""
        self.era = object()
        self._past = {key: route.tally for key, route in self.decided.items()}
        self.cache.clear()
        self.decided.clear()

    def route(self, sql: bytes) -> Route:
        """The route of a text outside a transaction, given without its terminating NUL."""
        if not self.splitting:
            return self._route_unsplit(sql)
        found = self.cache.find(sql)
        if found is not None:
            return found  # it has parameters, or nothing: a text without literals is its own key
        key = self._key(sql)
        found = self.cache.get(key)
        if found is None:
            found = self._decide_once(sql)
            self.cache.put(key, found)
        return found

    def learn_write(self, sql: bytes, why: str) -> None:
        """From now on, as long as it is remembered at all, whatever has the fingerprint of this text is no read."""
        tally = self.route(sql).tally
        self.learned.put(self._exact_key(sql) or self._key(sql), why)
        found = attrs.evolve(self._decide(sql), tally=tally)
        self.cache.clear()  # the same statement may be there in other spellings
        self.cache.put(self._key(sql), found)
        if (key := self._exact_key(sql)) is not None:
            self.decided.put(key, found)
        self.era = object()

    def _key(self, sql: bytes) -> bytes:
        return without_literals(sql) if self.max_length is None or len(sql) <= self.max_length else sql

    def _decide_once(self, sql: bytes) -> Route:
        """The route of a text that the quick cache does not know."""
        key = self._exact_key(sql)
        found = self.decided.get(key) if key is not None else None
        if found is None:
            found = self._decide(sql)
            if key is not None:
                if key in self._past:
                    found = attrs.evolve(found, tally=self._past.pop(key))
                self.decided.put(key, found)
            found.tally.misses += 1
        return found

    def _exact_key(self, sql: bytes) -> bytes | None:
        """None for a text that nothing can stand for but itself."""
        if len(sql) > min(self.max_length or LONG_TEXT_BYTES, LONG_TEXT_BYTES):
            return None
        found = fingerprint(sql)
        return found.text.encode() if found.doubt is None else None

    def peek(self, sql: bytes) -> tuple[Route, bool]:
        """As `route`, and whether it was remembered. By this nothing is remembered, and nothing counted."""
        if not self.splitting and b"$" not in sql and not is_telling(sql):
            return self._plain, True
        found = self.cache.peek(self._key(sql) if self.splitting else sql)
        if found is None and self.splitting and (key := self._exact_key(sql)) is not None:
            found = self.decided.peek(key)
        return (self._decide(sql), False) if found is None else (found, True)

    def _route_unsplit(self, sql: bytes) -> Route:
        # A text with parameters comes again; one with its values in it hardly does.
        if b"$" not in sql and not is_telling(sql):
            return self._plain
        found = self.cache.get(sql)
        if found is None:
            found = self._decide(sql)
            found.tally.misses += 1
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

    def routes(self) -> Iterator[tuple[bytes | None, bool, Route]]:
        """What is remembered: texts, or (True) fingerprints; and without a text what is decided unread."""
        yield from ((key, True, route) for key, route in self.decided.items())
        shown = {id(route) for _, route in self.decided.items()}
        yield from ((text, False, route) for text, route in self.cache.items() if id(route) not in shown)
        yield from ((None, False, route) for route in (self._plain, self.unknown, self.session))

    def _decide(self, sql: bytes) -> Route:
        if not self.splitting:
            return self._unsplit(effects_of(sql, search_path_reported=self.search_path_reported))
        traits = classify(
            sql, max_length=self.max_length, search_path_reported=self.search_path_reported, catalog=self.catalog
        )
        if len(self.learned) and (why := self.learned.peek(self._exact_key(sql) or self._key(sql))) is not None:
            return Route(Role.PRIMARY, why, traits.effects, False, traits=traits)
        if _standby_can_run(traits):
            return Route(self._read_role, traits.why, traits.effects, True, traits=traits)
        return Route(Role.PRIMARY, traits.why, traits.effects, False, traits=traits)

    def _unread(self, why: str, effects: Effect) -> Route:
        return Route(Role.PRIMARY, why, effects, False) if self.splitting else self._unsplit(effects)

    def _unsplit(self, effects: Effect) -> Route:
        return Route(self.default_role, "the pool's default role", effects, self.default_role is Role.ANY)


def _standby_can_run(traits: StatementTraits) -> bool:
    return traits.reads or traits.transaction_control is TransactionControl.BEGIN_READ_ONLY


def _both(one: Route, other: Route) -> Route:
    """The primary if either needs it; the effects of both."""
    stricter = other if other.role is Role.PRIMARY and one.role is not Role.PRIMARY else one
    return attrs.evolve(stricter, effects=one.effects | other.effects, traits=None)

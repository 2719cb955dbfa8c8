"""Why a text goes where it goes, in words: what ``EXPLAIN ROUTE``, ``pgcat-trio explain`` and ``SHOW ROUTES`` say.

Nothing here decides: the `Router` is asked, which does not notice. No literal of a text is ever shown.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

import attrs

from pgcat_trio.config.model import Role
from pgcat_trio.routing.classify import classify
from pgcat_trio.routing.effects import Effect
from pgcat_trio.routing.fingerprint import fingerprint
from pgcat_trio.routing.lexer import split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pgcat_trio.config.model import Pool
    from pgcat_trio.routing.route import Route, Router
    from pgcat_trio.routing.traits import StatementTraits

Row = tuple[str, str]
"""A property and its value."""

MAX_SHOWN: Final = 500
"""Characters of a fingerprint: to recognize a statement it takes no more."""

_MAX_READ_BYTES: Final = 4096
"""Bytes of a text that are read for it."""

ANSWERED_HERE: Final[list[Row]] = [("role", "none"), ("reason", "the proxy answers it itself")]

_TRAITS: Final = (
    ("kind", "kind"),
    ("reads", "proven to read"),
    ("writes", "writes"),
    ("locks", "locks"),
    ("tables", "tables"),
    ("functions", "functions"),
    ("volatile", "not known to read"),
    ("transaction_control", "transaction control"),
    ("effects", "may leave behind"),
    ("pins", "may pin the session"),
    ("shard_keys", "shard keys"),
)
"""The traits that are said, and what they are called."""


@attrs.frozen
class Candidate:
    """A server that may be given the statement, or (``usable``) could be, were it not in the state that it is in."""

    address: str
    role: Role
    state: str = ""
    usable: bool = True

    def __str__(self) -> str:
        return f"{self.address} ({self.role.value})" + (f": {self.state}" if self.state else "")


@attrs.frozen
class Explanation:
    """What the router says of a text. ``remembered``: it had decided on this fingerprint before.

    None where that is nobody's business.
    """

    route: Route
    traits: StatementTraits
    fingerprint: str
    remembered: bool | None

    def rows(self, shard: int, candidates: Sequence[Candidate], choice: str) -> Iterator[Row]:
        """For people to read. ``choice`` says how one of the ``candidates`` is chosen."""
        route = self.route
        yield "role", route.role.value
        yield "reason", route.why
        yield "shard", str(shard)
        usable = [candidate for candidate in candidates if candidate.usable]
        for number, candidate in enumerate(usable, 1):
            yield f"candidate {number}", str(candidate)
        if len(usable) > 1:
            yield "choice", choice
        for candidate in candidates:
            if not candidate.usable:
                yield "passed over", str(candidate)
        if route.role is Role.REPLICA and route.fallback_to_primary:
            yield "without replicas", "the primary takes it"
        yield from _traits(self.traits)
        if self.remembered is not None:
            yield "cache", "hit" if self.remembered else "miss"
        yield "fingerprint", self.fingerprint


def explain(router: Router, sql: bytes, *, pooled_by_session: bool = False) -> Explanation:
    """What ``router`` makes of a text, outside of a transaction. Never raises.

    ``pooled_by_session``: no text counts, as a client has one server for all that it says.
    """
    route, remembered = router.peek(sql)
    traits = route.traits or classify(
        sql,
        max_length=router.max_length,
        search_path_reported=router.search_path_reported,
        catalog=router.catalog,
    )
    if pooled_by_session:
        route = router.session
    return Explanation(route, traits, shown(sql), remembered)


def refused(reason: str) -> list[Row]:
    """What there is to say about a text that is given to no server."""
    return [("role", "none"), ("reason", f"it would be refused: {reason}")]


def balancing(pool: Pool) -> str:
    """How one of several candidates is chosen."""
    return f"load_balancing_mode = {pool.load_balancing_mode.value}"


def shown(text: bytes, *, exact: bool = False) -> str:
    """A text to recognize it by, without its literals. ``exact``: it is a fingerprint already.

    Of one that is not certain to be read rightly (`lexer.Statement.doubt`) there are the first words of its statements
    only: what looks like a name behind them may be a part of a literal.
    """
    if exact:
        line = text.decode("utf-8", "replace")
    else:
        head = text[:_MAX_READ_BYTES]
        found = fingerprint(head)
        line = found.text
        if found.doubt:
            line = "; ".join(" ".join([*statement.words, "..."]).lower() for statement in split(head))
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}..."


def _traits(traits: StatementTraits) -> Iterator[Row]:
    """All that is known about a text beside the reason, as far as it is more than nothing."""
    for name, called in _TRAITS:
        value = _spelled(getattr(traits, name))
        if value:
            yield called, value


def _spelled(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else ""
        case Effect():
            return ", ".join(_words(effect.name) for effect in Effect if effect in value and effect.name)
        case enum.Enum():
            return "" if value.name == "NONE" else _words(value.name)
        case str():
            return value
        case tuple() | frozenset():
            return _listed(value)
    return ""


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(sorted(str(value) for value in values))


def _words(name: str | None) -> str:
    return (name or "").lower().replace("_", " ")

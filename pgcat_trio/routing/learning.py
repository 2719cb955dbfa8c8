"""From what a server says about a database to its `Catalog`: what to ask, and what the rows mean.

Every row is a thing with a name, a verdict, and a body: SQL that runs, or may run, when the thing is used. A thing is
no read if its verdict says so, or if its body uses a thing that is none. Bodies are those of views, of policies, of
functions in SQL and PL/pgSQL; for what uses a function or a relation by itself (operators, aggregates, casts, parents
of partitions) the query writes one. PostgreSQL itself refuses to let a function that is not VOLATILE write, so in its
body only what it calls can; of functions in other languages the declaration is believed.

In bodies, a name that no function has is no call but an alias, a type or a keyword: the server lists all functions.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import attrs

from .catalog import PG_CATALOG, Catalog
from .functions import (
    HARMLESS_IN_EXTENSIONS,
    LOCKING_WORDS,
    NOT_DURING_RECOVERY,
    READ_ONLY_FUNCTIONS,
    SYNTAX_BEFORE_PARENTHESIS,
)
from .lexer import split
from .names import attributes, calls, plain, relations, spellings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Row = tuple[str | None, ...]
"""Kind, schema, name, verdict, body."""

VERSION_SQL: Final = """
SET search_path TO ''; SET statement_timeout TO '30s';
SELECT kind, count(*)::text, sum(hashtextextended(id || ' ' || xmin, 0))::text FROM (
    SELECT 'function' AS kind, oid AS id, xmin FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT 'rule', oid, xmin FROM pg_rewrite WHERE oid >= 16384
    UNION ALL SELECT 'relation', oid, xmin FROM pg_class WHERE oid >= 16384 AND (relkind = 'v' OR relpersistence = 'u')
    UNION ALL SELECT 'heir', inhrelid, xmin FROM pg_inherits
    UNION ALL SELECT 'policy', oid, xmin FROM pg_policy
    UNION ALL SELECT 'operator', oid, xmin FROM pg_operator WHERE oid >= 16384
    UNION ALL SELECT 'cast', oid, xmin FROM pg_cast WHERE oid >= 16384
    UNION ALL SELECT 'constraint', oid, xmin FROM pg_constraint WHERE contypid <> 0
    UNION ALL SELECT 'schema', oid, xmin FROM pg_namespace WHERE oid >= 16384
) AS everything GROUP BY kind ORDER BY kind
"""
"""To be asked first: rows that change when the answer to `CATALOG_SQL` may. What initdb makes has OIDs below 16384."""

CATALOG_SQL: Final = r"""
SET search_path TO '';
WITH call AS (
    SELECT p.oid, format('%I.%I(', n.nspname, p.proname) AS body
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
), behind (oid) AS (
    SELECT oprcode FROM pg_operator UNION SELECT castfunc FROM pg_cast
    UNION SELECT typsend FROM pg_type UNION SELECT amproc FROM pg_amproc
), conversion AS (
    SELECT c.castsource, c.casttarget, call.body
    FROM pg_cast c JOIN call ON call.oid = c.castfunc JOIN pg_proc p ON p.oid = c.castfunc
        JOIN pg_language l ON l.oid = p.prolang
    WHERE c.oid >= 16384 AND (p.provolatile = 'v' OR l.lanname NOT IN ('c', 'internal'))
)
SELECT 'builtin', 'pg_catalog', proname::text,
    CASE WHEN bool_and(provolatile = 'i' OR (provolatile = 's' AND oid IN (SELECT oid FROM behind))) THEN 'r' END, ''
FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND oid < 16384 GROUP BY proname
UNION ALL
SELECT CASE WHEN p.pronargs = 1 AND t.typtype = 'c' THEN 'attribute' ELSE 'function' END, n.nspname, p.proname,
    CASE WHEN p.provolatile = 'v' AND NOT (l.lanname = 'c' AND p.proname IN (HARMLESS)) THEN 'w' ELSE 'r' END,
    CASE WHEN p.prokind = 'a' THEN (
            SELECT string_agg(call.body, ' ') FROM pg_aggregate a JOIN call ON call.oid IN (
                a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
                a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
            WHERE a.aggfnoid = p.oid)
        WHEN p.provolatile <> 'v' THEN concat_ws(E'\n;\n', pg_get_expr(p.proargdefaults, 0),
            CASE WHEN l.lanname IN ('sql', 'plpgsql')
                THEN coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) END)
    END
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_language l ON l.oid = p.prolang LEFT JOIN pg_type t ON t.oid = p.proargtypes[0]
WHERE p.oid >= 16384
UNION ALL
SELECT 'operator', '', o.oprname, 'r', call.body
FROM pg_operator o JOIN call ON call.oid = o.oprcode WHERE o.oid >= 16384
UNION ALL
SELECT 'type', '', t.typname, 'r', c.body
FROM conversion c JOIN pg_type t ON t.oid IN (c.castsource, c.casttarget) WHERE t.oid >= 16384
UNION ALL
SELECT 'relation', n.nspname, r.relname, 'r', c.body
FROM conversion c JOIN pg_attribute a ON a.atttypid = c.castsource
    JOIN pg_class r ON r.oid = a.attrelid JOIN pg_namespace n ON n.oid = r.relnamespace
UNION ALL
SELECT 'function', n.nspname, p.proname, 'r', c.body
FROM conversion c JOIN pg_proc p ON p.prorettype = c.castsource
    JOIN pg_namespace n ON n.oid = p.pronamespace
UNION ALL
SELECT 'type', '', t.typname, 'r', pg_get_constraintdef(c.oid)
FROM pg_constraint c JOIN pg_type t ON t.oid = c.contypid WHERE c.oid >= 16384
UNION ALL
SELECT 'type', '', t.typname, 'r', format('%I', b.typname)
FROM pg_type t JOIN pg_type b ON b.oid = t.typbasetype WHERE t.typtype = 'd' AND b.typtype = 'd' AND t.oid >= 16384
UNION ALL
SELECT 'type', '', r.relname, 'r', pg_get_constraintdef(c.oid)
FROM pg_constraint c JOIN pg_attribute a ON a.atttypid = c.contypid
    JOIN pg_class r ON r.oid = a.attrelid
WHERE c.oid >= 16384 AND r.relkind IN ('r', 'p', 'c', 'f') AND NOT a.attisdropped
UNION ALL
SELECT 'relation', n.nspname, r.relname, CASE WHEN r.relpersistence = 'u' THEN 'w' ELSE 'r' END,
    CASE WHEN r.relkind = 'v' THEN pg_get_viewdef(r.oid) END
FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace
WHERE r.oid >= 16384 AND (r.relkind = 'v' OR r.relpersistence = 'u') AND r.relkind IN ('v', 'm', 'r', 'p', 'S', 'f')
UNION ALL
SELECT 'relation', n.nspname, r.relname, 'r', pg_get_expr(p.polqual, p.polrelid)
FROM pg_policy p JOIN pg_class r ON r.oid = p.polrelid
    JOIN pg_namespace n ON n.oid = r.relnamespace
WHERE p.polqual IS NOT NULL AND p.polcmd IN ('r', '*') AND r.relrowsecurity
UNION ALL
SELECT 'relation', n.nspname, r.relname, 'r', format('FROM %I.%I', hn.nspname, h.relname)
FROM pg_inherits i JOIN pg_class r ON r.oid = i.inhparent
    JOIN pg_namespace n ON n.oid = r.relnamespace
    JOIN pg_class h ON h.oid = i.inhrelid JOIN pg_namespace hn ON hn.oid = h.relnamespace
WHERE r.relkind IN ('r', 'p') AND (h.relpersistence = 'u' OR h.relhassubclass)
""".replace("HARMLESS", ", ".join(f"'{name}'" for name in HARMLESS_IN_EXTENSIONS))
"""For PostgreSQL 14 and later. The search_path makes names in views come with their schemas."""


@attrs.frozen
class _Thing:
    """One row, with what its body uses, all by the names that a token would have."""

    kind: str
    names: frozenset[str]
    is_read: bool
    called: frozenset[str]
    related: frozenset[str]
    behind_dots: frozenset[str]
    words: frozenset[str]


@attrs.frozen
class _Refused:
    """The names of all things that are no reads."""

    functions: set[str] = attrs.field(factory=set)
    relations: set[str] = attrs.field(factory=set)
    attributes: set[str] = attrs.field(factory=set)
    operators: set[str] = attrs.field(factory=set)
    types: set[str] = attrs.field(factory=set)

    def has(self, thing: _Thing) -> bool:
        """Whether a thing is no read, by itself or by what it uses."""
        return not (
            thing.is_read
            and self.functions.isdisjoint(thing.called)
            and self.relations.isdisjoint(thing.related)
            and self.attributes.isdisjoint(thing.behind_dots)
            and self.operators.isdisjoint(thing.words)
            and self.types.isdisjoint(thing.words)
        )

    def add(self, thing: _Thing) -> None:
        """From now on whatever uses the thing is no read."""
        for names in _WHERE[thing.kind](self):
            names |= thing.names


_WHERE: Final[dict[str, Callable[[_Refused], tuple[set[str], ...]]]] = {
    "function": lambda refused: (refused.functions,),
    "attribute": lambda refused: (refused.functions, refused.attributes),
    "relation": lambda refused: (refused.relations,),
    "operator": lambda refused: (refused.operators,),
    "type": lambda refused: (refused.types,),
}
_FUNCTIONS: Final = frozenset({"function", "attribute"})


_KNOWN_OTHERWISE: Final = READ_ONLY_FUNCTIONS | {word.lower() for word in SYNTAX_BEFORE_PARENTHESIS}
"""Names that are no doubt for who knows PostgreSQL's own meaning of them only."""

_IMPLIED: Final = {
    "~~": ("LIKE",),
    "!~~": ("LIKE",),
    "~~*": ("ILIKE",),
    "!~~*": ("ILIKE",),
    "=": (
        *("ALL", "ANY", "CASE", "DISTINCT", "EXCEPT", "GROUP", "IN", "INTERSECT"),
        *("NATURAL", "NULLIF", "PARTITION", "SOME", "UNION", "USING"),
    ),
    "<>": ("DISTINCT", "IN", "NOT"),
    "<": ("BETWEEN", "BY", "DISTINCT", "ORDER"),
    ">": ("BETWEEN", "BY", "DISTINCT", "ORDER"),
    "<=": ("BETWEEN",),
    ">=": ("BETWEEN",),
}
"""Words that stand for operators, or may need them."""


def learned(rows: Iterable[Row]) -> Catalog:
    """The catalog that the answer to `CATALOG_SQL` amounts to. It takes about 0.1 ms for each body."""
    refused, things, reads = _Refused(), list[_Thing](), set[str]()
    for kind, schema, name, verdict, body in (tuple(value or "" for value in row) for row in rows):
        if kind != "builtin":
            things.append(_thing(kind, schema, name, verdict, body))
        elif name in READ_ONLY_FUNCTIONS or (verdict == "r" and name not in NOT_DURING_RECOVERY):
            reads.update((name, PG_CATALOG + name))
        else:
            refused.functions.update((name, PG_CATALOG + name))
    while found := [thing for thing in things if refused.has(thing)]:
        things = [thing for thing in things if not refused.has(thing)]
        for thing in found:
            refused.add(thing)
    reads.update(name for thing in things if thing.kind in _FUNCTIONS for name in thing.names)
    return Catalog(
        reads=frozenset(reads - refused.functions),
        writes=frozenset(refused.functions & _KNOWN_OTHERWISE),
        relations=frozenset(refused.relations),
        attributes=frozenset(refused.attributes),
        operators=frozenset(refused.operators),
        types=frozenset(refused.types),
    )


def _thing(kind: str, schema: str, name: str, verdict: str, body: str) -> _Thing:
    statements = split(body.encode())
    tokens = tuple(token for statement in statements for token in (*statement.tokens, ";"))
    called, related = frozenset(calls(tokens)), frozenset(relations(tokens))
    locks = False
    if kind not in _FUNCTIONS:
        # The server wrote it, and names without a schema are those of pg_catalog.
        called = frozenset(each if "." in each else PG_CATALOG + each for each in called)
        related = frozenset(each for each in related if "." in each)
        locks = any(two in LOCKING_WORDS for one, two in pairwise(tokens) if one == "FOR")
    # What a doubtful body or an EXECUTE runs, nobody knows.
    unknown = any(statement.doubt for statement in statements) or (kind in _FUNCTIONS and "EXECUTE" in tokens)
    return _Thing(
        kind,
        frozenset(_spelled(kind, schema, name)),
        verdict == "r" and not (unknown or locks),
        called,
        related,
        frozenset(attributes(tokens)),
        frozenset(map(plain, tokens)),
    )


def _spelled(kind: str, schema: str, name: str) -> Iterator[str]:
    """The names that tokens have for it."""
    if kind == "operator":
        yield from (spelled for word in _IMPLIED.get(name, ()) for spelled in (word, word.lower()))
    for spelled, within in zip(spellings(name), spellings(schema), strict=True):
        yield spelled
        if kind in _FUNCTIONS or kind == "relation":
            yield f"{within}.{spelled}"

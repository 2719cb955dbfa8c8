"""What rows about a database mean for a statement: no server is asked here; the oracle does that."""

from __future__ import annotations

import pytest

from pgcat_trio.config.model import Role
from pgcat_trio.routing.catalog import EMPTY, Catalog, NameList
from pgcat_trio.routing.classify import classify
from pgcat_trio.routing.learning import Row, learned
from pgcat_trio.routing.route import Router

ROWS: list[Row] = [
    ("builtin", "pg_catalog", "lower", None, ""),
    ("builtin", "pg_catalog", "upper", None, ""),
    ("builtin", "pg_catalog", "nextval", None, ""),
    ("builtin", "pg_catalog", "texteq", "r", ""),
    ("builtin", "pg_catalog", "pg_walfile_name", "r", ""),
    ("function", "public", "stable", "r", "SELECT lower(name) FROM t"),
    ("function", "public", "writing", "w", None),
    ("function", "public", "upper", "w", None),
    ("function", "app", "both", "r", ""),
    ("function", "public", "both", "w", None),
    ("function", "public", "sly", "r", "BEGIN RETURN nextval('s'); END"),
    ("function", "public", "slier", "r", "SELECT sly()"),
    ("function", "public", "dynamic", "r", "BEGIN EXECUTE x; END"),
    ("function", "public", "doubtful", "r", "SELECT 'a"),
    ("function", "public", "in_words", "r", "SELECT 'nextval(1)' -- nextval("),
    ("function", "public", "aliases", "r", "SELECT * FROM f(1) AS g(a int) WHERE x IN (1)"),
    ("function", "public", "Größe", "r", ""),
    ("attribute", "public", "touched", "w", None),
    ("relation", "public", "good", "r", " SELECT t.a, lower(t.b) FROM public.t FOR x"),
    ("relation", "public", "bad", "r", " SELECT public.writing(1) FROM public.t"),
    ("relation", "public", "worse", "r", " SELECT bad.a FROM public.bad"),
    ("relation", "public", "locking", "r", " SELECT t.a FROM public.t FOR UPDATE OF t"),
    ("relation", "public", "qualified", "r", " SELECT upper('x'::text) FROM public.t"),
    ("relation", "public", "unlogged", "w", None),
    ("relation", "public", "parent", "r", "FROM public.unlogged"),
    ("operator", "", "###", "r", "public.sly("),
    ("operator", "", "@@@", "r", "public.stable("),
    ("type", "", "checked", "r", "CHECK (public.sly())"),
]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return learned(ROWS)


@pytest.mark.parametrize(
    "sql",
    [
        *("SELECT stable()", "SELECT public.stable()", "SELECT app.both()", "SELECT lower('a')", "SELECT aliases()"),
        *("SELECT pg_catalog.upper('a')", "SELECT texteq('a', 'b')", "SELECT in_words()", 'SELECT "stable"()'),
        *("SELECT * FROM good", "SELECT * FROM public.good", "SELECT a AS bad FROM t", "SELECT * FROM qualified"),
        *("SELECT * FROM other.bad", "SELECT 1 @@@ 2", "SELECT touched FROM t", "SELECT (SELECT stable())"),
        'SELECT "Größe"()',
    ],
)
def test_reads(catalog: Catalog, sql: str) -> None:
    traits = classify(sql.encode(), catalog=catalog)
    assert traits.reads, traits.why


@pytest.mark.parametrize(
    ("sql", "culprit"),
    [
        ("SELECT writing()", "writing"),
        ("SELECT both()", "both"),
        ("SELECT public.both()", "public.both"),
        ("SELECT sly()", "sly"),
        ("SELECT slier()", "slier"),
        ("SELECT dynamic()", "dynamic"),
        ("SELECT doubtful()", "doubtful"),
        ("SELECT upper('a')", "upper"),
        ("SELECT pg_walfile_name('0/0')", "pg_walfile_name"),
        ("SELECT unheard_of()", "unheard_of"),
        ('SELECT "Stable"()', "Stable"),
        ("SELECT pg_catalog.stable()", "pg_catalog.stable"),
        ("SELECT größe()", "gr"),
        ("SELECT * FROM bad", "bad"),
        ("SELECT * FROM t, bad", "bad"),
        ("SELECT * FROM public . bad", "public.bad"),
        ('SELECT * FROM t JOIN "worse" USING (a)', "worse"),
        ("SELECT * FROM ONLY unlogged", "unlogged"),
        ("SELECT * FROM (unlogged CROSS JOIN t)", "unlogged"),
        ("SELECT * FROM parent", "parent"),
        ("SELECT * FROM locking", "locking"),
        ("TABLE bad", "bad"),
        ("COPY bad TO STDOUT", "bad"),
        ("COPY (TABLE bad) TO STDOUT", "bad"),
        ("SELECT x.touched FROM t x", "touched"),
        ("SELECT (x).touched FROM t x", "touched"),
        ("SELECT 1 ### 2", "###"),
        ("SELECT 1 ###-2", "###"),
        ("SELECT 1::checked", "checked"),
        ("SELECT CAST(1 AS public.checked)", "checked"),
    ],
)
def test_no_reads(catalog: Catalog, sql: str, culprit: str) -> None:
    traits = classify(sql.encode(), catalog=catalog)
    assert not traits.reads
    assert culprit in traits.why


def test_the_volatile_functions_of_a_text_are_those_that_the_catalog_does_not_know_as_reads(catalog: Catalog) -> None:
    assert classify(b"SELECT stable(), writing(), lower(a)", catalog=catalog).volatile == {"writing"}
    assert classify(b"SELECT stable(), writing(), lower(a)").volatile == {"stable", "writing"}


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        ("SELECT writing()", True),
        ("SELECT public.writing()", True),
        ("SELECT app.listed()", True),
        ("SELECT listed()", False),  # another schema may have one, too
        ("SELECT stable()", False),
        ("SELECT public.stable()", False),
        ("SELECT both()", False),  # app.both is on both lists, and this may be it
        ("SELECT app.both()", False),
        ("SELECT lower('a')", False),
        ("SELECT * FROM good", True),
        ("SELECT * FROM secret", False),
        ("SELECT * FROM any_schema.secret", False),
        ("SELECT * FROM hidden", False),
        ("SELECT * FROM app.hidden", False),
        ("SELECT * FROM public.hidden", True),
        ("SELECT * FROM größen", False),
    ],
)
def test_an_operators_lists_go_before_the_catalog(catalog: Catalog, sql: str, reads: bool) -> None:
    lists = (["writing", "app.listed", "app.both"], ["stable", "app.both", "lower"], ["secret", "app.hidden", "größen"])
    ours = catalog.with_lists(*map(NameList.of, lists))
    assert classify(sql.encode(), catalog=ours).reads is reads


def test_a_router_decides_anew_when_the_catalog_says_something_new(catalog: Catalog) -> None:
    router = Router(Role.ANY, parser_enabled=True, splitting=True, primary_reads=False, max_length=None)
    router.catalog = EMPTY.with_lists(NameList(), NameList.of(["denied"]), NameList())
    assert router.route(b"SELECT stable(1)").role is Role.PRIMARY
    era = router.era
    assert router.use(catalog)
    assert router.era is not era
    assert router.route(b"SELECT stable(1)").role is Role.REPLICA
    assert router.catalog.write_functions.holds("denied")
    era = router.era
    assert not router.use(learned(ROWS))
    assert router.era is era


def test_nothing_said_is_nothing_known() -> None:
    assert learned([]) == EMPTY

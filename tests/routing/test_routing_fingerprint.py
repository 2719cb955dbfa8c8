# ruff: noqa: E501 - a table reads best with a statement on each line
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing_statements import PRIMARY, READS

from pgcat_trio.config.model import Role
from pgcat_trio.routing.fingerprint import fingerprint, without_literals
from pgcat_trio.routing.route import Router


@pytest.mark.parametrize(
    ("sql", "text", "literals"),
    [
        (b"", "", ()),
        (b" ; -- x", "", ()),
        (b"SELECT  Id FROM T -- x\n;", "select id from t", ()),
        (b"SELECT/* x */1", "select ?", ((b"1",),)),
        (b"select 1; SELECT 'a' ;;", "select ?; select ?", ((b"1",), (b"'a'",))),
        (b"select 1.5, .5, 1e3, 0xff, -7", "select ?, ?, ?, ?, - ?", ((b"1.5",), (b".5",), (b"1e3",), (b"0xff",), (b"7",))),
        (
            b"select 'it''s', E'a\\'b', $$x$$, $t$y$t$, X'1f', U&'\\0041'",
            "select ?, ?, ?, ?, ?, ?",
            ((b"'it''s'",), (b"E'a\\'b'",), (b"$$x$$",), (b"$t$y$t$",), (b"X'1f'",), (b"U&'\\0041'",)),
        ),
        (b"select 'a'\n'b'", "select ?", ((b"'a'\n'b'",),)),
        (b'select "A", "b""c".D from $1', 'select "A", "b""c".d from $1', ()),
        (b"select a from t where id in (1, 2,3)", "select a from t where id in (?, ...)", ((b"1", b"2", b"3"),)),
        (b"select a in (1), b in (1, c)", "select a in (?), b in (?, c)", ((b"1",), (b"1",))),
        (b"select ARRAY [1,2], f(1, 2)", "select array[?, ...], f(?, ?)", ((b"1", b"2"), (b"1",), (b"2",))),
        (
            b"INSERT INTO t (a, b) VALUES (1, 'x'),(2,'y') , (3, 'z') ON CONFLICT DO NOTHING",
            "insert into t(a, b) values (?, ?), ... on conflict do nothing",
            ((b"1", b"2", b"3"), (b"'x'", b"'y'", b"'z'")),
        ),
        (b"values (1, null), (2, 3)", "values (?, null), (?, ?)", ((b"1",), (b"2",), (b"3",))),
        (b"values (array[1]), (array[2])", "values (array[?]), (array[?])", ((b"1",), (b"2",))),
        (b"select a ? 'k', b ?| c", "select a ?? ?, b ??| c", ((b"'k'",),)),
        (b"select count(*) over (order by a), b::int, c[1:2]", "select count(*) over (order by a), b::int, c[? : ?]", ((b"1",), (b"2",))),
    ],
)  # fmt: skip
def test_fingerprint(sql: bytes, text: str, literals: tuple[tuple[bytes, ...], ...]) -> None:
    found = fingerprint(sql)
    assert (found.text, found.literals, found.doubt) == (text, literals, None)


def test_doubt_is_told() -> None:
    assert "unterminated" in (fingerprint(b"select 'a").doubt or "")
    assert "standard_conforming_strings" in (fingerprint(b"select '\\' or 1 --'").doubt or "")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'select "a" from "t" where "id" = 5', b'select "a" from "t" where "id" = 6'),
        (b"select 1 /*traceparent='00-a1-b2-01',route='/x'*/", b"select 2 /*traceparent='00-c3-d4-01',route='/y'*/"),
        (b"select a in (1, 2)", b"select a in (1, 2, 3, 4)"),
        (b"insert into t values (1, 'a'), (2, 'b')", b"insert into t values (1, 'a'), (2, 'b'), (3, 'c')"),
        (b"insert into t values (1), (2)", b"insert into t values (1), (2), (3)"),
        (b"select a = any(array[1, 2])", b"select a = any(array[1, 2, 3])"),
        (b"select '--', 1", b"select '/*', 2"),
    ],
)
def test_the_quick_key_is_that_of_many_texts(one: bytes, other: bytes) -> None:
    assert without_literals(one) == without_literals(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"select $1, 'a'", b"select $2, 'a'"),
        (b"select a$1", b"select a$2"),
        ("select é1".encode(), "select é2".encode()),
        (b'select "a 1"', b'select "a 2"'),
        (b"select lower/**/(a)", b"select lower 'x' (a)"),
        (b"select f(1, 2)", b"select f(1, 2, 3)"),
        (b"values (array[1,2]), (array[1,2,3])", b"values (array[1,2])"),
        (b"select 1 /* a '*/ 'b", b"select 1 /* a '*/ 'c"),
    ],
)
def test_the_quick_key_merges_nothing_else(one: bytes, other: bytes) -> None:
    assert without_literals(one) != without_literals(other)


PIECES = """
    SELECT 'a' '' 1 22 1.5 "a" "b c" "1" -- /* */ /*x*/ /*'y'*/ $1 $$ E'\\' \\ ( ) [ ] IN VALUES ARRAY , , a b1 é - / * ' " ;
"""
TEXTS = st.lists(st.sampled_from([*PIECES.split(), "\n", " ", ", "]), max_size=14).map(
    lambda pieces: "".join(pieces).encode()
)
LITERALS = st.sampled_from([b"1", b"2", b"3.5", b"'a'", b"'bc'", b"'--'", b"''"])


@given(st.lists(TEXTS, min_size=1, max_size=4), st.lists(LITERALS, min_size=8, max_size=8))
def test_texts_of_one_quick_key_have_one_fingerprint(pieces: list[bytes], literals: list[bytes]) -> None:
    """Put other literals into the same places: where the quick key says "the same", the exact one must agree."""
    one, other = (
        b" = ".join(piece + b" = " + literal for piece, literal in zip(pieces, chosen, strict=False))
        for chosen in (literals[:4], literals[4:])
    )
    if without_literals(one) == without_literals(other) and one != other:
        assert fingerprint(one).text == fingerprint(other).text
        assert fingerprint(one).doubt is None
        assert fingerprint(other).doubt is None


@given(st.sampled_from(READS + PRIMARY))
def test_a_fingerprint_is_no_longer_read_otherwise(sql: str) -> None:
    """Comments and case are gone and spaces are where they need not be: once more changes nothing."""
    first = fingerprint(sql.encode())
    if first.doubt is None and not first.literals and "?" not in sql:
        assert fingerprint(first.text.encode()).text == first.text


@given(st.binary(max_size=200))
def test_any_bytes_have_a_fingerprint(sql: bytes) -> None:
    fingerprint(sql)
    without_literals(sql)


SHAPES = [
    b"SELECT a FROM t WHERE id = %d",
    b"SELECT a FROM t WHERE b = 'x%d' AND c > %d.5",
    b'SELECT "t"."a" FROM "t" WHERE "t"."id" = %d LIMIT 21',
    b"SELECT a FROM t WHERE b = E'\\n%d'",
    b"SELECT a FROM t WHERE b = $$%d$$",
    b"SELECT a FROM t WHERE id = %d -- request %d",
    b"SELECT a FROM t WHERE id = %d /*traceparent='00-%d-01',route='/a/%d'*/",
    b"UPDATE t SET a = a + %d WHERE id = %d",
    b"INSERT INTO t (id, b) VALUES (%d, 'x'), (%d, 'y')",
    "SELECT a FROM t WHERE größe = %d AND b = 'é%d'".encode(),
]


def test_unbounded_literals_are_hits() -> None:
    """More than 99 of 100 texts are known, whichever way their literals are written."""
    ours = Router(Role.ANY, parser_enabled=True, splitting=True, primary_reads=False, max_length=None)
    for number in range(2000):
        shape = SHAPES[number % len(SHAPES)]
        ours.route(shape % ((number,) * shape.count(b"%d")))
    assert ours.decided.misses <= len(SHAPES)
    misses = ours.decided.misses
    ids = [b", ".join(b"%d" % each for each in range(count)) for count in range(2, 200)]
    for listed in ids:
        ours.route(b"SELECT a FROM t WHERE id IN (" + listed + b")")
    assert ours.decided.misses == misses + 1


def test_a_write_that_was_learned_is_one_in_every_spelling() -> None:
    ours = Router(Role.ANY, parser_enabled=True, splitting=True, primary_reads=False, max_length=None)
    spellings = [
        b"SELECT a FROM v WHERE id = 1",
        b"select a  from v where id = 2",
        b"SELECT a /* x */ FROM v WHERE id=3",
    ]
    assert {ours.route(sql).role for sql in spellings} == {Role.REPLICA}
    ours.learn_write(spellings[0], "a replica refused it")
    assert {ours.route(sql).role for sql in spellings} == {Role.PRIMARY}
    assert ours.route(b"SELECT b FROM v WHERE id = 1").role is Role.REPLICA

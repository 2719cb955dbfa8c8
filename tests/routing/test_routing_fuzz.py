"""The lexer against a server: where PostgreSQL accepts a text, both see the same statements and the same literals.

A text is run three times: as it is; each of the lexer's statements alone; and put together again from the lexer's tokens,
without comments, with one blank between any two. All three must answer alike. What the server refuses says nothing.
"""

# ruff: noqa: E501 - a table of pieces reads best in one line
from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import pq

from pgcat_trio.routing.classify import classify
from pgcat_trio.routing.fingerprint import fingerprint, without_literals
from pgcat_trio.routing.lexer import scan, split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgcat_trio.embedded import EmbeddedCluster

pytestmark = pytest.mark.slow

Results = list[list[tuple[bytes | None, ...]]]

EXAMPLES = int(os.environ.get("PGCAT_TRIO_EXAMPLES", "100"))

BUDGET_S = 0.5
"""For any text of these sizes; usual ones take a thousandth of it, the rest is for a busy machine."""

# -- texts ------------------------------------------------------------------------------------------------------------

_INSIDE = st.lists(
    st.sampled_from(["a", "é", ";", "--", "/*", "*/", "''", '"', "$$", "$x$", "$", "\\", "\n", " ", "E", "0", "SELECT"])
).map("".join)


def _dollar(parts: tuple[str, str]) -> str:
    tag, inside = parts
    return f"${tag}${inside.replace(f'${tag}$', '').rstrip('$')}${tag}$"


def _quoted(inside: str) -> str:
    return "'" + inside.replace("''", "").replace("'", "") + "''" + "'"


STRINGS = st.one_of(
    _INSIDE.map(lambda inside: f"'{inside}'"),
    _INSIDE.map(_quoted),
    _INSIDE.map(lambda inside: f"E'{inside}'"),
    st.lists(st.sampled_from(["\\'", "\\\\", "\\n", "\\x41", "\\u00e9", "''", ";", "a"])).map(
        lambda p: f"e'{''.join(p)}'"
    ),
    st.lists(st.sampled_from(["\\0041", "\\+000041", "''", ";", "a", "\\\\"])).map(lambda p: f"U&'{''.join(p)}'"),
    st.tuples(st.sampled_from(["", "x", "_1", "é"]), _INSIDE).map(_dollar),
    st.sampled_from(["B'101'", "X'1F'", "N'a'", "'a'\n'b'", "'a' -- c\n  ';b'", "E'a\\''\n'\\';'", "''''", "''"]),
)
NUMBERS = st.sampled_from(
    ["1", "1.5", ".5", "1.", "1e3", "1.5e-3", "0x1F", "0o17", "0b1", "1_000", "-1", "- 1", "1-1", "1 - -1"]
)
NAMES = st.sampled_from(['"a;b"', '"a""b"', '"--"', '"/*"', "a$1", "é", "_a", '"$$"', '"\'"'])
COMMENTS = st.sampled_from(
    ["--\n", "-- ; '\n", "--'\r", "/**/", "/* ; */", "/* /* ' */ ; */", "/*'*/", "/* -- */", "/*$$*/", "/*/ */"]
)
BLANKS = st.lists(st.one_of(st.sampled_from([" ", "\n", "\t", "\r\n", "\f", " "]), COMMENTS), max_size=2).map("".join)
VALUES = st.one_of(STRINGS, NUMBERS, st.tuples(NUMBERS, NAMES).map(" AS ".join))
OPERATED = st.sampled_from(
    [
        "1+1",
        "2-1",
        "2--1\n-1",
        "2/*x*/-1",
        "1<2",
        "1<-2",
        "1<=+2",
        "'a'||'b'",
        "1*-1",
        "2/1",
        "@-1",
        "2/ /**/1",
        "(1)",
        "(1;2)",
    ]
)
ATOMIC = "CREATE OR REPLACE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END"
RULE = "CREATE OR REPLACE RULE r AS ON INSERT TO fuzzed DO ALSO (SELECT 1; SELECT 2)"


@st.composite
def _statement(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 9)) == 0:
        return draw(BLANKS) + draw(st.sampled_from([ATOMIC, RULE])).replace(" ", draw(BLANKS) + " ")
    values = draw(st.lists(st.one_of(VALUES, OPERATED), min_size=1, max_size=3))
    words = [
        draw(st.sampled_from(["SELECT", "select", "Values ("])),
        *[each for value in values for each in (value, ",")][:-1],
    ]
    if words[0].startswith("V"):
        words.append(")")
    return draw(BLANKS) + " ".join(word + draw(BLANKS) for word in words)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Statements with all that can go wrong between and in them; now and then with something more where it may be."""
    text = draw(st.sampled_from([";", "; ", ";;", " ;\n; "])).join(draw(st.lists(_statement(), max_size=4)))
    if text and draw(st.integers(0, 2)) == 0:
        place = draw(st.integers(0, len(text)))
        text = (
            text[:place]
            + draw(st.one_of(VALUES, COMMENTS, BLANKS, st.sampled_from(["'", '"', ";", "$$", "\\"])))
            + text[place:]
        )
    return text.encode()


# -- the server -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["on", "off"])
def server(request: pytest.FixtureRequest, cluster_thread: object) -> Iterator[pq.abc.PGconn]:
    """A connection in a transaction that comes to nothing, with standard_conforming_strings on and off."""
    cluster: EmbeddedCluster = cluster_thread.cluster  # type: ignore[attr-defined]
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("SET client_min_messages TO error; CREATE TEMP TABLE fuzzed (a int)")
        connection.execute(f"SET standard_conforming_strings TO {request.param}".encode())
        yield connection.pgconn


def run(server: pq.abc.PGconn, sql: bytes) -> Results | None:
    """The rows of every statement that is not empty; None if the server refuses the text."""
    server.exec_(b"BEGIN")
    server.send_query(sql)
    results: Results = []
    refused = False
    while (result := server.get_result()) is not None:
        refused |= result.status == pq.ExecStatus.FATAL_ERROR
        if result.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
            columns = range(result.nfields)
            results.append([tuple(result.get_value(row, each) for each in columns) for row in range(result.ntuples)])
    server.exec_(b"ROLLBACK")
    return None if refused else results


def test_boundaries_and_literals_are_those_of_the_server(server: pq.abc.PGconn) -> None:
    judged = 0

    @settings(max_examples=EXAMPLES)
    @given(texts())
    def agree(sql: bytes) -> None:
        nonlocal judged
        statements = split(sql)
        results = run(server, sql)
        if results is None or any(statement.doubt for statement in statements):
            return
        judged += bool(statements)
        assert len(statements) == len(results)
        alone = [run(server, sql[statement.start : statement.end]) for statement in statements]
        assert alone == [[result] for result in results]
        assert run(server, b" ".join(sql[start:end] for _, start, end in scan(sql))) == results
        for literal in (each for slot in fingerprint(sql).literals for each in slot):
            assert run(server, b"SELECT " + literal) is not None

    agree()
    assert judged > EXAMPLES // 20  # else it would prove nothing


@settings(max_examples=EXAMPLES)
@given(st.one_of(texts(), st.binary(max_size=4000), texts().map(lambda text: text * 40)))
def test_no_text_takes_longer_than_its_budget(sql: bytes) -> None:
    for read in (split, fingerprint, without_literals, classify):
        began = time.process_time()
        read(sql)  # type: ignore[operator]
        assert time.process_time() - began < BUDGET_S, read

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from routing_statements import OTHER_READS, PRIMARY, READ_ONLY_TRANSACTIONS, READS

from pgcat_trio.routing.classify import classify
from pgcat_trio.routing.effects import Effect
from pgcat_trio.routing.lexer import split
from pgcat_trio.routing.traits import StatementTraits, TransactionControl


def traits(sql: str) -> StatementTraits:
    return classify(sql.encode())


@pytest.mark.parametrize("sql", READS + OTHER_READS)
def test_read(sql: str) -> None:
    found = traits(sql)
    assert found.reads, found.why
    assert found.effects == Effect.NONE
    assert found.transaction_control is TransactionControl.NONE


@pytest.mark.parametrize("sql", PRIMARY)
def test_primary(sql: str) -> None:
    found = traits(sql)
    assert not found.reads
    assert found.transaction_control is not TransactionControl.BEGIN_READ_ONLY
    assert found.why


@pytest.mark.parametrize("sql", READ_ONLY_TRANSACTIONS)
def test_read_only_transaction(sql: str) -> None:
    assert traits(sql).transaction_control is TransactionControl.BEGIN_READ_ONLY


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("BEGIN", TransactionControl.BEGIN),
        ("START TRANSACTION", TransactionControl.BEGIN),
        ("COMMIT", TransactionControl.OTHER),
        ("END", TransactionControl.OTHER),
        ("ROLLBACK TO s", TransactionControl.OTHER),
        ("PREPARE TRANSACTION 'x'", TransactionControl.OTHER),
        ("PREPARE x AS SELECT 1", TransactionControl.NONE),
        ("BEGIN; SELECT 1", TransactionControl.NONE),
    ],
)
def test_transaction_control(sql: str, expected: TransactionControl) -> None:
    assert traits(sql).transaction_control is expected


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT nextval('s')", "nextval"),
        ("SELECT * FROM t FOR UPDATE", "locks rows"),
        ("WITH x AS (DELETE FROM t RETURNING 1) SELECT 1", "DELETE"),
        ("SELECT set_config('a.b', 'c', false)", "settings"),
        ("SELECT 'a", "unterminated"),
        ("SELECT FROM FROM", "parser"),
        ("", "no statement"),
        ("SELECT " + "(" * 20 + "1" + ")" * 20, "nested"),
        ("SELECT * FROM t" + " JOIN t" * 30, "costly"),
        ("SELECT a" + "[1]" * 100 + " FROM t", "costly"),
        ("SELECT 1" + " LIMIT (1" * 8 + ")" * 8, "costly"),
        ("SELECT 1" + ", a" * 2000, "tokens"),
        ("SELECT 1" + " " * 20_000, "longer than 16384 bytes"),
    ],
)
def test_the_reason_says_what_it_was(sql: str, reason: str) -> None:
    found = traits(sql)
    assert not found.reads
    assert reason in found.why


def test_max_length() -> None:
    sql = b"SELECT 12345"
    assert classify(sql, max_length=len(sql)).reads
    assert not classify(sql, max_length=len(sql) - 1).reads
    assert classify(b"LISTEN a_long_name", max_length=5).effects == Effect.LISTEN


def test_a_secret_in_a_literal_never_reaches_the_reason() -> None:
    for sql in (
        "SELECT 'hunter2' FROM FROM",
        "SELECT f('hunter2')",
        "ALTER ROLE x PASSWORD 'hunter2'",
        "'hunter2'",
        "SELECT $x$hunter2",
    ):
        assert "hunter2" not in traits(sql).why


def test_a_long_list_of_literals_is_cheap_and_a_read() -> None:
    ids = ", ".join(str(number) for number in range(600))
    assert traits(f"SELECT * FROM t WHERE id IN ({ids}) AND a = 1").reads


NOISE = st.sampled_from([" ", "\n", "\t", " /* FOR UPDATE */ ", " -- nextval(\n", "/**/ ", " /* /* ' */ */ "])


@given(st.sampled_from(READS + PRIMARY), st.data())
def test_comments_and_case_change_nothing(sql: str, data: st.DataObject) -> None:
    """White space or a comment where there was a blank, and another case, leave the verdict as it is."""
    if "'" in sql or '"' in sql or "$" in sql or "--" in sql:
        return
    changed = "".join(data.draw(NOISE) if character == " " else character for character in sql)
    assert traits(data.draw(st.sampled_from([changed, changed.upper(), changed.lower()]))).reads == traits(sql).reads


@given(st.lists(st.sampled_from(READS + PRIMARY), min_size=2, max_size=3))
def test_several_statements_are_a_read_if_each_is(sqls: list[str]) -> None:
    if any(split(sql.encode()) == [] or traits(sql).transaction_control.value != "none" or "(" in sql for sql in sqls):
        return
    if any(statement.doubt for sql in sqls for statement in split(sql.encode())):
        return
    joined = ";".join(sql + "\n" for sql in sqls)
    assert traits(joined).reads == all(traits(sql).reads for sql in sqls)


WRITES = [
    "nextval('seq')",
    "setval('seq', 1)",
    "own_function(a)",
    "pg_notify('a', 'b')",
    "lo_unlink(1)",
    '"Count"(a)',
    "s.count(a)",
]
EXPRESSION_PLACES = [
    "SELECT {}",
    "SELECT a FROM t WHERE {} = 1",
    "SELECT a FROM t GROUP BY {}",
    "SELECT a FROM t ORDER BY {} DESC",
    "SELECT count(*) FROM t HAVING {} > 0",
    "SELECT CASE WHEN {} THEN 1 END",
    "SELECT a FROM t JOIN u ON {}",
    "SELECT lower({})",
    "SELECT ARRAY[{}]",
    "SELECT a[{}] FROM t",
    "SELECT CAST({} AS int)",
    "SELECT {}::int",
    "SELECT EXISTS (SELECT {})",
    "WITH x AS (SELECT {}) SELECT * FROM x",
    "SELECT * FROM {} AS x(a, b)",
    "SELECT * FROM t, LATERAL {} x",
    "VALUES (1, {})",
    "SELECT 1 UNION SELECT {}",
    "SELECT sum(a) OVER (PARTITION BY {}) FROM t",
    "SELECT 1 LIMIT {}",
    "EXPLAIN SELECT {}",
    "COPY (SELECT {}) TO STDOUT",
    "SELECT 1; SELECT {}",
    "TABLE t ORDER BY {}",
    "SELECT json_object('a': {})",
    "SELECT x(a) FROM t x(a) WHERE {} IS NULL",
]


@pytest.mark.parametrize("place", EXPRESSION_PLACES)
@pytest.mark.parametrize("call", WRITES)
def test_no_place_hides_a_call(place: str, call: str) -> None:
    assert not traits(place.format(call)).reads


@given(st.binary(max_size=200))
def test_any_bytes_get_a_verdict(sql: bytes) -> None:
    classify(sql)


VOCABULARY = """
    SELECT FROM WHERE AND OR NOT ( ) ( ) ( ) , , A B T 1 'x' $1 = < > - + * || :: INT [ ] CASE WHEN THEN ELSE END JOIN
    LEFT FULL CROSS NATURAL ON USING UNION ALL EXCEPT WITH RECURSIVE AS MATERIALIZED VALUES TABLE ORDER BY GROUP HAVING
    LIMIT OFFSET DISTINCT LATERAL INTERVAL DATE ARRAY ROW IN ANY EXISTS BETWEEN LIKE IS NULL COLLATE AT TIME ZONE OVER
    PARTITION WINDOW FILTER ROWS RANGE PRECEDING CAST EXTRACT LOWER COUNT . => := : FETCH TABLESAMPLE UNNEST "q"
    SUBSTRING COMMENT SET SHOW LOCK BEGIN COALESCE JSON_OBJECT FOR UPDATE INTO NUMERIC SETS CUBE WITHIN ESCAPE TO SEARCH
    PIVOT ; -- /*
"""
WORDS = st.sampled_from([*VOCABULARY.split(), "\n"])


@settings(max_examples=300)
@given(st.sampled_from(["SELECT ", "WITH A AS ( ", "VALUES (", "( ", ""]), st.lists(WORDS, max_size=40))
def test_any_words_get_a_verdict_and_the_parser_stays_silent(start: str, words: list[str]) -> None:
    """No exception, and nothing in the log of the host program."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger("sqlglot").addHandler(handler)
    try:
        found = classify((start + " ".join(words)).encode())
    finally:
        logging.getLogger("sqlglot").removeHandler(handler)
    assert not records
    assert not (found.reads and {"UPDATE", "INTO"} <= set(words) and not {"--", "/*"} & set(words))

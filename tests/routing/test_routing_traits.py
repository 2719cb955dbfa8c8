from __future__ import annotations

import pytest

from pgcat_trio.routing.classify import classify
from pgcat_trio.routing.trees import ShardKey


@pytest.mark.parametrize(
    ("sql", "kind", "writes", "locks"),
    [
        ("", "", False, False),
        ("SELECT 1", "select", False, False),
        ("(SELECT 1)", "select", False, False),
        ("SELECT 1; SELECT 2", "several", False, False),
        ("SELECT 1; DELETE FROM t", "several", True, False),
        ("SELECT * FROM t FOR UPDATE", "select", False, True),
        ("SELECT * FROM t FOR NO KEY UPDATE", "select", False, True),
        ("SELECT nextval('s')", "select", False, False),
        ("SELECT a INTO b FROM c", "select", True, False),
        ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", "with", True, False),
        ("INSERT INTO t VALUES (1)", "insert", True, False),
        ("EXPLAIN ANALYZE UPDATE t SET a = 1", "explain", True, False),
        ("CREATE TABLE t (a int)", "create", True, False),
        ("LOCK t", "lock", False, True),
        ("COPY t FROM STDIN", "copy", True, False),
        ("COPY t TO STDOUT", "copy", False, False),
        ("'x'", "", False, False),
    ],
)
def test_what_a_text_does(sql: str, kind: str, writes: bool, locks: bool) -> None:
    traits = classify(sql.encode())
    assert (traits.kind, traits.writes, traits.locks) == (kind, writes, locks)


def test_names() -> None:
    traits = classify(
        b'SELECT f(a), s."F"(b), lower(c) FROM T JOIN s.u USING (id), (SELECT 1) q, "V" v WHERE nextval(d) > 1'
    )
    assert {"t", "s.u", "V"} <= traits.tables
    assert not {"f", "lower", "q"} & traits.tables
    assert traits.functions == {"f", "s.F", "lower", "nextval"}
    assert traits.volatile == {"f", "s.F", "nextval"}


def test_what_is_left_behind() -> None:
    assert classify(b"CREATE TEMP TABLE x (a int)").temp
    assert classify(b"LISTEN x").pins
    assert not classify(b"SELECT 1").pins


def slot(table: str, column: str, number: int) -> ShardKey:
    return ShardKey(table, column, number, None)


def parameter(table: str, column: str, number: int) -> ShardKey:
    return ShardKey(table, column, None, number)


@pytest.mark.parametrize(
    ("sql", "keys"),
    [
        ("SELECT 1", []),
        ("SELECT * FROM t WHERE id = 5", [slot("t", "id", 0)]),
        ("SELECT 'x', * FROM t WHERE a > 1 AND 5 = ID::bigint AND b = 'y'", [slot("t", "b", 3)]),
        ("SELECT * FROM t WHERE 'x' = b AND id = $2::int", [slot("t", "b", 0), parameter("t", "id", 2)]),
        ("SELECT * FROM s.t x WHERE x.id = 5 AND y.id = 6", [slot("t", "id", 0), slot("", "id", 1)]),
        ("SELECT * FROM t WHERE id IN (1, 2, 3) AND a = 4", [slot("t", "id", 0), slot("t", "a", 1)]),
        ("SELECT * FROM t JOIN u ON t.id = u.id AND u.k = 7 WHERE t.id = 1", [slot("t", "id", 1), slot("u", "k", 0)]),
        ("SELECT * FROM t LEFT JOIN u ON u.k = 7", []),
        ("SELECT * FROM t, u WHERE k = 7", [slot("", "k", 0)]),
        ("SELECT * FROM t WHERE id = 5 OR id = 6", []),
        ("SELECT * FROM t WHERE NOT id = 5", []),
        ("SELECT * FROM t WHERE id = other", []),
        ("UPDATE t SET a = 1, b = 'x' WHERE id = 5", [slot("t", "id", 2)]),
        ("DELETE FROM t WHERE id = $1", [parameter("t", "id", 1)]),
        ("INSERT INTO s.t (id, b) VALUES ($1, 'x')", [parameter("t", "id", 1), slot("t", "b", 0)]),
        ("INSERT INTO t (id, b) VALUES (1, 'x'), (2, 'y')", [slot("t", "id", 0), slot("t", "b", 1)]),
        ("INSERT INTO t VALUES (1)", []),
        ("SELECT 1; SELECT * FROM t WHERE id = 5", [slot("t", "id", 1)]),
        ("SELECT a::numeric(10, 2) FROM t WHERE id = 5", [slot("t", "id", 2)]),
        ("THIS IS NO SQL = 5", []),
    ],
)
def test_shard_keys(sql: str, keys: list[ShardKey]) -> None:
    assert list(classify(sql.encode()).shard_keys) == keys

"""EXPLAIN ROUTE among the commands."""

from __future__ import annotations

import time

import pytest

from pgcat_trio.errors import FeatureNotSupported, InvalidCommand
from pgcat_trio.routing.commands import ExplainRoute, is_command, parse_command


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (b"EXPLAIN ROUTE SELECT 1", b"SELECT 1"),
        (b"/* who */ explain -- what\n route\tSELECT 1; SET SHARD TO 1 ;\n", b"SELECT 1; SET SHARD TO 1"),
        (b"EXPLAIN ROUTE/**/(SELECT 1)", b"/**/(SELECT 1)"),
        (b"explain route 'unterminated", b"'unterminated"),
    ],
)
def test_what_is_to_be_explained(sql: bytes, expected: bytes) -> None:
    assert is_command(sql)
    assert parse_command(sql) == ExplainRoute(expected)


@pytest.mark.parametrize(
    "sql",
    [
        b"EXPLAIN SELECT 1",
        b"EXPLAIN (ANALYZE) SELECT route",
        b"EXPLAIN routes",
        b"EXPLAIN",
        b"EXPLAINROUTE SELECT 1",
        b"SELECT 'explain route'; SELECT 1",
        b"/* explain route",
        b"",
    ],
)
def test_what_is_the_servers(sql: bytes) -> None:
    assert not is_command(sql)


@pytest.mark.parametrize("sql", [b"explain route", b"EXPLAIN ROUTE ; ;", b"EXPLAIN ROUTE -- nothing"])
def test_there_must_be_a_statement(sql: bytes) -> None:
    assert is_command(sql)
    with pytest.raises(InvalidCommand, match="needs a statement"):
        parse_command(sql)


def test_it_cannot_follow_others() -> None:
    assert is_command(b"SELECT 1; EXPLAIN ROUTE SELECT 2")
    with pytest.raises(FeatureNotSupported, match="only statement"):
        parse_command(b"SELECT 1; EXPLAIN ROUTE SELECT 2")


@pytest.mark.parametrize(
    ("sql", "count"),
    [(b"SELECT 1", 0), (b"SELECT $2, '$5', $1", 2), (b"SELECT $99999999999999999999", 65535), (b"SELECT $", 0)],
)
def test_parameters_are_counted(sql: bytes, count: int) -> None:
    assert ExplainRoute(sql).parameters == count


def test_looking_for_the_words_takes_no_time() -> None:
    began = time.process_time()
    for filler in (b"/*", b"--", b" ", b"/**/", b"--\n", b"explain ", b"explain /*", b"; explain "):
        assert not is_command(filler * 100_000)
    assert time.process_time() - began < 5

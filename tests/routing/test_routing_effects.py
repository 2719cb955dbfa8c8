from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing_statements import EFFECTS

from pgcat_trio.routing.effects import LONG_TEXT_BYTES, Effect, effects_of


@pytest.mark.parametrize(("sql", "expected"), EFFECTS)
def test_effects(sql: str, expected: Effect) -> None:
    assert effects_of(sql.encode()) == expected


def test_effects_of_several_statements_add_up() -> None:
    assert effects_of(b"LISTEN a; LOAD 'x'; SELECT pg_advisory_lock(1)") == (
        Effect.LISTEN | Effect.LOADED | Effect.ADVISORY_LOCKS
    )


@pytest.mark.parametrize(
    "sql", [b"SET search_path TO a, b", b'SET search_path = "$user", public', b"SET SESSION search_path TO a"]
)
def test_search_path_leaves_nothing_where_the_server_reports_it(sql: bytes) -> None:
    assert effects_of(sql) == Effect.SETTINGS
    assert effects_of(sql, search_path_reported=True) == Effect.NONE


LONG = b"x" * LONG_TEXT_BYTES


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (b"INSERT INTO t VALUES ('" + LONG + b"')", Effect.NONE),
        (b"INSERT INTO t VALUES ('" + LONG + b"');\n", Effect.NONE),
        (b"SELECT '" + LONG + b"', set_config('a.b', 'c', false)", Effect.SETTINGS),
        (b"SELECT '" + LONG + b"', PG_ADVISORY_LOCK(1)", Effect.ADVISORY_LOCKS),
        (b"PREPARE p AS SELECT '" + LONG + b"'", Effect.PREPARED | Effect.STATEMENTS),
        (b"DECLARE c CURSOR WITH HOLD FOR SELECT '" + LONG + b"'", Effect.CURSORS),
        (b"DO $$ /*" + LONG + b"*/ $$", Effect.UNKNOWN),
        (b"SET work_mem = '" + LONG + b"'", Effect.SETTINGS),
        (b"CREATE TEMP TABLE n AS SELECT '" + LONG + b"'", Effect.TEMPORARY),
        (b"SELECT '" + LONG + b"' INTO TEMP n", Effect.TEMPORARY),
        (b"SELECT '" + LONG + b"'; SET work_mem = 1", Effect.UNKNOWN),
        (b"/*" + LONG + b"*/ SET work_mem = 1", Effect.UNKNOWN),
    ],
)
def test_long_texts_are_searched_coarsely(sql: bytes, expected: Effect) -> None:
    assert effects_of(sql) == expected


@given(
    st.sampled_from([(sql, expected) for sql, expected in EFFECTS if expected and not expected & Effect.UNKNOWN]),
    st.sampled_from(
        ["SELECT 1; {};", "/* x */{}", "/**/ /* '*/{} ", "-- x\r{}", "-- '\n{}", "\t\n{}\f", "SELECT ';' ;\n--x\n{}"]
    ),
)
def test_no_wrapping_hides_an_effect(case: tuple[str, Effect], wrapping: str) -> None:
    sql, expected = case
    assert expected in effects_of(wrapping.format(sql).encode())

"""What the server is asked about a session, and what its answer means."""

from __future__ import annotations

import pytest

from pgcat_trio.pool.inspection import Findings, Inspection
from pgcat_trio.pool.settings import intern, put_back_sql, settings_sql
from pgcat_trio.routing.changes import SettingChanges
from pgcat_trio.routing.effects import PINNING, Effect

NONE = SettingChanges()
REPORTED = frozenset(("TimeZone", "DateStyle"))


def changes(
    *names: str, resets: tuple[str, ...] = (), reset_all: bool = False, unnamed: bool = False
) -> SettingChanges:
    return SettingChanges(frozenset(names), frozenset(resets), reset_all, unnamed)


@pytest.mark.parametrize(
    ("suspect", "asked"),
    [
        (Effect.CURSORS, "pg_cursors"),
        (Effect.ADVISORY_LOCKS, "pg_locks"),
        (Effect.TEMPORARY, "pg_my_temp_schema"),
        (Effect.STATEMENTS, "pg_prepared_statements"),
        (Effect.LISTEN, "pg_listening_channels"),
    ],
)
def test_what_is_asked_for_each_suspect(suspect: Effect, asked: str) -> None:
    sql = Inspection(suspect, NONE).sql(all_statements=False)
    assert asked in sql
    assert "UNION" not in sql
    assert "pg_settings" not in sql


@pytest.mark.parametrize("suspects", [Effect.NONE, Effect.LOADED, Effect.PREPARED])
def test_what_no_server_could_answer(suspects: Effect) -> None:
    assert Inspection(suspects, changes("work_mem")).sql(all_statements=True) == ""


def test_who_knows_nothing_asks_for_everything() -> None:
    sql = Inspection(Effect.UNKNOWN, NONE, ("my.thing",)).sql(all_statements=False)
    for asked in ("pg_cursors", "pg_locks", "pg_my_temp_schema", "from_sql", "pg_listening_channels", "pg_settings"):
        assert asked in sql
    for hidden in ("role", "session_authorization", "my.thing"):
        assert f"current_setting( E'{hidden}', true)" in sql


def test_statements_that_are_not_shared_count_too() -> None:
    assert "from_sql" in Inspection(Effect.STATEMENTS, NONE).sql(all_statements=False)
    assert "from_sql" not in Inspection(Effect.STATEMENTS, NONE).sql(all_statements=True)


@pytest.mark.parametrize("name", ["role", "session_authorization", "my.thing"])
def test_what_is_reset_and_not_listed_is_asked_by_name(name: str) -> None:
    """It may have been rolled back: whoever takes it for gone hands it to the next client."""
    sql = Inspection(Effect.SETTINGS, changes(resets=(name,))).sql(all_statements=False)
    assert f"current_setting( E'{name}', true)" in sql


def test_names_of_settings_are_quoted() -> None:
    sql = Inspection(Effect.SETTINGS, changes("a'b\\", resets=("c'd",))).sql(all_statements=False)
    assert "E'a''b\\\\'" in sql
    assert "E'c''d'" in sql


def test_all_names_are_qualified() -> None:
    """The search_path is the client's, and there may be anything in it."""
    sql = Inspection(PINNING | Effect.UNKNOWN, changes("work_mem", resets=("x",)), ("a.b",)).sql(all_statements=False)
    sql += put_back_sql({"work_mem": "1", "my.thing": "2"})
    for name in (
        "pg_settings",
        "pg_locks",
        "pg_cursors",
        "pg_depend",
        "current_setting",
        "set_config",
        "pg_backend_pid",
    ):
        assert sql.count(name) == sql.count(f"pg_catalog.{name}")
    assert sql.replace("OPERATOR(pg_catalog.=)", "").count("=") == 0


def test_rows() -> None:
    rows: list[list[str | None]] = [["CURSORS", "", ""], ["LISTEN", "news", ""], ["LISTEN", "more", ""]]
    rows += [["SETTINGS", "work_mem", "4MB"], ["SETTINGS", "my.thing", None], ["UTC"]]
    found = Inspection(Effect.UNKNOWN, NONE).findings(rows)
    assert found.present == Effect.CURSORS | Effect.LISTEN
    assert found.channels == {"news", "more"}
    assert found.settings == {"work_mem": "4MB", "my.thing": None}


@pytest.mark.parametrize(
    ("change", "found", "learned"),
    [
        (changes("work_mem"), {"work_mem": "8MB"}, {"work_mem": "8MB", "my.thing": "x", "TimeZone": "UTC"}),
        (changes("my.thing"), {"my.thing": None}, {"TimeZone": "UTC"}),
        (changes("my.thing"), {"my.thing": ""}, {"my.thing": "", "TimeZone": "UTC"}),
        (changes(resets=("my.thing",)), {"my.thing": ""}, {"TimeZone": "UTC"}),
        (changes(resets=("my.thing",)), {"my.thing": "x"}, {"my.thing": "x", "TimeZone": "UTC"}),
        (changes("timezone"), {"TimeZone": "Asia/Tokyo"}, {"my.thing": "x", "TimeZone": "UTC"}),
        (changes(reset_all=True), {"my.thing": ""}, {"TimeZone": "UTC"}),
        (changes(reset_all=True), {"work_mem": "8MB", "my.thing": ""}, {"work_mem": "8MB", "TimeZone": "UTC"}),
        (changes("role"), {"role": "low"}, {"role": "low", "my.thing": "x", "TimeZone": "UTC"}),
        (changes("role"), {"role": "none"}, {"my.thing": "x", "TimeZone": "UTC"}),
        (changes("session_authorization"), {"session_authorization": "ann"}, {"my.thing": "x", "TimeZone": "UTC"}),
        (
            changes("session_authorization"),
            {"session_authorization": "bob"},
            {"session_authorization": "bob", "my.thing": "x", "TimeZone": "UTC"},
        ),
    ],
)
def test_what_is_learned(change: SettingChanges, found: dict[str, str | None], learned: dict[str, str]) -> None:
    """What the server reports is known without."""
    before = intern({"my.thing": "x", "TimeZone": "UTC"})
    inspection = Inspection(Effect.SETTINGS, change, before.values, user="ann")
    assert inspection.learned(before, Findings(settings=found), REPORTED) is intern(learned)


def test_without_a_suspicion_nothing_is_learned() -> None:
    before = intern({"work_mem": "8MB"})
    assert Inspection(Effect.CURSORS, changes("work_mem")).learned(before, Findings(), REPORTED) is before


@pytest.mark.parametrize(
    ("have", "want", "statements"),
    [
        ({}, {}, []),
        ({"TimeZone": "UTC"}, {}, []),
        ({"work_mem": "8MB"}, {}, ['RESET "work_mem"']),
        ({"TimeZone": "UTC"}, {"TimeZone": "Asia/Tokyo"}, ["SET \"TimeZone\" TO 'Asia/Tokyo'"]),
        ({}, {"my.thing": "it's"}, ["SET \"my\".\"thing\" TO 'it''s'"]),
        ({}, {"my.thing": "a\\'b"}, ["SET \"my\".\"thing\" TO  E'a\\\\''b'"]),
        ({}, {"search_path": "a, b"}, ["SELECT pg_catalog.set_config('search_path', 'a, b', false)"]),
        (
            {},
            {"role": "low", "work_mem": "8MB"},
            ["RESET SESSION AUTHORIZATION", "SET \"work_mem\" TO '8MB'", "SET \"role\" TO 'low'"],
        ),
        ({"role": "low"}, {}, ["RESET SESSION AUTHORIZATION"]),
        ({"role": "low"}, {"role": "low"}, []),
        (
            {"role": "low"},
            {"role": "low", "work_mem": "8MB"},
            ["RESET SESSION AUTHORIZATION", "SET \"work_mem\" TO '8MB'", "SET \"role\" TO 'low'"],
        ),
        (
            {},
            {"role": "low", "session_authorization": "bob"},
            ["RESET SESSION AUTHORIZATION", "SET \"session_authorization\" TO 'bob'", "SET \"role\" TO 'low'"],
        ),
    ],
)
def test_from_what_one_has_to_what_one_wants(have: dict[str, str], want: dict[str, str], statements: list[str]) -> None:
    assert settings_sql(intern(have), intern(want), REPORTED) == "; ".join(statements)


def test_what_is_put_back_comes_before_who_one_is() -> None:
    sql = put_back_sql({"role": "low", "session_authorization": "bob", "work_mem": "8MB", "my.thing": "x"})
    places = [sql.index(name) for name in ("work_mem", "my.thing", "session_authorization", "role")]
    assert places == sorted(places)
    assert put_back_sql({}) == ""

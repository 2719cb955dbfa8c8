"""The names of the settings that a text changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgcat_trio.routing.changes import SettingChanges, setting_changes
from pgcat_trio.routing.effects import LONG_TEXT_BYTES

CHARACTERISTICS = {
    "default_transaction_isolation",
    "default_transaction_read_only",
    "default_transaction_deferrable",
}


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SET work_mem = '1MB'", {"work_mem"}),
        ("set session Statement_Timeout to 5000", {"statement_timeout"}),
        ('SET "My"."Tenant" TO 5', {"my.tenant"}),
        ("SET app.tenant = 'x'; SET app.user TO y", {"app.tenant", "app.user"}),
        ("SET search_path TO a, b", {"search_path"}),
        ("SET SCHEMA 'a'", {"search_path"}),
        ("SET TIME ZONE 'UTC'", {"timezone"}),
        ("SET SESSION TIME ZONE INTERVAL '1' HOUR TO MINUTE", {"timezone"}),
        ("SET NAMES 'utf8'", {"client_encoding"}),
        ("SET ROLE x", {"role"}),
        ("SET SESSION AUTHORIZATION 'x'", {"session_authorization", "role"}),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", CHARACTERISTICS),
        ("SET XML OPTION DOCUMENT", {"xmloption"}),
        ("SET TRANSACTION READ ONLY", set()),
        ("SET transaction_read_only TO on", set()),
        ("SET CONSTRAINTS ALL DEFERRED", set()),
        ("SET LOCAL work_mem TO '1MB'", set()),
        ("SET SEED TO 0.5", set()),
        ("SELECT 1", set()),
        ("SELECT set_config('a.b', 'c', false)", {"a.b"}),
        ("SELECT pg_catalog.SET_CONFIG ( 'Work_Mem'::text , $1, $2), set_config('x', 'y', false)", {"work_mem", "x"}),
    ],
)
def test_set(sql: str, names: set[str]) -> None:
    assert setting_changes(sql.encode()) == SettingChanges(names=frozenset(names))


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("RESET work_mem", {"work_mem"}),
        ("RESET app.tenant", {"app.tenant"}),
        ("RESET TIME ZONE", {"timezone"}),
        ("RESET ROLE", {"role"}),
        ("RESET SESSION AUTHORIZATION", {"session_authorization", "role"}),
        ("SET work_mem TO DEFAULT", {"work_mem"}),
        ("SET SESSION TIME ZONE LOCAL", {"timezone"}),
        ("SET TIME ZONE DEFAULT", {"timezone"}),
        ("SET SESSION AUTHORIZATION DEFAULT", {"session_authorization", "role"}),
        ("SET LOCAL work_mem TO DEFAULT", set()),
    ],
)
def test_resets(sql: str, names: set[str]) -> None:
    assert setting_changes(sql.encode()) == SettingChanges(resets=frozenset(names))


@pytest.mark.parametrize("sql", ["RESET ALL", "reset all;", "SELECT 1; RESET ALL"])
def test_all_of_them(sql: str) -> None:
    assert setting_changes(sql.encode()) == SettingChanges(reset_all=True)


def test_discard_also_says_who_one_is() -> None:
    identity = frozenset(("session_authorization", "role"))
    assert setting_changes(b"discard all;") == SettingChanges(resets=identity, reset_all=True)


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        (
            "DO $$ BEGIN SET my.thing = 'x'; SET SESSION Other.Thing TO 1; SET work_mem = 1; END $$",
            {"my.thing", "other.thing"},
        ),
        ("DO 'begin set my.thing to 1; end'", {"my.thing"}),
        ("DO $$ BEGIN SET LOCAL my.thing = 'x'; END $$", set()),
        ("SELECT 'set my.thing = 1'", set()),
    ],
)
def test_settings_of_nobodys_in_a_block(sql: str, names: set[str]) -> None:
    assert setting_changes(sql.encode()) == SettingChanges(names=frozenset(names))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT set_config($1, $2, false)",
        "SELECT set_config(name, setting, false) FROM pg_settings",
        "SELECT set_config(E'a\\.b', 'c', false)",
        "SELECT \"set_config\"('a', 'b', false)",
        "SET x = 'unterminated",
        "SELECT 1 -- set_config",
        "SET a = '" + "x" * LONG_TEXT_BYTES + "'",
    ],
)
def test_what_cannot_be_read_is_said(sql: str) -> None:
    assert setting_changes(sql.encode()).unnamed


@given(st.binary())
def test_nothing_raises(sql: bytes) -> None:
    setting_changes(b"SET " + sql)
    setting_changes(sql)

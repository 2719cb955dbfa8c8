"""What a reload does, for each kind of change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgcat_trio.config import ReloadPlan, diff, parse_config

if TYPE_CHECKING:
    from collections.abc import Callable

BOB = '[pools.app.users.1]\nusername = "bob"\npassword = "p"\npool_size = 1\n'
OTHER = """
[pools.other.users.0]
username = "carol"
password = "p"
pool_size = 1
[pools.other.shards.0]
database = "other"
servers = [["db1", 5432, "primary"]]
"""
ALICE_KEY, BOB_KEY, CAROL_KEY = ("app", "alice"), ("app", "bob"), ("other", "carol")


@pytest.mark.parametrize(
    ("old", "new", "plan"),
    [
        ("", "", ReloadPlan(unchanged=(ALICE_KEY, BOB_KEY))),
        ("", "# a comment", ReloadPlan(unchanged=(ALICE_KEY, BOB_KEY))),
        (
            'username = "bob"',
            'username = "ben"',
            ReloadPlan(unchanged=(ALICE_KEY,), added=(("app", "ben"),), removed=(BOB_KEY,)),
        ),
        ("pool_size = 5", "pool_size = 6", ReloadPlan(unchanged=(BOB_KEY,), changed=(ALICE_KEY,))),
        ("alice-secret", "new-secret", ReloadPlan(unchanged=(BOB_KEY,), changed=(ALICE_KEY,))),
        ('"db2"', '"db3"', ReloadPlan(changed=(ALICE_KEY, BOB_KEY))),
        ("query_parser_enabled = true", "pool_mode = 'session'", ReloadPlan(changed=(ALICE_KEY, BOB_KEY))),
        (
            "[general]",
            "[general]\nidle_timeout = 1000",
            ReloadPlan(changed=(ALICE_KEY, BOB_KEY), live=("idle_timeout",)),
        ),
        (
            "[general]",
            "[general]\nport = 6432\nhost = 'localhost'\nban_time = 1",
            ReloadPlan(unchanged=(ALICE_KEY, BOB_KEY), live=("ban_time",), boot_only=("host", "port")),
        ),
    ],
)
def test_diff(old: str, new: str, plan: ReloadPlan, valid: str) -> None:
    before = valid + BOB
    assert diff(parse_config(before), parse_config(before.replace(old, new, 1) if old else before + new)) == plan


def test_a_pool_comes_and_goes(valid: str) -> None:
    without, with_other = parse_config(valid), parse_config(valid + OTHER)
    assert diff(without, with_other) == ReloadPlan(unchanged=(ALICE_KEY,), added=(CAROL_KEY,))
    assert diff(with_other, without) == ReloadPlan(unchanged=(ALICE_KEY,), removed=(CAROL_KEY,))


@pytest.mark.parametrize(
    ("new", "is_empty"), [("", True), ("port = 1", False), ("ban_time = 1", False), ("connect_timeout = 2", False)]
)
def test_a_plan_knows_when_there_is_nothing_to_do(
    new: str, is_empty: bool, valid: str, with_lines: Callable[..., str]
) -> None:
    assert diff(parse_config(valid), parse_config(with_lines(general=new))).is_empty is is_empty


def test_the_name_of_the_file_and_its_warnings_are_no_change(valid: str, with_lines: Callable[..., str]) -> None:
    renamed = parse_config(with_lines(general="log_level = 'debug'"), "elsewhere.toml")
    assert renamed.warnings
    assert renamed == parse_config(valid)

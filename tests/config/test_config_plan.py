"""What a reload does, for each kind of change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgcat_trio.config import Reach, ReloadPlan, diff, parse_config

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


def changed(reach: Reach, *words: str, pools: tuple[tuple[str, str], ...] = (ALICE_KEY,)) -> dict[str, str]:
    """What a plan says about pools that change."""
    return {f"{pool}/{user}": "; ".join([reach.name, *words]) for pool, user in pools}


BOTH = (ALICE_KEY, BOB_KEY)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", {}),
        ("", "# a comment", {}),
        ("pool_size = 5", "pool_size = 6", changed(Reach.IN_PLACE, "pool_size 5 -> 6")),
        ("alice-secret", "new-secret", changed(Reach.REPLACE, "password has changed", "server_password has changed")),
        (
            "pool_size = 5",
            "pool_size = 5\nserver_password = 'alice-secret'\nauth_type = 'trust'",
            changed(Reach.IN_PLACE, "auth_type md5 -> trust"),
        ),
        (
            '"db2"',
            '"db3"',
            changed(Reach.IN_PLACE, "server db3:5432 replica added", "server db2:5432 replica retired", pools=BOTH),
        ),
        (
            '["db2", 5432, "replica"]',
            '{host = "db2", port = 5432, role = "replica", weight = 3}',
            changed(Reach.IN_PLACE, "weight of db2:5432 replica 1 -> 3", pools=BOTH),
        ),
        (
            "query_parser_enabled = true",
            "pool_mode = 'session'\nquery_parser_enabled = true",
            changed(Reach.REPLACE, "pool_mode transaction -> session", pools=BOTH),
        ),
        (
            "[pools.app]\n",
            "[plugins.query_logger]\nenabled = true\n[pools.app]\n",
            changed(Reach.IN_PLACE, "only what is not built yet", pools=BOTH),
        ),
        (
            "[pools.app]\n",
            "[pools.app]\ntrack_parameters = ['a.b', 'c.d']\n",
            changed(Reach.RECONNECT, "track_parameters (not set) -> a.b, c.d", pools=BOTH),
        ),
        (
            "[pools.app]\n",
            "[pools.app]\nprepared_statements_cache_size = 10\n",
            changed(Reach.IN_PLACE, "prepared_statements_cache_size 500 -> 10", pools=BOTH),
        ),
        (
            "[pools.app]\n",
            "[pools.app]\nprepared_statements_cache_size = 0\n",
            changed(Reach.REPLACE, "prepared_statements_cache_size 500 -> 0", pools=BOTH),
        ),
        (
            "[general]",
            "[general]\nidle_timeout = 1000",
            changed(Reach.IN_PLACE, "idle_timeout 600000 -> 1000", pools=BOTH),
        ),
        (
            "[general]",
            "[general]\nserver_tls = 'require'",
            changed(Reach.RECONNECT, "server_tls disable -> require", pools=BOTH),
        ),
    ],
)
def test_what_becomes_of_pools(old: str, new: str, expected: dict[str, str], valid: str) -> None:
    before = valid + BOB
    plan = diff(parse_config(before), parse_config(before.replace(old, new, 1) if old else before + new))
    found = {"/".join(each.pool): f"{each.reach.name}; {each.words}" for each in plan.changed}
    assert found == expected
    assert {*(each.pool for each in plan.changed), *plan.unchanged} == {*BOTH}


def test_users_and_keys_of_general(valid: str) -> None:
    before = valid + BOB
    general = "[general]\nport = 6432\nhost = 'localhost'\nban_time = 1"
    after = before.replace('username = "bob"', 'username = "ben"').replace("[general]", general, 1)
    plan = diff(parse_config(before), parse_config(after))
    assert (plan.unchanged, plan.changed) == ((ALICE_KEY,), ())
    assert (plan.added, plan.removed) == ((("app", "ben"),), (BOB_KEY,))
    assert [str(each) for each in plan.live] == ["ban_time 60 -> 1"]
    assert [str(each) for each in plan.boot_only] == ["host 0.0.0.0 -> localhost", "port 5432 -> 6432"]
    assert [row[:3] for row in plan.rows()] == [
        ("needs restart", "[general]", ""),
        ("needs restart", "[general]", ""),
        ("change", "[general]", ""),
        ("retire", "app", "bob"),
        ("add", "app", "ben"),
        ("keep", "app", "alice"),
    ]


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

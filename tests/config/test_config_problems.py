"""What is wrong with a whole file: all of it at once, each with its line, in PgCat's words where it has some."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pgcat_trio.config import Config, load_config, parse_config
from pgcat_trio.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Problems = Callable[[str], tuple[str, ...]]
    WithLines = Callable[..., str]


def test_all_problems_are_reported_in_the_order_of_their_lines(problems_of: Problems) -> None:
    text = """\
[general]
admin_username = "admin"
port = 70000
tls_certificate = "/nowhere.crt"
connect_timeout = "5s"
tls_required = true

[pools.app]
query_parser_read_write_splitting = true
pool_mod = "session"

[pools.app.users.0]
username = "alice"
pool_size = "5"
min_pool_size = 9

[pools.app.users.1]
username = "alice"
password = 1
pool_size = 1
min_pool_size = 2

[pools.app.shards.0]
servers = [
  ["db1", 5432, "primary"],
  ["db2", 5432, "primary"],
  ["db3", 99999, "replica"],
]
database = "app"

[pools.app.shards.2]
database = "app"
servers = []

[pools.pgbouncer]
users = {}
"""
    assert problems_of(text) == (
        "pgcat.toml:1: general.admin_password: is missing; add admin_password = ...",
        "pgcat.toml:3: general.port: must be at most 65535, got 70000",
        "pgcat.toml:4: general.tls_certificate: is incorrectly configured: there is no file '/nowhere.crt'",
        'pgcat.toml:5: general.connect_timeout: must be an integer, got the string "5s"',
        "pgcat.toml:9: pools.app.query_parser_read_write_splitting: "
        "query_parser_read_write_splitting is only valid when query_parser_enabled is true",
        "pgcat.toml:10: pools.app.pool_mod: unknown key; did you mean pool_mode?",
        "pgcat.toml:12: pools.app.users.0.password: Error in pool { app }. "
        "You have to specify a user password for every pool if auth_query is not specified",
        'pgcat.toml:14: pools.app.users.0.pool_size: must be an integer, got the string "5"; write 5 without quotes',
        "pgcat.toml:18: pools.app.users.1.username: "
        "another user of this pool is called alice already; rename or remove one",
        "pgcat.toml:19: pools.app.users.1.password: must be a string, got an integer; put it in quotes",
        "pgcat.toml:21: pools.app.users.1.min_pool_size: min_pool_size of 2 cannot be larger than pool_size of 1",
        "pgcat.toml:23: pools.app.shards: shards must be numbered from 0 without gaps; 1 is missing",
        "pgcat.toml:24: pools.app.shards.0.servers: Shard app has more than one primary configured",
        "pgcat.toml:27: pools.app.shards.0.servers.2.port: must be at most 65535, got 99999",
        "pgcat.toml:33: pools.app.shards.2.servers: Shard app has no servers configured",
        "pgcat.toml:35: pools.pgbouncer.shards: is missing; add a table [pools.pgbouncer.shards.0]",
        "pgcat.toml:35: pools.pgbouncer: this name is reserved for the admin console; choose another one",
    )


def test_the_message_counts_the_problems(valid: str) -> None:
    with pytest.raises(ConfigError, match=r"^my\.toml cannot be used: 1 problem$"):
        parse_config(valid.replace("pool_size = 5", "pool_size = 0"), "my.toml")
    with pytest.raises(ConfigError, match=r"^my\.toml cannot be used: 3 problems$"):
        parse_config("", "my.toml")


def test_an_empty_file_lacks_its_required_tables(problems_of: Problems) -> None:
    assert problems_of("") == (
        "pgcat.toml:1: general.admin_password: is missing; add admin_password = ...",
        "pgcat.toml:1: general.admin_username: is missing; add admin_username = ...",
        "pgcat.toml:1: pools: is missing; add a table [pools.NAME]",
    )


def test_a_file_may_have_no_pools() -> None:
    assert parse_config('pools = {}\n[general]\nadmin_username = "a"\nadmin_password = "b"').pools == {}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ({"general": "tls_certificate = '{file}'"}, "tls_certificate is set, but the tls_private_key is not"),
        ({"general": "tls_private_key = '{file}'"}, "tls_private_key is set, but the tls_certificate is not"),
        ({"general": "tls_required = true"}, "needs tls_certificate and tls_private_key"),
        ({"general": "admin_auth_type = 'scram-sha-256-plus'"}, "scram-sha-256-plus needs tls_certificate"),
        ({"user": "auth_type = 'scram-sha-256-plus'"}, "scram-sha-256-plus needs general.tls_certificate"),
        (
            {"general": "server_tls = true\nserver_tls_private_key = '{file}'"},
            "is set, but server_tls_certificate is not",
        ),
        ({"general": "server_tls_ca_file = '{file}'"}, "has no effect while server_tls is off"),
        ({"general": "auth_query = 'SELECT 1'"}, "If auth_query is specified, you need to provide a value for"),
        ({"pool": "auth_query = 'SELECT 1'"}, "Error in pool { app }. If auth_query is specified, you need to"),
        ({"pool": "default_shard = 'shard_1'"}, "Invalid shard 1"),
        ({"pool": "db_activity_based_routing = true\ndb_activity_ttl = 0"}, "db_activity_ttl must be greater than 0"),
        (
            {"pool": "db_activity_based_routing = true\ntable_mutation_cache_ms_ttl = 0"},
            "table_mutation_cache_ms_ttl must be greater than 0",
        ),
        ({"user": "min_pool_size = 6"}, "min_pool_size of 6 cannot be larger than pool_size of 5"),
        (
            {"shard": "servers = [['a', 1, 'replica'], ['a', 1, 'primary'], ['a', 1, 'Replica']]"},
            "servers.2: Shard app contains duplicate server configs",
        ),
        ({"shard": "servers = [['a', 1, 'mirror']]"}, "Shard app has no servers configured"),
        ({"shard": "mirrors = [['a', 1, 2]]"}, "mirrors.0: mirrors server 2, but the shard has 2, counted from 0"),
        ({"shard": "mirrors = [['a', 1, 'x']]"}, "mirrors.0.mirroring_target_index: must be an integer"),
    ],
)
def test_fields_must_fit_together(
    lines: dict[str, str], said: str, with_lines: WithLines, problems_of: Problems, tmp_path: Path
) -> None:
    file = tmp_path / "file.pem"
    file.touch()
    (problem,) = problems_of(with_lines(**{table: line.format(file=file) for table, line in lines.items()}))
    assert said in problem


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("shards.0]", "shards.a]", "Shard 'a' is not a valid number, shards must be numbered starting at 0"),
        ("shards.0]", "shards.00]", "Shard '00' is not a valid number, shards must be numbered starting at 0"),
        ("shards.0]", "shards.1]", "shards must be numbered from 0 without gaps; 0 is missing"),
        ('[["db1", 5432, "primary"], ["db2", 5432, "replica"]]', "[]", "Shard app has no servers configured"),
        ("[pools.app.users.0]", "[[pools.app.users]]", "pools.app.users: must be a table, got an array"),
        ('password = "alice-secret"', "", "Error in pool { app }. You have to specify a user password"),
        ("[general]", "[[general]]", "general: must be a table, got an array"),
        ("[general]", "[plugins.query_logger]\n[general]", "plugins.query_logger.enabled: is missing"),
        (
            "[general]",
            "[plugins.query_loger]\n[general]",
            "plugins.query_loger: unknown key; did you mean query_logger?",
        ),
        (
            "query_parser_enabled = true",
            "plugins.query_logger.enabled = true",
            "plugins are only valid when query_parser_enabled is true",
        ),
        (
            "query_parser_enabled = true",
            "query_parser_enabled = true\nread_after_write = 'lns'",
            "pools.app.read_after_write: must be one of",
        ),
    ],
)
def test_the_shape_of_the_file(old: str, new: str, said: str, valid: str, problems_of: Problems) -> None:
    assert any(said in problem for problem in problems_of(valid.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("table", "line", "said"),
    [
        ("general", "conect_timeout = 1", "general.conect_timeout: unknown key; did you mean connect_timeout?"),
        ("general", "pool_mode = 'session'", "unknown key; it belongs in [pools.NAME] or [pools.NAME.users.N]"),
        ("pool", "healthcheck_delay = 1", "unknown key; it belongs in [general]"),
        ("user", "databse = 'x'", "unknown key; did you mean database, which belongs in [pools.NAME.shards.N]?"),
        ("shard", "xyzzy = 1", "unknown key; remove it"),
    ],
)
def test_an_unknown_key_is_an_error_with_the_likely_one(
    table: str, line: str, said: str, with_lines: WithLines, problems_of: Problems
) -> None:
    (problem,) = problems_of(with_lines(**{table: line}))
    assert said in problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[general]\nport = 1\nport = 2\n", "pgcat.toml:3: this key is already set above; remove one of the two"),
        ("[a]\n[b]\n[a]\n", "pgcat.toml:3: this table is already declared above; merge the two"),
        ("[a]\nb = 1\n[c]\n[a.d]\n[a]\n", "pgcat.toml:5: this table is already declared above; merge the two"),
        ("a = {b = 1, b = 2}\n", "pgcat.toml:1: this key stands twice in the inline table; remove one of the two"),
        ("a = 1\nb = c\n", 'pgcat.toml:2: invalid value; a text needs quotes, as in key = "text"'),
        ("a = [1,\n2\n", "pgcat.toml:2: this array is never closed; add ]"),
        ("a = 1 b = 2", "pgcat.toml:1: nothing may follow here; is a quote missing?"),
        ("a = 1\n= 2", "pgcat.toml:2: not a key, a [table] or a comment; write key = value"),
        ("a = " + "1" * 5000, "pgcat.toml:1: an integer that is too long"),
        ("a = " + "[" * 5000, "pgcat.toml:1: arrays or tables are nested too deeply"),
    ],
)
def test_text_that_is_no_toml(text: str, problem: str, problems_of: Problems) -> None:
    assert problems_of(text) == (problem,)


def test_a_pool_needs_a_shard(valid: str, problems_of: Problems) -> None:
    text = valid[: valid.index("[pools.app.shards.0]")] + "[pools.app.shards]\n"
    assert problems_of(text) == ("pgcat.toml:13: pools.app.shards: the pool needs one shard at least",)


def test_a_trusted_user_needs_no_password(valid: str) -> None:
    config = parse_config(valid.replace('password = "alice-secret"', 'auth_type = "trust"'))
    assert config.pools["app"].users[0].server_password is None


def test_mirrors_are_no_servers(with_lines: WithLines) -> None:
    config = parse_config(with_lines(shard="servers = [['a', 1, 'primary'], ['b', 1, 'mirror']]"))
    assert [server.host for server in config.pools["app"].shards[0].servers] == ["a"]
    assert "mirrors are not built yet" in config.warnings[0]


def test_users_are_ordered_as_strings_and_shards_as_numbers(valid: str) -> None:
    users = "".join(f'[pools.app.users.{n}]\nusername = "u{n}"\npassword = "p"\npool_size = 1\n' for n in (9, 10))
    shards = "".join(
        f'[pools.app.shards.{n}]\ndatabase = "d{n}"\nservers = [["a", 1, "primary"]]\n' for n in range(10, 0, -1)
    )
    pool = parse_config(valid + users + shards).pools["app"]
    assert [user.username for user in pool.users] == ["alice", "u10", "u9"]
    assert [shard.database for shard in pool.shards] == ["app", *(f"d{n}" for n in range(1, 11))]


def test_load_config_reads_the_file(valid: str, tmp_path: Path) -> None:
    path = tmp_path / "pgcat.toml"
    path.write_bytes(b"\xef\xbb\xbf" + valid.replace("\n", "\r\n").encode())
    config = load_config(path)
    assert isinstance(config, Config)
    assert config.path == str(path)
    assert config == parse_config(valid)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file or directory"), (b"a = 1\nb = '\xff'\n", "pgcat.toml:2: this line is not UTF-8")],
)
def test_a_file_that_cannot_be_read(content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "pgcat.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load_config(path)
    assert said in caught.value.problems[0]
    assert os.fspath(path) in caught.value.problems[0]

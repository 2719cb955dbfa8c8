"""One value at a time: defaults, units, limits, and everything that a lenient reader would let through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgcat_trio.config import AuthType, LoadBalancing, Pinning, PoolMode, Role, Secret, SslMode, parse_config

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("table", "line", "said"),
    [
        ("user", 'pool_size = "5"', 'must be an integer, got the string "5"; write 5 without quotes'),
        ("user", "pool_size = 7.9", "must be an integer, got the float 7.9; write a whole number"),
        ("user", "pool_size = true", "must be an integer, got the boolean true"),
        ("user", "pool_size = [5]", "must be an integer, got an array"),
        ("user", "pool_size = {max = 5}", "must be an integer, got a table"),
        ("user", "pool_size = 2024-01-01", "must be an integer, got a date or time"),
        ("user", "pool_size = 0", "must be at least 1, got 0"),
        ("user", "pool_size = -3", "must be at least 1, got -3"),
        ("user", "username = 5", "must be a string, got the integer 5; put it in quotes"),
        ("user", 'username = ""', "must not be empty"),
        ("user", 'username = "a\\u0000b"', "must not contain a zero byte"),
        ("user", "password = 12345", "must be a string, got an integer; put it in quotes"),
        ("user", 'auth_type = "ldap"', "must be one of md5, trust, scram-sha-256, scram-sha-256-plus"),
        (
            "general",
            'tls_required = "false"',
            'must be true or false, got the string "false"; write false without quotes',
        ),
        ("general", "log_client_connections = 1", "must be true or false, got the integer 1"),
        ("general", "connect_timeout = 0", "must be at least 1, got 0; a timeout of 0 would let nothing succeed"),
        ("general", "idle_timeout = 0", "must be at least 1, got 0"),
        ("general", "server_lifetime = 0", "must be at least 1, got 0"),
        ("general", "worker_threads = 0", "must be at least 1, got 0"),
        ("general", "autoreload = 0", "must be at least 1, got 0; leave the key out for off"),
        ("general", "autoreload = false", "must be an integer, got the boolean false"),
        ("general", "ban_time = -1", "must be at least 0, got -1"),
        ("general", "port = 65536", "must be at most 65535, got 65536"),
        ("general", "max_message_bytes = 8191", "must be at least 8192, got 8191"),
        ("general", "max_message_bytes = 1073741824", "must be at most 1073741823"),
        ("general", "shutdown_timeout = 9223372036854775808", "must be at most 9223372036854775807"),
        ("general", 'host = "postgres://admin:pw@db/app"', "must be a host name or an address, not a URL"),
        ("general", 'server_tls = "verify"', "must be one of disable, allow, prefer, require, verify-ca, verify-full"),
        ("general", "server_tls = 1", "must be one of disable"),
        ("general", 'tls_certificate = "/nowhere/server.crt"', "there is no file '/nowhere/server.crt'"),
        ("general", 'tls_certificate = "/"', "there is no file '/'"),
        (
            "general",
            'tls_private_key = "-----BEGIN PRIVATE KEY-----"',
            "must be the path of a PEM file, got its contents",
        ),
        ("pool", 'pool_mode = "statement"', 'must be one of transaction, session; got the string "statement"'),
        ("pool", 'read_functions = "lookup"', "must be an array"),
        ("pool", 'write_functions = ["a.b.c"]', "'a.b.c' is no name, e.g. lookup or public.lookup"),
        ("pool", 'write_functions = ["f()"]', "'f()' is no name, e.g. lookup or public.lookup"),
        ("pool", 'write_tables = [""]', "'' is no name, e.g. lookup or public.lookup"),
        ("pool", "catalog_refresh = -1", "must be at least 0, got -1"),
        ("pool", 'pool_mode = "TRANSACTION"', "must be one of transaction, session"),
        ("pool", 'pool_mode = "md5"', "must be one of transaction, session"),
        ("pool", 'pinning = "never"', "must be one of allow, deny"),
        ("pool", 'load_balancing_mode = "best"', "must be one of random, loc, round_robin"),
        (
            "pool",
            'default_role = "Primary"',
            "Query router default_role must be 'primary', 'replica', or 'any', got: 'Primary'",
        ),
        ("pool", 'default_shard = "shard_x"', "must be shard_<number>, random or random_healthy"),
        ("pool", 'automatic_sharding_key = "id"', "automatic_sharding_key 'id' must be fully qualified, e.g. t.id"),
        ("pool", "sharding_key_regex = '('", "is not a valid Regex: missing )"),
        ("pool", "shard_id_regex = '[a'", "is not a valid Regex: "),
        ("pool", "checkout_failure_limit = -1", "must be at least 0, got -1"),
        ("shard", 'servers = "db1:5432"', "must be an array: [[host, port, role], ...]"),
        ("shard", 'servers = ["db1:5432"]', "must be [host, port, role], got a string"),
        ("shard", 'servers = [["db1", 5432]]', "must have 3 items, [host, port, role], got 2"),
        ("shard", 'servers = [["db1", "5432", "primary"]]', 'must be an integer, got the string "5432"'),
        ("shard", 'servers = [["db1", 0, "primary"]]', "must be at least 1, got 0"),
        ("shard", 'servers = [["db1", 5432, "any"]]', "must be one of primary, replica, auto, mirror"),
        ("shard", 'servers = [["", 5432, "primary"]]', "must not be empty"),
        ("shard", 'servers = [["db 1", 5432, "primary"]]', "must be a host name or an address, without spaces"),
        ("shard", 'servers = [{host = "db1", port = 1, role = "primary", heft = 2}]', "unknown key"),
        ("shard", 'servers = [{host = "db1", port = 1, role = "primary", weight = 0}]', "must be at least 1, got 0"),
        (
            "shard",
            'servers = [["db1", 1, "primary"], ["db2", 1, "auto"]]',
            'the role "auto" needs a shard without a "primary"; make that "auto", too',
        ),
        (
            "shard",
            'servers = [["db1", 1, "replica"], {host = "db1", port = 1, role = "replica", weight = 2}]',
            "contains duplicate server configs",
        ),
        ("general", 'healthcheck_password = "secret"', "is set, but healthcheck_username is not"),
        ("general", "fail_after = 0", "must be at least 1, got 0"),
        ("general", "max_dials = 0", "must be at least 1, got 0"),
        ("pool", 'failover_hold = "30s"', "must be an integer"),
    ],
)
def test_a_wrong_value_is_refused_with_what_to_do(
    table: str, line: str, said: str, with_lines: Callable[..., str], problems_of: Callable[[str], tuple[str, ...]]
) -> None:
    (problem,) = problems_of(with_lines(**{table: line}))
    key = line.split("=")[0].strip()
    assert said in problem
    assert f".{key}" in problem


@pytest.mark.parametrize(
    ("table", "line", "get", "value"),
    [
        ("general", "connect_timeout = 1500", lambda c: c.general.connect_timeout_s, 1.5),
        ("general", "ban_time = 90", lambda c: c.general.ban_time_s, 90.0),
        ("general", "autoreload = 15000", lambda c: c.general.autoreload_s, 15.0),
        ("general", "tcp_user_timeout = 250", lambda c: c.general.tcp_user_timeout_ms, 250),
        ("general", "port = 0", lambda c: c.general.port, 0),
        ("general", 'admin_auth_type = "MD5"', lambda c: c.general.admin_auth_type, AuthType.MD5),
        ("general", 'admin_auth_type = "scram-sha-256"', lambda c: c.general.admin_auth_type, AuthType.SCRAM),
        ("general", "server_tls = true", lambda c: c.general.server_tls, SslMode.PREFER),
        ("general", "server_tls = false", lambda c: c.general.server_tls, SslMode.DISABLE),
        ("general", 'server_tls = "verify-ca"', lambda c: c.general.server_tls, SslMode.VERIFY_CA),
        (
            "general",
            "server_tls = true\nverify_server_certificate = true",
            lambda c: c.general.server_tls,
            SslMode.VERIFY_FULL,
        ),
        (
            "general",
            'server_tls = "require"\nverify_server_certificate = true',
            lambda c: c.general.server_tls,
            SslMode.VERIFY_FULL,
        ),
        ("general", "verify_server_certificate = true", lambda c: c.general.server_tls, SslMode.DISABLE),
        ("pool", 'pool_mode = "Session"', lambda c: c.pools["app"].pool_mode, PoolMode.SESSION),
        ("pool", 'load_balancing_mode = "LOC"', lambda c: c.pools["app"].load_balancing_mode, LoadBalancing.LOC),
        (
            "pool",
            'load_balancing_mode = "least_outstanding_connections"',
            lambda c: c.pools["app"].load_balancing_mode,
            LoadBalancing.LOC,
        ),
        (
            "pool",
            'load_balancing_mode = "round_robin"',
            lambda c: c.pools["app"].load_balancing_mode,
            LoadBalancing.ROUND_ROBIN,
        ),
        ("pool", 'pinning = "deny"', lambda c: c.pools["app"].pinning is Pinning.DENY, True),
        ("pool", 'pinning = "allow"', lambda c: c.pools["app"].pinning is Pinning.ALLOW, True),
        ("pool", 'default_role = "replica"', lambda c: c.pools["app"].default_role, Role.REPLICA),
        ("pool", 'default_shard = "random_healthy"', lambda c: c.pools["app"].default_shard, "random_healthy"),
        ("pool", 'default_shard = "shard_0"', lambda c: c.pools["app"].default_shard, 0),
        ("pool", "checkout_failure_limit = 0", lambda c: c.pools["app"].checkout_failure_limit, None),
        ("pool", "checkout_failure_limit = 3", lambda c: c.pools["app"].checkout_failure_limit, 3),
        ("pool", 'automatic_sharding_key = \'"t"."id"\'', lambda c: c.pools["app"].automatic_sharding_key, "t.id"),
        ("general", "query_wait_timeout = 500", lambda c: c.pools["app"].users[0].wait_timeout_s, 0.5),
        ("general", "connect_timeout = 500", lambda c: c.pools["app"].users[0].wait_timeout_s, 0.5),
        ("pool", "transaction_timeout = 500", lambda c: c.pools["app"].users[0].transaction_timeout_s, 0.5),
        ("user", "client_idle_timeout = 500", lambda c: c.pools["app"].users[0].client_idle_timeout_s, 0.5),
        ("user", "statement_timeout = 500", lambda c: c.pools["app"].users[0].statement_timeout_s, 0.5),
        ("user", 'auth_type = "Trust"', lambda c: c.pools["app"].users[0].auth_type, AuthType.TRUST),
        ("user", 'password = ""', lambda c: c.pools["app"].users[0].password, Secret("")),
        (
            "shard",
            'servers = [["/var/run/my db", 5432, "Primary"]]',
            lambda c: c.pools["app"].shards[0].servers[0].host,
            "/var/run/my db",
        ),
    ],
)
def test_a_value_reaches_the_model(
    table: str, line: str, get: Callable[..., object], value: object, with_lines: Callable[..., str]
) -> None:
    assert get(parse_config(with_lines(**{table: line}))) == value


def test_defaults_are_those_of_pgcat(valid: str) -> None:
    config = parse_config(valid)
    general, pool = config.general, config.pools["app"]
    assert (general.host, general.port, general.admin_auth_type) == ("0.0.0.0", 5432, AuthType.MD5)
    assert (general.connect_timeout_s, general.idle_timeout_s, general.server_lifetime_s) == (1.0, 600.0, 3600.0)
    assert (general.healthcheck_timeout_s, general.healthcheck_delay_s, general.ban_time_s) == (1.0, 30.0, 60.0)
    assert (general.idle_client_in_transaction_timeout_s, general.shutdown_timeout_s) == (0.0, 60.0)
    (user,) = pool.users
    assert (user.client_idle_timeout_s, user.transaction_timeout_s, user.statement_timeout_s) == (0.0, 0.0, 0.0)
    assert (user.query_wait_timeout_s, user.wait_timeout_s) == (0.0, 1.0)
    assert (general.worker_threads, general.autoreload_s, general.server_round_robin) == (4, None, True)
    assert (general.tcp_keepalives_idle_s, general.tcp_keepalives_interval_s, general.tcp_keepalives_count) == (5, 5, 5)
    assert (general.tcp_user_timeout_ms, general.dns_max_ttl_s, general.prometheus_exporter_port) == (
        10_000,
        30.0,
        9930,
    )
    assert (general.validate_config, general.server_tls, general.tls_certificate) == (True, SslMode.DISABLE, None)
    assert (pool.pool_mode, pool.load_balancing_mode) == (PoolMode.TRANSACTION, LoadBalancing.RANDOM)
    assert (pool.default_role, pool.default_shard, pool.primary_reads_enabled) == (Role.ANY, 0, False)
    assert (pool.cleanup_server_connections, pool.regex_search_limit) == (True, 1000)
    assert (pool.db_activity_init_delay_s, pool.db_activity_ttl_s, pool.table_mutation_cache_ttl_s) == (
        0.1,
        900.0,
        0.05,
    )
    assert config.warnings == ()


def test_the_nearest_setting_wins(with_lines: Callable[..., str]) -> None:
    text = with_lines(
        general="connect_timeout = 1000\nidle_timeout = 2000\nserver_lifetime = 3000",
        pool='pool_mode = "session"\nidle_timeout = 20000\nserver_lifetime = 30000',
        user="server_lifetime = 300000",
    )
    pool = parse_config(text).pools["app"]
    (user,) = pool.users
    assert (pool.connect_timeout_s, pool.idle_timeout_s, pool.server_lifetime_s) == (1.0, 20.0, 30.0)
    assert (user.connect_timeout_s, user.idle_timeout_s, user.server_lifetime_s) == (1.0, 20.0, 300.0)
    assert user.pool_mode is PoolMode.SESSION


def test_a_user_logs_in_at_the_server_as_itself_unless_told_otherwise(
    valid: str, with_lines: Callable[..., str]
) -> None:
    (itself,) = parse_config(valid).pools["app"].users
    assert (itself.server_username, itself.server_password) == ("alice", Secret("alice-secret"))
    (other,) = parse_config(with_lines(user='server_username = "owner"\nserver_password = "pw"')).pools["app"].users
    assert (other.username, other.server_username, other.server_password) == ("alice", "owner", Secret("pw"))


def test_secrets_show_in_no_repr_and_no_error(
    valid: str, with_lines: Callable[..., str], problems_of: Callable[[str], tuple[str, ...]]
) -> None:
    config = parse_config(valid)
    assert config.general.admin_password.reveal() == "admin-secret"
    assert "-secret" not in f"{config!r} {config} {config.general.admin_password} {config.pools!r}"
    wrong = (
        with_lines(user="password = ['alice-secret']"),
        with_lines(user="passwort = 'alice-secret'"),
        with_lines(user="pool_size = 'postgres://alice:alice-secret@db'"),
        with_lines(user="password = alice-secret"),
        with_lines(user="password = 'alice-secret"),
        with_lines(general="auth_query = 'x'\nauth_query_password = 'alice-secret'"),
    )
    for text in wrong:
        assert "alice" not in " ".join(problems_of(text)).replace("server_", "")


def test_the_tree_is_frozen(valid: str) -> None:
    config = parse_config(valid)
    with pytest.raises(AttributeError):
        config.general.port = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.pools["x"] = config.pools["app"]  # type: ignore[index]


def test_names_of_sql_are_as_a_server_has_them(with_lines: Callable[..., str]) -> None:
    text = with_lines(pool="""read_functions = ["Lookup", 'App."Mixed Case"', '"größe"', "größe"]""")
    (pool,) = parse_config(text).pools.values()
    assert pool.read_functions == ("lookup", "app.Mixed Case", "größe", "größe")
    assert pool.catalog_refresh_s == 60.0

"""The configuration as the rest of the proxy sees it: a frozen tree with every default and inheritance resolved.

Each field stands for one TOML key; the call behind it says its default, its unit in the file and its limits. Durations
are seconds here, whatever they are in the file; 0 means "off" where the comment says so, and is refused elsewhere.
Equality is by value: a pool changed if and only if it compares unequal to its old self.
"""
# ruff: noqa: RUF009 - the calls below make attrs fields; they are not defaults.

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - attrs resolves the annotations when a file is loaded
from pathlib import Path  # noqa: TC003
from types import MappingProxyType

import attrs

from . import parse
from .keys import count, duration_ms, duration_s, setting
from .plugins import Plugins
from .values import (
    AuthType,
    DefaultShard,
    LoadBalancing,
    Pinning,
    PoolMode,
    ReadAfterWrite,
    Role,
    Secret,
    ShardingFunction,
    SslMode,
)

__all__ = [
    "AuthType",
    "Config",
    "DefaultShard",
    "General",
    "LoadBalancing",
    "Mirror",
    "Pinning",
    "Plugins",
    "Pool",
    "PoolMode",
    "ReadAfterWrite",
    "Role",
    "Secret",
    "Server",
    "Shard",
    "ShardingFunction",
    "SslMode",
    "User",
]

NO_ZERO = "a timeout of 0 would let nothing succeed"


@attrs.frozen(kw_only=True)
class General:
    """``[general]``: the listener, the admin console, and what pools and users inherit."""

    admin_username: str = setting(parse=parse.name)
    admin_password: Secret = setting()
    admin_auth_type: AuthType = setting(AuthType.MD5)

    host: str = setting("0.0.0.0", parse=parse.host, boot_only=True)
    port: int = count(5432, at_most=65535, boot_only=True)  # 0: any free port
    max_client_conn: int = count(0)  # 0: no limit
    max_message_bytes: int = count(1_073_741_823, at_least=8192, at_most=1_073_741_823)  # PostgreSQL's own limit
    worker_threads: int = count(4, at_least=1, boot_only=True)

    tls_certificate: Path | None = setting(None, parse=parse.file)
    tls_private_key: Path | None = setting(None, parse=parse.file)
    tls_required: bool = setting(False)
    server_tls: SslMode = setting(SslMode.DISABLE, parse=parse.ssl_mode)  # effective: see verify_server_certificate
    verify_server_certificate: bool = setting(False)  # PgCat's switch: makes any server_tls but disable verify-full
    server_tls_ca_file: Path | None = setting(None, parse=parse.file)  # None: the system's roots
    server_tls_certificate: Path | None = setting(None, parse=parse.file)
    server_tls_private_key: Path | None = setting(None, parse=parse.file)

    connect_timeout_s: float = duration_ms(1.0, at_least=1, zero_hint=NO_ZERO)
    idle_timeout_s: float = duration_ms(600.0, at_least=1, zero_hint=NO_ZERO)
    server_lifetime_s: float = duration_ms(3600.0, at_least=1, zero_hint=NO_ZERO)
    server_round_robin: bool = setting(True)  # idle backends are taken oldest first (true) or newest first
    healthcheck_timeout_s: float = duration_ms(1.0, at_least=1, zero_hint=NO_ZERO)
    healthcheck_delay_s: float = duration_ms(30.0)  # 0: check at every checkout
    ban_time_s: float = duration_s(60.0)  # 0: ban nobody

    healthcheck_interval_s: float = duration_ms(1.0)  # 0: nobody looks after the servers
    healthcheck_username: str | None = setting(None, parse=parse.name)  # None: of the first pool that has the server
    healthcheck_password: Secret | None = setting(None)
    healthcheck_database: str | None = setting(None, parse=parse.name)
    fail_after: int = count(3, at_least=1)  # results in a row
    recover_after: int = count(2, at_least=1)
    max_replica_lag_s: float = duration_ms(0.0)  # 0: no limit
    max_replica_lag_bytes: int = count(0)  # 0: no limit
    failover_hold_s: float = duration_ms(30.0)  # 0: do not wait for a primary
    max_dials: int = count(8, at_least=1)  # logins in flight to one server
    slow_start_s: float = duration_ms(10.0)  # 0: off
    zone: str | None = setting(None, parse=parse.name)
    validate_config: bool = setting(True)  # try each server's login before clients are accepted

    client_login_timeout_s: float = duration_ms(60.0, at_least=1, zero_hint=NO_ZERO)
    client_write_timeout_s: float = duration_ms(60.0)  # 0: off
    client_idle_timeout_s: float = duration_ms(0.0)  # 0: off
    idle_client_in_transaction_timeout_s: float = duration_ms(0.0)  # 0: off
    transaction_timeout_s: float = duration_ms(0.0)  # 0: off
    query_wait_timeout_s: float = duration_ms(0.0)  # 0: connect_timeout bounds the wait for a backend
    shutdown_timeout_s: float = duration_ms(60.0)  # 0: do not wait
    autoreload_s: float | None = duration_ms(None, name="autoreload", at_least=1, zero_hint="leave the key out for off")
    log_client_connections: bool = setting(False)
    log_client_disconnections: bool = setting(False)

    # Socket options, in the kernel's own units and limits (tcp(7)), hence integers.
    tcp_keepalives_idle_s: int = count(5, name="tcp_keepalives_idle", at_least=1, at_most=32767)
    tcp_keepalives_interval_s: int = count(5, name="tcp_keepalives_interval", at_least=1, at_most=32767)
    tcp_keepalives_count: int = count(5, at_least=1, at_most=127)
    tcp_user_timeout_ms: int = count(10_000, name="tcp_user_timeout", at_most=2**31 - 1)  # 0: the kernel's choice

    enable_prometheus_exporter: bool = setting(False, boot_only=True)
    prometheus_exporter_port: int = count(9930, at_least=1, at_most=65535, boot_only=True)
    dns_cache_enabled: bool = setting(False)
    dns_max_ttl_s: float = duration_s(30.0, at_least=1)

    auth_query: str | None = setting(None)
    auth_query_user: str | None = setting(None, parse=parse.name)
    auth_query_password: Secret | None = setting(None)


@attrs.frozen(kw_only=True)
class Server:
    """One PostgreSQL server. A host that starts with ``/`` is the directory of its UNIX socket."""

    host: str = setting(parse=parse.host)
    port: int = count(at_least=1, at_most=65535)
    role: Role = setting(parse=parse.server_role)
    weight: int = count(1, at_least=1, at_most=1000)
    zone: str | None = setting(None, parse=parse.name)


@attrs.frozen(kw_only=True)
class Mirror:
    """A server that receives a copy of the traffic of ``Shard.servers[mirroring_target_index]``."""

    host: str = setting(parse=parse.host)
    port: int = count(at_least=1, at_most=65535)
    mirroring_target_index: int = count()


@attrs.frozen(kw_only=True)
class Shard:
    """``[pools.NAME.shards.N]``: one database on one primary and any number of replicas."""

    database: str = setting(parse=parse.name)
    servers: tuple[Server, ...]
    mirrors: tuple[Mirror, ...] = ()


@attrs.frozen(kw_only=True)
class User:
    """``[pools.NAME.users.K]``: a client's name, and its own backends (``pool_size`` of them per server)."""

    username: str = setting(parse=parse.name)
    password: Secret | None = setting(None)  # None: trust, or a password that auth_query will find
    auth_type: AuthType = setting(AuthType.MD5)
    server_username: str = setting(None, parse=parse.name)  # as the client's, unless set
    server_password: Secret | None = setting(None)  # as the client's, unless set
    pool_size: int = count(at_least=1)
    min_pool_size: int = count(0)
    pool_mode: PoolMode = setting(PoolMode.TRANSACTION, inherit=True)
    connect_timeout_s: float = duration_ms(1.0, at_least=1, inherit=True, zero_hint=NO_ZERO)
    idle_timeout_s: float = duration_ms(600.0, at_least=1, inherit=True, zero_hint=NO_ZERO)
    server_lifetime_s: float = duration_ms(3600.0, at_least=1, inherit=True, zero_hint=NO_ZERO)
    statement_timeout_s: float = duration_ms(0.0)  # 0: off
    transaction_timeout_s: float = duration_ms(0.0, inherit=True)  # 0: off
    client_idle_timeout_s: float = duration_ms(0.0, inherit=True)  # 0: off
    query_wait_timeout_s: float = duration_ms(0.0, inherit=True)  # 0: connect_timeout bounds the wait for a backend

    @property
    def wait_timeout_s(self) -> float:
        """How long a request may wait for a backend."""
        return self.query_wait_timeout_s or self.connect_timeout_s


@attrs.frozen(kw_only=True)
class Pool:
    """``[pools.NAME]``: what clients reach by asking for the database ``name``."""

    name: str
    users: tuple[User, ...]  # in the order of their TOML keys, compared as strings
    shards: tuple[Shard, ...]  # by number
    pool_mode: PoolMode = setting(PoolMode.TRANSACTION)
    load_balancing_mode: LoadBalancing = setting(LoadBalancing.RANDOM)
    default_role: Role = setting(Role.ANY, parse=parse.default_role)
    query_parser_enabled: bool = setting(False)
    query_parser_max_length: int | None = count(None)  # bytes of a message; None: no limit
    query_parser_read_write_splitting: bool = setting(False)
    primary_reads_enabled: bool = setting(False)
    catalog_refresh_s: float = duration_ms(60.0)  # 0: do not ask the servers about their functions and views
    read_functions: tuple[str, ...] = setting((), parse=parse.sql_names)
    write_functions: tuple[str, ...] = setting((), parse=parse.sql_names)
    write_tables: tuple[str, ...] = setting((), parse=parse.sql_names)
    replica_to_primary_failover_enabled: bool = setting(False)
    lazy_begin: bool = setting(False)
    read_after_write: ReadAfterWrite = setting(ReadAfterWrite.OFF)
    read_after_write_window_s: float = duration_ms(1.0)  # of "session"; 0: as long as the session lasts
    connect_timeout_s: float = duration_ms(1.0, at_least=1, inherit=True, zero_hint=NO_ZERO)
    idle_timeout_s: float = duration_ms(600.0, at_least=1, inherit=True, zero_hint=NO_ZERO)
    server_lifetime_s: float = duration_ms(3600.0, at_least=1, inherit=True, zero_hint=NO_ZERO)
    transaction_timeout_s: float = duration_ms(0.0, inherit=True)  # 0: off
    client_idle_timeout_s: float = duration_ms(0.0, inherit=True)  # 0: off
    query_wait_timeout_s: float = duration_ms(0.0, inherit=True)  # 0: as for users
    failover_hold_s: float = duration_ms(30.0, inherit=True)  # 0: do not wait for a primary
    checkout_failure_limit: int | None = setting(None, parse=parse.failure_limit)  # None or 0 in the file: off
    cleanup_server_connections: bool = setting(True)
    pinning: Pinning = setting(Pinning.ALLOW)
    track_parameters: tuple[str, ...] = setting((), parse=parse.parameter_names)
    log_client_parameter_status_changes: bool = setting(False)
    prepared_statements_cache_size: int = count(500)  # 0: off

    default_shard: int | DefaultShard = setting(0, parse=parse.default_shard)
    sharding_function: ShardingFunction = setting(ShardingFunction.PG_BIGINT_HASH)
    automatic_sharding_key: str | None = setting(None, parse=parse.sharding_key)
    sharding_key_regex: str | None = setting(None, parse=parse.regex)
    shard_id_regex: str | None = setting(None, parse=parse.regex)
    regex_search_limit: int = count(1000)  # bytes of a message
    db_activity_based_routing: bool = setting(False)
    db_activity_init_delay_s: float = duration_ms(0.1)
    db_activity_ttl_s: float = duration_s(900.0)
    table_mutation_cache_ttl_s: float = duration_ms(0.05, name="table_mutation_cache_ms_ttl")

    auth_query: str | None = setting(None, inherit=True)
    auth_query_user: str | None = setting(None, inherit=True, parse=parse.name)
    auth_query_password: Secret | None = setting(None, inherit=True)
    plugins: Plugins | None = None  # the pool's own, else the global ones


def _frozen(pools: Mapping[str, Pool]) -> Mapping[str, Pool]:
    return MappingProxyType(dict(pools))


@attrs.frozen(kw_only=True)
class Config:
    """A whole file. ``warnings`` are lines for the operator, each with its place; they do not count for equality."""

    general: General
    pools: Mapping[str, Pool] = attrs.field(converter=_frozen)
    plugins: Plugins | None = None
    path: str = attrs.field(default="pgcat.toml", eq=False)
    warnings: tuple[str, ...] = attrs.field(default=(), eq=False)

"""SHOW, asked with psycopg of a proxy in front of the embedded cluster."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.proxy import ADMIN_PASSWORD, ADMIN_USER, APP_USER, ProxyThread, proxy_config

from pgcat_trio import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgcat_trio.embedded import EmbeddedCluster

TEXT, INT4, NUMERIC = 25, 23, 1700

# PgCat 1.3.0's columns (pgcat/src/admin.rs), which scripts and exporters rely on.
COLUMNS = {
    "VERSION": {TEXT: "version"},
    "LISTS": {TEXT: "list", INT4: "items"},
    "POOLS": {
        TEXT: "database user pool_mode",
        NUMERIC: "cl_idle cl_active cl_waiting cl_cancel_req sv_active sv_idle sv_used sv_tested sv_login maxwait "
        "maxwait_us",
    },
    "DATABASES": {
        TEXT: "name host port database force_user pool_mode role status reason",
        INT4: "pool_size min_pool_size reserve_pool max_connections current_connections paused disabled timeline",
        NUMERIC: "lag_bytes lag_ms",
    },
    "CLIENTS": {
        TEXT: "client_id database user application_name state pinned",
        NUMERIC: "transaction_count query_count error_count age_seconds maxwait maxwait_us",
    },
    "SERVERS": {
        TEXT: "server_id database_name user address_id application_name state",
        NUMERIC: "transaction_count query_count bytes_sent bytes_received age_seconds prepare_cache_hit "
        "prepare_cache_miss prepare_cache_eviction prepare_cache_size",
    },
    "STATS": {
        TEXT: "instance database user",
        NUMERIC: "total_xact_count total_query_count total_received total_sent total_xact_time total_query_time "
        "total_wait_time total_errors avg_xact_count avg_query_count avg_recv avg_sent avg_errors avg_xact_time "
        "avg_query_time avg_wait_time",
    },
    "USERS": {TEXT: "name pool_mode"},
    "CONFIG": {TEXT: "key value default changeable"},
    "DNS_HOSTS": {TEXT: "hostname addrs", INT4: "ttl"},
    "ROUTES": {TEXT: "database user role reason fingerprint", NUMERIC: "calls misses healed"},
    "BANS": {TEXT: "db user role host reason ban_time ban_duration_seconds ban_remaining_seconds"},
}
ORDER = {
    "DATABASES": "name host port database force_user pool_size min_pool_size reserve_pool pool_mode max_connections "
    "current_connections paused disabled role status timeline lag_bytes lag_ms reason",
    "DNS_HOSTS": "hostname ttl addrs",
    "ROUTES": "database user role calls misses healed reason fingerprint",
    # What PgCat has not stands last.
    "CLIENTS": "client_id database user application_name state transaction_count query_count error_count age_seconds "
    "maxwait maxwait_us pinned",
}


@pytest.fixture(scope="module")
def proxy(cluster_thread: Any) -> Iterator[ProxyThread]:
    config = proxy_config(
        cluster_thread.cluster,
        splitting=True,
        pool_size=1,
        general="connect_timeout = 20000",
        pool="catalog_refresh = 0",  # a new catalog is a reason to decide anew, which SHOW ROUTES counts
    )
    with ProxyThread(config) as proxy:
        yield proxy


@pytest.fixture
def console(proxy: ProxyThread) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(proxy.admin_dsn, autocommit=True, prepare_threshold=None) as connection:
        yield connection


def ask(console: psycopg.Connection[Any], command: str) -> list[dict[str, Any]]:
    with console.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute(command.encode()).fetchall()


def ask_until(console: psycopg.Connection[Any], command: str, **wanted: Any) -> dict[str, Any]:
    """Ask again until a row has the wanted values."""
    deadline = time.monotonic() + 30
    rows: list[dict[str, Any]] = []
    while time.monotonic() < deadline:
        rows = ask(console, command)
        for row in rows:
            if wanted.items() <= row.items():
                return row
    raise AssertionError(f"{wanted} is not among {rows}")


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_pgcats(console: psycopg.Connection[Any], name: str) -> None:
    cursor = console.execute(f"SHOW {name}".encode())
    found = [(column.name, column.type_code) for column in cursor.description or ()]
    expected = {(each, oid) for oid, names in COLUMNS[name].items() for each in names.split()}
    assert set(found) == expected
    names = ORDER[name] if name in ORDER else " ".join(COLUMNS[name].values())
    assert [column for column, _ in found] == names.split()
    assert cursor.statusmessage == ("SHOW BANS" if name == "BANS" else "SHOW")


def test_version(console: psycopg.Connection[Any]) -> None:
    assert ask(console, "show version") == [{"version": f"pgcat-trio {__version__}"}]


def test_databases(console: psycopg.Connection[Any], cluster: EmbeddedCluster) -> None:
    rows = ask(console, "SHOW DATABASES")
    assert [row["name"] for row in rows] == ["app_shard_0_primary", "app_shard_0_replica_0", "app_shard_0_replica_1"]
    assert [row["port"] for row in rows] == [str(server.port) for server in cluster.servers]
    assert {row["force_user"] for row in rows} == {APP_USER}
    assert {(row["pool_size"], row["max_connections"]) for row in rows} == {(1, 1)}
    assert {(row["paused"], row["disabled"]) for row in rows} == {(0, 0)}
    for name in ("app_shard_0_replica_0", "app_shard_0_replica_1"):
        ask_until(console, "SHOW DATABASES", name=name, role="replica", status="up")
    primary = {"name": "app_shard_0_primary", "role": "primary", "status": "up", "lag_bytes": None}
    timeline = ask_until(console, "SHOW DATABASES", **primary)["timeline"]
    assert {row["timeline"] for row in ask(console, "SHOW DATABASES")} == {timeline}


def test_users(console: psycopg.Connection[Any]) -> None:
    assert ask(console, "SHOW USERS") == [{"name": APP_USER, "pool_mode": "transaction"}]


def test_config_shows_units_of_the_file_and_no_secret(
    console: psycopg.Connection[Any], cluster: EmbeddedCluster
) -> None:
    rows = {row["key"]: row for row in ask(console, "SHOW CONFIG")}
    assert rows["connect_timeout"]["value"] == "20000"
    assert rows["connect_timeout"]["default"] == "1000"
    assert rows["ban_time"]["value"] == "60"
    assert (rows["port"]["changeable"], rows["ban_time"]["changeable"]) == ("no", "yes")
    assert rows["pools.app.query_parser_max_length"]["value"] == "unlimited"
    assert rows["pools.app.query_parser_enabled"]["value"] == "true"
    assert rows['pools."app".shard_count']["value"] == "1"
    assert rows['pools."app".users']["value"] == APP_USER
    shown = str(rows)
    assert "password" not in shown
    assert not [secret for secret in (ADMIN_PASSWORD, cluster.password) if secret in shown]


def test_clients_and_pools_follow_what_happens(proxy: ProxyThread, console: psycopg.Connection[Any]) -> None:
    before = ask_until(console, "SHOW POOLS", cl_active=0, cl_waiting=0)
    with contextlib.ExitStack() as stack:
        first, second = (
            stack.enter_context(psycopg.connect(proxy.dsn(), autocommit=True, application_name=name))
            for name in ("first", "second")
        )
        first.execute("begin")
        first.execute("create temp table nothing ()")
        ask_until(console, "SHOW CLIENTS", application_name="first", state="active", user=APP_USER)
        ask_until(console, "SHOW CLIENTS", application_name="second", state="idle", database="app")
        ask_until(console, "SHOW SERVERS", application_name="first", state="active", address_id="app_shard_0_primary")
        # The one backend of the primary is taken: the second has to wait for it.
        waiter = threading.Thread(target=second.execute, args=["create temp table nothing2 () on commit drop"])
        waiter.start()
        try:
            ask_until(console, "SHOW CLIENTS", application_name="second", state="waiting")
            waiting = ask_until(console, "SHOW POOLS", cl_active=1, cl_waiting=1, cl_idle=before["cl_idle"])
            later = ask_until(console, "SHOW POOLS", cl_waiting=1)
            assert (later["maxwait"], later["maxwait_us"]) > (waiting["maxwait"], waiting["maxwait_us"]) > (0, 0)
            assert waiting["sv_active"] == 1
        finally:
            first.execute("rollback")
            waiter.join()
        ask_until(console, "SHOW CLIENTS", application_name="second", state="idle", transaction_count=1)
    ask_until(console, "SHOW POOLS", **{key: before[key] for key in ("cl_idle", "cl_active", "cl_waiting")})


def test_routes_are_counted(proxy: ProxyThread, console: psycopg.Connection[Any]) -> None:
    with psycopg.connect(proxy.dsn(), autocommit=True) as client:
        for secret in range(101, 104):
            client.execute(f"select {secret} as Counted, 'classified'".encode())
        for _ in range(7):  # prepared from the sixth time on
            client.execute("select %s::int as prepared", (4711,))
        with client.transaction():
            client.execute("select 0 as within")
        client.execute("SET SERVER ROLE TO 'primary'")
        client.execute("select 1 as chosen")
    rows = ask(console, "SHOW ROUTES")
    assert [row["calls"] for row in rows] == sorted((row["calls"] for row in rows), reverse=True)
    found = {row["fingerprint"]: row for row in rows}
    counted = ("role", "calls", "misses", "healed", "reason")
    read = ("replica", 3, 1, 0, "a read-only query")
    assert tuple(found["select ? as counted, ?"][name] for name in counted) == read
    assert found["select $1::int as prepared"]["calls"] == 8  # that it is prepared is one more
    assert found["select ? as within"]["calls"] == 1
    assert found["begin"]["role"] == "primary"
    assert ("primary", 1) in [(row["role"], row["calls"]) for row in rows if row["reason"] == "the pool's default role"]
    assert {(row["database"], row["user"]) for row in rows} == {("app", APP_USER)}
    assert not [secret for secret in ("101", "classified", "4711") if secret in str(rows)]


def test_rare_routes_are_summed_up(proxy: ProxyThread, console: psycopg.Connection[Any]) -> None:
    columns = "select 1" + ", 1" * 130
    with psycopg.connect(proxy.dsn(), autocommit=True) as client:
        for length in range(len("select 1"), len(columns) + 1, 3):
            client.execute(columns[:length].encode())
    *shown, rest = ask(console, "SHOW ROUTES")
    assert len(shown) == 100
    assert (rest["role"], rest["fingerprint"]) == (None, None)
    assert int(rest["reason"].split()[0]) >= rest["misses"] >= 22


def test_lists_agree_with_the_tables(proxy: ProxyThread, console: psycopg.Connection[Any]) -> None:
    with psycopg.connect(proxy.dsn(), autocommit=True) as client:
        client.execute("begin")
        client.execute("create temp table nothing ()")
        lists = {row["list"]: row["items"] for row in ask(console, "SHOW LISTS")}
        clients, servers = ask(console, "SHOW CLIENTS"), ask(console, "SHOW SERVERS")
        client.execute("rollback")
    assert list(lists) == [
        *("databases", "users", "pools", "free_clients", "used_clients", "login_clients"),
        *("free_servers", "used_servers", "dns_names", "dns_zones", "dns_queries", "dns_pending"),
    ]
    assert (lists["databases"], lists["users"], lists["pools"]) == (4, 2, 4)
    assert lists["free_clients"] + lists["used_clients"] == len(clients)
    assert lists["used_clients"] == [row["state"] for row in clients].count("active") == 1
    assert lists["free_servers"] + lists["used_servers"] == len(servers)


def test_server_id_is_the_servers_process_id(proxy: ProxyThread, console: psycopg.Connection[Any]) -> None:
    with psycopg.connect(proxy.dsn(), autocommit=True) as client, client.transaction():
        client.execute("create temp table nothing () on commit drop")
        pid = client.execute("select pg_backend_pid()").fetchone()[0]
        rows = ask(console, "SHOW SERVERS")
    active = [(row["server_id"], row["address_id"]) for row in rows if row["state"] == "active"]
    assert active == [(f"0x{pid:08X}", "app_shard_0_primary")]


def test_administrators_are_clients_too(console: psycopg.Connection[Any]) -> None:
    rows = [row for row in ask(console, "SHOW CLIENTS") if row["database"] == "pgcat"]
    assert [row["user"] for row in rows] == [ADMIN_USER]


@pytest.mark.parametrize("database", ["pgcat", "pgbouncer"])
def test_psql(proxy: ProxyThread, cluster: EmbeddedCluster, database: str) -> None:
    dsn = proxy.dsn(ADMIN_USER, ADMIN_PASSWORD, database)
    command = [cluster.bin_dir / "psql", "-X", "-A", "-t", dsn, "-c", "SHOW VERSION", "-c", "show help; show users;"]
    done = subprocess.run(command, env=dict(cluster.environ), capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.split("\n")[0] == f"pgcat-trio {__version__}"
    assert f"{APP_USER}|transaction" in done.stdout
    assert "SHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION" in done.stderr


def test_an_error_leaves_the_console_as_it_was(console: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.SyntaxError, match="Unsupported query against the admin database"):
        console.execute("VACUUM")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="takes no parameters"):
        console.execute("SET a = %s", ["no parameters"])
    assert len(ask(console, "SHOW VERSION")) == 1


def test_wrong_password_is_refused(proxy: ProxyThread) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(proxy.dsn(ADMIN_USER, "wrong", "pgcat"))

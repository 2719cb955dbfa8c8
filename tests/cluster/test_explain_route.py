"""EXPLAIN ROUTE, asked by several clients in both protocols."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from support.proxy import ProxyThread, proxy_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgcat_trio.embedded import EmbeddedCluster

Client = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def proxy(cluster_thread: Any) -> Iterator[ProxyThread]:
    general = "healthcheck_interval = 100\nban_time = 600"
    with ProxyThread(proxy_config(cluster_thread.cluster, splitting=True, general=general)) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: ProxyThread) -> Iterator[Client]:
    with psycopg.connect(proxy.dsn(), autocommit=True) as client:
        yield client


def explain(client: Client, sql: str, *parameters: Any) -> dict[str, str]:
    cursor = client.execute(f"EXPLAIN ROUTE {sql}".encode(), parameters or None)
    assert cursor.statusmessage == "EXPLAIN"
    assert [column.name for column in cursor.description or ()] == ["property", "value"]
    return dict(cursor.fetchall())


def test_a_read_and_a_write(client: Client, cluster: EmbeddedCluster) -> None:
    found = explain(client, "select 42, 'secret' as it")
    replicas = {f"127.0.0.1:{server.port} (replica)" for server in cluster.servers[1:]}
    candidates = {found[name].partition(": ")[0] for name in ("candidate 1", "candidate 2")}
    assert candidates == replicas
    assert found["candidate 1"].partition(": ")[2].startswith("up")
    assert (found["role"], found["reason"], found["shard"]) == ("replica", "a read-only query", "0")
    assert (found["cache"], found["fingerprint"]) == ("miss", "select ?, ? as it")
    client.execute("select 43, 'other' as it")
    assert explain(client, "select 42, 'secret' as it")["cache"] == "hit"

    found = explain(client, "create table never (a int)")
    assert found["role"] == "primary"
    assert found["candidate 1"].startswith(f"127.0.0.1:{cluster.primary.port} (primary): up")
    assert client.execute("select to_regclass('never')").fetchone() == (None,)


def test_what_is_sent_at_once_goes_to_one_place(client: Client) -> None:
    assert explain(client, "select 1; select 2")["role"] == "replica"
    assert explain(client, "select 1; select nextval('a')")["role"] == "primary"


@pytest.mark.parametrize("binary", [False, True])
def test_the_extended_protocol(client: Client, binary: bool) -> None:
    for _ in range(3):
        cursor = client.execute("EXPLAIN ROUTE select %s::int", (4711,), prepare=True, binary=binary)
        assert dict(cursor.fetchall())["fingerprint"] == "select $1::int"
    with pytest.raises(psycopg.errors.ProtocolViolation, match="requires 2"):
        client.execute(b"EXPLAIN ROUTE select $2 /* %s */", (1,))
    assert client.execute("select 1").fetchone() == (1,)


def test_psql(proxy: ProxyThread, cluster: EmbeddedCluster) -> None:
    command = [cluster.bin_dir / "psql", "-X", "-A", proxy.dsn(), "-c", "EXPLAIN ROUTE LISTEN a", "-c", "select 5"]
    done = subprocess.run(command, env=dict(cluster.environ), capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.startswith("property|value\nrole|primary\n")
    assert "may leave behind|listen\n" in done.stdout
    assert done.stdout.endswith("5\n(1 row)\n")


def test_a_transaction_stays_where_it_is(client: Client, cluster: EmbeddedCluster) -> None:
    with client.transaction():
        client.execute("select 1")
        found = explain(client, "select 1")
        assert (found["role"], found["reason"]) == ("primary", "a transaction stays on its server")
        assert found["candidate 1"].startswith(f"127.0.0.1:{cluster.primary.port} (primary)")
        assert "candidate 2" not in found
    assert explain(client, "select 1")["role"] == "replica"
    client.execute("begin read only")
    client.execute("select 1")
    assert explain(client, "delete from item")["role"] == "replica"
    client.execute("rollback")


def test_a_transaction_that_failed_refuses_it(client: Client) -> None:
    client.execute("begin")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        client.execute("select nonsense")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        explain(client, "select 1")
    client.execute("rollback")


def test_a_session_that_is_pinned(client: Client) -> None:
    client.execute("select pg_advisory_lock(777)")
    found = explain(client, "select 1")
    assert found["role"] == "primary"
    assert "advisory lock" in found["reason"]
    client.execute("select pg_advisory_unlock(777)")
    assert explain(client, "select 1")["role"] == "replica"


def test_what_the_client_has_said_counts(client: Client) -> None:
    client.execute("SET SERVER ROLE TO 'primary'")
    assert explain(client, "select 1")["role"] == "primary"
    client.execute("SET SERVER ROLE TO 'auto'")
    client.execute("SET PRIMARY READS TO 'on'")
    found = explain(client, "select 1")
    assert (found["role"], "candidate 3" in found) == ("any", True)
    assert explain(client, "SET SHARD TO 0")["reason"] == "the proxy answers it itself"


def test_hints_count(client: Client) -> None:
    found = explain(client, "/* pgcat: role=primary */ select 1")
    assert (found["role"], found["reason"]) == ("primary", "a hint")
    assert explain(client, "/* pgcat: shard=7 */ select 1")["reason"].startswith("it would be refused: shard 7 is not")
    assert explain(client, "/* pgcat: rule=7 */ select 1")["reason"].startswith("it would be refused: the hint")
    assert explain(client, "select 1")["role"] == "replica"


def test_who_is_passed_over(proxy: ProxyThread, client: Client, cluster: EmbeddedCluster) -> None:
    host = f"127.0.0.1:{cluster.servers[1].port}"
    with psycopg.connect(proxy.admin_dsn, autocommit=True) as console:
        console.execute(f"BAN {host} 600".encode())
        try:
            found = explain(client, "select 1")
        finally:
            console.execute(f"UNBAN {host}".encode())
    assert found["candidate 1"].startswith(f"127.0.0.1:{cluster.servers[2].port} (replica)")
    assert "candidate 2" not in found
    assert found["passed over"].startswith(f"{host} (replica): ")
    assert "banned for 600 s: AdminBan(600)" in found["passed over"]


def test_what_the_session_has_written_counts(cluster: EmbeddedCluster, cluster_call: Callable[..., Any]) -> None:
    pool = 'read_after_write = "session"\nread_after_write_window = 60000'
    with (
        ProxyThread(proxy_config(cluster, splitting=True, pool=pool)) as proxy,
        psycopg.connect(proxy.dsn(), autocommit=True) as client,
    ):
        assert explain(client, "select 1")["candidate 1"].partition(": ")[0].endswith("(replica)")
        client.execute("select pg_notify('a', 'b')")
        found = explain(client, "select 1")
        assert found["candidate 1"].startswith(f"127.0.0.1:{cluster.primary.port} (primary)")
        assert "it may not have what the session has written" in found["passed over"]


def test_what_others_have_written_counts(cluster: EmbeddedCluster, cluster_call: Callable[..., Any]) -> None:
    pool = "db_activity_based_routing = true\ndb_activity_init_delay = 1\ntable_mutation_cache_ms_ttl = 60000"
    cluster_call(cluster.psql, "create table busy (a int)")
    try:
        with (
            ProxyThread(proxy_config(cluster, splitting=True, pool=pool)) as proxy,
            psycopg.connect(proxy.dsn(), autocommit=True) as client,
            psycopg.connect(proxy.dsn(), autocommit=True) as another,
        ):
            another.execute("insert into busy values (1)")
            found = explain(client, "select a from busy")
            assert (found["role"], found["reason"]) == ("primary", "busy has been written a moment ago")
            assert explain(client, "select 1")["role"] == "replica"
    finally:
        cluster_call(cluster.psql, "drop table busy")


def test_a_transaction_that_no_server_knows_yet(cluster: EmbeddedCluster) -> None:
    with (
        ProxyThread(proxy_config(cluster, splitting=True, pool="lazy_begin = true")) as proxy,
        psycopg.connect(proxy.dsn(), autocommit=True) as client,
    ):
        client.execute("begin")
        assert explain(client, "select 1")["role"] == "primary"
        client.execute("set transaction read only")
        assert explain(client, "select 1")["role"] == "replica"
        client.execute("rollback")
        assert explain(client, "select 1")["role"] == "replica"


def test_the_sessions_defaults_count(client: Client) -> None:
    client.execute("set default_transaction_isolation to serializable")
    assert explain(client, "select 1")["reason"] == "the session's transactions are serializable"
    client.execute("reset default_transaction_isolation")
    assert explain(client, "begin")["role"] == "primary"
    client.execute("set default_transaction_read_only to on")
    assert explain(client, "begin")["role"] == "replica"
    client.execute("reset default_transaction_read_only")


def test_a_session_has_one_server(cluster: EmbeddedCluster) -> None:
    with (
        ProxyThread(proxy_config(cluster, splitting=True, pool_mode="session")) as proxy,
        psycopg.connect(proxy.dsn(), autocommit=True) as client,
    ):
        found = explain(client, "select 1")
        assert (found["role"], found["reason"]) == ("primary", "in session mode a session stays on its server")


def test_it_must_have_a_statement(client: Client) -> None:
    with pytest.raises(psycopg.Error, match="needs a statement"):
        client.execute("EXPLAIN ROUTE")
    assert client.execute("explain select 1").fetchone()


def test_asyncpg(proxy: ProxyThread) -> None:
    """Prepares and describes, and asks for results in binary."""

    async def ask() -> list[tuple[str, str]]:
        connection = await asyncpg.connect(proxy.dsn())
        try:
            await connection.fetch("EXPLAIN ROUTE select $1::int", "7")
            return [tuple(row) for row in await connection.fetch("EXPLAIN ROUTE select $1::int", "7")]
        finally:
            await connection.close()

    assert ("fingerprint", "select $1::int") in asyncio.run(ask())


def test_what_was_mended_is_known(
    client: Client, proxy: ProxyThread, cluster: EmbeddedCluster, cluster_call: Callable[..., Any]
) -> None:
    """Replicas have nothing of an unlogged table, and nobody has told the proxy of this one yet."""
    sql = "select n as mended from scratch"
    try:
        cluster_call(cluster.psql, "create unlogged table scratch (n) as select 7")
        cluster_call(cluster.wait_caught_up)
        assert explain(client, sql)["role"] == "replica"
        assert client.execute(sql.encode()).fetchone() == (7,)
        found = explain(client, sql)
        assert found["role"] == "primary"
        assert found["reason"].startswith("a replica refused it with")
        with psycopg.connect(proxy.admin_dsn, autocommit=True, row_factory=psycopg.rows.dict_row) as console:
            rows = console.execute(b"SHOW ROUTES").fetchall()
        [row] = [row for row in rows if row["fingerprint"] == sql]
        assert (row["role"], row["calls"], row["healed"], row["reason"]) == ("primary", 1, 1, found["reason"])
    finally:
        cluster_call(cluster.psql, "drop table scratch")

"""SHOW STATS, and the counts of CLIENTS and SERVERS: that they are those of what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.proxy import ProxyThread, proxy_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pgcat_trio.embedded import EmbeddedCluster

PRIMARY = "app_shard_0_primary"


@pytest.fixture
def path(cluster: EmbeddedCluster, tmp_path: Path) -> Path:
    path = tmp_path / "pgcat.toml"
    path.write_text(proxy_config(cluster, pool_size=2))
    return path


@pytest.fixture
def proxy(path: Path) -> Iterator[ProxyThread]:
    with ProxyThread(path) as proxy:
        yield proxy


@pytest.fixture
def console(proxy: ProxyThread) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(proxy.admin_dsn, autocommit=True) as connection:
        yield connection


def connected(proxy: ProxyThread) -> psycopg.Connection[Any]:
    return psycopg.connect(proxy.dsn(), autocommit=True)


def rows(console: psycopg.Connection[Any], table: str) -> list[dict[str, Any]]:
    with console.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute(f"SHOW {table}".encode()).fetchall()


def stats(console: psycopg.Connection[Any]) -> dict[str, Any]:
    """Of the primary, without its name and averages."""
    (found,) = [row for row in rows(console, "STATS") if row["instance"] == PRIMARY]
    return {name: value for name, value in found.items() if name.startswith("total")}


# Each text that is prepared is a round trip more, and one of them outside of a transaction.
@pytest.mark.parametrize(("prepare", "transactions", "queries"), [(None, 4, 8), (0, 5, 11)])
def test_counts(
    proxy: ProxyThread, console: psycopg.Connection[Any], prepare: int | None, transactions: int, queries: int
) -> None:
    before = stats(console)
    with psycopg.connect(proxy.dsn(), autocommit=True, prepare_threshold=prepare) as client:
        for _ in range(3):  # three transactions
            client.execute("select repeat('x', 1000)")
        with client.transaction():  # and one of five queries
            client.execute("select pg_sleep(0.1)")
            for _ in range(2):
                client.execute("select 1")
        (seen,) = [row for row in rows(console, "CLIENTS") if row["database"] == "app"]
        assert (seen["transaction_count"], seen["query_count"], seen["error_count"]) == (transactions, queries, 0)
        after = {name: value - before[name] for name, value in stats(console).items()}
        assert (after["total_xact_count"], after["total_query_count"], after["total_errors"]) == (
            transactions,
            queries,
            0,
        )
        assert 3000 < after["total_received"] < 6000
        assert 100 < after["total_sent"] < 3000
        assert 100 <= after["total_query_time"] <= after["total_xact_time"] < 5000
        servers = [row for row in rows(console, "SERVERS") if row["address_id"] == PRIMARY]
        assert sum(row["query_count"] for row in servers) == stats(console)["total_query_count"]
        assert sum(row["bytes_received"] for row in servers) == stats(console)["total_received"]


def test_the_time_between_requests_is_the_transactions_and_not_the_queries(
    proxy: ProxyThread, console: psycopg.Connection[Any]
) -> None:
    with connected(proxy) as client, connected(proxy) as other:
        client.execute("begin")
        other.execute("select pg_sleep(0.3)")
        client.execute("commit")
    found = stats(console)
    assert 600 <= found["total_xact_time"] < 3000
    assert 300 <= found["total_query_time"] < found["total_xact_time"] - 200


def test_waits_and_errors(path: Path, cluster: EmbeddedCluster) -> None:
    path.write_text(proxy_config(cluster, pool_size=1, general="connect_timeout = 400"))
    with (
        ProxyThread(path) as proxy,
        psycopg.connect(proxy.admin_dsn, autocommit=True) as console,
        connected(proxy) as one,
        connected(proxy) as other,
    ):
        one.execute("begin")
        with pytest.raises(psycopg.errors.TooManyConnections):
            other.execute("select 1")
        one.execute("commit")
        (seen,) = [row for row in rows(console, "CLIENTS") if row["error_count"]]
        assert (seen["error_count"], seen["query_count"]) == (1, 0)
        assert stats(console)["total_errors"] == 1


def test_session_mode_counts_what_is_going_on(path: Path, cluster: EmbeddedCluster) -> None:
    path.write_text(proxy_config(cluster, pool_mode="session"))
    with ProxyThread(path) as proxy, psycopg.connect(proxy.admin_dsn, autocommit=True) as console:
        with psycopg.connect(proxy.dsn(), autocommit=True) as client:
            client.execute("select 1")
            client.execute("select pg_sleep(0.1)")
            found = stats(console)
            assert (found["total_xact_count"], found["total_query_count"]) == (2, 2)
            assert 100 <= found["total_query_time"] <= found["total_xact_time"] < 3000
            (seen,) = [row for row in rows(console, "CLIENTS") if row["database"] == "app"]
            assert (seen["transaction_count"], seen["query_count"]) == (2, 2)
        again = stats(console)
        assert (again["total_xact_count"], again["total_query_count"]) == (2, 2)


def test_statistics_outlive_reloads(path: Path, proxy: ProxyThread, console: psycopg.Connection[Any]) -> None:
    with psycopg.connect(proxy.dsn(), autocommit=True) as client:
        client.execute("select 1")
        before, text = stats(console), path.read_text()
        for change in ("pool_size = 3", "pool_size = 2\npool_mode = 'session'", "pool_size = 2"):
            path.write_text(text.replace("pool_size = 2", change))
            console.execute("RELOAD")
            after = stats(console)
            assert [after[name] >= before[name] for name in before] == [True] * len(before)
            assert after["total_xact_count"] == before["total_xact_count"] == 1


def test_averages(proxy: ProxyThread, console: psycopg.Connection[Any]) -> None:
    with psycopg.connect(proxy.dsn(), autocommit=True) as client:
        for _ in range(300):
            client.execute("select pg_sleep(0.002)")
    usage = proxy.call_sync(lambda: next(proxy.proxy.supervisor.directory.pools()).usage)
    proxy.call_sync(lambda: usage.sweep(usage.since + 15.0))
    (found,) = [row for row in rows(console, "STATS") if row["instance"] == PRIMARY]
    assert (found["avg_query_count"], found["avg_xact_count"], found["avg_errors"]) == (20, 20, 0)
    assert 2 <= found["avg_query_time"] <= found["avg_xact_time"] < 20
    assert found["avg_recv"] == round(found["total_received"] / 15)


def test_shards_on_one_server_count_for_themselves(path: Path, cluster: EmbeddedCluster) -> None:
    text = proxy_config(cluster)
    shard = (
        text[text.index('[pools."app".shards.0]') :].replace("shards.0", "shards.1").replace('"app"\n', '"postgres"\n')
    )
    path.write_text(text + shard)
    with ProxyThread(path) as proxy, psycopg.connect(proxy.admin_dsn, autocommit=True) as console:
        with connected(proxy) as client:
            for command in ("set shard to '1'", "select 1", "select 2", "set shard to '0'", "select 3"):
                client.execute(command.encode())
        found = {row["instance"]: row["total_query_count"] for row in rows(console, "STATS")}
        assert (found["app_shard_0_primary"], found["app_shard_1_primary"]) == (1, 2)

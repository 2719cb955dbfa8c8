"""Whole workloads with splitting on: no error, and the replicas have their even share of the reads."""

from __future__ import annotations

import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
from support.proxy import APP_PASSWORD, APP_USER, ProxyThread, proxy_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from pgcat_trio.embedded import EmbeddedCluster

ACCOUNTS: Final = 1000
ROWS: Final = f"""
    insert into pgbench_accounts select n, 1, 0, '' from generate_series(1, {ACCOUNTS}) n;
    insert into pgbench_branches values (1, 0, '');
    insert into pgbench_tellers select n, 1, 0, '' from generate_series(1, 10) n;
"""
WRITE: Final = "update pgbench_accounts set abalance = abalance + 1 where aid = %s"
BALANCED: Final = 'load_balancing_mode = "round_robin"'
WAYS: Final = {
    "plain": BALANCED,
    "all": f'{BALANCED}\nlazy_begin = true\nread_after_write = "lsn"\nprimary_reads_enabled = true',
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def proxy(way: str, cluster: EmbeddedCluster, cluster_call: Callable[..., Any]) -> Iterator[ProxyThread]:
    config = proxy_config(cluster, splitting=True, pool=WAYS[way])
    with ProxyThread(config) as proxy:
        # pgbench's own tables, but few rows.
        pgbench(cluster, proxy, "-i", "-I", "dtp", "--quiet")
        cluster_call(cluster.psql, ROWS)
        cluster_call(cluster.wait_caught_up)
        yield proxy
        pgbench(cluster, proxy, "-i", "-I", "d", "--quiet")


def pgbench(cluster: EmbeddedCluster, proxy: ProxyThread, *options: str) -> str:
    environ = {
        **cluster.environ,
        **{"PGHOST": proxy.host, "PGPORT": str(proxy.port), "PGDATABASE": cluster.database, "PGSSLMODE": "disable"},
        **{"PGUSER": APP_USER, "PGPASSWORD": APP_PASSWORD},
    }
    program = str(cluster.bin_dir / "pgbench")
    done = subprocess.run([program, *options], env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def transactions(proxy: ProxyThread) -> dict[str, list[int]]:
    """Of each server of a role, so far."""
    [cluster] = proxy.proxy.supervisor.directory.clusters.values()
    counts: dict[str, list[int]] = {"primary": [], "replica": []}
    for pool in cluster.pools:
        counts[pool.role.value].append(int(pool.usage.totals.transactions))
    return counts


def shares(proxy: ProxyThread, work: Callable[[], object]) -> tuple[int, list[int]]:
    """What the primary has done, and what each of the replicas."""
    before = proxy.call_sync(transactions, proxy)
    work()
    after = proxy.call_sync(transactions, proxy)
    [primary] = [now - then for now, then in zip(after["primary"], before["primary"], strict=True)]
    return primary, [now - then for now, then in zip(after["replica"], before["replica"], strict=True)]


def is_even(counts: list[int]) -> bool:
    mean = sum(counts) / len(counts)
    return all(abs(count - mean) <= 0.1 * mean for count in counts)


@pytest.mark.parametrize("protocol", ["simple", "prepared"])
def test_pgbench(cluster: EmbeddedCluster, proxy: ProxyThread, protocol: str) -> None:
    def tpc_b() -> None:
        said = pgbench(cluster, proxy, "-n", "-M", protocol, "-c", "4", "-j", "2", "-t", "50", "-s", "1")
        assert "number of failed transactions: 0" in said

    def select_only() -> None:
        accounts = f"\\set aid random(1, {ACCOUNTS})\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"
        script = cluster.directory / "select.sql"
        script.write_text(accounts)
        said = pgbench(cluster, proxy, "-n", "-M", protocol, "-c", "4", "-j", "2", "-t", "500", "-f", str(script))
        assert "number of failed transactions: 0" in said

    primary, replicas = shares(proxy, tpc_b)
    assert primary >= 200
    primary, replicas = shares(proxy, select_only)
    assert sum(replicas) + primary >= 2000
    assert is_even(replicas)


def test_psycopg_with_some_writes(way: str, proxy: ProxyThread) -> None:
    def work(seed: int) -> int:
        chance = random.Random(seed)
        written = 0
        with psycopg.connect(proxy.dsn(), autocommit=True) as connection:
            for number in range(300):
                account = [chance.randint(1, ACCOUNTS)]
                if chance.random() < 0.1:
                    with connection.transaction():
                        connection.execute(WRITE, account)
                    written += 1
                elif number % 3:
                    connection.execute("select abalance from pgbench_accounts where aid = %s", account).fetchall()
                else:
                    connection.execute("select count(*), sum(abalance) from pgbench_accounts").fetchall()
        return written

    written: list[int] = []

    def all_of_them() -> None:
        with ThreadPoolExecutor(4) as threads:
            written.extend(threads.map(work, range(4)))

    _, replicas = shares(proxy, all_of_them)
    if way == "plain":
        assert is_even(replicas)  # else the one that is ahead of the other is asked more often
    with psycopg.connect(proxy.dsn()) as connection:
        [(total,)] = connection.execute("select sum(abalance) from pgbench_accounts").fetchall()
    assert total == sum(written)

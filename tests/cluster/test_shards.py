"""A pool of three shards, each a database of its own: commands, hints and defaults choose one."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from support.proxy import ProxyThread, proxy_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pgcat_trio.embedded import EmbeddedCluster

SHARDS = 3
WHERE = "select current_database()"
REGEXES = r"""
shard_id_regex = '/\* shard_id: (\d+) \*/'
sharding_key_regex = '/\* sharding_key: (-?\d+) \*/'
"""


def sharded(cluster: EmbeddedCluster, pool: str = "", pool_mode: str = "transaction", count: int = SHARDS) -> str:
    """A configuration whose shards are the databases shard0 and so on."""
    text = proxy_config(cluster, pool=f"{REGEXES}\n{pool}", pool_mode=pool_mode, splitting=pool_mode == "transaction")
    head, header, table = text.rpartition(f'[pools."{cluster.database}".shards.0]')
    tables = [
        header.replace(".0]", f".{number}]") + table.replace(f'"{cluster.database}"', f'"shard{number}"')
        for number in range(count)
    ]
    return "\n".join([head, *tables])


@pytest.fixture(scope="module")
def databases(cluster_thread: Any) -> EmbeddedCluster:
    """The cluster, with a database for each shard."""
    cluster: EmbeddedCluster = cluster_thread.cluster
    for number in range(SHARDS):
        cluster_thread.call(cluster.psql, f"drop database if exists shard{number} with (force)")
        cluster_thread.call(cluster.psql, f"create database shard{number}")
        cluster_thread.call(cluster.psql, "create table data (id bigint, value text)", None, database=f"shard{number}")
    cluster_thread.call(cluster.wait_caught_up)
    return cluster


@pytest.fixture(scope="module")
def proxy(databases: EmbeddedCluster) -> Iterator[ProxyThread]:
    with ProxyThread(sharded(databases)) as proxy:
        yield proxy


@pytest.fixture
def connection(proxy: ProxyThread) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with connect(proxy) as connection:
        yield connection


def connect(proxy: ProxyThread) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(f"{proxy.dsn()}?sslmode=disable", autocommit=True)


def one(connection: psycopg.Connection[tuple[Any, ...]], sql: str, *values: object, **how: Any) -> Any:
    row = connection.execute(sql, values or None, **how).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("prepare", [False, True])
def test_set_shard(connection: psycopg.Connection[tuple[Any, ...]], prepare: bool) -> None:
    assert one(connection, WHERE, prepare=prepare) == "shard0"
    assert one(connection, "SHOW SHARD", prepare=prepare) == "unset"
    for number in (1, 2, 0, 2) * 3:
        assert connection.execute(f"SET SHARD TO {number}", prepare=prepare).statusmessage == "SET SHARD"
        assert one(connection, WHERE, prepare=prepare) == f"shard{number}"
        assert one(connection, "SHOW SHARD", prepare=prepare) == str(number)
    connection.execute("SET SHARD TO ANY")
    assert one(connection, WHERE) == f"shard{one(connection, 'SHOW SHARD')}"
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="shard 3 is not configured, staying on shard"):
        connection.execute("SET SHARD TO 3")
    assert one(connection, "select 1") == 1


def test_keys_go_where_postgresql_would_have_them(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    keys = range(1, 21)
    for key in keys:
        connection.execute(f"SET SHARDING KEY TO '{key}'")
        connection.execute("insert into data values (%s, %s)", (key, f"value {key}"))
    found = []
    for key in keys:
        connection.execute(f"SET SHARDING KEY TO {key}")
        found.append(int(one(connection, "SHOW SHARD")))
        sql = "select value from data where id = %s for share"  # not on a replica, which may be behind
        assert one(connection, sql, key) == f"value {key}"
    assert found == [2, 0, 1, 0, 2, 0, 1, 0, 2, 1, 2, 2, 1, 1, 0, 0, 2, 0, 0, 0]


def test_settings_and_statements_go_along(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    connection.execute("set application_name to 'traveller'")
    connection.execute("set work_mem to '7MB'")
    sql = "select current_database(), current_setting('application_name'), current_setting('work_mem'), %s::int"
    for number in (2, 0, 1):
        connection.execute(f"SET SHARD TO {number}")
        row = connection.execute(sql, (number,), prepare=True).fetchone()
        assert row == (f"shard{number}", "traveller", "7MB", number)


def test_transactions_stay_on_their_shard(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    connection.execute("SET SHARD TO 1")
    connection.execute("begin")
    assert one(connection, WHERE) == "shard1"
    connection.execute("SET SHARD TO 1")
    with pytest.raises(psycopg.errors.ActiveSqlTransaction):
        connection.execute("SET SHARD TO 2")
    connection.execute("rollback")
    connection.execute("begin")
    assert one(connection, f"{WHERE} /* pgcat: shard=1 */") == "shard1"
    with pytest.raises(psycopg.errors.ActiveSqlTransaction, match="hint shard=0"):
        connection.execute("insert into data values (-1, 'nowhere') /* pgcat: shard=0 */")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        connection.execute("insert into data values (-1, 'nowhere')")
    assert connection.execute("commit").statusmessage == "ROLLBACK"
    assert one(connection, WHERE) == "shard1"
    for number in range(SHARDS):
        connection.execute(f"SET SHARD TO {number}")
        assert one(connection, "select count(*) from data where id = -1") == 0


@pytest.mark.parametrize("prepare", [False, True])
def test_hints_hold_for_their_request(connection: psycopg.Connection[tuple[Any, ...]], prepare: bool) -> None:
    connection.execute("SET SHARD TO 2")
    for _ in range(3):
        for number in (0, 1):
            assert one(connection, f"/* pgcat: shard={number} */ {WHERE}", prepare=prepare) == f"shard{number}"
            assert one(connection, WHERE, prepare=prepare) == "shard2"
    assert one(connection, "SHOW SHARD") == "2"
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="shard 7 is not configured, as a hint says"):
        connection.execute(f"{WHERE} /* pgcat: shard=7 */", prepare=prepare)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="cannot be understood"):
        connection.execute(f"{WHERE} /* pgcat: shrad=1 */", prepare=prepare)
    assert one(connection, WHERE, prepare=prepare) == "shard2"


def test_role_hints(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    standby = "select pg_is_in_recovery()"
    assert one(connection, standby) is True
    assert one(connection, f"/* pgcat: role=primary */ {standby}") is False
    assert one(connection, f"/* pgcat: role=primary, shard=1 */ {standby}") is False
    assert one(connection, f"/* pgcat: role=replica */ {standby}") is True
    with connection.pipeline():
        cursors = [connection.execute(f"{standby} {hint}") for hint in ("", "/* pgcat: role=primary */", "")]
    assert cursors[1].fetchone() == (False,)


def test_pipelined_hints_go_to_their_shards(proxy: ProxyThread) -> None:
    async def converse() -> None:
        connection = await asyncpg.connect(f"{proxy.dsn()}?sslmode=disable")
        try:
            for _ in range(3):
                for number in (2, 0, 1):
                    assert await connection.fetchval(f"{WHERE} /* pgcat: shard={number} */") == f"shard{number}"
                    assert await connection.execute(f"SET SHARD TO {number}") == "SET SHARD"
                    assert await connection.fetchval(WHERE) == f"shard{number}"
        finally:
            await connection.close()

    asyncio.run(converse())


def test_pgcats_patterns_are_sticky(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    assert one(connection, f"/* shard_id: 1 */ {WHERE}") == "shard1"
    assert one(connection, WHERE) == "shard1"
    assert one(connection, f"/* sharding_key: 1 */ {WHERE}") == "shard2"
    assert one(connection, "SHOW SHARD") == "2"
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="shard 9 is not configured"):
        connection.execute(f"/* shard_id: 9 */ {WHERE}")
    with pytest.raises(psycopg.errors.ActiveSqlTransaction), connection.transaction():
        connection.execute(f"/* shard_id: 0 */ {WHERE}")
    assert one(connection, WHERE) == "shard2"


@pytest.mark.parametrize("default", ["random", "random_healthy"])
def test_random_defaults(databases: EmbeddedCluster, default: str) -> None:
    with ProxyThread(sharded(databases, f'default_shard = "{default}"')) as proxy, connect(proxy) as connection:
        counted = Counter(one(connection, WHERE) for _ in range(60))
        assert set(counted) == {"shard0", "shard1", "shard2"}
        connection.execute("SET SHARD TO 1")
        assert {one(connection, WHERE) for _ in range(10)} == {"shard1"}


def test_numbered_default(databases: EmbeddedCluster) -> None:
    with ProxyThread(sharded(databases, 'default_shard = "shard_2"')) as proxy, connect(proxy) as connection:
        assert one(connection, WHERE) == "shard2"
        assert one(connection, "SHOW SHARD") == "unset"


def test_session_mode(databases: EmbeddedCluster) -> None:
    """A session has its server from its login on: on the default shard."""
    config = sharded(databases, 'default_shard = "shard_1"', pool_mode="session")
    with ProxyThread(config) as proxy, connect(proxy) as connection:
        assert one(connection, WHERE) == "shard1"
        connection.execute("SET SHARD TO 1")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="session mode"):
            connection.execute("SET SHARD TO 0")
        assert one(connection, f"{WHERE} /* pgcat: shard=1 */") == "shard1"
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="session mode"):
            connection.execute(f"{WHERE} /* pgcat: shard=0 */")
        assert one(connection, WHERE) == "shard1"
    with ProxyThread(config) as proxy, connect(proxy) as connection:
        connection.execute("SET SHARD TO 2")
        connection.execute("SET SHARD TO 0")
        assert one(connection, WHERE) == "shard0"
        assert one(connection, WHERE) == "shard0"


def test_the_console_lists_all_shards(proxy: ProxyThread, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    for number in range(SHARDS):
        assert one(connection, f"{WHERE} /* pgcat: shard={number} */") == f"shard{number}"
    with psycopg.connect(f"{proxy.admin_dsn}?sslmode=disable", autocommit=True) as console:
        rows = console.execute("SHOW DATABASES").fetchall()
        names = [row[0] for row in rows if "shard" in row[0]]
        assert names == [
            f"app_shard_{number}_{role}" for number in range(SHARDS) for role in ("primary", "replica_0", "replica_1")
        ]
        assert {row[3] for row in rows} >= {"shard0", "shard1", "shard2"}
        pools = console.execute("SHOW POOLS").fetchall()
        assert len([row for row in pools if row[0] == "app"]) == 1
        assert {row[0] for row in console.execute("SHOW USERS").fetchall()} >= {"app_user"}
        console.execute("PAUSE app")
        console.execute("RESUME app")
    assert one(connection, WHERE) == "shard0"


def test_notifications_of_the_shard_that_was_listened_to(proxy: ProxyThread) -> None:
    with connect(proxy) as listener, connect(proxy) as notifier:
        listener.execute("SET SHARD TO 1")
        listener.execute("listen news")
        listener.execute("SET SHARD TO 2")
        assert one(listener, WHERE) == "shard2"
        for number in range(SHARDS):
            notifier.execute(f"select pg_notify('news', '{number}') /* pgcat: shard={number}, role=primary */")
        assert [notify.payload for notify in listener.notifies(timeout=5, stop_after=1)] == ["1"]


def test_reload(databases: EmbeddedCluster, tmp_path: Path) -> None:
    file = tmp_path / "pgcat.toml"
    file.write_text(sharded(databases))
    with ProxyThread(file) as proxy, connect(proxy) as staying, connect(proxy) as lost:
        staying.execute("SET SHARD TO 1")
        lost.execute("SET SHARD TO 2")
        file.write_text(sharded(databases, "pinning = 'deny'"))
        proxy.call_sync(proxy.proxy.supervisor.reload)
        assert (one(staying, WHERE), one(lost, WHERE)) == ("shard1", "shard2")
        file.write_text(sharded(databases, count=2))
        proxy.call_sync(proxy.proxy.supervisor.reload)
        assert one(staying, WHERE) == "shard1"
        for _ in range(2):
            with pytest.raises(psycopg.errors.InvalidParameterValue, match="shard 2 is not configured any more"):
                lost.execute(WHERE)
        lost.execute("SET SHARD TO 0")
        assert one(lost, WHERE) == "shard0"


def test_positions_are_those_of_the_shard(databases: EmbeddedCluster) -> None:
    """Each shard has a log of its own: what has been written on one says nothing about another's replicas."""
    with ProxyThread(sharded(databases, 'read_after_write = "lsn"')) as proxy, connect(proxy) as connection:
        connection.execute("SET SHARD TO 1")
        connection.execute("insert into data values (99, 'here')")
        assert one(connection, "select value from data where id = 99") == "here"
        position = one(connection, "SHOW pgcat.lsn")
        assert position
        connection.execute("SET SHARD TO 0")
        assert one(connection, "select count(*) from data where id = 99") == 0
        assert one(connection, "SHOW pgcat.lsn") == ""
        connection.execute("SET SHARD TO 1")
        assert one(connection, "select value from data where id = 99") == "here"
        assert one(connection, "SHOW pgcat.lsn") == position

"""A real hot standby as the judge: whatever is called a read must run there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from routing_statements import READ_ONLY_TRANSACTIONS, READS, SCHEMA

from pgcat_trio.routing.functions import READ_ONLY_FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgcat_trio.embedded import EmbeddedCluster

pytestmark = pytest.mark.slow

DATABASE = "routing_oracle"


@pytest.fixture(scope="module")
def standby(cluster_thread: object) -> Iterator[psycopg.Connection]:
    """A connection to a replica that holds the schema of the table of statements."""
    cluster: EmbeddedCluster = cluster_thread.cluster  # type: ignore[attr-defined]
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(cluster.dsn(database=DATABASE), autocommit=True) as connection:
        connection.execute(SCHEMA)
        target = connection.execute("SELECT pg_current_wal_lsn()").fetchone()
    replica = cluster.dsn(cluster.replicas[0], database=DATABASE)
    with psycopg.connect(cluster.dsn(cluster.replicas[0]), autocommit=True) as connection:
        reached = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        while connection.execute(reached, target).fetchone() != (True,):
            connection.execute("SELECT pg_sleep(0.05)")
    with psycopg.connect(replica, autocommit=True) as connection:
        yield connection
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.mark.parametrize("sql", READS)
def test_a_read_runs_on_a_hot_standby(standby: psycopg.Connection, sql: str) -> None:
    if sql.startswith("COPY"):
        with standby.cursor() as cursor, cursor.copy(sql.encode()) as rows:
            assert list(rows)
    else:
        standby.execute(sql.encode())


@pytest.mark.parametrize("sql", READ_ONLY_TRANSACTIONS)
def test_a_read_only_transaction_begins_on_a_hot_standby(standby: psycopg.Connection, sql: str) -> None:
    standby.execute(sql.encode())
    standby.execute("ROLLBACK")


def test_no_function_called_read_only_is_known_to_write(standby: psycopg.Connection) -> None:
    """Volatile functions of the catalog are on the list only if they are on this one: each was looked at."""
    volatile = standby.execute(
        "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'v'"
    )
    assert READ_ONLY_FUNCTIONS & {name for (name,) in volatile} <= HARMLESS_THOUGH_VOLATILE


VOLATILE = """
    array_sample array_shuffle clock_timestamp current_query gen_random_uuid pg_database_size pg_indexes_size
    pg_is_in_recovery pg_is_wal_replay_paused pg_last_wal_receive_lsn pg_last_wal_replay_lsn
    pg_last_xact_replay_timestamp pg_partition_ancestors pg_partition_tree pg_relation_size pg_sleep pg_sleep_for
    pg_sleep_until pg_table_size pg_tablespace_size pg_total_relation_size random random_normal timeofday uuidv4 uuidv7
"""
HARMLESS_THOUGH_VOLATILE = set(VOLATILE.split())

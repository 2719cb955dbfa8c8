"""The proxy's commands as drivers give them, over real servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from support.proxy import ProxyThread, proxy_config

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDBY = "select pg_is_in_recovery()"


@pytest.fixture(scope="module", params=["transaction", "no statements"])
def splitting_proxy(request: pytest.FixtureRequest, cluster_thread: Any) -> Iterator[ProxyThread]:
    size = 500 if request.param == "transaction" else 0
    config = proxy_config(cluster_thread.cluster, splitting=True, pool=f"prepared_statements_cache_size = {size}")
    with ProxyThread(config) as proxy:
        yield proxy


@pytest.fixture
def dsn(splitting_proxy: ProxyThread) -> str:
    return f"{splitting_proxy.dsn()}?sslmode=disable"


def one(connection: psycopg.Connection[tuple[object]], sql: str, **how: bool) -> object:
    row = connection.execute(sql, **how).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("prepare", [False, True])
def test_psycopg(dsn: str, prepare: bool, request: pytest.FixtureRequest) -> None:
    if "no statements" in request.node.name and prepare:
        pytest.skip("there a client that prepares keeps its connection")
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        assert one(connection, STANDBY, prepare=prepare) is True
        for role, standby in [("primary", False), ("replica", True), ("primary", False), ("auto", True)] * 3:
            cursor = connection.execute(f"SET SERVER ROLE TO '{role}'", prepare=prepare)
            assert cursor.statusmessage == "SET SERVER ROLE"
            assert cursor.description is None
            assert one(connection, "SHOW SERVER ROLE", prepare=prepare) == role
            assert one(connection, f"{STANDBY} /* {role} */") is standby
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="shard 3 is not configured"):
            connection.execute("SET SHARD TO 3", prepare=prepare)
        connection.execute("DEALLOCATE ALL")
        assert one(connection, "SHOW SHARD", prepare=prepare) == "unset"


def test_psycopg_gives_up_statements_of_its_own(dsn: str) -> None:
    """It deallocates those it has not used for long, commands among them."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.prepare_threshold, connection.prepared_max = 0, 2
        for number in range(3):
            assert one(connection, "SHOW SHARD") == "unset"
            assert [one(connection, f"select {n}") for n in range(3)] == [0, 1, 2], number


def test_psycopg_in_transactions(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("SET SERVER ROLE TO 'primary'")
        assert one(connection, "SHOW SERVER ROLE") == "primary"
        assert one(connection, STANDBY) is False
        with pytest.raises(psycopg.errors.ActiveSqlTransaction):
            connection.execute("SET SERVER ROLE TO 'replica'")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("SHOW SERVER ROLE")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("select 1")
        connection.rollback()
        assert one(connection, "SHOW SERVER ROLE") == "primary"


def test_psycopg_pipeline(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        with connection.pipeline() as pipeline:
            connection.execute("SET SERVER ROLE TO 'primary'")
            cursors = [connection.execute(sql) for sql in (STANDBY, "select 7", STANDBY)]
            pipeline.sync()
            shown = connection.execute("SHOW SERVER ROLE")
        assert [cursor.fetchone() for cursor in cursors] == [(False,), (7,), (False,)]
        assert shown.fetchone() == ("primary",)


def pipelined(connection: psycopg.Connection[tuple[object]]) -> list[object]:
    with connection.pipeline():
        cursors = [connection.execute(sql) for sql in ("select 'a'", "SHOW SERVER ROLE", "select 'b'")]
    return [cursor.fetchone() for cursor in cursors]


def test_psycopg_pipeline_with_a_command_in_the_middle(dsn: str, request: pytest.FixtureRequest) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET SERVER ROLE TO 'primary'")
        if "no statements" in request.node.name:
            with pytest.raises((psycopg.errors.FeatureNotSupported, psycopg.OperationalError)):
                pipelined(connection)
            return
        assert pipelined(connection) == [("a",), ("primary",), ("b",)]


def test_asyncpg(dsn: str, request: pytest.FixtureRequest) -> None:
    cache = 0 if "no statements" in request.node.name else 100

    async def converse() -> None:
        connection = await asyncpg.connect(dsn, statement_cache_size=cache)
        try:
            for role, standby in [("primary", False), ("replica", True), ("default", True)] * 2:
                assert await connection.execute(f"SET SERVER ROLE TO '{role}'") == "SET SERVER ROLE"
                shown = "auto" if role == "default" else role
                assert await connection.fetchval("SHOW SERVER ROLE") == shown
                assert await connection.fetchval(STANDBY) is standby
            await connection.fetch("SET PRIMARY READS TO 'on'")
            assert await connection.fetchrow("SHOW PRIMARY READS") == ("on",)
            async with connection.transaction():
                assert await connection.fetchval("SHOW SHARD") == "unset"
                assert await connection.fetchval(STANDBY) is False
            with pytest.raises(asyncpg.InvalidParameterValueError):
                await connection.fetch("SET SHARD TO 3")
            assert await connection.fetchval("select 1") == 1
            statement = await connection.prepare("SHOW SERVER ROLE")
            await connection.execute("SET SERVER ROLE TO 'primary'")
            assert await statement.fetchval() == "primary"
        finally:
            await connection.close()

    asyncio.run(converse())

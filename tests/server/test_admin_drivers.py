"""The console by what people have at hand: drivers with statements of their own, and tools that look around first."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from support.proxy import APP_USER, ProxyThread, proxy_config

from pgcat_trio import __version__
from pgcat_trio.server.admin.answers import INT4, NUMERIC, TEXT, data_rows

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def proxy(cluster_thread: Any) -> Iterator[ProxyThread]:
    with ProxyThread(proxy_config(cluster_thread.cluster)) as proxy:
        yield proxy


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("autocommit", [False, True])
def test_psycopg_prepares_and_begins_transactions(proxy: ProxyThread, binary: bool, autocommit: bool) -> None:
    with psycopg.connect(proxy.admin_dsn, autocommit=autocommit) as console:
        for _ in range(3):
            cursor = console.execute("SHOW DATABASES", prepare=True, binary=binary)
            assert cursor.description is not None
            row = dict(zip([column.name for column in cursor.description], cursor.fetchall()[0], strict=True))
            assert (row["force_user"], row["pool_size"], row["paused"]) == (APP_USER, 5, 0)
        for row in console.execute("SHOW POOLS", prepare=True, binary=binary).fetchall():
            assert [type(value) for value in row] == [str] * 3 + [Decimal] * 11
        console.commit()
        with pytest.raises(psycopg.errors.SyntaxError):
            console.execute("VACUUM", prepare=True)
        console.rollback()
        with pytest.raises(psycopg.errors.ProtocolViolation):  # by this pgcli tells that it is no database
            console.execute("SELECT 1", prepare=True, binary=binary)
        console.rollback()
        assert console.execute("show time zone", prepare=True, binary=binary).fetchall() == [("Etc/UTC",)]


def test_asyncpg(proxy: ProxyThread) -> None:
    async def ask() -> None:
        console = await asyncpg.connect(proxy.admin_dsn)
        try:
            assert await console.fetchval("SHOW VERSION") == f"pgcat-trio {__version__}"
            [pool] = await console.fetch("SHOW POOLS")
            assert (pool["user"], pool["cl_waiting"]) == (APP_USER, Decimal(0))
            statement = await console.prepare("RELOAD DRY RUN")
            assert [attribute.name for attribute in statement.get_attributes()] == [
                "action",
                "database",
                "user",
                "what",
            ]
            assert await console.execute("PAUSE") == "PAUSE"
            assert await console.fetch("RESUME") == []
            with pytest.raises(asyncpg.ProtocolViolationError):
                await console.fetch("SELECT version()")
            with pytest.raises(asyncpg.FeatureNotSupportedError):
                await console.fetch("BAN $1 60")
            assert await console.fetchval("SHOW VERSION") == f"pgcat-trio {__version__}"
        finally:
            await console.close()

    asyncio.run(ask())


@pytest.mark.parametrize("number", [0, 1, -1, 9_999, 10_000, -10_000, 123_456_789, 10**16, 2**63])
def test_numbers_in_binary(proxy: ProxyThread, number: int) -> None:
    """psycopg reads what we write, and it reads servers."""
    header = (("a", NUMERIC), ("b", INT4), ("c", TEXT), ("d", NUMERIC))
    small = number % 1000
    row = data_rows(header, [(number, small, str(number), None)], (True, True, True, True))
    loader = psycopg.adapters.get_loader(NUMERIC, psycopg.pq.Format.BINARY)
    assert loader is not None
    body, values = row[7:], []
    while body:
        size = int.from_bytes(body[:4], signed=True)
        values.append(body[4 : 4 + size] if size >= 0 else None)
        body = body[4 + max(size, 0) :]
    assert [values[1], values[2], values[3]] == [small.to_bytes(4), str(number).encode(), None]
    assert values[0] is not None
    assert loader(NUMERIC).load(values[0]) == number

"""asyncpg through the proxy, on every way in."""

from __future__ import annotations

import asyncio
import ssl
from io import BytesIO
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conftest import Door

    Scenario = Callable[[asyncpg.Connection], Awaitable[None]]


def run(door: Door, scenario: Scenario, **options: Any) -> None:
    """Run one coroutine function on a connection of its own."""
    context = ssl.create_default_context(cafile=str(door.ca_file)) if door.ca_file is not None else False
    if door.pool_mode == "transaction":
        # As for PgBouncer: names of statements mean nothing on the next backend.
        options = {"statement_cache_size": 0, **options}

    async def main() -> None:
        connection = await asyncpg.connect(door.proxy.dsn(), ssl=context, timeout=10, **options)
        try:
            await scenario(connection)
        finally:
            await connection.close(timeout=10)

    asyncio.run(main())


def test_values_of_many_types(door: Door) -> None:
    async def scenario(connection: asyncpg.Connection) -> None:
        row = await connection.fetchrow(
            "select $1::int8, $2::text, $3::bytea, $4::int[]", 2**40, "é", b"\0\xff", [1, 2]
        )
        assert tuple(row) == (2**40, "é", b"\0\xff", [1, 2])

    run(door, scenario)


def test_a_transaction_and_a_savepoint(door: Door) -> None:
    async def scenario(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            await connection.execute("insert into item (name) values ($1)", "kept")
            with pytest.raises(asyncpg.DivisionByZeroError):
                await fail_in_savepoint(connection)
        assert [row["name"] for row in await connection.fetch("select name from item")] == ["kept"]

    async def fail_in_savepoint(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            await connection.execute("insert into item (name) values ($1)", "lost")
            await connection.execute("select 1/0")

    run(door, scenario)


def test_a_cursor_reads_in_parts(door: Door) -> None:
    async def scenario(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            numbers = [row[0] async for row in connection.cursor("select generate_series(1, 1000)", prefetch=50)]
        assert numbers == list(range(1, 1001))

    run(door, scenario)


def test_executemany(door: Door) -> None:
    async def scenario(connection: asyncpg.Connection) -> None:
        await connection.executemany(
            "insert into item (name, amount) values ($1, $2)", [(f"n{i}", i) for i in range(500)]
        )
        assert await connection.fetchval("select sum(amount) from item") == 124750

    run(door, scenario)


def test_copy_in_and_out(door: Door) -> None:
    async def scenario(connection: asyncpg.Connection) -> None:
        records = [(i, f"name {i}", bytes([i % 256]) * 100) for i in range(2000)]
        assert await connection.copy_records_to_table("copied", records=records) == "COPY 2000"
        out = BytesIO()
        await connection.copy_from_query("select id, name from copied order by id", output=out, format="csv")
        assert out.getvalue().decode().splitlines() == [f"{i},name {i}" for i in range(2000)]

    run(door, scenario)


def test_an_error_leaves_the_connection_usable(door: Door) -> None:
    async def scenario(connection: asyncpg.Connection) -> None:
        for _ in range(5):
            with pytest.raises(asyncpg.UndefinedTableError):
                await connection.fetch("select * from nothing_by_that_name")
            assert await connection.fetchval("select 1") == 1

    run(door, scenario)


def test_a_timeout_cancels_the_query_on_the_server(door: Door) -> None:
    async def scenario(connection: asyncpg.Connection) -> None:
        with pytest.raises(TimeoutError):
            await connection.execute("select pg_sleep(30) /* to be cancelled */", timeout=0.2)
        running = "select count(*) from pg_stat_activity where state = 'active' and query like '%be cancelled%'"
        assert await connection.fetchval(running + " and pid <> pg_backend_pid()") == 0

    run(door, scenario)


@pytest.mark.parametrize("door", ["session-plain"], indirect=True)
def test_the_statement_cache_in_session_mode(door: Door) -> None:
    async def scenario(connection: asyncpg.Connection) -> None:
        for i in range(20):
            assert await connection.fetchval("select $1::int + 1", i) == i + 1
        assert await connection.fetchval("select count(*) from pg_prepared_statements") >= 1
        await connection.reset()

    run(door, scenario)


@pytest.mark.parametrize("door", ["session-plain"], indirect=True)
def test_notifications_in_session_mode(door: Door) -> None:
    async def scenario(connection: asyncpg.Connection) -> None:
        heard = asyncio.get_running_loop().create_future()
        await connection.add_listener("news", lambda *about: heard.set_result(about[2:]))
        other = await asyncpg.connect(door.proxy.dsn(), ssl=False)
        await other.execute("notify news, 'hello'")
        await other.close()
        # The listener asks for nothing: the notification must come by itself.
        assert await asyncio.wait_for(heard, 5) == ("news", "hello")

    run(door, scenario)


def test_server_settings(door: Door) -> None:
    async def scenario(connection: asyncpg.Connection) -> None:
        for _ in range(3):
            row = await connection.fetchrow("select current_setting('application_name'), current_setting('work_mem')")
            assert tuple(row) == ("mine", "7MB")

    run(door, scenario, server_settings={"application_name": "mine", "work_mem": "7MB"})

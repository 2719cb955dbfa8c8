"""Scenarios with psycopg 3's asyncio side, where many connections are busy at the same time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg_common import failure
from scenarios import PATIENCE_S, Scenarios

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

scenario = Scenarios()

CLIENTS = range(1, 8)


@contextlib.asynccontextmanager
async def connect(**options: Any) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection in autocommit mode."""
    async with await psycopg.AsyncConnection.connect("", autocommit=True, **options) as connection:
        yield connection


async def rows(connection: psycopg.AsyncConnection[Any], query: Any, *args: Any, **options: Any) -> list[Any]:
    cursor = await connection.execute(query, *args, **options)
    return await cursor.fetchall()


async def attempt(connection: psycopg.AsyncConnection[Any], query: Any, *args: Any, **options: Any) -> object:
    """The rows of a query, or how it failed."""
    try:
        cursor = await connection.execute(query, *args, **options)
        return await cursor.fetchall() if cursor.description is not None else cursor.statusmessage
    except psycopg.Error as error:
        return failure(error)


@scenario
async def prepared_many_clients() -> object:
    queries = [f"select {n}, name, amount * %s::int from item where id = %s" for n in range(4)]

    async def client(number: int) -> list[Any]:
        async with connect() as connection:
            seen: list[Any] = []
            for turn in range(30):
                query = queries[(turn + number) % 4]
                seen.append(await rows(connection, query, (turn, number), prepare=True))
                if turn % 7 == number % 7:
                    async with connection.transaction():
                        seen.append(await rows(connection, queries[0], (turn, number), prepare=True))
                        seen.append(await rows(connection, query, (turn, number), prepare=True))
            return seen

    return await asyncio.gather(*map(client, CLIENTS))


@scenario
async def prepared_reuse_after_error() -> object:
    async def client(number: int) -> list[Any]:
        async with connect() as connection:
            divisors = [(turn * number) % 3 for turn in range(20)]
            return [await attempt(connection, "select 10 / %s::int", (each,), prepare=True) for each in divisors]

    return await asyncio.gather(*map(client, CLIENTS))


@scenario
async def pipeline() -> object:
    async def client(number: int) -> list[Any]:
        seen: list[Any] = []
        async with connect() as connection:
            async with connection.pipeline():
                cursors = [
                    await connection.execute("select %s::int, name from item where id = %s", (n, n), prepare=n % 2 == 0)
                    for n in range(1, 9)
                ]
                seen += [await cursor.fetchall() for cursor in cursors]
            try:
                # Which of these calls raises depends on when the error arrives; which error does not.
                async with connection.pipeline():
                    await connection.execute("insert into item (name) values (%s)", (f"p{number}",), prepare=True)
                    await connection.execute("select 1 / %s::int", (0,), prepare=True)
                    await connection.execute("insert into item (name) values (%s)", (f"q{number}",), prepare=True)
            except psycopg.Error as error:
                seen.append(failure(error))
            inserted = "select count(*) from item where name = any(%s)"
            seen.append(await rows(connection, inserted, ([f"p{number}", f"q{number}"],), prepare=True))
        return seen

    return await asyncio.gather(*map(client, CLIENTS))


@scenario
async def batch() -> object:
    insert = "insert into item (name, amount) values (%s, %s) returning name"
    async with connect() as connection, connect() as other, connection.transaction(force_rollback=True):
        cursor = connection.cursor()
        await cursor.executemany(insert, [(f"b{n}", n) for n in range(50)], returning=True)
        names = [await result.fetchone() async for result in cursor.results()]
        return [
            names,
            await rows(connection, "select count(*) from item"),
            await rows(other, "select count(*) from item"),
        ]


@scenario
async def cursor() -> object:
    async def client(number: int) -> list[Any]:
        async with connect() as connection, connection.transaction(), connection.cursor("c") as cursor:
            await cursor.execute("select n, repeat('x', n) from generate_series(1, %s) n", (10 * number,))
            cursor.itersize = 7
            return [await cursor.fetchmany(3), [row[0] async for row in cursor]]

    return await asyncio.gather(*map(client, CLIENTS))


@scenario
async def copy_in() -> object:
    async def client(number: int) -> list[Any]:
        async with connect() as connection, connection.transaction(force_rollback=True):
            cursor = connection.cursor()
            async with cursor.copy("copy copied (id, name) from stdin") as copy:
                for n in range(200 * number):
                    await copy.write_row((n, f"client {number}"))
            return [cursor.rowcount, await rows(connection, "select count(*), min(name), max(name) from copied")]

    return await asyncio.gather(*map(client, CLIENTS))


@scenario
async def cancel() -> object:
    seen: list[object] = []
    running = "select count(*) from pg_stat_activity where state = 'active' and query like 'select slow(30)%'"
    async with connect() as connection, connect() as other:
        for begin in ("select 1", "begin"):
            for by_task in (True, False):
                await connection.execute(begin)
                task = asyncio.create_task(attempt(connection, "select slow(30)"))
                while await rows(other, running) == [(0,)]:  # noqa: ASYNC110 - the server tells no other way
                    await asyncio.sleep(0.01)
                if by_task:
                    task.cancel()
                else:
                    await connection.cancel_safe(timeout=PATIENCE_S)
                (ended,) = await asyncio.gather(task, return_exceptions=True)
                seen.append(type(ended).__name__ if isinstance(ended, BaseException) else ended)
                seen += [await attempt(connection, "select 'afterwards'"), await rows(other, running)]
                seen += [await attempt(connection, "rollback"), await rows(connection, "select 1")]
    return seen


@scenario
async def listen_notify() -> object:
    async with connect() as listener, connect() as other:
        await listener.execute("listen news")

        async def hear() -> list[Any]:
            return [each.payload async for each in listener.notifies(timeout=PATIENCE_S, stop_after=3)]

        heard = asyncio.create_task(hear())
        for payload in ("one", "two", "three"):
            await rows(other, "select pg_notify('news', %s)", (payload,))
        return [await heard, await rows(listener, "select 1")]


if __name__ == "__main__":
    scenario.main()

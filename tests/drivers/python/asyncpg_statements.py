"""Scenarios with asyncpg: values, prepared statements, parts of results, and COPY."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any

from asyncpg_common import attempt, connect, scenario
from scenarios import VALUES, large_bytes, large_text, summary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

JSON = json.dumps({"n": [1, None, "✓"]})


@scenario
async def types_binary() -> object:
    async with connect() as connection:
        seen: list[object] = []
        for name, value in (*VALUES, ("json", JSON), ("jsonb", JSON), ("jsonb", None)):
            seen.append((name, await connection.fetchrow(f"select $1::{name}, $1::{name}::text", value)))
        return [*seen, await connection.fetch("select * from item where id < 4 order by id")]


@scenario
async def custom_types() -> object:
    # The driver asks the catalogs about types that it does not know, by statements of its own.
    seen: list[object] = []
    async with connect() as first, connect() as second:
        await first.execute("create type mood as enum ('sad', 'happy'); create type pair as (n int, m mood)")
        for connection in (first, second, first):
            seen.append(await connection.fetchrow("select 'happy'::mood, (1, 'sad')::pair, array[(2, 'sad')::pair]"))
            seen.append(await connection.fetchval("select $1::pair[]", [(3, "happy"), None]))
        await first.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        seen += [await each.fetchval("""select '{"a": [1]}'::jsonb""") for each in (first, second, first)]
        await second.execute("drop type pair; drop type mood")
    return seen


@scenario
async def large_values() -> object:
    seen = []
    async with connect() as connection:
        for length in (1_000_000, 5_000_000):
            for name, value in (("text", large_text(length)), ("bytea", large_bytes(length))):
                echo, size = await connection.fetchrow(f"select $1::{name}, octet_length($1::{name})", value)
                seen.append((echo == value, summary(echo), size))
    return seen


@scenario
async def prepared() -> object:
    async with connect() as connection, connect() as other:
        statement = await connection.prepare("select id, name, price from item where id = $1")
        seen: list[object] = [
            [each.name for each in statement.get_parameters()],
            [(each.name, each.type.name) for each in statement.get_attributes()],
        ]
        for n in range(60):
            seen.append(await statement.fetchrow(n % 11))
            seen.append(await other.fetchval("select $1::int + 1", n))
        return [*seen, statement.get_statusmsg(), await statement.fetchval(3, column=1)]


@scenario
async def prepared_many_clients() -> object:
    queries = [f"select {n}, name, amount * $1::int from item where id = $2" for n in range(4)]

    async def client(number: int) -> list[Any]:
        async with connect() as connection:
            statements = [await connection.prepare(queries[(number + n) % 4]) for n in range(4)]
            seen: list[Any] = []
            for turn in range(30):
                seen.append(await statements[turn % 4].fetch(turn, number))
                seen.append(await connection.fetch(queries[turn % 4], turn, number))
                if turn % 7 == number % 7:
                    async with connection.transaction():
                        seen.append(await statements[0].fetch(turn, number))
                        seen.append(await connection.fetch(queries[2], turn, number))
            return seen

    return await asyncio.gather(*(client(number) for number in range(1, 8)))


@scenario
async def prepared_reuse_after_error() -> object:
    seen: list[object] = []
    async with connect() as connection, connect() as other:
        divide = await connection.prepare("select 10 / $1::int")
        for divisor in (1, 0, 2, 0, 5):
            seen.append(await attempt(divide.fetchval(divisor)))
            seen.append(await attempt(connection.prepare("select no_such_column, $1::int")))
            seen.append(await attempt(connection.fetch("select 10 / $1::int", divisor)))
            seen.append(await attempt(other.fetch("select 10 * $1::int", divisor)))
            seen.append(await attempt(divide.fetchval("not a number")))
    return seen


@scenario
async def unprepared_parameters() -> object:
    async with connect(statement_cache_size=0) as connection, connect(statement_cache_size=0) as other:
        seen: list[object] = []
        for n in range(20):
            seen += [await each.fetchrow("select $1::int + 1, $2::text", n, str(n)) for each in (connection, other)]
        return seen


@scenario
async def many_statements() -> object:
    async with connect() as connection, connect() as other:
        # Each of them on both, in turn.
        clients = [(connection, other)[n % 2] for n in range(200)] + [(other, connection)[n % 2] for n in range(200)]
        return [await each.fetchval(f"select {n % 200} + $1::int", 1) for n, each in enumerate(clients)]


@scenario
async def schema_change() -> object:
    seen: list[object] = []
    query = "select * from changing where a = $1"
    async with connect() as connection, connect() as other:
        await other.execute("create table changing (a int); insert into changing values (1)")
        statement = await connection.prepare(query)
        seen += [await statement.fetch(1), await connection.fetch(query, 1), await connection.fetch(query, 1)]
        await other.execute("alter table changing add column b text default 'new'")
        seen += [await attempt(statement.fetch(1)), await attempt(connection.fetch(query, 1))]
        seen += [await attempt(statement.fetch(1)), await attempt(connection.fetch(query, 1))]
        transaction = connection.transaction()
        await transaction.start()
        seen.append(await attempt(connection.fetch(query, 1)))
        await connection.execute("alter table changing drop column b")
        seen += [await attempt(connection.fetch(query, 1)), await attempt(connection.fetch("select 1"))]
        await transaction.rollback()
        seen.append(await attempt(connection.fetch(query, 1)))
        await other.execute("drop table changing")
        seen.append(await attempt(connection.fetch(query, 1)))
    return seen


@scenario
async def batch() -> object:
    insert = "insert into item (name, amount) values ($1, $2)"
    digest = "select count(*), sum(amount) from item where name like 'b%'"
    async with connect() as connection, connect() as other:
        await connection.executemany(insert, [(f"b{n}", n) for n in range(2000)])
        seen: list[object] = [await connection.fetchrow(digest)]
        # One that fails undoes all of its batch.
        seen.append(await attempt(connection.executemany(insert, [("b-new", 1), ("b7", 1), ("b-late", 1)])))
        seen += [await other.fetchrow(digest), await other.execute("delete from item where name like 'b%'")]
        many = [(n, f"m{n}") for n in range(1, 6)]
        return [*seen, await attempt(connection.fetchmany("select $1::int, $2::text", many))]


@scenario
async def cursor() -> object:
    seen: list[object] = []
    async with connect() as connection, connect() as other:
        query = "select n, repeat('x', n) from generate_series(1, $1) n"
        async with connection.transaction():
            seen.append([row["n"] async for row in connection.cursor(query, 30, prefetch=7)])
            numbers = await connection.cursor(query, 30)
            seen += [await numbers.fetchrow(), await numbers.forward(3), await numbers.fetch(2)]
            seen += [await other.fetchval("select 1"), await numbers.fetch(100), await numbers.fetchrow()]
            statement = await connection.prepare("select 1 / (n - $1::int) from generate_series(1, 5) n")
            failing = await statement.cursor(3)
            seen += [await failing.fetch(2), await attempt(failing.fetch(2)), await attempt(failing.fetch(2))]
        seen.append(await attempt(_iterate(connection.cursor(query, 3))))
    return seen


async def _iterate(rows: AsyncIterator[Any]) -> list[Any]:
    return [row async for row in rows]


@scenario
async def copy_in() -> object:
    digest = "select count(*), md5(string_agg(id || name || coalesce(payload, '')::text, ',' order by id)) from copied"
    async with connect() as connection, connect() as other:
        records = [(n, f"name\t{n} ✓", bytes([n % 256]) * 50) for n in range(2000)]
        seen: list[object] = [await connection.copy_records_to_table("copied", records=records)]
        source = io.BytesIO(b"5000,from csv,\n5001,,\n")
        seen.append(
            await connection.copy_to_table("copied", source=source, format="csv", columns=["id", "name", "payload"])
        )
        return [*seen, await other.fetchrow(digest), await other.execute("delete from copied")]


@scenario
async def copy_out() -> object:
    async with connect() as connection:
        out = io.BytesIO()
        seen: list[object] = [await connection.copy_from_table("item", output=out, columns=["id", "name", "tags"])]
        seen.append(out.getvalue())
        large = io.BytesIO()
        query = "select n, repeat('y', 1000) from generate_series(1, $1) n"
        seen.append(await connection.copy_from_query(query, 2000, output=large, format="binary"))
        return [*seen, summary(large.getvalue()), await connection.fetchval("select 1")]


@scenario
async def copy_in_error() -> object:
    async def broken_off() -> AsyncIterator[bytes]:
        yield b"1\tone\t\n"
        raise LookupError("no more")

    seen: list[object] = []
    async with connect() as connection:
        try:
            await connection.copy_to_table("copied", source=broken_off())
        except LookupError as error:
            seen.append(str(error))
        seen.append(await connection.fetchval("select count(*) from copied"))
        source = io.BytesIO(b"1\tone\t\nnot a number\ttwo\t\n")
        seen.append(await attempt(connection.copy_to_table("copied", source=source)))
        seen.append(await attempt(connection.copy_to_table("nothing_of_that_name", source=io.BytesIO(b"1\n"))))
        return [*seen, await connection.fetchval("select count(*) from copied")]

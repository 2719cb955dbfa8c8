"""Scenarios with SQLAlchemy's asyncio side, over asyncpg and its cache of prepared statements."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from scenarios import Scenarios
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy_common import COUNT, RUNNING, Item, contents, failure, url

scenario = Scenarios()


def open_engine(**options: Any) -> AsyncEngine:
    return create_async_engine(url("asyncpg"), **options)


async def attempt(connection: AsyncConnection, statement: Any) -> object:
    """The rows of a statement, or how it failed."""
    try:
        result = await connection.execute(statement)
        return result.all() if result.returns_rows else result.rowcount
    except sa.exc.DBAPIError as error:
        return failure(error)


@scenario
async def types_binary() -> object:
    engine = open_engine()
    async with AsyncSession(engine) as session:
        seen: list[object] = [contents(item) for item in await session.scalars(sa.select(Item).order_by(Item.id))]
        item = Item(
            name="naïve ✓", amount=7, price=Decimal("1.50"), tags=["a,b", None], data={"n": [1]}, payload=b"\0'"
        )
        session.add(item)
        await session.flush()
        await session.refresh(item)
        seen.append(contents(item))
    await engine.dispose()
    return seen


@scenario
async def prepared_many_clients() -> object:
    engine = open_engine(pool_size=6, max_overflow=0)

    async def client(number: int) -> list[Any]:
        seen: list[Any] = []
        for turn in range(20):
            async with engine.begin() as connection:
                query = sa.select(sa.literal(turn), Item.name, Item.amount * turn).where(Item.id == number)
                seen.append((await connection.execute(query)).all())
                more = sa.select(Item.tags).where(Item.id.in_([number, turn])).order_by(Item.id)
                seen.append((await connection.execute(more)).all())
        return seen

    seen = await asyncio.gather(*(client(number) for number in range(1, 9)))
    await engine.dispose()
    return seen


@scenario
async def many_statements() -> object:
    engine = open_engine(pool_size=2)
    seen = []
    for turn in range(4):
        async with engine.begin() as connection, engine.connect() as other:
            for n in range(0, 200, 2):
                query = sa.text(f"select {n + turn % 2} + cast(:turn as int)")
                seen.append(await connection.scalar(query, {"turn": turn}))
            seen.append(await other.scalar(query, {"turn": turn}))
    await engine.dispose()
    return seen


@scenario
async def schema_change() -> object:
    engine = open_engine(pool_size=2)
    query = sa.text("select * from changing where a = :a").bindparams(a=1)
    async with engine.connect() as connection, engine.connect() as other:
        for statement in ("create table changing (a int)", "insert into changing values (1)"):
            await other.execute(sa.text(statement))
        await other.commit()
        seen = [await attempt(connection, query), await connection.commit()]
        await other.execute(sa.text("alter table changing add column b text default 'new'"))
        await other.commit()
        seen += [await attempt(connection, query), await connection.rollback()]
        seen += [await attempt(connection, query), await connection.rollback()]
        await other.execute(sa.text("drop table changing"))
        await other.commit()
        seen.append(await attempt(connection, query))
    await engine.dispose()
    return seen


@scenario
async def batch() -> object:
    engine = open_engine()
    rows = [{"name": f"b{n}", "amount": n} for n in range(1500)]
    async with engine.begin() as connection:
        names = (
            await connection.scalars(sa.insert(Item).returning(Item.name, sort_by_parameter_order=True), rows)
        ).all()
        seen: list[object] = [len(names), names[-1], await connection.scalar(COUNT)]
        update = sa.update(Item).where(Item.name == sa.bindparam("n")).values(amount=sa.bindparam("a"))
        await connection.execute(update, [{"n": f"b{n}", "a": -n} for n in range(50)])
        seen.append(await connection.scalar(sa.select(sa.func.sum(Item.amount))))
        await connection.rollback()
    async with engine.begin() as connection:
        seen.append(await connection.scalar(COUNT))
    await engine.dispose()
    return seen


@scenario
async def cursor() -> object:
    engine = open_engine(pool_size=2)
    async with engine.connect() as connection, engine.connect() as other:
        numbers = sa.select(sa.func.generate_series(1, 100)).execution_options(yield_per=7)
        result = await connection.stream(numbers)
        parts = result.partitions()
        seen = [await anext(parts), await other.scalar(sa.text("select 1")), await anext(parts)]
        await result.close()
        seen.append(await connection.scalar(sa.text("select 2")))
    await engine.dispose()
    return seen


@scenario
async def cancel() -> object:
    engine = open_engine(pool_size=2)
    async with engine.connect() as connection, engine.connect() as other:
        task = asyncio.create_task(attempt(connection, sa.text("select slow(30)")))
        while not await other.scalar(RUNNING):
            await other.rollback()  # within one transaction the answer would stay the same
            await asyncio.sleep(0.01)
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        await other.rollback()
        seen = [type(ended).__name__, await other.scalar(RUNNING)]
    async with engine.connect() as connection:
        seen.append(await connection.scalar(sa.text("select 'afterwards'")))
    await engine.dispose()
    return seen


@scenario
async def errors_in_transaction() -> object:
    engine = open_engine()
    async with engine.connect() as connection:
        seen = [await attempt(connection, sa.insert(Item).values(name="item 1"))]
        seen += [await attempt(connection, sa.text("select 1")), await connection.rollback()]
        async with connection.begin():
            try:
                async with connection.begin_nested():
                    await connection.execute(sa.insert(Item).values(name="item 1"))
            except sa.exc.DBAPIError as error:
                seen.append(failure(error))
            seen.append(await attempt(connection, sa.text("select 1")))
    await engine.dispose()
    return seen


if __name__ == "__main__":
    scenario.main()

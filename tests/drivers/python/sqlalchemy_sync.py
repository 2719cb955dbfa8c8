"""Scenarios with SQLAlchemy: its pool, its unit of work, its reflection. ``--pg8000`` in place of psycopg."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from scenarios import SETTINGS, Scenarios, has_flag, large_bytes, large_text, summary
from sqlalchemy.orm import Session
from sqlalchemy_common import COUNT, Item, contents, failure, url

scenario = Scenarios()

PG8000 = has_flag("pg8000")


def open_engine(**options: Any) -> sa.Engine:
    return sa.create_engine(url("pg8000" if PG8000 else "psycopg"), **options)


def attempt(connection: sa.Connection, statement: Any) -> object:
    """The rows of a statement, or how it failed."""
    try:
        result = connection.execute(statement)
        return result.all() if result.returns_rows else result.rowcount
    except sa.exc.DBAPIError as error:
        return failure(error)


@scenario
def types_text() -> object:
    engine = open_engine()
    with Session(engine) as session:
        seen: list[object] = [contents(item) for item in session.scalars(sa.select(Item).order_by(Item.id))]
        item = Item(
            name="naïve ✓", amount=7, price=Decimal("1.50"), tags=["a,b", None], data={"n": [1]}, payload=b"\0'"
        )
        session.add(item)
        session.flush()
        seen.append(contents(item))
        item.tags = []
        item.data = None
        session.flush()
        session.refresh(item)
        seen.append(contents(item))
    engine.dispose()
    return seen


@scenario
def large_values() -> object:
    engine = open_engine()
    with engine.connect() as connection:
        values = [sa.literal(large_text(1_000_000)), sa.literal(large_bytes(5_000_000))]
        seen = [summary(value) for value in connection.execute(sa.select(*values)).one()]
    engine.dispose()
    return seen


@scenario
def prepared_many_clients() -> object:
    engine = open_engine(pool_size=6, max_overflow=0)

    def client(number: int) -> list[Any]:
        seen: list[Any] = []
        for turn in range(30):
            with engine.begin() as connection:
                query = sa.select(sa.literal(turn), Item.name, Item.amount * turn).where(Item.id == number)
                seen.append(connection.execute(query).all())
                seen.append(connection.execute(sa.select(Item.tags).where(Item.id.in_([number, turn]))).all())
        return seen

    with ThreadPoolExecutor(6) as threads:
        seen = list(threads.map(client, range(1, 7)))
    engine.dispose()
    return seen


@scenario
def batch() -> object:
    engine = open_engine()
    rows = [{"name": f"b{n}", "amount": n} for n in range(1500)]
    with engine.begin() as connection:
        names = connection.scalars(sa.insert(Item).returning(Item.name, sort_by_parameter_order=True), rows).all()
        seen: list[object] = [len(names), names[-1], connection.scalar(COUNT)]
        update = sa.update(Item).where(Item.name == sa.bindparam("n")).values(amount=sa.bindparam("a"))
        connection.execute(update, [{"n": f"b{n}", "a": -n} for n in range(50)])
        seen.append(connection.scalar(sa.select(sa.func.sum(Item.amount))))
    with engine.begin() as connection:
        seen.append(connection.execute(sa.delete(Item).where(Item.name.like("b%"))).rowcount)
    engine.dispose()
    return seen


@scenario
def cursor() -> object:
    engine = open_engine(pool_size=2)
    numbers = sa.select(sa.func.generate_series(1, 100))
    with engine.connect() as connection, engine.connect() as other:
        result = connection.execution_options(yield_per=7).execute(numbers)
        parts = iter(result.partitions())
        seen = [next(parts), other.scalar(sa.text("select 1")), next(parts)]
        result.close()
        seen.append(connection.scalar(sa.text("select 2")))
    engine.dispose()
    return seen


@scenario
def transactions() -> object:
    engine = open_engine()
    seen: list[object] = []
    with engine.connect() as connection, engine.connect() as other:
        for level in ("SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED", "AUTOCOMMIT"):
            with engine.connect().execution_options(isolation_level=level) as third:
                seen += [third.scalar(sa.text("show transaction_isolation")), third.get_isolation_level()]
        for end in ("rollback", "commit"):
            connection.execute(sa.insert(Item).values(name=f"b {end}"))
            with connection.begin_nested() as savepoint:
                connection.execute(sa.insert(Item).values(name="b nested"))
                savepoint.rollback()
            seen += [connection.scalar(COUNT), other.scalar(COUNT)]
            other.rollback()
            getattr(connection, end)()
            seen.append(other.scalar(COUNT))
            other.rollback()
        connection.execute(sa.delete(Item).where(Item.name.like("b%")))
        connection.commit()
    engine.dispose()
    return seen


@scenario
def errors() -> object:
    engine = open_engine()
    seen: list[object] = []
    with engine.connect() as connection:
        for statement in (sa.insert(Item).values(name="item 1"), sa.insert(Item).values(amount=1), sa.text("selec 1")):
            seen += [attempt(connection, statement), attempt(connection, sa.text("select 1"))]
            connection.rollback()
            seen.append(attempt(connection, sa.text("select 2")))
    engine.dispose()
    return seen


@scenario
def session_settings() -> object:
    # A pool gives a connection back with a rollback: what was committed before stays set.
    engine = open_engine(pool_size=1)
    other_engine = open_engine(pool_size=1)
    seen = []
    with engine.begin() as connection:
        for statement in (
            "set TimeZone = 'Asia/Tokyo'",
            "set search_path = pg_catalog, public",
            "set work_mem = '7MB'",
        ):
            connection.execute(sa.text(statement))
    for _ in range(3):
        for each in (engine, other_engine):
            with each.connect() as connection:
                seen += [connection.scalar(sa.text(f"show {name}")) for name in (*SETTINGS, "work_mem")]
    engine.dispose()
    other_engine.dispose()
    return seen


@scenario
def server_info() -> object:
    engine = open_engine(pool_pre_ping=True)
    inspector = sa.inspect(engine)
    columns = [(each["name"], str(each["type"]), each["nullable"]) for each in inspector.get_columns("item")]
    seen = [columns, inspector.get_pk_constraint("item"), inspector.get_unique_constraints("item")]
    seen += [
        sorted(inspector.get_table_names()),
        engine.dialect.default_schema_name,
        engine.dialect.server_version_info,
    ]
    engine.dispose()
    return seen


if __name__ == "__main__":
    scenario.main()

"""Scenarios with psycopg 3: values, and statements prepared by the driver."""

from __future__ import annotations

from psycopg.types.json import Json, Jsonb
from psycopg_common import CLIENT, attempt, connect, rows, scenario, script
from scenarios import VALUES, large_bytes, large_text, summary

JSON = {"n": [1, None, "✓"]}


def types(binary: bool) -> object:
    seen = []
    with connect() as connection:
        cursor = connection.cursor(binary=binary)
        for name, value in (*VALUES, ("json", Json(JSON)), ("jsonb", Jsonb(JSON)), ("jsonb", None)):
            # A type to convert to and back tells that the server understood the value.
            query = f"select (%s)::{name}, (%s)::{name}::text, pg_typeof((%s)::{name})::text"
            seen.append((name, cursor.execute(query, (value,) * 3).fetchone()))
        seen.append(cursor.execute("select * from item where id < 4 order by id").fetchall())
    return seen


@scenario
def types_text() -> object:
    return types(binary=False)


if not CLIENT:  # simple queries answer in text

    @scenario
    def types_binary() -> object:
        return types(binary=True)


@scenario
def large_values() -> object:
    seen = []
    with connect() as connection:
        for length in (1_000_000, 5_000_000):
            for name, value in (("text", large_text(length)), ("bytea", large_bytes(length))):
                [(echo, size)] = rows(connection, f"select %s::{name}, octet_length(%s::{name})", (value, value))
                seen.append((summary(value) == summary(echo), summary(echo), size))
    return seen


@scenario
def prepared() -> object:
    query = "select id, name, price from item where id = %s"
    with connect() as connection:
        return [rows(connection, query, (n % 11,), prepare=True) for n in range(60)]


@scenario
def prepared_many_clients() -> object:
    queries = [f"select {n}, name, amount * %s::int from item where id = %s" for n in range(4)]
    connections = [connect() for _ in range(6)]
    seen = []
    for turn in range(60):
        # A transaction that stays open sends the others to the other server connection.
        if turn % 10 == 0:
            connections[turn // 10].execute("begin")
        for number, connection in enumerate(connections):
            query = queries[(number + turn) % len(queries)]
            seen.append(rows(connection, query, (turn, number + 1), prepare=True))
        if turn % 10 == 5:
            connections[turn // 10].execute("commit")
    for connection in connections:
        connection.close()
    return seen


@scenario
def prepared_reuse_after_error() -> object:
    seen = []
    with connect() as connection, connect() as other:
        for divisor in (1, 0, 2, 0, 5):
            seen.append(attempt(connection.execute, "select 10 / %s::int", (divisor,), prepare=True))
            seen.append(attempt(connection.execute, "select no_such_column, %s::int", (divisor,), prepare=True))
            seen.append(rows(other, "select 10 * %s::int", (divisor,), prepare=True))
    return seen


@scenario
def unprepared_parameters() -> object:
    with connect() as connection:
        return [rows(connection, "select %s::int + 1, %s::text", (n, str(n)), prepare=False) for n in range(20)]


@scenario
def many_statements() -> object:
    with connect() as connection, connect() as other:
        connection.prepared_max = other.prepared_max = 300
        # Each of them on both, in turn.
        clients = [(connection, other)[n % 2] for n in range(200)] + [(other, connection)[n % 2] for n in range(200)]
        return [rows(each, f"select {n % 200} + %s::int", (1,), prepare=True) for n, each in enumerate(clients)]


@scenario
def schema_change() -> object:
    seen = []
    with connect() as connection, connect() as other:
        script(other, "create table changing (a int); insert into changing values (1)")
        query = "select * from changing where a = %s"
        seen += [rows(connection, query, (1,), prepare=True) for _ in range(3)]
        other.execute("alter table changing add column b text default 'new'")
        seen += [attempt(connection.execute, query, (1,), prepare=True) for _ in range(2)]
        with connection.transaction(force_rollback=True):
            other_query = "select * from changing where %s = a"
            seen.append(rows(connection, other_query, (1,), prepare=True))
            connection.execute("alter table changing drop column b")
            seen.append(attempt(connection.execute, other_query, (1,), prepare=True))
        other.execute("drop table changing")
        seen.append(attempt(connection.execute, query, (1,), prepare=True))
    return seen

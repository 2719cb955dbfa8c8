"""Scenarios with pg8000's DB-API: transactions that begin by themselves, and executemany."""

from __future__ import annotations

from typing import Any

import pg8000.dbapi
from pg8000_common import attempt, failure, login
from scenarios import VALUES, Scenarios

scenario = Scenarios()

COUNT = "select count(*) from item where name like 'b%'"


def connect() -> pg8000.dbapi.Connection:
    return pg8000.dbapi.Connection(**login())


def rows(connection: pg8000.dbapi.Connection, query: str, args: tuple[object, ...] = ()) -> list[Any]:
    cursor = connection.cursor()
    cursor.execute(query, args)
    return list(cursor.fetchall())


@scenario
def types_text() -> object:
    connection = connect()
    seen = [rows(connection, f"select cast(%s as {name})", (value,)) for name, value in VALUES]
    cursor = connection.cursor()
    cursor.execute("select * from item where id < %s order by id", (4,))
    seen += [[about[0] for about in cursor.description], cursor.fetchone(), cursor.fetchmany(1), cursor.fetchall()]
    connection.close()
    return seen


@scenario
def batch() -> object:
    connection, other = connect(), connect()
    cursor = connection.cursor()
    cursor.executemany("insert into item (name, amount) values (%s, %s)", [(f"b{n}", n) for n in range(100)])
    seen = [cursor.rowcount, rows(connection, COUNT), rows(other, COUNT)]
    connection.commit()
    seen.append(rows(other, COUNT))
    try:
        cursor.executemany("insert into item (name) values (%s)", [("b-new",), ("b7",), ("b-late",)])
    except pg8000.dbapi.Error as error:
        seen.append(failure(error))
    seen.append(attempt(rows, connection, COUNT))
    connection.rollback()
    other.rollback()
    seen += [rows(connection, COUNT), rows(other, "delete from item where name like 'b%' returning 1")]
    other.commit()
    seen.append(rows(connection, COUNT))
    connection.close()
    other.close()
    return seen


@scenario
def transactions() -> object:
    connection, other = connect(), connect()
    seen: list[object] = []
    for end in ("rollback", "commit"):
        seen.append(rows(connection, "insert into item (name) values (%s) returning name", (f"b {end}",)))
        seen += [rows(connection, COUNT), rows(other, COUNT)]
        other.commit()
        getattr(connection, end)()
        seen.append(rows(other, COUNT))
        other.commit()
    connection.autocommit = True
    seen.append(rows(connection, "delete from item where name like 'b%' returning name"))
    seen += [rows(other, COUNT), rows(connection, COUNT)]
    connection.close()
    other.close()
    return seen


@scenario
def errors_in_transaction() -> object:
    connection = connect()
    seen = [attempt(rows, connection, query) for query in ("select 1 / 0", "select 1")]
    seen.append(attempt(rows, connection, "select %s", ("in a failed transaction",)))
    connection.rollback()
    seen += [rows(connection, "select %s", ("afterwards",)), attempt(rows, connection, "select 1 / %s", (0,))]
    connection.rollback()
    connection.close()
    return seen


if __name__ == "__main__":
    scenario.main()

"""Scenarios with psycopg 3: several requests at a time, parts of results, and COPY."""

from __future__ import annotations

import psycopg
from psycopg_common import attempt, connect, failure, rows, scenario
from scenarios import summary


@scenario
def pipeline() -> object:
    seen: list[object] = []
    with connect(cursor_factory=psycopg.Cursor) as connection:
        with connection.pipeline():
            cursors = [connection.execute("select %s::int, name from item where id = %s", (n, n)) for n in range(1, 9)]
            seen += [cursor.fetchall() for cursor in cursors]
        try:
            # Which of these calls raises depends on when the error arrives; which error does not.
            with connection.pipeline():
                connection.execute("insert into item (name) values ('pipelined')")
                connection.execute("select 1 / %s::int", (0,))
                connection.execute("insert into item (name) values ('pipelined, too')")
        except psycopg.Error as error:
            seen.append(failure(error))
        seen.append(rows(connection, "select count(*) from item where name like 'pipelined%%'", ()))
        with connection.pipeline() as pipe:
            connection.execute("insert into item (name) values ('pipelined')")
            pipe.sync()
            cursor = connection.execute("delete from item where name = %s returning name", ("pipelined",))
            seen.append(cursor.fetchall())
        with connection.pipeline(), connection.transaction(force_rollback=True):
            for n in range(20):
                connection.execute("insert into item (name) values (%s)", (f"row {n}",), prepare=n % 2 == 0)
            seen.append(rows(connection, "select count(*) from item"))
        seen.append(rows(connection, "select count(*) from item"))
    return seen


@scenario
def batch() -> object:
    seen: list[object] = []
    with connect() as connection, connection.transaction(force_rollback=True), connection.cursor() as cursor:
        cursor.executemany("insert into item (name, amount) values (%s, %s)", [(f"b{n}", n) for n in range(200)])
        seen += [cursor.rowcount, rows(connection, "select count(*), sum(amount) from item where name like 'b%'")]
        cursor.executemany("select %s::int", [(1,), (2,), (3,)], returning=True)
        seen += [result.fetchall() for result in cursor.results()]
        try:
            with connection.transaction():
                cursor.executemany("insert into item (name) values (%s)", [("c1",), ("b7",), ("c2",)])
        except psycopg.Error as error:
            seen.append(failure(error))
        seen.append(rows(connection, "select count(*) from item where name like 'c%'"))
    return seen


@scenario
def cursor() -> object:
    seen: list[object] = []
    with connect() as connection, connect() as other, connection.transaction():
        with connection.cursor("numbers", scrollable=True) as cursor:
            cursor.itersize = 7
            cursor.execute("select n, repeat('x', n) from generate_series(1, %s) n", (30,))
            seen += [cursor.fetchone(), cursor.fetchmany(5), rows(other, "select 1")]
            seen += [[row[0] for row in cursor], cursor.scroll(0, "absolute"), cursor.fetchmany(2)]
        with connection.cursor("other") as cursor:
            cursor.execute("select 1 / (n - 3) from generate_series(1, 5) n")
            seen.append(attempt(lambda: cursor))
    return seen


@scenario
def held_cursor() -> object:
    seen: list[object] = []
    with connect() as connection, connect() as other, connect() as third:
        cursor = connection.cursor("held", withhold=True)
        cursor.execute("select generate_series(1, 10)")
        for _ in range(3):
            seen += [cursor.fetchmany(3), rows(other, "select 1"), rows(third, "select count(*) from pg_cursors")]
        cursor.close()
        seen.append(rows(connection, "select count(*) from pg_cursors"))
    return seen


@scenario
def copy_in() -> object:
    with connect() as connection, connection.transaction(force_rollback=True), connection.cursor() as cursor:
        with cursor.copy("copy copied from stdin") as copy:
            for n in range(2000):
                copy.write_row((n, f"name\t{n} ✓", bytes([n % 256]) * 50))
        seen: list[object] = [cursor.rowcount, cursor.statusmessage]
        with cursor.copy("copy copied (id, name) from stdin (format binary)") as copy:
            copy.set_types(["int4", "text"])
            copy.write_row((5000, "binary"))
        digest = (
            "select count(*), md5(string_agg(id || name || coalesce(payload, '')::text, ',' order by id)) from copied"
        )
        return [*seen, rows(connection, digest)]


@scenario
def copy_out() -> object:
    with connect() as connection, connection.cursor() as cursor:
        with cursor.copy("copy item (id, name, tags, data, payload) to stdout") as copy:
            seen: list[object] = [bytes(data) for data in copy]
        with cursor.copy("copy (select n, repeat('y', 1000) from generate_series(1, %s) n) to stdout", (500,)) as copy:
            seen.append(summary(b"".join(bytes(data) for data in copy)))
        with cursor.copy("copy item (id, flag) to stdout (format binary)") as copy:
            copy.set_types(["int4", "bool"])
            seen.append(list(copy.rows()))
        return [*seen, rows(connection, "select 1")]


@scenario
def copy_in_error() -> object:
    seen: list[object] = []
    with connect() as connection, connection.cursor() as cursor:
        try:
            with cursor.copy("copy copied from stdin") as copy:
                copy.write_row((1, "one", b""))
                raise LookupError("no more")
        except LookupError as error:
            seen.append(str(error))
        seen.append(rows(connection, "select count(*) from copied"))
        try:
            with cursor.copy("copy copied from stdin") as copy:
                copy.write("1\tone\t\nnot a number\ttwo\t\n")
        except psycopg.Error as error:
            seen.append(failure(error))
        try:
            with cursor.copy("copy nothing_of_that_name from stdin"):
                pass
        except psycopg.Error as error:
            seen.append(failure(error))
        seen.append(rows(connection, "select count(*) from copied"))
    return seen

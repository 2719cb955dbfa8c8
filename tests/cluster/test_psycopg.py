"""psycopg 3 through the proxy, on every way in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Door


@pytest.fixture
def connection(door: Door) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    # The proxy does not translate statement names in transaction mode: drivers must not prepare there.
    threshold = 5 if door.pool_mode == "session" else None
    with psycopg.connect(door.dsn, prepare_threshold=threshold, autocommit=True) as connection:
        yield connection


def test_a_login_reports_the_server_and_the_link(connection: psycopg.Connection, door: Door) -> None:
    assert connection.info.server_version >= 180000
    assert connection.info.parameter_status("server_encoding") == "UTF8"
    assert connection.pgconn.ssl_in_use == (door.ca_file is not None)


def test_values_go_both_ways_in_text_and_binary(connection: psycopg.Connection) -> None:
    for binary in (False, True):
        with connection.cursor(binary=binary) as cursor:
            cursor.execute("select %s::int, %s::text, %s::bytea, %b::float8", (42, "é'\\", b"\0\xff", 1.5))
            assert cursor.fetchone() == (42, "é'\\", b"\0\xff", 1.5)


def test_a_transaction_commits_or_rolls_back(connection: psycopg.Connection) -> None:
    with connection.transaction():
        connection.execute("insert into item (name) values ('kept')")
    with connection.transaction():
        connection.execute("insert into item (name) values ('lost')")
        raise psycopg.Rollback
    assert connection.execute("select name from item").fetchall() == [("kept",)]


def test_a_failed_transaction_can_go_on_from_its_savepoint(connection: psycopg.Connection) -> None:
    with connection.transaction():
        connection.execute("insert into item (name) values ('before')")
        with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
            connection.execute("select 1/0")
        connection.execute("insert into item (name) values ('after')")
    assert connection.execute("select name from item order by id").fetchall() == [("before",), ("after",)]


def test_an_error_of_the_server_arrives_whole(connection: psycopg.Connection) -> None:
    connection.execute("insert into item (id, name) values (7, 'one')")
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        connection.execute("insert into item (id, name) values (7, 'two')")
    diagnosis = caught.value.diag
    assert (diagnosis.table_name, diagnosis.constraint_name) == ("item", "item_pkey")
    assert diagnosis.message_detail == "Key (id)=(7) already exists."
    assert connection.execute("select 1").fetchone() == (1,)


def test_executemany_uses_one_pipeline(connection: psycopg.Connection) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("insert into item (name, amount) values (%s, %s)", [(f"n{i}", i) for i in range(500)])
    assert connection.execute("select count(*), sum(amount) from item").fetchone() == (500, 124750)


def test_a_pipeline_that_fails_in_the_middle_loses_only_the_rest_of_its_segment(
    connection: psycopg.Connection,
) -> None:
    with connection.pipeline() as pipeline:
        first = connection.execute("select 'first'")
        pipeline.sync()
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("select 1/0").fetchone()
        with pytest.raises(psycopg.errors.PipelineAborted):
            connection.execute("select 'skipped'").fetchone()
        pipeline.sync()
        last = connection.execute("select 'last'")
        pipeline.sync()
        assert (first.fetchone(), last.fetchone()) == (("first",), ("last",))
    assert connection.execute("select 'after'").fetchone() == ("after",)


def test_several_statements_in_one_simple_query(door: Door) -> None:
    with psycopg.connect(door.dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        cursor = connection.execute("insert into item (name) values ('a'); select 1; select 2, name from item")
        assert [cursor.statusmessage] == ["INSERT 0 1"]
        assert cursor.nextset()
        assert cursor.fetchall() == [(1,)]
        assert cursor.nextset()
        assert cursor.fetchall() == [(2, "a")]
        assert cursor.nextset() is None


def test_a_server_side_cursor_fetches_in_parts(connection: psycopg.Connection) -> None:
    with connection.transaction(), connection.cursor("big", row_factory=dict_row) as cursor:
        cursor.itersize = 100
        cursor.execute("select i, repeat('x', 100) as filler from generate_series(1, 1000) i")
        assert sum(row["i"] for row in cursor) == 500500


@pytest.mark.parametrize("door", ["session-plain"], indirect=True)
def test_a_cursor_with_hold_lives_as_long_as_a_backend_is_ours(connection: psycopg.Connection) -> None:
    with connection.cursor("held", withhold=True) as cursor:
        cursor.execute("select generate_series(1, 10)")
        assert [row[0] for row in cursor] == list(range(1, 11))


@pytest.mark.parametrize("format", ["text", "binary"])
def test_copy_in_and_out(connection: psycopg.Connection, format: str) -> None:
    rows = [(i, f"name {i}\t\\", bytes([i % 256]) * 100) for i in range(2000)]
    how = sql.SQL(f"(format {format})")
    with connection.cursor().copy(sql.SQL("copy copied from stdin {}").format(how)) as copy:
        copy.set_types(["int4", "text", "bytea"])
        for row in rows:
            copy.write_row(row)
    with connection.cursor().copy(sql.SQL("copy (select * from copied order by id) to stdout {}").format(how)) as copy:
        copy.set_types(["int4", "text", "bytea"])
        assert list(copy.rows()) == rows


def test_a_copy_that_the_client_gives_up_leaves_nothing(connection: psycopg.Connection) -> None:
    def give_up() -> None:
        with connection.cursor().copy("copy copied (id) from stdin") as copy:
            copy.write("1\n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        give_up()
    assert connection.execute("select count(*) from copied").fetchone() == (0,)


def test_a_copy_that_the_server_refuses_in_the_middle(connection: psycopg.Connection) -> None:
    def copy_nonsense() -> None:
        with connection.cursor().copy("copy copied (id) from stdin") as copy:
            for _ in range(2000):
                copy.write("1\n" * 100)
            copy.write("not a number\n" * 100_000)

    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        copy_nonsense()
    assert connection.execute("select count(*) from copied").fetchone() == (0,)


@pytest.mark.parametrize("door", ["session-plain"], indirect=True)
def test_prepared_statements_in_session_mode(connection: psycopg.Connection) -> None:
    for i in range(20):
        assert connection.execute("select %s::int + 1", (i,), prepare=True).fetchone() == (i + 1,)
    assert connection.execute("select count(*) from pg_prepared_statements").fetchone() == (1,)


def test_settings_made_in_any_way_are_there_in_the_next_transaction(door: Door) -> None:
    options = "-c statement_timeout=54321 -c timezone=Asia/Kathmandu"
    with psycopg.connect(
        door.dsn, application_name="it's \\me", options=options, autocommit=True, prepare_threshold=None
    ) as connection:
        show = "select current_setting('application_name'), current_setting('timezone'), current_setting('{}')"
        first = connection.execute(show.format("statement_timeout")).fetchone()
        assert first == ("it's \\me", "Asia/Kathmandu", "54321ms")
        connection.execute("set timezone to 'America/Caracas'")
        connection.execute("set datestyle to 'German'")
        connection.execute("set application_name to 'renamed'")
        assert connection.info.timezone.key == "America/Caracas"  # type: ignore[attr-defined]
        assert connection.execute(show.format("datestyle")).fetchone() == ("renamed", "America/Caracas", "German, DMY")


def test_an_unknown_setting_is_refused_at_login_in_the_servers_words(door: Door) -> None:
    with pytest.raises(psycopg.OperationalError, match='invalid value for parameter "TimeZone": "Nowhere/Land"'):
        psycopg.connect(door.dsn, options="-c timezone=Nowhere/Land")

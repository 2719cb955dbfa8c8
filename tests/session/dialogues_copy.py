"""Conversations that copy, and those that take a portal's rows in parts: see `dialogues`."""

from __future__ import annotations

from typing import Final

from support.client import bind, copy_data, describe_portal, execute, parse
from support.extended import (
    BEGIN,
    COMMIT,
    COPY_IN,
    COPY_OUT,
    FLUSH,
    ONE,
    ROLLBACK,
    SERIES,
    SYNC,
    TWO,
    close,
    query,
    run,
    use,
)

from pgcat_trio.wire import encode

SCHEMA: Final = """
drop table if exists numbers, refused;
create table numbers (n int);
create table refused (n int);
create or replace function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
create trigger refuse before insert on refused execute function refuse();
"""

DONE, GIVE_UP = encode.COPY_DONE, encode.copy_fail("no more")
ROWS, BAD_ROW = copy_data(b"1\n2\n"), copy_data(b"x\n")

COPIES: Final = {
    "copy in as libpq does": [
        parse(COPY_IN) + bind() + describe_portal() + execute() + SYNC + ROWS + ROWS + DONE + SYNC
    ],
    "copy in after a flush": [parse(COPY_IN) + bind() + execute() + FLUSH + ROWS + DONE + SYNC],
    "copy in, then more": [run(COPY_IN) + ROWS + DONE + run(ONE) + SYNC],
    "copy in, given up": [run(COPY_IN) + FLUSH + ROWS + GIVE_UP + SYNC, run(ONE) + SYNC],
    "copy in, given up, and more": [run(COPY_IN) + FLUSH + ROWS + GIVE_UP + run(ONE) + SYNC, run(ONE) + SYNC],
    "copy in of bad data": [run(COPY_IN) + FLUSH + ROWS + BAD_ROW + DONE + SYNC, run(ONE) + SYNC],
    "copy in that is refused": [run("copy refused from stdin") + FLUSH + ROWS + DONE + SYNC, run(ONE) + SYNC],
    "copy in that cannot begin": [
        parse("copy nothing from stdin", "a") + parse(ONE, "b") + SYNC,
        bind(name="a") + execute() + SYNC + ROWS + DONE + SYNC,
        bind(name="a") + execute() + ROWS + DONE + use("b") + SYNC,
        use("b") + SYNC,
        query("copy nothing from stdin") + DONE + use("b") + SYNC,
    ],
    "copy in, then the unnamed statement": [
        close("a") + parse(ONE, "a") + SYNC,
        parse(COPY_IN, "b") + bind(name="b") + execute() + SYNC + DONE + run(TWO) + SYNC,
        run(ONE) + use("b") + SYNC + ROWS + DONE + run(TWO) + SYNC,
    ],
    "copy in of nothing": [run(COPY_IN) + DONE + SYNC],
    "two copies in": [run(COPY_IN) + ROWS + DONE + run(COPY_IN) + ROWS + DONE + SYNC],
    "copy in by name": [
        parse(COPY_IN, "a") + parse(ONE, "b") + SYNC,
        bind(name="a") + execute() + SYNC + ROWS + DONE + SYNC,
        bind(name="a") + execute() + ROWS + DONE + use("b") + SYNC,
        bind(name="a") + execute() + ROWS + BAD_ROW + DONE + use("b") + SYNC,
        use("b") + bind(name="a") + execute() + FLUSH + ROWS + GIVE_UP + SYNC,
        use("a") + ROWS + DONE + close("a") + use("a") + SYNC,
    ],
    "copy in, in a transaction": [
        BEGIN + parse(COPY_IN, "a") + SYNC,
        bind(name="a") + execute() + ROWS + DONE + SYNC,
        bind(name="a") + execute() + SYNC + BAD_ROW + DONE + SYNC,
        run(ONE) + SYNC,
        ROLLBACK + use("a") + ROWS + DONE + SYNC,
    ],
    "copy in by a query": [query(COPY_IN) + ROWS + DONE, query(ONE)],
    "copy in by a query, given up": [query(COPY_IN) + ROWS + GIVE_UP, query(ONE)],
    "copy in by a query, bad data": [query(COPY_IN) + BAD_ROW + DONE, query(ONE)],
    "copy in among queries": [query(f"select 1; {COPY_IN}; select 2") + ROWS + DONE, run(ONE) + SYNC],
    "two copies in one query": [query(f"{COPY_IN}; {COPY_IN}; select 2") + ROWS + DONE + ROWS + DONE, query(ONE)],
    "copy out": [run(COPY_OUT) + SYNC, run(COPY_OUT) + run(COPY_OUT) + SYNC, query(COPY_OUT)],
    "copy out by name": [
        parse(COPY_OUT, "a") + use("a") + SYNC,
        use("a") + use("x") + SYNC,
        bind(name="a") + execute() + FLUSH + bind(name="a") + execute() + SYNC,
    ],
    "copy out that fails": [run("copy (select 1 / n from generate_series(3, 0, -1) n) to stdout") + run(ONE) + SYNC],
    "copy out of much": [
        run("copy (select repeat('x', 1000) from generate_series(1, 500)) to stdout") + SYNC,
        parse("copy (select repeat('x', 100000) from generate_series(1, 3)) to stdout", "a") + use("a") + SYNC,
        use("a") + SYNC,
    ],
}

PORTALS: Final = {
    "a portal in parts": [
        BEGIN + parse(SERIES, "a") + SYNC,
        bind(name="a", portal="p") + execute("p", 2) + FLUSH + execute("p", 2) + SYNC,
        execute("p", 2) + describe_portal("p") + execute("p", 2) + close("p", b"P") + execute("p", 2) + SYNC,
        ROLLBACK + use("a") + SYNC,
    ],
    "two portals in turns": [
        BEGIN + parse(SERIES, "a") + parse(TWO, "b") + SYNC,
        bind(name="a", portal="p") + bind(name="a", portal="q") + execute("p", 1) + execute("q", 3) + SYNC,
        use("b") + execute("p", 1) + close("a") + execute("q", 3) + execute("p") + SYNC,
        COMMIT,
        execute("p", 1) + SYNC,
    ],
    "parts in one request": [
        parse(SERIES) + bind() + execute("", 2) + execute("", 2) + execute() + execute() + SYNC,
        parse(SERIES, "a") + bind(name="a", portal="p") + execute("p", 4) + execute("p") + SYNC,
        execute("p") + SYNC,
    ],
    "a portal that fails half way": [
        BEGIN,
        parse("select 1 / (3 - n) from generate_series(1, 5) n", "a") + bind(name="a", portal="p") + SYNC,
        execute("p", 2) + SYNC,
        execute("p", 2) + SYNC,
        execute("p", 2) + SYNC,
        ROLLBACK,
    ],
    "a portal twice": [
        parse(ONE, "a") + bind(name="a", portal="p") + bind(name="a", portal="p") + SYNC,
        use("a") + SYNC,
    ],
    "cursors": [
        BEGIN + query(f"declare c cursor for {SERIES}"),
        parse("fetch 2 from c", "a") + use("a") + use("a") + use("a") + use("a") + SYNC,
        describe_portal("c") + execute("c", 1) + SYNC,
        query("close c") + use("a") + SYNC,
        ROLLBACK + use("a") + SYNC,
    ],
    "the statement goes, its portal stays": [
        BEGIN + parse(SERIES, "a") + bind(name="a", portal="p") + close("a") + execute("p", 2) + SYNC,
        parse(TWO, "a") + use("a") + execute("p", 2) + SYNC,
        query("deallocate a") + execute("p", 2) + SYNC + COMMIT,
    ],
}

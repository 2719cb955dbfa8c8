"""Conversations of one client with a server: what drivers do, and what none should.

Each is a list of requests, and leaves nothing behind: no transaction, no statement by one of `NAMES`, no setting.
"""

from __future__ import annotations

from typing import Final

from dialogues_copy import COPIES, PORTALS
from dialogues_deallocate import DEALLOCATES
from support.client import bind, describe_portal, execute, function_call, parse
from support.extended import (
    BEGIN,
    COMMIT,
    DIVISION,
    FAIL,
    FAULTY,
    FLUSH,
    INT4,
    INT8,
    ONE,
    ROLLBACK,
    SYNC,
    TEXT,
    TWO,
    bind_as,
    close,
    describe,
    query,
    run,
    typed,
    use,
)

LONG: Final = "n" * 100
NAMES: Final = ("a", "b", "c", "A", 'B "b"', LONG, "pgcat_1", "pgcat_stand_in", "é")
INT4PL: Final = 177  # the function's oid

TRANSACTIONS: Final = {
    "by extended messages": [
        run("begin") + parse(ONE, "a") + use("a") + SYNC,
        use("a") + use("x") + use("a") + SYNC,
        use("a") + SYNC,
        run("commit") + SYNC,
        use("a") + SYNC,
    ],
    "by names": [
        parse("begin", "a") + parse("commit", "b") + parse(ONE, "c") + SYNC,
        use("a") + SYNC,
        use("c") + SYNC,
        use("b") + SYNC,
        use("a") + use("c") + use("b") + use("c") + SYNC,
        use("a") + use("c") + use("x") + use("b") + SYNC,
        use("c") + SYNC,
        use("b") + SYNC,
        use("c") + SYNC,
    ],
    "savepoints": [
        BEGIN + parse(ONE, "a") + use("a") + SYNC + query("savepoint s"),
        parse(TWO, "b") + use("b") + use("x") + SYNC,
        query("rollback to s"),
        use("a") + use("b") + SYNC,
        query("release s") + use("b") + SYNC,
        COMMIT,
        use("b") + SYNC,
    ],
    "prepared in what is rolled back": [
        BEGIN + parse(ONE, "a") + SYNC + ROLLBACK,
        use("a") + SYNC,
        parse(ONE, "b") + parse(DIVISION, "c") + use("c") + SYNC,
        use("b") + SYNC,
        use("c") + SYNC,
    ],
    "several requests at once": [
        parse(ONE, "a") + SYNC + use("a") + SYNC + SYNC + FLUSH + SYNC + use("a") + SYNC,
        SYNC,
        FLUSH + SYNC,
        query("") + SYNC + query(ONE) + use("a") + SYNC + query("selec") + use("a") + SYNC,
    ],
    "many statements in a query": [
        parse(ONE, "a") + SYNC,
        query("select 1; select 2"),
        query("select 1; selec"),
        query("select 1; select 1/0; select 2"),
        query("begin; select 1/0; commit"),
        use("a") + SYNC,
        ROLLBACK,
        query("begin; select 1; commit; select 2"),
        query("select 1;; ;"),
        query(" ; "),
        query("-- nothing"),
        use("a") + SYNC,
    ],
    "empty": [
        query(""),
        parse("") + bind() + describe_portal() + execute() + SYNC,
        parse("", "a") + describe("a") + use("a") + SYNC,
        use("a") + SYNC,
        parse(" -- nothing", "b") + use("b") + SYNC,
        BEGIN + FAIL + parse("") + SYNC + ROLLBACK,
    ],
    "settings": [
        query("set timezone = 'Asia/Tokyo'"),
        parse("show timezone", "a") + use("a") + SYNC,
        run("set timezone = 'Europe/Berlin'") + use("a") + SYNC,
        use("a") + SYNC,
        BEGIN + query("set local timezone = 'UTC'") + use("a") + SYNC + COMMIT,
        BEGIN + query("set timezone = 'UTC'") + use("a") + SYNC + ROLLBACK,
        use("a") + SYNC,
        parse("set datestyle = 'German'", "b") + use("b") + use("x") + SYNC,
        query("show datestyle"),
        use("b") + SYNC,
        query("select date '2001-02-03'"),
        query("set application_name = 'é'; show application_name"),
        parse("select set_config('application_name', 'x', false)") + use("") + SYNC,
        query("show application_name"),
        query("set timezone = 'UTC'; set datestyle = 'ISO, MDY'"),
        use("a") + SYNC,
    ],
    "notices": [
        query("do $$ begin raise notice 'one'; raise warning 'two'; end $$"),
        run("do $$ begin raise notice 'one'; raise exception 'two'; end $$") + run(ONE) + SYNC,
        parse("do $$ begin raise info 'i'; end $$", "a") + use("a") + use("a") + FLUSH + use("a") + SYNC,
        use("a") + SYNC,
        COMMIT + ROLLBACK,
        run("commit") + SYNC,
        BEGIN + BEGIN + COMMIT,
    ],
    "notify": [query("notify nobody"), parse("notify nobody, 'x'", "a") + use("a") + SYNC, use("a") + use("a") + SYNC],
    "function calls": [
        function_call(INT4PL, [b"\0\0\0\2", b"\0\0\0\3"]),
        BEGIN + function_call(INT4PL, [b"\0\0\0\2"]),
        function_call(INT4PL, [b"\0\0\0\2", b"\0\0\0\3"]) + ROLLBACK,
        parse(ONE, "a") + use("a") + SYNC + function_call(INT4PL, [b"\0\0\0\2", b"\0\0\0\3"]) + use("a") + SYNC,
    ],
}

STATEMENTS: Final = {
    "the unnamed one closed": [parse(ONE) + close() + bind() + execute() + SYNC],
    "the unnamed one fails": [parse(ONE) + parse(FAULTY) + bind() + SYNC],
    "the unnamed one in a transaction": [
        BEGIN + parse(ONE) + SYNC,
        bind() + execute() + SYNC,
        describe() + parse(FAULTY) + SYNC,
        ROLLBACK,
    ],
    "discard": [
        parse(ONE, "a") + parse(TWO, "b") + SYNC,
        query("discard plans"),
        use("a") + SYNC,
        query("discard all"),
        use("a") + SYNC,
        parse(TWO, "a") + use("a") + SYNC,
        run("discard all") + SYNC,
        use("a") + SYNC,
        BEGIN + parse(TWO, "a") + SYNC + query("discard all") + ROLLBACK,
        use("a") + SYNC,
    ],
    "by SQL in a transaction": [
        BEGIN + query("prepare a (int) as select $1 + 1"),
        query("execute a (41)"),
        bind("41", name="a") + execute() + describe("a") + SYNC,
        query("deallocate a") + ROLLBACK,
    ],
    "what is allowed in a failed transaction": [
        parse("", "a") + parse("rollback", "b") + SYNC,
        BEGIN + FAIL + parse("", "c") + SYNC,
        parse("rollback", "A") + SYNC,
        use("c") + SYNC,
        use("A") + SYNC,
    ],
    "two names for one text": [parse(ONE, "a") + parse(ONE, "b") + SYNC, bind("1", name="b") + SYNC],
    "too few values": [
        typed("select $1", TEXT, name="a") + use("a") + SYNC,
        typed("select $1", TEXT) + use() + SYNC,
        bind("1", "2", name="a") + SYNC,
    ],
    "reset": [
        query("set application_name = 'x'"),
        query("reset application_name"),
        query("show application_name"),
    ],
    "names": [
        b"".join(parse(f"select {number}", name) for number, name in enumerate(NAMES)) + SYNC,
        *(use(name) + SYNC for name in NAMES),
        b"".join(map(use, NAMES)) + SYNC,
        *(parse(ONE, name) + SYNC for name in NAMES),
        *(close(name) + use(name) + SYNC for name in NAMES),
    ],
    "two commands in one statement": [
        parse("select 1; select 2", "a") + SYNC,
        use("a") + SYNC,
        run("select 1; select 2") + SYNC,
    ],
    "one text, other types": [
        typed("select $1", INT4, name="a") + typed("select $1", TEXT, name="b") + typed("select $1", name="c") + SYNC,
        describe("a") + describe("b") + describe("c") + SYNC,
        bind("7", name="a") + execute() + bind("x", name="b") + execute() + bind("y", name="c") + execute() + SYNC,
        bind("x", name="a") + execute() + SYNC,
        typed("select $1", 4294967294, name="A") + SYNC,
        typed("select $1 + $2", 0, INT8, name="A") + describe("A") + bind("1", "2", name="A") + execute() + SYNC,
    ],
    "too few formats": [
        typed("select $1::int4 as n, $2::text as t, null as z", INT4, TEXT, name="a") + SYNC,
        bind_as([], [b"1", b"2"], [1, 1], "a") + execute() + SYNC,
    ],
    "formats": [
        typed("select $1::int4 + $2::int4 as n, $3::text as t, null as z", INT4, INT4, TEXT, name="a") + SYNC,
        bind_as([1, 1, 0], [b"\0\0\0\1", b"\0\0\0\2", b"x"], [1, 0, 0], "a") + describe_portal() + execute() + SYNC,
        bind_as([1], [b"\0\0\0\1", b"\0\0\0\2", None], [1], "a") + describe_portal() + execute() + SYNC,
        bind_as([], [b"1", None, b""], [], "a") + execute() + SYNC,
        bind_as([1], [b"\0\0\1", b"\0\0\0\2", None], [1], "a") + execute() + SYNC,
        bind_as([2], [b"1", b"2", b"3"], [], "a") + execute() + SYNC,
        bind_as([], [b"1", b"2", b"3"], [7], "a") + execute() + SYNC,
        bind_as([0], [b"1", b"2", b"\xff"], [], "a") + execute() + SYNC,
    ],
    "large": [
        typed("select length($1), $1", TEXT, name="a") + describe("a") + SYNC,
        bind("x" * 70_000, name="a") + execute() + bind("y" * 200_000, name="a") + execute() + SYNC,
        bind("x" * 70_000, name="b") + execute() + bind("y" * 200_000, name="a") + execute() + SYNC,
        typed("select length($1), $1", TEXT) + bind("z" * 300_000) + execute() + use("x") + SYNC,
        parse("select '" + "t" * 200_000 + "'", "b") + use("b") + SYNC,
        use("b") + SYNC,
        run("select '" + "u" * 200_000 + "'") + SYNC,
        query("select '" + "v" * 200_000 + "'"),
        query("select length('" + "w" * 200_000 + "'), 1/0"),
        run("select repeat('x', 1000) from generate_series(1, 1000)") + SYNC,
        use("b") + use("b") + use("x") + SYNC,
    ],
    "more than the cache": [
        b"".join(parse(f"select {n}", name) for n, name in enumerate(NAMES[:6])) + SYNC,
        b"".join(map(use, NAMES[:6])) + SYNC,
        *(use(name) + SYNC for name in NAMES[:6]),
        b"".join(use(name) + SYNC for name in NAMES[5::-1]),
    ],
    "evictions skipped after an error": [
        parse(ONE, "a") + parse(TWO, "b") + SYNC,
        use("x") + use("a") + SYNC + use("b") + use("a") + SYNC,
        use("b") + SYNC + SYNC,
    ],
    "flush and flush": [
        FLUSH
        + parse(ONE, "a")
        + FLUSH
        + FLUSH
        + describe("a")
        + FLUSH
        + bind(name="a")
        + FLUSH
        + execute()
        + FLUSH
        + SYNC,
        use("x") + FLUSH + use("a") + FLUSH + SYNC,
        use("a") + FLUSH + use("x") + FLUSH + SYNC + use("a") + FLUSH + SYNC,
    ],
}

DIALOGUES: Final = COPIES | PORTALS | TRANSACTIONS | STATEMENTS | DEALLOCATES
"""Scripts by their names."""

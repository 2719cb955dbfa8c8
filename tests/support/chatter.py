"""What clients may say, for hypothesis: mostly sound requests, with faults among them, cut in pieces anywhere.

Nobody executes the unnamed portal without a Bind: after a Query that has failed in a transaction, PostgreSQL 18 looks
at what that has left behind, and may crash.

A server skips what follows a fault up to the next Sync, so where most messages are faults little is tried.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from pgcat_trio.wire import encode

from .client import bind, copy_data, describe_portal, execute, function_call, parse
from .extended import (
    BEGIN,
    COMMIT,
    COPY_IN,
    COPY_OUT,
    DIVISION,
    FAIL,
    FAULTY,
    FLUSH,
    INT4,
    ONE,
    ROLLBACK,
    SERIES,
    SYNC,
    TEXT,
    TWO,
    TWO_FORMATS,
    bind_as,
    close,
    describe,
    query,
    run,
    typed,
    use,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SCHEMA: Final = "drop table if exists numbers; create table numbers (n int)"
APPLICATION: Final = "random"
"""The clients' application_name: one that has none gets the proxy's."""

NAMES: Final = ("a", "b", "pgcat_2")
TYPED: Final = close("t") + typed("select $1 + 1, $2, length($2)", INT4, TEXT, name="t") + describe("t")
NOTICE = "do $$ begin raise notice 'one'; raise warning 'two'; end $$"
LARGE = "select repeat('x', 70000) from generate_series(1, 3)"
RESTORE = f"rollback; set timezone = 'UTC'; set datestyle = 'ISO, MDY'; set application_name = '{APPLICATION}'"

FIRST: Final = parse(ONE, "a") + parse(TWO, "b") + parse(SERIES, "pgcat_2") + parse(NOTICE, "s") + TYPED + SYNC
CLEAN: Final = SYNC + query(RESTORE) + b"".join(map(close, (*NAMES, "t", "s", "copy"))) + SYNC

named = st.sampled_from(NAMES)
rows = st.sampled_from([ONE, TWO, SERIES, LARGE, COPY_OUT, "show timezone", "select current_setting('datestyle')"])
others = st.sampled_from(
    [
        *(NOTICE, "notify nobody, 'x'", "set timezone = 'Asia/Tokyo'", "set local datestyle = 'German'", "begin"),
        *("commit", "rollback", "savepoint s", "rollback to s", "set application_name = 'é'", ""),
    ]
)
"""What returns no rows. In a failed transaction a server describes such a statement, where one that it would have to
parse before is refused: so these are not described by name."""

bad = st.sampled_from([FAULTY, DIVISION, "select $1::int4", "select 1; select 2"])

strings = st.sampled_from([b"", b"x", "é".encode(), b"y" * 70_000, b"z" * 200_000, None])
good_binds = st.builds(
    lambda number, text, results: bind_as([number[1], 0], [number[0], text], results, "t"),
    st.sampled_from([(b"\0\0\0\7", 1), (b"7", 0), (None, 0), (None, 1)]),
    strings,
    st.sampled_from([[], [0], [1], [1, 0, 1]]),
)
bad_binds = st.builds(
    lambda number, text, results: bind_as([number[1], 0], [number[0], text], results, "t"),
    st.sampled_from([(b"seven", 0), (b"\0\7", 1), (b"7", 3)]),
    strings | st.just(b"\xff"),
    st.sampled_from([[], [1, 0], [3, 3, 3]]),
)
copied = st.lists(st.sampled_from([b"1\n2\n", b"", b"3", b"4\n" * 40_000]).map(copy_data), max_size=3).map(b"".join)
failing_copies = st.builds(
    lambda rows, end: rows + end,
    copied,
    st.sampled_from([encode.copy_fail("no more"), copy_data(b"x\n") + encode.COPY_DONE]),
)
copies = copied.map(lambda rows: rows + encode.COPY_DONE)


pauses = st.sampled_from([b"", FLUSH])
"""Not a Sync, with which libpq ends the Execute: of data that fail nobody can tell whether it is answered."""


def copy(pause: bytes, data: bytes) -> bytes:
    """COPY FROM STDIN by a statement that nobody uses again: its data would be missing."""
    return parse(COPY_IN, "copy") + bind(name="copy") + execute() + pause + data + close("copy")


sound = st.one_of(
    st.builds(lambda text, name: close(name) + parse(text, name), rows, named),
    named.map(use),
    st.builds(
        lambda name, count: bind(name=name) + execute("", count) + execute("", 1) + execute(), named, st.integers(0, 3)
    ),
    named.map(describe),
    others.map(lambda text: close("s") + parse(text, "s")),
    st.just(use("s")),
    st.one_of(rows, rows, others).map(lambda text: parse(text) + use()),
    st.builds(
        lambda name, portal: close(portal, b"P") + bind(name=name, portal=portal) + execute(portal, 2),
        named,
        st.sampled_from(["p", "q"]),
    ),
    st.sampled_from([close("p", b"P"), close("x"), FLUSH, TYPED]),
    good_binds.map(lambda message: message + describe_portal() + execute()),
    st.builds(copy, pauses, copies),
)
faulty = st.one_of(
    st.builds(parse, bad | rows, named),
    bad.map(lambda text: parse(text) + use()),
    named.map(lambda name: bind("1", name=name)),
    named.map(lambda name: close(name) + use(name)),
    st.sampled_from([TWO_FORMATS, use("x"), describe("x"), execute("p", 1), execute("q"), describe_portal("p")]),
    st.sampled_from([run("deallocate a"), run("deallocate all"), run("deallocate x"), run("select 1/0")]),
    bad_binds.map(lambda message: message + execute()),
    st.builds(copy, pauses, failing_copies),
)
queries = st.one_of(
    st.one_of(rows, others, bad).map(query),
    st.sampled_from([BEGIN, BEGIN, COMMIT, ROLLBACK, ROLLBACK, FAIL, FLUSH + SYNC]),
    st.sampled_from(["deallocate a", "deallocate all", "select 1; select 1/0", "select 1; begin; select 2"]).map(query),
    st.one_of(copies, failing_copies).map(lambda data: query(COPY_IN) + data),
    st.just(function_call(177, [b"\0\0\0\2", b"\0\0\0\3"])),
)

ordinary = st.integers(0, 7).flatmap(lambda number: faulty if number == 7 else sound)

pair = st.sampled_from(
    [
        *(close(name) + parse(text, name) for name in "ab" for text in (ONE, TWO, SERIES)),
        use("a"),
        use("b"),
        use("a") + use("b"),
    ]
)
"""For servers with room for one statement."""

unnamed = st.one_of(
    rows.map(parse),
    st.sampled_from([bind() + describe_portal() + execute(), describe(), close(), use(), parse(FAULTY)]),
    st.sampled_from([SYNC, SYNC + query(ONE)]),
)
"""The unnamed statement, parsed here and used there."""


@st.composite
def conversation(draw: st.DrawFn, messages: SearchStrategy[bytes]) -> list[bytes]:
    """What one client sends, in pieces; it leaves nothing behind."""
    extended = st.lists(messages, min_size=1, max_size=6).map(lambda parts: b"".join(parts) + SYNC)
    requests = st.integers(0, 3).flatmap(lambda number: queries if number == 3 else extended)
    said = [FIRST, *draw(st.lists(requests, min_size=3, max_size=10)), CLEAN]
    ends = [*itertools.accumulate(map(len, said))]
    waits = draw(st.lists(st.booleans(), min_size=len(ends), max_size=len(ends)))
    cuts = draw(st.lists(st.integers(1, ends[-1] - 1), max_size=4))
    at = sorted({0, ends[-1], *cuts, *itertools.compress(ends, waits)})
    data = b"".join(said)
    return [data[start:stop] for start, stop in itertools.pairwise(at)]

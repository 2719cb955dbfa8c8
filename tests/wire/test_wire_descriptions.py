"""What is compared of a statement's description, and how the replies to a Describe of ours are taken out."""

from __future__ import annotations

import pytest

from pgcat_trio.wire import encode
from pgcat_trio.wire.descriptions import Description, description_of
from pgcat_trio.wire.statements import END, PARSE_COMPLETE, DescribedNote, Note
from pgcat_trio.wire.upstream import Upstream

TYPES = b"\0\1\0\0\0\x17"
PARSED, READY = b"1\0\0\0\x04", encode.ready_for_query()
DESCRIBED, NO_DATA = encode.message(b"t", TYPES), encode.message(b"n", b"")
ROW = encode.row_description([("one", 25), ("two", 23)])
ERROR = encode.report(b"E", [("S", "ERROR"), ("C", "42601"), ("M", "no")])


def row(*columns: tuple[str, int, int, int]) -> bytes:
    """The body of a RowDescription: name, table, type and modifier of each column."""
    kept = [
        encode.cstring(name)
        + table.to_bytes(4)
        + b"\0\1"
        + type_.to_bytes(4)
        + b"\0\4"
        + modifier.to_bytes(4)
        + b"\0\0"
        for name, table, type_, modifier in columns
    ]
    return len(columns).to_bytes(2) + b"".join(kept)


ONE = row(("n", 1000, 23, 9))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (row(("n", 1000, 23, 9)), True),
        (row(("n", 2000, 23, 9)), True),
        (row(("m", 1000, 23, 9)), False),
        (row(("n", 1000, 20, 9)), False),
        (row(("n", 1000, 23, 8)), False),
        (row(("n", 1000, 23, 9), ("m", 1000, 23, 9)), False),
        (row(), False),
    ],
)
def test_columns_are_compared_as_a_server_does(other: bytes, same: bool) -> None:
    assert (description_of(b"select n", TYPES, other) == description_of(b"select n", TYPES, ONE)) is same


@pytest.mark.parametrize(
    ("text", "compared"),
    [
        (b"select 1", True),
        (b" -- why\n/* because */\tWITH x AS (select 1) table x", True),
        (b"((values (1)))", True),
        (b"insert into t values (1) returning n", True),
        (b"fetch 5 from c", False),
        (b"show all", False),
        (b"explain select 1", False),
        (b"selects", False),
        (b"", False),
    ],
)
def test_what_may_return_anything_is_not_compared(text: bytes, compared: bool) -> None:
    assert (description_of(text, TYPES, ONE).columns is not None) is compared


def test_no_columns_are_never_others() -> None:
    assert description_of(b"update t set n = 1", TYPES, None) == Description(TYPES, None)


def upstream_with(heard: list[tuple[bytes, bytes | None]]) -> tuple[Upstream, DescribedNote]:
    """A request with a Parse and a Describe of ours in it; the client describes something behind them."""
    upstream = Upstream()
    note = DescribedNote(lambda types, row: heard.append((types, row)))
    upstream.statements.expect([Note(PARSE_COMPLETE, forward=False), note, Note(END, forward=True)], 0)
    upstream.expected.sent(b"S", unsynced=False)
    return upstream, note


@pytest.mark.parametrize("answer", [ROW, NO_DATA])
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_our_describe_is_not_answered_to_the_client(answer: bytes, step: int) -> None:
    heard: list[tuple[bytes, bytes | None]] = []
    upstream, note = upstream_with(heard)
    assert upstream.statements.awaits(note)
    data = PARSED + DESCRIBED + answer + DESCRIBED + ROW + READY
    parts = [upstream.feed(data[at : at + step]) for at in range(0, len(data), step)]
    assert b"".join(parts) == DESCRIBED + ROW + READY
    assert heard == [(TYPES, answer[5:] if answer is ROW else None)]
    assert not upstream.statements.awaits(note)


def test_it_is_not_awaited_after_an_error() -> None:
    upstream, note = upstream_with([])
    assert upstream.feed(ERROR) == ERROR
    assert not upstream.statements.awaits(note)
    assert upstream.feed(READY) == READY


def test_it_is_awaited_after_an_error_of_the_request_before() -> None:
    upstream = Upstream()
    note = DescribedNote(lambda types, row: None)
    upstream.statements.expect([Note(END, forward=True), Note(PARSE_COMPLETE, forward=False), note], 0)
    upstream.expected.sent(b"S", unsynced=True)
    upstream.feed(ERROR)
    assert upstream.statements.awaits(note)
    upstream.feed(READY + PARSED)
    assert upstream.statements.awaits(note)
    upstream.feed(DESCRIBED + NO_DATA)
    assert not upstream.statements.awaits(note)

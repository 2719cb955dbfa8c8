"""Which messages are the proxy's own, however they arrive."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgcat_trio.wire import encode
from pgcat_trio.wire.claims import Claims
from pgcat_trio.wire.downstream import Downstream

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse(sql: str, name: str = "") -> bytes:
    return encode.message(b"P", encode.cstring(name) + encode.cstring(sql) + b"\0\0")


def bind(name: str = "", portal: str = "") -> bytes:
    return encode.message(b"B", encode.cstring(portal) + encode.cstring(name) + b"\0\0" * 3)


def execute(portal: str = "") -> bytes:
    return encode.message(b"E", encode.cstring(portal) + b"\0\0\0\0")


def about(kind: bytes, what: bytes, name: str = "") -> bytes:
    return encode.message(kind, what + encode.cstring(name))


OURS, THEIRS = "ours", "theirs"
SYNC, FLUSH = encode.SYNC, encode.FLUSH

MESSAGES = [
    *(encode.query(text) for text in (OURS, THEIRS)),
    *(parse(text, name) for text in (OURS, THEIRS) for name in ("", "s")),
    *(bind(name, portal) for name in ("", "s") for portal in ("", "p")),
    *(execute(portal) for portal in ("", "p")),
    *(about(kind, what, name) for kind in (b"D", b"C") for what, name in ((b"S", ""), (b"S", "s"), (b"P", ""))),
    SYNC,
    FLUSH,
    encode.message(b"d", b"row"),
]


def taken(pieces: Sequence[bytes], *, streaming: bool = False) -> list[tuple[bool, bytes]]:
    """The batches, each with whether it is the proxy's."""
    codec = Downstream()
    codec.claims = Claims(lambda text: text == OURS.encode())
    batches = []
    for piece in pieces:
        codec.feed(piece)
        while batch := codec.take(streaming=streaming):
            batches.append((codec.own, batch))
    return batches


def joined(batches: list[tuple[bool, bytes]]) -> list[tuple[bool, bytes]]:
    """The same, as few batches as possible."""
    whole: list[tuple[bool, bytes]] = []
    for own, batch in batches:
        if whole and whole[-1][0] == own:
            batch = whole.pop()[1] + batch
        whole.append((own, batch))
    return whole


@pytest.mark.parametrize(
    ("said", "batches"),
    [
        ([encode.query(OURS)], [(True, 1)]),
        ([encode.query(THEIRS), encode.query(OURS), encode.query(THEIRS)], [(False, 1), (True, 1), (False, 1)]),
        ([parse(OURS), bind(), about(b"D", b"P"), execute(), SYNC], [(True, 5)]),
        ([parse(OURS, "s"), about(b"D", b"S", "s"), FLUSH, bind("s"), execute(), SYNC], [(True, 3), (True, 3)]),
        ([parse(OURS), bind(), execute(), parse(THEIRS), bind(), execute(), SYNC], [(True, 3), (False, 4)]),
        ([parse(THEIRS), bind(), execute(), parse(OURS), bind(), execute(), SYNC], [(False, 3), (True, 4)]),
        ([parse(OURS, "s"), SYNC, parse(THEIRS, "s"), SYNC], [(True, 2), (True, 2)]),
        ([parse(OURS), SYNC, parse(THEIRS), bind(), SYNC], [(True, 2), (False, 3)]),
        ([parse(OURS), SYNC, encode.query(THEIRS), bind(), SYNC], [(True, 2), (False, 3)]),
        ([parse(OURS, "s"), about(b"C", b"S", "s"), SYNC, bind("s"), SYNC], [(True, 3), (False, 2)]),
        ([parse(OURS), bind("", "p"), SYNC, execute("p"), SYNC], [(True, 3), (False, 2)]),
        ([parse(OURS), bind("", "p"), execute("p"), bind("other", "p"), execute("p"), SYNC], [(True, 3), (False, 3)]),
    ],
)
def test_what_is_whose(said: list[bytes], batches: list[tuple[bool, int]]) -> None:
    expected = []
    messages = iter(said)
    for own, count in batches:
        expected.append((own, b"".join(next(messages) for _ in range(count))))
    assert taken([b"".join(said)]) == expected
    assert joined(taken(said)) == joined(expected)


def without_closings(batches: list[tuple[bool, bytes]]) -> list[tuple[bool, bytes]]:
    opened = [(own, batch.replace(SYNC, b"").replace(FLUSH, b"")) for own, batch in batches]
    return [(own, batch) for own, batch in opened if batch]


@given(st.lists(st.sampled_from(MESSAGES), max_size=30), st.lists(st.integers(0, 600), max_size=5), st.booleans())
def test_cuts_and_companions_make_no_difference(said: list[bytes], places: list[int], streaming: bool) -> None:
    """A message is the same one's however the bytes arrive, as long as no request is left unfinished.

    While a backend is held, a Sync that comes by itself behind a command is the server's, which answers as we would.
    """
    data = b"".join(said) + SYNC
    ends = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    pieces = [data[start:stop] for start, stop in itertools.pairwise(ends)]
    found, expected = taken(pieces, streaming=streaming), taken([data], streaming=False)
    if streaming:
        found, expected = without_closings(found), without_closings(expected)
    assert joined(found) == joined(expected)
    assert b"".join(batch for _, batch in taken(pieces)) == data


def test_what_was_put_back_is_taken_once_more() -> None:
    codec = Downstream()
    codec.feed(encode.query("one") + encode.query("two"))
    batch = codec.take(streaming=False)
    codec.unread(batch[len(encode.query("one")) :])
    assert codec.take(streaming=False) == encode.query("two")

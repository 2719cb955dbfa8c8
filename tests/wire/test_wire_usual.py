"""What is recognized at a glance is what the walk over its messages finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgcat_trio.wire import encode
from pgcat_trio.wire.downstream import LARGE_BYTES, Downstream
from pgcat_trio.wire.usual import BOUND, OTHER, PARSED, QUERY, glance

message, SYNC = encode.message, encode.SYNC
TAIL = b"SELECT $1, $2\0\0\1\0\0\0\x17"
PARSE = message(b"P", b"\0" + TAIL)
BIND = message(b"B", bytes(2) + b"\0\0\0\1\0\0\0\1x\0\0")
NAMED_BIND = message(b"B", b"\0some\0" + b"\0\0\0\1\0\0\0\1x\0\0")
DESCRIBE, DESCRIBE_PORTAL = message(b"D", b"S\0"), message(b"D", b"P\0")
EXECUTE, EXECUTE_ONE, EXECUTE_SOME = (message(b"E", bytes(4) + bytes([rows])) for rows in (0, 1, 100))

USUAL = {
    "prepared first, as by lib/pq": (PARSE + DESCRIBE + SYNC, PARSED, TAIL),
    "prepared first, as by libpq": (PARSE + SYNC, PARSED, TAIL),
    "all at once": (PARSE + BIND + DESCRIBE_PORTAL + EXECUTE + SYNC, PARSED, TAIL),
    "all at once but a description": (PARSE + BIND + EXECUTE_ONE + SYNC, PARSED, TAIL),
    "prepared before": (NAMED_BIND + DESCRIBE_PORTAL + EXECUTE + SYNC, BOUND, b"some"),
    "described before": (NAMED_BIND + EXECUTE_ONE + SYNC, BOUND, b"some"),
    "unnamed, prepared before": (BIND + EXECUTE + SYNC, BOUND, b""),
    "an empty text": (message(b"P", bytes(4)) + SYNC, PARSED, bytes(3)),
}
UNUSUAL = {
    "nothing": b"",
    "a header": PARSE[:5],
    "unfinished": PARSE + BIND + EXECUTE,
    "a Sync that is not there yet": (PARSE + SYNC)[:-1],
    "a Parse with a name": message(b"P", b"a\0" + TAIL) + SYNC,
    "a portal with a name": message(b"B", b"p\0\0" + bytes(6)) + EXECUTE + SYNC,
    "another statement's Bind": PARSE + NAMED_BIND + EXECUTE + SYNC,
    "some rows": PARSE + BIND + EXECUTE_SOME + SYNC,
    "two": PARSE + SYNC + PARSE + SYNC,
    "a Close": message(b"C", b"Ssome statement\0") + SYNC,
    "a text without an end": message(b"P", b"\0" + b"SELECT 1 AS number") + SYNC,
    "a name without an end": message(b"B", b"\0" + b"some other name") + EXECUTE + SYNC,
}


@pytest.mark.parametrize("name", USUAL)
def test_the_usual_is_recognized(name: str) -> None:
    request, shape, subject = USUAL[name]
    codec = Downstream()
    codec.watching = True
    codec.feed(request)
    assert codec.take(streaming=False) == request
    assert (codec.shape, codec.subject, codec.named) == (shape, subject, shape == BOUND)
    assert (codec.markers, codec.complete, codec.pending) == (b"S", True, False)


@pytest.mark.parametrize("name", UNUSUAL)
def test_the_unusual_is_left_to_the_walk(name: str) -> None:
    assert glance(UNUSUAL[name]) is None


def test_a_query_has_a_shape_too() -> None:
    codec = Downstream()
    codec.feed(encode.query("select 1"))
    codec.take(streaming=False)
    assert codec.shape == QUERY
    codec.feed(encode.query("select 1") * 2)
    codec.take(streaming=False)
    assert codec.shape == OTHER


def test_what_is_too_long_is_streamed() -> None:
    codec = Downstream()
    request = message(b"P", b"\0" + b"x" * LARGE_BYTES + bytes(3)) + SYNC
    codec.feed(request)
    assert codec.take(streaming=False) == request
    assert codec.shape == OTHER


@given(st.sampled_from([request for request, _, _ in USUAL.values()]), st.data())
def test_the_glance_sees_what_the_walk_finds(request: bytes, data: st.DataObject) -> None:
    """Whatever one byte is changed to: either it is not recognized any more, or it is still what the walk finds."""
    at = data.draw(st.integers(0, len(request) - 1))
    changed = request[:at] + bytes([data.draw(st.integers(0, 255))]) + request[at + 1 :]
    seen = glance(changed)
    if seen is None:
        return
    _, _, text, executes = seen
    walk = Downstream()
    walk.feed(changed * 2)  # two of them are not the usual
    assert walk.take(streaming=False) == changed * 2
    assert walk.shape == OTHER
    assert (walk.markers, walk.complete, walk.executes) == (b"SS", True, executes)
    assert walk.texts == ([text] * 2 if changed[:1] == b"P" else [])

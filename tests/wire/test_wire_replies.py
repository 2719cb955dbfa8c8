"""Who owes whom what: the proxy's book (`ExpectedReplies`) against a model of the server, in every order of events.

The law: the book may say that nothing is owed only when nothing is, or the next client would get the rest.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_model import (
    BAD_DATA,
    COPY_DONE,
    COPY_FAIL,
    DATA,
    FLUSH,
    FUNCTION,
    OUTCOMES,
    SYNC,
    ServerModel,
    execute,
    query,
)

from pgcat_trio.wire.downstream import Downstream
from pgcat_trio.wire.upstream import Upstream


class Book:
    """A client, the proxy's two codecs, and a server. What the server answers is delivered when the test says so."""

    def __init__(self) -> None:
        self.downstream = Downstream()
        self.upstream = Upstream()
        self.server = ServerModel()
        self.delivered = 0
        self.forwarded = b""

    def write(self, data: bytes) -> None:
        self.downstream.feed(data)
        while batch := self.downstream.take(streaming=True):
            self.upstream.expected.sent(self.downstream.markers, self.downstream.unsynced)
            self.server.receive(batch)
        self.check()

    def deliver(self, count: int = 1 << 30) -> None:
        for reply in self.server.replies[self.delivered : self.delivered + count]:
            self.forwarded += self.upstream.feed(reply)
            self.delivered += 1
            self.check()

    def check(self) -> None:
        if self.upstream.quiet and not self.upstream.expected.in_doubt and not self.server.dead:
            assert self.delivered == len(self.server.replies), "replies are on their way, and nobody expects them"
            assert self.server.at_rest, "the server waits for something, and nobody knows"


EXTENDED_COPY = execute("copy")
PIECES = [
    *map(query, OUTCOMES),
    *map(execute, OUTCOMES),
    SYNC,
    SYNC,
    FLUSH,
    FUNCTION,
    DATA,
    BAD_DATA,
    COPY_DONE,
    COPY_DONE,
    COPY_FAIL,
]


@given(st.lists(st.tuples(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6), st.integers(0, 6)), max_size=8))
def test_nothing_a_client_does_settles_the_book_too_early(steps: list[tuple[list[bytes], int]]) -> None:
    book = Book()
    for messages, replies in steps:
        book.write(b"".join(messages))
        book.deliver(replies)
    book.deliver()


REQUESTS: list[list[bytes]] = [
    [query("ok")],
    [query("error")],
    [FUNCTION],
    [SYNC],
    [execute("ok"), SYNC],
    [execute("error"), SYNC],
    [execute("ok"), FLUSH, execute("ok"), SYNC],
    [execute("ok"), FLUSH, execute("error"), execute("ok"), SYNC],
    # COPY, simple: the client may send all at once, and goes on until it sees the error.
    [query("copy"), DATA, DATA, COPY_DONE],
    [query("copy"), COPY_DONE],
    [query("copy"), DATA, COPY_FAIL],
    [query("copy"), BAD_DATA, DATA, COPY_DONE],
    [query("refuse"), DATA, COPY_DONE],
    [query("error"), DATA, COPY_DONE],
    # COPY, extended, as the manual wants it ...
    [execute("copy"), DATA, COPY_DONE, SYNC],
    [execute("copy"), FLUSH, DATA, COPY_FAIL, SYNC],
    [execute("copy"), BAD_DATA, COPY_DONE, SYNC],
    [execute("refuse"), DATA, COPY_DONE, SYNC],
    [execute("error"), DATA, COPY_DONE, SYNC],
    [execute("ok"), execute("copy"), DATA, COPY_DONE, execute("ok"), SYNC],
    # ... and as libpq does it: a Sync with the Execute, which the server ignores if it reads copy data by then.
    [execute("copy"), SYNC, DATA, COPY_DONE, SYNC],
    [execute("copy"), SYNC, DATA, COPY_FAIL, SYNC],
    [execute("copy"), SYNC, BAD_DATA, COPY_DONE, SYNC],
    [execute("refuse"), SYNC, DATA, COPY_DONE, SYNC],
    [execute("error"), SYNC, DATA, COPY_DONE, SYNC],
]


@given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=4), st.data())
def test_well_behaved_clients_settle_the_book(requests: list[list[bytes]], data: st.DataObject) -> None:
    """However the messages are cut into writes and the replies come in between, one COPY at a time."""
    book = Book()
    for request in requests:
        remaining = list(request)
        while remaining:
            count = data.draw(st.integers(1, len(remaining)))
            book.write(b"".join(remaining[:count]))
            del remaining[:count]
            book.deliver(data.draw(st.integers(0, 4)))
        if any(message[:1] in b"cf" for message in request):
            book.deliver()
    book.deliver()
    assert book.server.at_rest
    assert book.upstream.quiet or book.upstream.expected.in_doubt


@pytest.mark.parametrize("pieces", REQUESTS, ids=lambda pieces: "".join(chr(piece[0]) for piece in pieces))
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
def test_each_request_ends_settled(pieces: list[bytes], at_once: bool) -> None:
    book = Book()
    for write in [b"".join(pieces)] if at_once else pieces:
        book.write(write)
        book.deliver()
    assert book.server.at_rest
    assert book.upstream.quiet or book.upstream.expected.in_doubt

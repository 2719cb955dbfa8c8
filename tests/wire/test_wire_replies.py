"""Who owes whom what: the proxy's book (`ExpectedReplies`) against a model of the server, in every order of events.

The law: the book may say that nothing is owed only when nothing is, or the next client would get the rest.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scripts import IN_DOUBT, REQUESTS
from server_model import (
    BAD_DATA,
    COMPLETE,
    COPY_DONE,
    COPY_FAIL,
    COPY_IN,
    DATA,
    FLUSH,
    FUNCTION,
    OUTCOMES,
    READY,
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
            assert not self.server.poisoned, "the next client would get an error for what this one did"


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


@example([([query("copy")], 1), ([BAD_DATA, query("ok")], 2)])
@example([([execute("copy"), SYNC], 0), ([DATA, COPY_DONE, SYNC], 2)])
@example([([execute("refuse"), SYNC, DATA, COPY_DONE, SYNC], 3)])
@example([([query("copy")], 1), ([BAD_DATA, execute("ok"), SYNC], 2)])
@example([([query("copy"), query("ok")], 1), ([BAD_DATA], 2)])
@given(st.lists(st.tuples(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6), st.integers(0, 6)), max_size=8))
def test_nothing_a_client_does_settles_the_book_too_early(steps: list[tuple[list[bytes], int]]) -> None:
    book = Book()
    for messages, replies in steps:
        book.write(b"".join(messages))
        book.deliver(replies)
    book.deliver()


@given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=4), st.data())
def test_well_behaved_clients_settle_the_book(requests: list[list[bytes]], data: st.DataObject) -> None:
    """However the messages are cut into writes and the replies come in between."""
    book = Book()
    for request in requests:
        remaining = list(request)
        while remaining:
            count = data.draw(st.integers(1, len(remaining)))
            book.write(b"".join(remaining[:count]))
            del remaining[:count]
            book.deliver(data.draw(st.integers(0, 4)))
    book.deliver()
    assert book.server.at_rest
    assert book.upstream.quiet
    assert not book.upstream.expected.in_doubt


STRAYS = [
    [execute("error"), SYNC, COPY_DONE],
    [execute("error"), SYNC, DATA, COPY_FAIL, COPY_DONE, SYNC],
    [query("error"), COPY_DONE],
    [query("ok"), COPY_FAIL, COPY_DONE],
    [SYNC, COPY_DONE],
]


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
@pytest.mark.parametrize("strays", STRAYS, ids=lambda script: "".join(chr(message[0]) for message in script))
def test_the_end_of_no_copy_is_not_that_of_the_next_one(strays: list[bytes], at_once: bool) -> None:
    """Which libpq begins with a Sync that the server will ignore."""
    messages = [*strays, execute("copy"), SYNC, DATA, COPY_DONE, SYNC, query("ok")]
    book = Book()
    for message in [b"".join(messages)] if at_once else messages:
        book.write(message)
    while book.delivered < len(book.server.replies):
        book.deliver(1)
    assert book.server.at_rest
    assert book.upstream.quiet
    assert not book.upstream.expected.in_doubt


@pytest.mark.parametrize("messages", IN_DOUBT, ids=["fail", "bad data", "refused"])
@pytest.mark.parametrize("size", [2, 5])
def test_a_copy_that_fails_with_a_sync_in_it_ends_in_doubt(messages: list[bytes], size: int) -> None:
    book = Book()
    for at in range(0, len(messages), size):
        book.write(b"".join(messages[at : at + size]))
        book.deliver()
    assert book.upstream.expected.in_doubt
    # It is over all the same: the session must be able to let go of the connection.
    assert book.upstream.quiet


def test_our_own_query_before_the_clients_is_nobodys_business() -> None:
    book = Book()
    book.upstream.expected.sent_own_query()
    book.server.receive(query("ok"))
    book.write(execute("copy") + SYNC)
    book.deliver()
    book.write(DATA + COPY_DONE + SYNC)
    book.deliver()
    assert book.upstream.quiet
    assert book.forwarded == COPY_IN + COMPLETE + READY

"""Notes about replies: each is answered in its turn, or undone."""

from __future__ import annotations

from pgcat_trio.wire import encode
from pgcat_trio.wire.statements import CLOSE_COMPLETE, END, PARSE_COMPLETE, UNANSWERED, Note
from pgcat_trio.wire.upstream import Upstream

PARSED, CLOSED, READY = b"1\0\0\0\x04", b"3\0\0\0\x04", encode.ready_for_query()
ERROR = encode.report(b"E", [("S", "ERROR"), ("C", "42601"), ("M", "no")])


def upstream_with(undone: list[str]) -> Upstream:
    """A request with a swallowed Close and Parse, a forwarded Parse and something without an answer."""
    upstream = Upstream()
    notes = [
        Note(CLOSE_COMPLETE, forward=False, undo=lambda: undone.append("close")),
        Note(PARSE_COMPLETE, forward=False, undo=lambda: undone.append("parse")),
        Note(PARSE_COMPLETE, forward=True, undo=lambda: undone.append("client's")),
        Note(UNANSWERED, forward=False, undo=lambda: undone.append("silent")),
        Note(END, forward=True),
    ]
    upstream.statements.expect(notes, 0)
    upstream.expected.sent(b"S", unsynced=False)
    return upstream


def test_what_the_proxy_put_in_is_swallowed() -> None:
    undone: list[str] = []
    assert upstream_with(undone).feed(CLOSED + PARSED + PARSED + READY) == PARSED + READY
    assert undone == []


def test_what_has_no_answer_is_undone_last_first() -> None:
    undone: list[str] = []
    assert upstream_with(undone).feed(CLOSED + ERROR + READY) == ERROR + READY
    assert undone == ["silent", "client's", "parse"]


def test_a_request_before_it_keeps_its_own_replies() -> None:
    undone: list[str] = []
    upstream = Upstream()
    upstream.expected.sent(b"S", unsynced=False)
    upstream.statements.expect([Note(PARSE_COMPLETE, forward=False), Note(END, forward=True)], 1)
    upstream.expected.sent(b"S", unsynced=False)
    assert upstream.feed(PARSED + CLOSED + READY + PARSED + READY) == PARSED + CLOSED + READY + READY
    assert undone == []
    assert not upstream.statements

"""What comes from a server: the same to the client and to the proxy, however the network cuts it."""

from __future__ import annotations

from typing import Any

import pytest
from chunks import PLACES, cut, operations, pieces_of
from hypothesis import given
from hypothesis import strategies as st

from pgcat_trio.errors import ProtocolViolation
from pgcat_trio.wire import encode
from pgcat_trio.wire.replies import QUERY_REPLY
from pgcat_trio.wire.upstream import Upstream

READY = {status: encode.ready_for_query(ord(status)) for status in "ITE"}
ERROR = encode.report(b"E", [("S", "ERROR"), ("V", "ERROR"), ("C", "42P01"), ("M", "no such table")])
NOTICE = encode.notice_response("take note")
ROW = encode.data_row(["1", None, "text"])
BIG_ROW = encode.data_row(["x" * 3000])
DONE = encode.command_complete("SELECT 1")
ZONE = encode.parameter_status("TimeZone", "Europe/Zurich")
COPY_IN = encode.message(b"G", b"\x00\x00\x01\x00\x00")
NOTIFICATION = encode.message(b"A", bytes(4) + b"channel\x00payload\x00")
OWN = encode.parameter_status("TimeZone", "UTC") + encode.command_complete("SET")
OWN_ANSWER = OWN + READY["I"]

Facts = tuple[Any, ...]


def own_then_query(upstream: Upstream) -> None:
    upstream.expected.sent_own_query()
    upstream.expected.sent(b"Q", unsynced=False)


def receive(pieces: list[bytes], sent: str) -> tuple[bytes, Facts]:
    """What the client gets, and what the proxy knows afterwards. ``sent``: o for a query of our own, else a marker."""
    upstream = Upstream()
    for kind in sent:
        if kind == "o":
            upstream.expected.sent_own_query()
        else:
            upstream.expected.sent(kind.encode(), unsynced=False)
    out = b"".join(map(upstream.feed, pieces))
    expected = upstream.expected
    return out, (
        upstream.status,
        list(expected.queue),
        expected.settled,
        expected.in_doubt,
        upstream.quiet,
        upstream.between_messages,
        upstream.changed_parameters,
        upstream.last_error,
        upstream.last_words,
        upstream.swallowed_error,
    )


# What was sent, what arrives, what of it the client gets.
STREAMS: list[tuple[str, list[bytes], list[bytes]]] = [
    ("Q", [ROW, DONE, READY["I"]], [ROW, DONE, READY["I"]]),
    ("Q", [NOTICE, ERROR, READY["E"]], [NOTICE, ERROR, READY["E"]]),
    ("Q", [COPY_IN], [COPY_IN]),
    ("QS", [DONE, READY["I"], ROW, ZONE, DONE, READY["T"]], [DONE, READY["I"], ROW, ZONE, DONE, READY["T"]]),
    ("", [NOTICE, NOTIFICATION, ZONE], [NOTICE, NOTIFICATION, ZONE]),
    ("o", [OWN_ANSWER], []),
    ("o", [NOTICE, ERROR, READY["I"]], []),
    ("oQ", [OWN_ANSWER, BIG_ROW, DONE, READY["I"]], [BIG_ROW, DONE, READY["I"]]),
    ("oS", [OWN_ANSWER, ROW, READY["I"], NOTIFICATION], [ROW, READY["I"], NOTIFICATION]),
    ("QoQ", [ROW, READY["I"], OWN_ANSWER, DONE, READY["I"]], [ROW, READY["I"], DONE, READY["I"]]),
    ("ooQ", [OWN_ANSWER, OWN_ANSWER, ROW, READY["T"]], [ROW, READY["T"]]),
    ("oQoo", [OWN_ANSWER, ROW, READY["I"], OWN_ANSWER, OWN_ANSWER], [ROW, READY["I"]]),
]
NAMES = [sent or "unasked" for sent, _, _ in STREAMS]


@pytest.mark.parametrize(("sent", "arrives", "client_gets"), STREAMS, ids=NAMES)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 1 << 20])
def test_the_client_gets_its_own_however_the_stream_is_cut(
    sent: str, arrives: list[bytes], client_gets: list[bytes], size: int
) -> None:
    stream = b"".join(arrives)
    out, facts = receive(list(pieces_of(stream, size)), sent)
    assert out == b"".join(client_gets)
    assert facts == receive([stream], sent)[1]


MESSAGES = st.sampled_from([*READY.values(), ERROR, NOTICE, ROW, BIG_ROW, DONE, ZONE, COPY_IN, NOTIFICATION])


SENT = st.builds(str.__add__, st.sampled_from(["", "o", "oo"]), st.text("QSc", max_size=6))
"""Queries of our own come first: they are sent when nothing is owed."""


@given(st.lists(MESSAGES, max_size=12), SENT, PLACES, st.integers(0, 40))
def test_any_cuts_of_any_stream_come_to_the_same(
    messages: list[bytes], sent: str, places: list[int], missing: int
) -> None:
    data = b"".join(messages)
    data = data[: max(0, len(data) - missing)]
    assert receive(cut(data, places), sent) == receive([data], sent)


@given(st.binary(max_size=200), PLACES)
def test_any_bytes_pass_or_are_a_violation_in_any_cuts(data: bytes, places: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> tuple[bytes, Facts] | None:
        try:
            return receive(pieces, "oQ")
        except ProtocolViolation:
            return None

    assert outcome(cut(data, places)) == outcome([data])


def test_what_is_all_the_clients_is_not_copied() -> None:
    upstream = Upstream()
    upstream.expected.sent(b"Q", unsynced=False)
    stream = ROW * 100 + DONE + READY["I"]
    assert upstream.feed(stream) is stream
    assert upstream.quiet


def test_a_row_of_a_gigabyte_is_not_kept() -> None:
    upstream = Upstream()
    upstream.expected.sent(b"Q", unsynced=False)
    upstream.feed(b"D" + (0x3FFFFFFF).to_bytes(4, "big"))
    piece = bytes(65536)
    assert not upstream.between_messages
    assert all(upstream.feed(piece) is piece for _ in range(20))


def test_a_message_we_read_is_kept_until_it_is_whole_and_only_up_to_a_mebibyte() -> None:
    upstream = Upstream()
    error = encode.report(b"E", [("M", "x" * 200_000)])
    assert upstream.feed(error[:-1]) == b""
    assert not upstream.quiet
    assert upstream.feed(error[-1:]) == error
    assert upstream.last_error == {"M": "x" * 200_000}
    huge = encode.report(b"E", [("M", "y" * (1 << 20))])
    for pieces in ([huge], list(pieces_of(huge, 65536))):
        assert b"".join(map(upstream.feed, pieces)) == huge
        assert upstream.last_error == {"M": "x" * 200_000}


@pytest.mark.parametrize(
    "data",
    [
        b"D\x00\x00\x00\x03",
        b"D\x00\x00\x00\x00",
        b"D\xff\xff\xff\xff",
        b"Z\x80\x00\x00\x00",
        b"T\x80\x00\x00\x04",
        encode.message(b"Z", b""),
        encode.message(b"Z", b"II"),
        encode.message(b"Z", b"X"),
        encode.message(b"S", b"name\x00"),
        encode.message(b"S", b"name\x00value\x00more"),
        encode.message(b"S", b""),
    ],
)
def test_impossible_messages_end_the_connection(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        Upstream().feed(data)
    with pytest.raises(ProtocolViolation):
        list(map(Upstream().feed, pieces_of(data, 1)))


def test_an_unasked_ready_for_query_leaves_the_connection_to_nobody_else() -> None:
    upstream = Upstream()
    assert upstream.feed(READY["I"]) == READY["I"]
    assert upstream.expected.in_doubt


def test_an_error_is_kept_until_the_server_is_ready_again() -> None:
    upstream = Upstream()
    upstream.expected.sent(b"Q", unsynced=False)
    upstream.feed(ERROR)
    assert upstream.last_error == {"S": "ERROR", "V": "ERROR", "C": "42P01", "M": "no such table"}
    upstream.feed(READY["I"])
    assert upstream.last_error is None


@pytest.mark.parametrize("severity", ["FATAL", "PANIC"])
def test_the_servers_last_words_are_cut_out_wherever_they_stand(severity: str) -> None:
    """However they arrive, and whatever is around them."""
    words = encode.report(b"E", [("S", "LETZTE"), ("V", severity), ("C", "57P01"), ("M", "goodbye")])
    before = ROW + ERROR
    for pieces in ([before + words], [before, words], pieces_of(before + words, 1), pieces_of(before + words, 7)):
        upstream = Upstream()
        upstream.expected.sent(b"Q", unsynced=False)
        assert b"".join(upstream.feed(piece) for piece in pieces) == before
        assert upstream.last_words == {"S": "LETZTE", "V": severity, "C": "57P01", "M": "goodbye"}
        assert upstream.last_error is not None
        assert upstream.last_error["C"] == "42P01"
        assert list(upstream.expected.queue) == [QUERY_REPLY]


def test_last_words_in_answer_to_our_own_query_are_no_refusal() -> None:
    upstream = Upstream()
    own_then_query(upstream)
    assert upstream.feed(encode.report(b"E", [("S", "FATAL"), ("C", "57P01")])) == b""
    assert upstream.last_words == {"S": "FATAL", "C": "57P01"}
    assert upstream.take_swallowed_error() is None


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_cancellation_of_the_proxys_own_is_told_as_what_it_is(size: int) -> None:
    fields = {"S": "ERROR", "V": "ERROR", "C": "57014", "M": "because of a user", "F": "postgres.c"}
    cancelled = encode.report(b"E", fields.items())
    upstream = Upstream()
    upstream.expected.sent(b"QQQ", unsynced=False)
    upstream.cancel_reason = "because of the time"
    out = b"".join(map(upstream.feed, pieces_of(ROW + cancelled + READY["I"], size)))
    assert out == ROW + encode.report(b"E", {**fields, "M": "because of the time"}.items()) + READY["I"]
    # What comes then is not to blame on it; nor is another error.
    assert upstream.feed(cancelled + READY["I"]) == cancelled + READY["I"]
    upstream.cancel_reason = "because of the time"
    assert upstream.feed(ERROR + READY["I"]) == ERROR + READY["I"]


def test_an_error_in_answer_to_our_own_query_is_reported_once() -> None:
    upstream = Upstream()
    own_then_query(upstream)
    assert upstream.feed(ERROR + READY["I"]) == b""
    error = upstream.take_swallowed_error()
    assert error is not None
    assert error["C"] == "42P01"
    assert upstream.take_swallowed_error() is None
    # The client's own error is the client's.
    assert upstream.feed(ERROR + READY["I"]) == ERROR + READY["I"]
    assert upstream.take_swallowed_error() is None


def test_an_error_without_sqlstate_or_message_is_an_error_all_the_same() -> None:
    upstream = Upstream()
    upstream.feed(encode.message(b"E", b"\x00"))
    assert upstream.last_error == {}


def test_copy_both_is_for_good() -> None:
    upstream = Upstream()
    upstream.expected.sent(b"Q", unsynced=False)
    upstream.feed(encode.message(b"W", b"\x00\x00\x00"))
    upstream.feed(DONE + READY["I"])
    assert not upstream.quiet


def test_work_grows_with_the_messages_and_not_faster() -> None:
    def dribbled(count: int) -> int:
        upstream = Upstream()
        return operations(lambda: [upstream.feed(piece) for piece in pieces_of((ROW + ZONE) * count, 10)])

    assert dribbled(2000) < 2.2 * dribbled(1000)

"""What comes from a client: cut into batches, whole or streamed, and never more kept than promised."""

from __future__ import annotations

import pytest
from chunks import PLACES, cut, operations, pieces_of
from hypothesis import given
from hypothesis import strategies as st

from pgcat_trio.errors import MessageTooLarge, ProtocolViolation
from pgcat_trio.wire import codes, encode
from pgcat_trio.wire.downstream import LARGE_BYTES, Downstream
from pgcat_trio.wire.replies import LATE, MIXED

SYNC, FLUSH, TERMINATE, COPY_DONE = encode.SYNC, encode.FLUSH, encode.TERMINATE, encode.COPY_DONE
QUERY = encode.query("SELECT 1")
EMPTY_QUERY = encode.query("")


def parse(sql: str, name: str = "") -> bytes:
    return encode.message(b"P", encode.cstring(name) + encode.cstring(sql) + bytes(2))


def bind(size: int = 12) -> bytes:
    return encode.message(b"B", bytes(size))


PARSE, NAMED = parse("SELECT $1"), parse("SELECT 2", "s1")
DESCRIBE = encode.message(b"D", b"S\x00")
EXECUTE = encode.message(b"E", bytes(5))
CLOSE = encode.message(b"C", b"Ss1\x00")
FUNCTION = encode.message(b"F", bytes(10))
COPY_DATA = encode.message(b"d", b"1\t2\n")
COPY_FAIL = encode.copy_fail("enough")
LARGE_QUERY = encode.query("x" * LARGE_BYTES)
LARGE_DATA = encode.message(b"d", bytes(LARGE_BYTES * 2))

_ALIKE = bytes.maketrans(bytes((MIXED, codes.FUNCTION_CALL, LATE, codes.COPY_FAIL)), b"QQcc")

Seen = tuple[bytes, bytes, list[bytes], bool]


def kinds(messages: list[bytes]) -> bytes:
    """The markers of these messages, with one letter for all that is alike (see `seen`)."""
    return bytes(message[0] for message in messages if message[0] in b"QFScf").translate(_ALIKE)


def take_all(codec: Downstream, pieces: list[bytes], *, streaming: bool) -> Seen:
    """Feed and take: all bytes, all markers, all texts, and whether the client said goodbye."""
    batches, markers, texts = [], b"", []
    for piece in pieces:
        codec.feed(piece)
        while batch := codec.take(streaming=streaming):
            batches.append(batch)
            markers += codec.markers
            texts += codec.texts
    return b"".join(batches), markers, texts, codec.terminated


def seen(pieces: list[bytes], *, streaming: bool) -> Seen:
    """`take_all`, but for what depends on the cuts: whether something is seen to follow an unsynced message."""
    out, markers, texts, terminated = take_all(Downstream(), pieces, streaming=streaming)
    return out, markers.translate(_ALIKE), texts, terminated


SMALL = [QUERY, EMPTY_QUERY, PARSE, NAMED, bind(), DESCRIBE, EXECUTE, CLOSE, SYNC, FLUSH, FUNCTION, COPY_DATA]
SMALL += [COPY_DONE, COPY_FAIL]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64])
@pytest.mark.parametrize(
    "messages",
    [
        [QUERY],
        [EMPTY_QUERY, QUERY],
        [PARSE, bind(), DESCRIBE, EXECUTE, SYNC],
        [PARSE, FLUSH, bind(), EXECUTE, FLUSH, SYNC, QUERY],
        [NAMED, DESCRIBE, SYNC, bind(), EXECUTE, CLOSE, SYNC],
        [QUERY, COPY_DATA, COPY_DATA, COPY_DONE, QUERY],
        [bind(), EXECUTE, SYNC, COPY_DATA, COPY_FAIL, SYNC],
        [FUNCTION, QUERY],
    ],
    ids=lambda messages: "".join(chr(message[0]) for message in messages),
)
def test_what_is_taken_is_what_was_fed_however_it_is_cut(messages: list[bytes], size: int, streaming: bool) -> None:
    stream = b"".join(messages)
    whole = seen([stream], streaming=streaming)
    assert whole[0] == stream
    assert whole[1] == kinds(messages)
    assert seen(list(pieces_of(stream, size)), streaming=streaming) == whole


@given(st.lists(st.sampled_from(SMALL), max_size=12), PLACES, st.booleans())
def test_any_cuts_of_small_messages_come_to_the_same(messages: list[bytes], places: list[int], streaming: bool) -> None:
    stream = b"".join([*messages, SYNC])
    assert seen(cut(stream, places), streaming=streaming) == seen([stream], streaming=streaming)


@given(st.lists(st.sampled_from([*SMALL, LARGE_QUERY, LARGE_DATA, bind(30_000)]), max_size=8), PLACES, st.booleans())
def test_large_messages_come_through_unchanged(messages: list[bytes], places: list[int], streaming: bool) -> None:
    """Their text is not all seen, which the batch then says (``doubtful``); bytes and markers are the same."""
    stream = b"".join([*messages, SYNC])
    out, markers, _, _ = seen(cut(stream, places), streaming=streaming)
    assert out == stream
    assert markers == kinds([*messages, SYNC])


@given(st.one_of(st.binary(max_size=300), st.lists(st.sampled_from([*SMALL, b"Q", b"\x00", TERMINATE])).map(b"".join)))
def test_any_bytes_parse_or_are_a_violation(data: bytes) -> None:
    def outcome(pieces: list[bytes], discard: bool) -> bool:
        codec = Downstream()
        if discard:
            codec.discard_until_sync()
        try:
            out = take_all(codec, pieces, streaming=True)[0]
        except ProtocolViolation:
            return False
        assert discard or data.startswith(out)
        return True

    for discard in (False, True):
        assert outcome([data], discard) == outcome(list(pieces_of(data, 1)), discard)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"Q\x00\x00\x00\x03", ProtocolViolation),
        (b"Q\x00\x00\x00\x00", ProtocolViolation),
        (b"S\x00\x00\x00\x02", ProtocolViolation),
        (b"X\x00\x00\x00\x00", ProtocolViolation),
        (b"d\xff\xff\xff\xff", MessageTooLarge),
        (b"d\x80\x00\x00\x00", MessageTooLarge),
        (b"Q\x40\x00\x00\x00", MessageTooLarge),
        (b"p\x00\x00\x00\x08", ProtocolViolation),
        (b"\x00\x00\x00\x08\x04", ProtocolViolation),
        (b"GET / HTTP/1.1\r\n", ProtocolViolation),
    ],
)
@pytest.mark.parametrize("discard", [False, True])
@pytest.mark.parametrize("streaming", [False, True])
def test_impossible_messages_are_refused_by_their_header(
    data: bytes, error: type[ProtocolViolation], discard: bool, streaming: bool
) -> None:
    codec = Downstream()
    if discard:
        codec.discard_until_sync()
    codec.feed(data)
    with pytest.raises(error) as caught:
        codec.take(streaming=streaming)
    assert type(caught.value) is error


@pytest.mark.parametrize("excess", [0, 1])
@pytest.mark.parametrize("sql", ["x" * 8000, "x" * 100_000])
def test_the_limit_counts_as_the_length_word_does(sql: str, excess: int) -> None:
    message = encode.query(sql)
    codec = Downstream(max_message_bytes=len(message) - 1 - excess)
    codec.feed(message)
    if excess:
        with pytest.raises(MessageTooLarge, match="over the limit"):
            codec.take(streaming=False)
    else:
        assert codec.take(streaming=False) == message


# -- batches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        (QUERY, {"complete": True}),
        (PARSE + SYNC, {"complete": True}),
        (FUNCTION, {"complete": True, "doubtful": True}),
        (PARSE + FLUSH, {"unsynced": True}),
        (bind() + EXECUTE + SYNC, {"complete": True, "executes": True}),
        (NAMED + SYNC, {"complete": True, "named": True}),
        (SYNC + PARSE + FLUSH, {"unsynced": True}),
        (LARGE_QUERY[:-1], {"complete": True, "doubtful": True}),
        (LARGE_QUERY, {"complete": True}),
        (parse("x" * LARGE_BYTES, "s")[:4000], {"doubtful": True, "unsynced": True, "named": True}),
        (parse("x", "s" * LARGE_BYTES)[:4000], {"doubtful": True, "unsynced": True}),
        (COPY_DATA + COPY_DONE + SYNC, {"complete": True}),
    ],
)
def test_a_batch_is_described(data: bytes, facts: dict[str, bool]) -> None:
    codec = Downstream()
    codec.feed(data)
    assert codec.take(streaming=False) == data
    names = ("complete", "unsynced", "executes", "named", "doubtful")
    assert {name: getattr(codec, name) for name in names} == dict.fromkeys(names, False) | facts
    assert not codec.continuation


@pytest.mark.parametrize(
    ("data", "markers"),
    [
        (QUERY, b"Q"),
        (COPY_DATA + COPY_DONE + COPY_FAIL + SYNC + FUNCTION, b"llSF"),
        (PARSE + SYNC + QUERY + QUERY, b"SQQ"),
        (PARSE + QUERY + QUERY + SYNC, b"mQS"),
        (bind() + COPY_DONE + FLUSH + FUNCTION, b"cm"),
    ],
)
def test_the_markers_are_what_the_server_will_answer(data: bytes, markers: bytes) -> None:
    assert take_all(Downstream(), [data], streaming=True)[1] == markers


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (QUERY, [b"SELECT 1"]),
        (EMPTY_QUERY, [b""]),
        (PARSE + NAMED + SYNC + QUERY, [b"SELECT $1", b"SELECT 2", b"SELECT 1"]),
        (encode.message(b"Q", b""), [b""]),
    ],
)
def test_the_texts_are_those_of_query_and_parse(data: bytes, texts: list[bytes]) -> None:
    assert seen([data], streaming=True)[2] == texts


@pytest.mark.parametrize("body", [b"", b"name without end", b"name\x00text without end"])
def test_a_parse_that_cannot_be_read_is_doubtful(body: bytes) -> None:
    codec = Downstream()
    codec.feed(encode.message(b"P", body) + SYNC)
    codec.take(streaming=False)
    assert codec.doubtful


def test_a_query_without_its_nul_is_not_read_into_the_next_message() -> None:
    data = encode.message(b"Q", b"SELECT 1") + QUERY
    assert seen([data], streaming=True)[2][1] == b"SELECT 1"


@pytest.mark.parametrize("tail", [PARSE, PARSE + bind()[:7], b"Q", LARGE_DATA[:6]], ids=["P", "PB", "Q", "d"])
def test_without_a_backend_only_whole_requests_are_taken(tail: bytes) -> None:
    codec = Downstream()
    codec.feed(QUERY + tail)
    assert codec.take(streaming=False)[: len(QUERY)] == QUERY
    codec.feed(b"")
    rest = codec.take(streaming=False)
    assert rest in (b"", LARGE_DATA[:6])


def test_with_a_backend_what_is_whole_goes() -> None:
    codec = Downstream()
    codec.feed(PARSE + bind()[:7])
    assert codec.take(streaming=True) == PARSE
    assert codec.unsynced
    assert codec.pending
    codec.feed(bind()[7:])
    assert codec.take(streaming=True) == bind()
    assert not codec.pending


def test_a_pipeline_without_end_does_not_wait_for_it() -> None:
    codec = Downstream()
    out = b""
    for piece in pieces_of((bind(10_000) + EXECUTE) * 40, 7000):
        codec.feed(piece)
        while batch := codec.take(streaming=False):
            out += batch
        assert len(codec._buffer) <= 2 * LARGE_BYTES
    assert len(out) > 300_000


@pytest.mark.parametrize("cut", [1, 4, len(bind())])
@pytest.mark.parametrize("changing", [CLOSE, NAMED, PARSE + PARSE])
def test_what_changes_names_ends_a_batch_however_the_request_arrives(changing: bytes, cut: int) -> None:
    """Its outcome says what the names in the next request mean."""
    codec = Downstream()
    codec.watching = True
    request, following = changing + bind() + EXECUTE + SYNC, NAMED + SYNC
    codec.feed(request[: len(changing) + cut])
    batches = [codec.take(streaming=True), codec.take(streaming=True)]
    codec.feed(request[len(changing) + cut :] + following)
    batches += [codec.take(streaming=True), codec.take(streaming=True)]
    assert b"".join(batches[:3]) == request
    assert batches[3] == following


def test_terminate_ends_it_and_what_follows_is_not_looked_at() -> None:
    codec = Downstream()
    codec.feed(QUERY + TERMINATE + b"\x00\x00 nonsense")
    assert codec.take(streaming=False) == QUERY
    assert codec.take(streaming=False) == b""
    assert codec.terminated


# -- after a refusal -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 50, 1 << 20])
@pytest.mark.parametrize(
    ("skipped", "then"),
    [
        (b"", SYNC + QUERY),
        (bind() + EXECUTE, SYNC),
        (QUERY + COPY_DATA, SYNC + PARSE + SYNC),  # servers skip a Query as well
        (LARGE_DATA, SYNC + QUERY),
        (bind(70_000), SYNC),
    ],
    ids=["nothing", "extended", "query", "large data", "large bind"],
)
def test_all_is_skipped_until_the_next_sync(skipped: bytes, then: bytes, size: int) -> None:
    codec = Downstream()
    codec.discard_until_sync()
    out = b""
    if size == 1 and len(skipped) > 1000:
        size = 999
    for piece in pieces_of(skipped + then, size):
        codec.feed(piece)
        while batch := codec.take(streaming=False):
            if not codec.continuation:
                out += batch
    assert out == then


def test_skipping_may_begin_while_a_batch_is_being_collected() -> None:
    codec = Downstream()
    codec.feed(PARSE + bind())
    assert codec.take(streaming=False) == b""
    codec.discard_until_sync()
    codec.feed(EXECUTE + SYNC + QUERY)
    assert codec.take(streaming=False) + codec.take(streaming=False) == SYNC + QUERY
    assert codec.texts == [b"SELECT 1"]


# -- cost ----------------------------------------------------------------------------------------------------------


def test_of_a_large_message_nothing_is_kept() -> None:
    codec = Downstream()
    message = encode.message(b"d", bytes(200_000))
    out = 0
    for piece in pieces_of(message, 10):
        codec.feed(piece)
        out += len(codec.take(streaming=True))
        assert not codec.pending
    assert out == len(message)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("message", [EXECUTE, COPY_DATA, SYNC], ids=["E", "d", "S"])
def test_work_grows_with_the_messages_and_not_faster(message: bytes, streaming: bool) -> None:
    """A client must not buy much of the proxy's time with few bytes: each header is looked at once."""

    def dribbled(count: int) -> int:
        return operations(lambda: seen(list(pieces_of(message * count, 5)), streaming=streaming))

    assert dribbled(2000) < 2.2 * dribbled(1000)

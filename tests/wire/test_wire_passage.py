"""What is passed on as it comes: where it may be interrupted, and what was last heard."""

from __future__ import annotations

import pytest

from pgcat_trio.errors import ProtocolViolation
from pgcat_trio.wire import codes, encode
from pgcat_trio.wire.passage import Passage

DATA = encode.message(b"d", b"x" * 20)
COPY_BOTH = encode.message(b"W", b"\x00\x00\x00")
FATAL = encode.report(b"E", [("S", "FATAL"), ("C", "57P01"), ("M", "goodbye")])
STREAM = b"".join(
    [COPY_BOTH, DATA, DATA, encode.COPY_DONE, encode.command_complete("COPY 0"), encode.ready_for_query(), FATAL]
)


def ends(stream: bytes) -> set[int]:
    """Where messages end."""
    found, position = {0}, 0
    while position < len(stream):
        position += 1 + int.from_bytes(stream[position + 1 : position + 5])
        found.add(position)
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 26, 27, 100, 1000])
def test_it_knows_where_messages_end(size: int) -> None:
    passage, boundaries = Passage({}), ends(STREAM)
    for start in range(0, len(STREAM), size):
        passage.feed(STREAM[start : start + size])
        position = min(start + size, len(STREAM))
        assert (not passage.missing_bytes) == (position in boundaries)
        assert position + passage.missing_bytes <= min(end for end in boundaries if end >= position)


@pytest.mark.parametrize("cut", range(1, len(STREAM)))
def test_what_is_missing_leads_to_the_end_of_the_message_and_not_beyond(cut: int) -> None:
    passage, position = Passage({}), cut
    passage.feed(STREAM[:cut])
    while passage.missing_bytes:
        part = STREAM[position : position + passage.missing_bytes]
        position += len(part)
        passage.feed(part)
    assert position == min(end for end in ends(STREAM) if end >= cut)


def test_what_the_server_does() -> None:
    passage = Passage({})
    passage.at_work = True
    passage.feed(COPY_BOTH + DATA[:9])
    assert (passage.at_work, passage.streaming) == (True, True)
    passage.feed(DATA[9:] + encode.COPY_DONE + encode.ready_for_query())
    assert (passage.at_work, passage.streaming) == (False, False)


def test_last_words() -> None:
    passage = Passage({})
    passage.feed(FATAL + encode.ready_for_query())
    assert passage.last_error is None
    passage.feed(FATAL)
    assert passage.last_error == {"S": "FATAL", "C": "57P01", "M": "goodbye"}
    passage.feed(encode.ready_for_query() + FATAL[:9])
    assert passage.last_error is not None


def test_parameters() -> None:
    parameters = {"application_name": "old", "TimeZone": "UTC"}
    Passage(parameters).feed(DATA + encode.parameter_status("application_name", "new"))
    assert parameters == {"application_name": "new", "TimeZone": "UTC"}


@pytest.mark.parametrize("before", [b"", DATA[:3], DATA[:9], DATA])
@pytest.mark.parametrize("nonsense", [b"d\x00\x00\x00\x03", b"d\xff\xff\xff\xff", b"S\x00\x00\x00\x05x"])
def test_nonsense_leaves_it_where_it_was(before: bytes, nonsense: bytes) -> None:
    passage = Passage({})
    passage.feed(before)
    missing = passage.missing_bytes
    with pytest.raises(ProtocolViolation):
        passage.feed((DATA * 2).removeprefix(before) + nonsense)
    assert passage.missing_bytes == missing


def test_any_letter_passes() -> None:
    passage = Passage({})
    for kind in range(256):
        if kind not in (codes.ERROR_RESPONSE, codes.PARAMETER_STATUS):
            passage.feed(encode.message(bytes([kind]), b"anything"))
            assert not passage.missing_bytes

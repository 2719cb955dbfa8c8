"""Messages that are read or made one at a time: the login's, the errors', the admin console's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgcat_trio.errors import MessageTooLarge, PoolExhausted, ProtocolViolation
from pgcat_trio.wire import codes, encode, messages
from pgcat_trio.wire.codes import UINT32

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))


def packet(code: int, body: bytes = b"") -> bytes:
    return UINT32.pack(8 + len(body)) + UINT32.pack(code) + body


# -- first packets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("received", range(4))
def test_the_length_of_a_first_packet_needs_four_bytes(received: int) -> None:
    assert messages.first_packet_length(packet(codes.SSL_REQUEST)[:received]) is None


@pytest.mark.parametrize("length", [0, 1, 7, 10_001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_first_packet_of_an_impossible_length_is_refused_by_its_first_four_bytes(length: int) -> None:
    with pytest.raises(ProtocolViolation, match="length of startup packet") as caught:
        messages.first_packet_length(UINT32.pack(length))
    assert isinstance(caught.value, MessageTooLarge) == (length > 10_000)


@pytest.mark.parametrize("length", [8, 10_000])
def test_the_longest_and_the_shortest_first_packet(length: int) -> None:
    assert messages.first_packet_length(UINT32.pack(length)) == length


STARTUPS: list[tuple[bytes, dict[str, str]]] = [
    (b"\x00", {}),
    (b"user\x00me\x00\x00", {"user": "me"}),
    (b"user\x00me\x00options\x00\x00database\x00db\x00\x00", {"user": "me", "options": "", "database": "db"}),
    (b"user\x00a\x00user\x00b\x00\x00", {"user": "b"}),
    (b"user\x00\xff\xfe\x00\x00", {"user": "\udcff\udcfe"}),
]


@pytest.mark.parametrize(("body", "parameters"), STARTUPS)
@pytest.mark.parametrize("protocol", [codes.PROTOCOL_3_0, codes.PROTOCOL_3_2, codes.PROTOCOL_3_0 + 9999])
def test_startup_parameters_are_read(body: bytes, parameters: dict[str, str], protocol: int) -> None:
    assert messages.first_packet(packet(protocol, body)) == messages.StartupMessage(protocol, parameters)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (packet(codes.PROTOCOL_3_0), "layout"),
        (packet(codes.PROTOCOL_3_0, b"user"), "layout"),
        (packet(codes.PROTOCOL_3_0, b"user\x00"), "layout"),
        (packet(codes.PROTOCOL_3_0, b"user\x00me\x00"), "layout"),
        (packet(codes.PROTOCOL_3_0, b"user\x00\x00"), "layout"),
        (packet(codes.PROTOCOL_3_0, b"\x00me\x00\x00"), "layout"),
        (packet(codes.PROTOCOL_3_0, b"\x00\x00"), "layout"),
        (packet(codes.PROTOCOL_3_0, b"user\x00me\x00\x00x"), "layout"),
        (packet(2 << 16), r"unsupported frontend protocol 2\.0"),
        (packet((4 << 16) | 1), r"unsupported frontend protocol 4\.1"),
        (packet(0), "unsupported frontend protocol"),
        (packet(0xFFFFFFFF), "unsupported frontend protocol"),
        (packet(codes.SSL_REQUEST, b"x"), "encryption request"),
        (packet(codes.GSSENC_REQUEST, bytes(4)), "encryption request"),
        (packet(codes.CANCEL_REQUEST), "cancel request"),
        (packet(codes.CANCEL_REQUEST, bytes(7)), "cancel request"),
        (packet(codes.CANCEL_REQUEST, bytes(4 + 257)), "cancel request"),
    ],
)
def test_first_packets_that_mean_nothing_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(ProtocolViolation, match=words):
        messages.first_packet(data)


@given(st.dictionaries(NAMES.filter(bool), NAMES))
def test_what_we_say_at_startup_reads_back(parameters: dict[str, str]) -> None:
    assert messages.first_packet(encode.startup(parameters)) == messages.StartupMessage(codes.PROTOCOL_3_0, parameters)


@pytest.mark.parametrize("secret", [bytes(4), bytes(range(256))])
def test_a_cancel_request_reads_back_and_hides_its_secret(secret: bytes) -> None:
    request = messages.first_packet(encode.cancel_request(0xFFFFFFFF, secret))
    assert request == messages.CancelRequest(0xFFFFFFFF, secret)
    assert repr(secret) not in repr(request)


@given(st.binary(min_size=8, max_size=64), st.sampled_from([None, 0x00030000, 0x00030002, codes.CANCEL_REQUEST]))
def test_any_first_packet_reads_or_is_a_violation(data: bytes, code: int | None) -> None:
    if code is not None:
        data = data[:4] + UINT32.pack(code) + data[8:]
    try:
        messages.first_packet(data)
    except ProtocolViolation:
        return


# -- bodies --------------------------------------------------------------------------------------------------------

READERS: list[Callable[[bytes], Any]] = [
    messages.error_fields,
    messages.parameter_status,
    messages.authentication,
    messages.sasl_mechanisms,
    messages.backend_key_data,
    messages.password,
    messages.sasl_initial_response,
]


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@given(body=st.one_of(st.binary(max_size=300), st.lists(st.sampled_from([b"\x00", b"S", b"\xff" * 4])).map(b"".join)))
def test_any_body_reads_or_is_a_violation(read: Callable[[bytes], Any], body: bytes) -> None:
    try:
        read(body)
    except ProtocolViolation:
        return


@pytest.mark.parametrize(
    ("read", "message", "value"),
    [
        (messages.parameter_status, encode.parameter_status("TimeZone", ""), ("TimeZone", "")),
        (messages.parameter_status, encode.parameter_status("a", "\udcff"), ("a", "\udcff")),
        (messages.authentication, encode.authentication(codes.AUTH_MD5, b"salt"), (codes.AUTH_MD5, b"salt")),
        (messages.authentication, encode.authentication(codes.AUTH_OK), (codes.AUTH_OK, b"")),
        (messages.backend_key_data, encode.backend_key_data(7, b"\xff" * 4), (7, b"\xff" * 4)),
        (messages.backend_key_data, encode.backend_key_data(7, bytes(256)), (7, bytes(256))),
        (messages.password, encode.password_message(b"secret"), b"secret"),
        (messages.password, encode.password_message(b""), b""),
        (messages.sasl_initial_response, encode.sasl_initial_response("SCRAM", b"n,,"), ("SCRAM", b"n,,")),
        (messages.sasl_initial_response, encode.message(b"p", b"SCRAM\x00\xff\xff\xff\xff"), ("SCRAM", b"")),
        (messages.sasl_mechanisms, encode.message(b"R", b"A\x00B\x00\x00"), ["A", "B"]),
        (
            messages.error_fields,
            encode.notice_response("m", detail="d"),
            {"S": "NOTICE", "V": "NOTICE", "C": "00000", "M": "m", "D": "d"},
        ),
        (messages.error_fields, encode.message(b"E", b""), {}),
        (messages.error_fields, encode.message(b"E", b"Mfirst\x00Msecond\x00\x00"), {"M": "first"}),
        (messages.error_fields, encode.message(b"E", b"M\xff\x00\x00"), {"M": "\N{REPLACEMENT CHARACTER}"}),
    ],
)
def test_bodies_are_read(read: Callable[[bytes], Any], message: bytes, value: object) -> None:
    assert UINT32.unpack_from(message, 1)[0] == len(message) - 1
    assert read(message[5:]) == value


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (messages.parameter_status, b"a\x00b"),
        (messages.parameter_status, b"a\x00b\x00c\x00"),
        (messages.authentication, b"\x00\x00\x00"),
        (messages.sasl_mechanisms, b""),
        (messages.sasl_mechanisms, b"SCRAM\x00"),
        (messages.backend_key_data, bytes(7)),
        (messages.backend_key_data, bytes(4 + 257)),
        (messages.password, b"no end"),
        (messages.password, b"one\x00two\x00"),
        (messages.sasl_initial_response, b"SCRAM\x00\x00\x00"),
        (messages.sasl_initial_response, b"SCRAM\x00\x00\x00\x00\x04abc"),
        (messages.sasl_initial_response, b"SCRAM\x00\x00\x00\x00\x02abc"),
        (messages.sasl_initial_response, b"SCRAM\x00\x7f\xff\xff\xff"),
        (messages.sasl_initial_response, b"SCRAM\x00\xff\xff\xff\xffabc"),
        (messages.sasl_initial_response, b"SCRAM\x00\xff\xff\xff\xfe"),
    ],
)
def test_bodies_that_keep_no_format_are_violations(read: Callable[[bytes], Any], body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        read(body)


# -- what we say ---------------------------------------------------------------------------------------------------


def test_a_string_with_a_nul_in_it_would_end_early() -> None:
    with pytest.raises(ValueError, match="NUL"):
        encode.query("SELECT 1\x00; DROP TABLE t")


@pytest.mark.parametrize("severity", [None, "FATAL"])
def test_our_errors_say_what_drivers_look_at(severity: str | None) -> None:
    error = PoolExhausted("no backend\x00 became free", detail="all 5 are in use", hint="")
    fields = messages.error_fields(encode.error_response(error, severity)[5:])
    said = severity or "ERROR"
    assert fields == {"S": said, "V": said, "C": "53300", "M": "no backend became free", "D": "all 5 are in use"}


def test_rows_may_hold_what_is_not_utf8_and_what_is_not_there() -> None:
    row = encode.data_row(["\udcff", None, ""])
    assert row == b"D\x00\x00\x00\x13\x00\x03\x00\x00\x00\x01\xff\xff\xff\xff\xff\x00\x00\x00\x00"


def test_an_older_protocol_is_negotiated_with_the_options_that_are_unknown() -> None:
    message = encode.negotiate_protocol_version(codes.PROTOCOL_3_2, ["_pq_.a", "_pq_.b"])
    assert message[5:] == b"\x00\x03\x00\x02\x00\x00\x00\x02_pq_.a\x00_pq_.b\x00"

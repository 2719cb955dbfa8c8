"""What clients say and servers answer, as bytes, and conversations in short."""

from __future__ import annotations

from typing import Final

from pgcat_trio.wire import codes, encode, messages

READY: Final = encode.ready_for_query(codes.IDLE)
IN_TRANSACTION: Final = encode.ready_for_query(codes.IN_TRANSACTION)
FAILED: Final = encode.ready_for_query(codes.FAILED)


def parse(sql: str, name: str = "") -> bytes:
    return encode.message(b"P", encode.cstring(name) + encode.cstring(sql) + b"\x00\x00")


def bind(name: str = "") -> bytes:
    return encode.message(b"B", b"\x00" + encode.cstring(name) + b"\x00\x00" * 3)


def execute() -> bytes:
    return encode.message(b"E", b"\x00" * 5)


def extended(sql: str) -> bytes:
    """Parse, Bind, Execute of one statement, without a Sync."""
    return parse(sql) + bind() + execute()


def rows(*values: str) -> bytes:
    """What a scripted server answers to a SELECT in the simple protocol, without the ReadyForQuery."""
    return (
        encode.row_description([("column", 25)])
        + b"".join(encode.data_row([value]) for value in values)
        + encode.command_complete("SELECT")
    )


def fields_of(message: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse that ``message`` begins with."""
    assert message[:1] == b"E", message
    return messages.error_fields(message[5 : 1 + int.from_bytes(message[1:5])])


def shape(said: bytes) -> str:
    """A conversation in short: the letters of its messages, Z with its status, E with severity's first and SQLSTATE.

    What is left of a message that ends too early is shown as ``...``.
    """
    words = []
    while len(said) >= 5 and len(said) >= (size := 1 + int.from_bytes(said[1:5])):
        word = chr(said[0])
        if word == "Z":
            word += chr(said[5])
        elif word == "E":
            fields = messages.error_fields(said[5:size])
            word += f"({fields['S'].lower()} {fields['C']})"
        words.append(word)
        said = said[size:]
    return " ".join([*words, "..."] if said else words)

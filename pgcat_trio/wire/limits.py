"""What a client's message may be, by its header: checked before memory is taken for it."""

from __future__ import annotations

from typing import Final

from ..errors import MessageTooLarge, ProtocolViolation

MESSAGES: Final = frozenset(b"PBDECQSHFcfdX")
"""All that a client may say once it has logged in."""

NAMED_PARSE_BYTES: Final = 4 << 20
"""A Parse of a named statement may have so many bytes where it has to be whole, see `Downstream.watching`."""


def impossible(kind: int, length: int, max_message_bytes: int) -> ProtocolViolation:
    """Why no message can begin with this letter and this length."""
    if kind not in MESSAGES:
        return ProtocolViolation(f"invalid frontend message type {kind}")
    if length < 4:
        return ProtocolViolation(f"invalid length {length} of a message {chr(kind)!r}")
    return MessageTooLarge(
        f"a message {chr(kind)!r} of {length} bytes is over the limit of {max_message_bytes} bytes",
        hint="Raise max_message_bytes in the proxy's configuration if messages of this size are meant.",
    )


def check_named_parse(length: int) -> None:
    """Raise `MessageTooLarge` for a Parse of a named statement that is too long to be kept whole."""
    if length > NAMED_PARSE_BYTES:
        raise MessageTooLarge(
            f"a statement of {length} bytes is over the limit of {NAMED_PARSE_BYTES} bytes for prepared statements",
            hint="Leave the statement unnamed, or use session mode.",
        )

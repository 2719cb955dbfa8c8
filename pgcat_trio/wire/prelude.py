"""How an answer begins: messages that say that a request is being worked on, and nothing of what comes of it."""

from __future__ import annotations

from typing import Final

from . import codes

_PRELIMINARY: Final = frozenset(b"123tTnNS")
"""Complete: Parse, Bind, Close. What there will be: parameters, rows, no rows. And what may come at any time: a notice,
a parameter."""


def says_nothing(answer: bytes) -> bool:
    """True if these are whole messages, and preliminary ones only."""
    position = 0
    while len(answer) - position >= 5:
        if answer[position] not in _PRELIMINARY:
            return False
        position += 1 + int.from_bytes(answer[position + 1 : position + 5])
    return position == len(answer)


def ends_in_description(answer: bytes) -> bool:
    """True if these are whole messages, and the last one says which rows there will be, or that there are none."""
    position = 0
    kind = 0
    while len(answer) - position >= 5:
        kind = answer[position]
        position += 1 + int.from_bytes(answer[position + 1 : position + 5])
    return position == len(answer) and kind in b"Tn"


def first_error(answer: bytes) -> bytes | None:
    """The body of the first ErrorResponse that is there as a whole; None if there is none."""
    position = 0
    while len(answer) - position >= 5:
        stop = position + 1 + int.from_bytes(answer[position + 1 : position + 5])
        if answer[position] == codes.ERROR_RESPONSE and stop <= len(answer):
            return answer[position + 5 : stop]
        position = stop
    return None

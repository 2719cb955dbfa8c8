"""Ways for a stream of bytes to arrive, and a way to count what code does with it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def pieces_of(data: bytes, size: int) -> Iterator[bytes]:
    """``data`` in pieces of ``size`` bytes."""
    return (data[at : at + size] for at in range(0, len(data), size))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """``data`` cut at ``places``, which are taken modulo its length."""
    at = sorted({place % len(data) for place in places} - {0}) if data else []
    return [data[start:stop] for start, stop in zip([0, *at], [*at, len(data)], strict=True)]


PLACES = st.lists(st.integers(0, 1 << 20), max_size=8)
"""For `cut`."""


def operations(call: Callable[[], Any]) -> int:
    """How many functions are called, Python's and built-in ones: a measure of work that no busy machine changes."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
    return count

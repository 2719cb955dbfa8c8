"""A bounded LRU: what was decided about a text is remembered, within a budget of entries and of bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import ItemsView

Value = TypeVar("Value")

# Texts above this size are rare and mostly unique (bulk inserts); keeping them would only push the others out.
MAX_TEXT_BYTES = 16 * 1024
# With 4096 entries: 4 KiB a text, several times what an application's own statements need.
MAX_TOTAL_BYTES = 16 * 1024 * 1024


class TextCache(Generic[Value]):
    """Least recently used texts go first when either bound is passed. Not for use from several threads.

    ``hits``, ``misses``, ``total_bytes`` (of the texts alone) and ``len()`` are for statistics.
    """

    def __init__(
        self, max_entries: int, *, max_total_bytes: int = MAX_TOTAL_BYTES, max_text_bytes: int = MAX_TEXT_BYTES
    ) -> None:
        self.max_entries = max_entries
        self.max_total_bytes = max_total_bytes
        self.max_text_bytes = max_text_bytes
        self.hits = 0
        self.misses = 0
        self.total_bytes = 0
        self._values: OrderedDict[bytes, Value] = OrderedDict()  # oldest use first

    def __len__(self) -> int:
        return len(self._values)

    def items(self) -> ItemsView[bytes, Value]:
        """All that is kept, oldest use first."""
        return self._values.items()

    def get(self, text: bytes) -> Value | None:
        """The value kept for ``text``, now the most recently used; None if there is none."""
        value = self._values.get(text)
        if value is None:
            self.misses += 1
            return None
        self._values.move_to_end(text)
        self.hits += 1
        return value

    def find(self, text: bytes) -> Value | None:
        """As `get`, where it may be kept for another text as well: that it is not kept for this one does not count."""
        value = self._values.get(text)
        if value is not None:
            self._values.move_to_end(text)
            self.hits += 1
        return value

    def peek(self, text: bytes) -> Value | None:
        """As `get`, but it is no use of the text, and not counted."""
        return self._values.get(text)

    def clear(self) -> None:
        """Forget all texts; the statistics go on."""
        self._values.clear()
        self.total_bytes = 0

    def put(self, text: bytes, value: Value) -> None:
        """Keep ``value`` for ``text``, unless the text is too long to be kept at all."""
        if len(text) > self.max_text_bytes:
            return
        if text not in self._values:
            self.total_bytes += len(text)
        self._values[text] = value
        self._values.move_to_end(text)
        while len(self._values) > self.max_entries or self.total_bytes > self.max_total_bytes:
            oldest, _ = self._values.popitem(last=False)
            self.total_bytes -= len(oldest)

"""Events that a failing server causes a thousand times a second are logged once a second, with their number."""

from __future__ import annotations

from typing import Final

PERIOD_S: Final = 1.0


class Repeats:
    """Tells which of many like events are worth a line. One object a subject: its memory is one text."""

    def __init__(self) -> None:
        self._text = ""
        self._until = 0.0
        self._passed_over = 0

    def pass_over(self, text: str, now: float) -> bool:
        """True for an event that was logged less than a second ago with the same text."""
        if text == self._text and now < self._until:
            self._passed_over += 1
            return True
        self._text = text
        self._until = now + PERIOD_S
        return False

    def take_count(self) -> dict[str, int]:
        """For the line that is written: ``repeated``, how many were passed over before it, if any were."""
        count, self._passed_over = self._passed_over, 0
        return {"repeated": count} if count else {}

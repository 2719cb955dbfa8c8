"""Values as one would write them in the file, for those who read them: the console, and plans of a reload."""

from __future__ import annotations

import enum
import json
from typing import Any

import attrs

from .keys import key_of
from .values import Secret


def spelled(value: Any, units_per_second: int | None = None) -> str | None:
    """A value without the quotes of a string; None for a key that is not set, and for a secret."""
    if value is None or isinstance(value, Secret):
        return None
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return ", ".join(str(each) for each in value)
    return str(round(value * units_per_second)) if units_per_second else str(value)


@attrs.frozen
class Changed:
    """One key of a table that changed. ``old`` and ``new`` are as in the file; None where it is not set, or secret."""

    key: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        if self.old is None and self.new is None:
            return f"{self.key} has changed"
        return f"{self.key} {self.old or '(not set)'} -> {self.new or '(not set)'}"


def changes(old: attrs.AttrsInstance, new: attrs.AttrsInstance) -> dict[str, Changed]:
    """The differences of two tables of one kind, by the names of their fields; only keys of the file count."""
    found = {}
    for field in attrs.fields(type(old)):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before != after and "key" in field.metadata:
            key = key_of(field)
            units = key.units_per_second
            found[field.name] = Changed(str(key.name), spelled(before, units), spelled(after, units))
    return found

"""Which run-time settings a session wants and a backend has, so that the difference can be sent along.

Two kinds go by one mapping. *Tracked* settings are those a server reports by ParameterStatus whenever they change, so
that their current value is always known. *Start-up* settings are whatever else a client asked for when it connected
(``options``, ``statement_timeout`` ...): servers do not report them, so the proxy remembers where it has set them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from ..routing.effects import REPORTED_SINCE_18, TRACKED_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TRACKED: Final[dict[str, str]] = {name.lower(): name for name in (*TRACKED_SETTINGS, *REPORTED_SINCE_18)}
"""Canonical spelling by lower-case name."""


class Settings:
    """An immutable mapping from setting to value. Equal ones are one object: compare them with ``is``."""

    __slots__ = ("__weakref__", "values")

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values

    def with_changes(self, changes: Iterable[tuple[str, str]]) -> Settings:
        """These settings with some of them changed."""
        return intern({**self.values, **dict(changes)})

    def without_startup_settings(self) -> Settings:
        """Only the tracked ones: what is left after RESET ALL took the others away."""
        return intern({name: value for name, value in self.values.items() if name in _TRACKED_NAMES})


_TRACKED_NAMES: Final = frozenset(TRACKED.values())
_interned: WeakValueDictionary[tuple[tuple[str, str], ...], Settings] = WeakValueDictionary()


def intern(values: Mapping[str, str]) -> Settings:
    """The one Settings object with these values."""
    key = tuple(sorted(values.items()))
    found = _interned.get(key)
    if found is None:
        found = _interned[key] = Settings(dict(values))
    return found


def canonical_name(name: str) -> str:
    """A setting's name as the server spells it, where it is a tracked one; lower-case otherwise."""
    lower = name.lower()
    return TRACKED.get(lower, lower)


def tracked(parameters: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of a server's ParameterStatus pairs that follow a client from backend to backend."""
    return [(name, value) for name, value in parameters if name in _TRACKED_NAMES]


def settings_sql(have: Settings, want: Settings) -> str:
    """The statements that turn one into the other; "" if there is nothing to do.

    A tracked setting that the session has no opinion on is left as it is.
    """
    statements = [
        f"SET {_name(name)} TO {_value(name, value)}"
        for name, value in want.values.items()
        if have.values.get(name) != value
    ]
    statements += [
        f"RESET {_name(name)}" for name in have.values if name not in want.values and name not in _TRACKED_NAMES
    ]
    return "; ".join(statements)


def _name(name: str) -> str:
    """A setting's name quoted as an identifier; extension settings (``a.b``) part by part."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


def _value(name: str, value: str) -> str:
    """A value as SQL that means the same under either setting of standard_conforming_strings."""
    if name == "search_path":
        # A list of identifiers, as SHOW prints it: already quoted where it must be, and not one string.
        return ", ".join(_literal(part) for part in split_identifiers(value)) or "''"
    return _literal(value)


def _literal(text: str) -> str:
    quoted = text.replace("'", "''")
    if "\\" in quoted:
        return " E'" + quoted.replace("\\", "\\\\") + "'"
    return f"'{quoted}'"


def split_identifiers(text: str) -> list[str]:
    """Split a list of identifiers as PostgreSQL's SplitIdentifierString does: ``"$user", public`` and the like."""
    names: list[str] = []
    position = 0
    while position < len(text):
        if text[position] in ", \t\n":
            position += 1
        elif text[position] == '"':
            end = position + 1
            while (end := text.find('"', end)) >= 0 and text[end : end + 2] == '""':
                end += 2
            end = len(text) if end < 0 else end
            names.append(text[position + 1 : end].replace('""', '"'))
            position = end + 1
        else:
            end = text.find(",", position)
            end = len(text) if end < 0 else end
            names.append(text[position:end].strip().lower())
            position = end
    return names

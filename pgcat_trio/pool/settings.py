"""Which run-time settings a session wants and a backend has, so that the difference can be sent along.

Two kinds go by one mapping. *Tracked* settings are those a server reports by ParameterStatus whenever they change, so
that their current value is always known. The others are what a client asked for when it connected (``options``,
``statement_timeout`` ...) and what it has set since, as far as the server was asked (`inspection`): servers do not
report them, so the proxy remembers where it has set them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from ..routing.effects import REPORTED_SINCE_18, TRACKED_SETTINGS
from ..routing.transactions import defaults_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping


class Tracking:
    """Which settings are tracked in a pool: the usual ones, and those of ``track_parameters``, whatever their case."""

    def __init__(self, extra: Iterable[str] = ()) -> None:
        names = (*TRACKED_SETTINGS, *REPORTED_SINCE_18)
        self._names = {**{name.lower(): name.lower() for name in extra}, **{name.lower(): name for name in names}}

    def canonical_name(self, name: str) -> str:
        """A setting's name as the server spells it, where it is a tracked one; lower-case otherwise."""
        lower = name.lower()
        return self._names.get(lower, lower)

    def of(self, parameters: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of a server's ParameterStatus pairs that follow a client from backend to backend."""
        return [(self.canonical_name(name), value) for name, value in parameters if name.lower() in self._names]


USUAL: Final = Tracking()


class Settings:
    """An immutable mapping from setting to value. Equal ones are one object: compare them with ``is``."""

    __slots__ = ("__weakref__", "transactions", "values")

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values
        self.transactions = defaults_of(values)
        """What they say about transactions; None for nothing unusual."""

    def with_changes(self, changes: Iterable[tuple[str, str]]) -> Settings:
        """These settings with some of them changed."""
        return intern({**self.values, **dict(changes)})

    def only(self, names: Container[str]) -> Settings:
        """Those of these names."""
        return intern({name: value for name, value in self.values.items() if name in names})


_interned: WeakValueDictionary[tuple[tuple[str, str], ...], Settings] = WeakValueDictionary()


def intern(values: Mapping[str, str]) -> Settings:
    """The one Settings object with these values."""
    key = tuple(sorted(values.items()))
    found = _interned.get(key)
    if found is None:
        found = _interned[key] = Settings(dict(values))
    return found


IDENTITY: Final = ("session_authorization", "role")
"""Who one is decides what one may set: given up before anything else is changed, and taken on after it."""


def settings_sql(have: Settings, want: Settings, reported: Container[str]) -> str:
    """The statements that turn one into the other; "" if there is nothing to do.

    What the server reports and the session has no opinion on is left as it is.
    """
    had, wanted = have.values, want.values
    changed = [name for name, value in wanted.items() if had.get(name) != value and name not in IDENTITY]
    gone = [name for name in had if name not in wanted and name not in IDENTITY and name not in reported]
    statements = [_set(name, wanted[name]) for name in changed]
    statements += [f"RESET {_name(name)}" for name in gone]
    if any(name in had or name in wanted for name in IDENTITY):
        same = all(had.get(name) == wanted.get(name) for name in IDENTITY)
        if statements or not same:
            taken_on = [_set(name, wanted[name]) for name in IDENTITY if name in wanted]
            # This gives up both.
            statements = ["RESET SESSION AUTHORIZATION", *statements, *taken_on]
    return "; ".join(statements)


def put_back_sql(values: Mapping[str, str]) -> str:
    """The statements that set those of ``values`` which the session has not set to something itself; "" for none.

    Whatever has been reset, set again or rolled back before: what counts is what the server has now.
    """
    hidden = [name for name in values if is_hidden(name) and name not in IDENTITY]
    hidden += [name for name in IDENTITY if name in values]
    listed = [name for name in values if name not in hidden]
    return "; ".join(
        f"SELECT pg_catalog.set_config(name, value, false) FROM (VALUES {pairs}) AS begun (name, value) WHERE {not_set}"
        for names, not_set in ((listed, _NOT_CHANGED), (hidden, _NOTHING))
        if (pairs := ", ".join(f"({_literal(name)}, {_literal(values[name])})" for name in names))
    )


def is_hidden(name: str) -> bool:
    """True for settings that pg_settings does not list: those of nobody's (``a.b``), and who one is."""
    return "." in name or name in IDENTITY


_NOT_CHANGED: Final = (
    "NOT name OPERATOR(pg_catalog.=) ANY (ARRAY("
    "SELECT name FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session'))"
)
_NOTHING: Final = "coalesce(pg_catalog.current_setting(name, true), '') OPERATOR(pg_catalog.=) ANY (ARRAY['', 'none'])"

_LISTS: Final = frozenset(("search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries"))
"""Lists of identifiers: SET takes a string for one of them, set_config() for all (GUC_LIST_QUOTE)."""


def _set(name: str, value: str) -> str:
    if name in _LISTS:
        return f"SELECT pg_catalog.set_config({_literal(name)}, {_literal(value)}, false)"
    return f"SET {_name(name)} TO {_literal(value)}"


def _name(name: str) -> str:
    """A setting's name quoted as an identifier; extension settings (``a.b``) part by part."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


def _literal(text: str) -> str:
    """SQL that means the same under either setting of standard_conforming_strings."""
    quoted = text.replace("'", "''")
    if "\\" in quoted:
        return " E'" + quoted.replace("\\", "\\\\") + "'"
    return f"'{quoted}'"

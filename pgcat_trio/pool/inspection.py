"""What a session has left on its backend: one query that asks the server, and what its answer means.

A text only says what a statement may leave behind. Whether it did (it may have failed, been rolled back, undone, or
locked nothing) the server knows exactly. All names are qualified: the search_path is the client's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from ..routing.changes import OF_THE_TRANSACTION
from ..routing.effects import Effect
from .settings import IDENTITY, USUAL, intern, is_hidden

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator, Mapping

    from ..routing.changes import SettingChanges
    from .settings import Settings

_EQUAL: Final = "OPERATOR(pg_catalog.=)"

_PRESENT: Final[dict[Effect, str]] = {
    Effect.CURSORS: "SELECT 'CURSORS', '', '' FROM pg_catalog.pg_cursors WHERE is_holdable",
    Effect.ADVISORY_LOCKS: (
        "SELECT 'ADVISORY_LOCKS', '', '' FROM pg_catalog.pg_locks "
        f"WHERE locktype {_EQUAL} 'advisory' AND pid {_EQUAL} pg_catalog.pg_backend_pid()"
    ),
    # Whatever is in a schema depends on it; this has an index, the catalogs of what it can be have none for it.
    Effect.TEMPORARY: (
        "SELECT 'TEMPORARY', '', '' FROM pg_catalog.pg_depend "
        f"WHERE refclassid {_EQUAL} 'pg_catalog.pg_namespace'::pg_catalog.regclass "
        f"AND refobjid {_EQUAL} pg_catalog.pg_my_temp_schema()"
    ),
    Effect.STATEMENTS: "SELECT 'STATEMENTS', '', '' FROM pg_catalog.pg_prepared_statements WHERE from_sql",
}
_CHANNELS: Final = "SELECT 'LISTEN', channel, '' FROM pg_catalog.pg_listening_channels() AS channel"
_CHANGED: Final = f"SELECT 'SETTINGS', name, setting FROM pg_catalog.pg_settings WHERE source {_EQUAL} 'session'"


@attrs.frozen
class Inspection:
    """A question to the server: what of the ``suspects`` is there, and which of the ``changes`` were made.

    ``known`` are the names of the session's settings, ``user`` is who it is when it has become nobody else.
    `Effect.UNKNOWN` among the suspects stands for all of them.
    """

    suspects: Effect
    changes: SettingChanges
    known: Collection[str] = ()
    user: str = ""

    @property
    def _lists_settings(self) -> bool:
        return Effect.UNKNOWN in self.suspects or self.changes.reset_all or self.changes.unnamed

    @property
    def _looks_at_settings(self) -> bool:
        return bool(self.suspects & (Effect.SETTINGS | Effect.UNKNOWN))

    def sql(self, *, all_statements: bool) -> str:
        """The query; "" if there is nothing that a server could be asked.

        ``all_statements``: also those count that were not prepared by SQL.
        """
        anything = Effect.UNKNOWN in self.suspects
        parts = [f"({sql} LIMIT 1)" for effect, sql in _PRESENT.items() if anything or effect in self.suspects]
        if all_statements:
            parts = [part.replace(" WHERE from_sql", "") for part in parts]
        if anything or Effect.LISTEN in self.suspects:
            parts.append(_CHANNELS)
        if self._looks_at_settings:
            parts += self._settings_sql()
        return " UNION ALL ".join(parts)

    def _settings_sql(self) -> Iterator[str]:
        resets = ", ".join(map(_literal, sorted(self.changes.resets)))
        hidden = {name for name in self.changes.resets if is_hidden(name)}
        if self._lists_settings:
            yield _CHANGED
            hidden.update(IDENTITY, filter(is_hidden, self.known))
        elif resets:
            yield f"{_CHANGED} AND name {_EQUAL} ANY (ARRAY[{resets}])"
        for name in sorted(self.changes.names | hidden):
            yield f"SELECT 'SETTINGS', {_literal(name)}, pg_catalog.current_setting({_literal(name)}, true)"

    def findings(self, rows: Iterable[list[str | None]]) -> Findings:
        """What the rows say that the server answered."""
        present = Effect.NONE
        channels: set[str] = set()
        settings: dict[str, str | None] = {}
        for kind, name, value in (row for row in rows if len(row) == 3):  # others are of set_config()
            if kind == "SETTINGS" and name:
                settings[name] = value
            elif kind:
                present |= Effect[kind]
                if name:
                    channels.add(name)
        return Findings(present, frozenset(channels), settings)

    def learned(self, settings: Settings, findings: Findings, reported: Container[str]) -> Settings:
        """What a session's settings are after what was found; those that the server reports are known anyway."""
        if not self._looks_at_settings:
            return settings
        changes = self.changes
        values = {
            name: value
            for name, value in settings.values.items()
            if name in reported or not (name in changes.resets or (self._lists_settings and not is_hidden(name)))
        }
        nobody_else = (("role", "none"), ("session_authorization", self.user))
        for name, value in findings.settings.items():
            name = USUAL.canonical_name(name)
            if name in reported or name in OF_THE_TRANSACTION:
                continue
            back = changes.reset_all or name in changes.resets
            if value is None or (back and not value) or (name, value) in nobody_else:
                values.pop(name, None)
            else:
                values[name] = value
        return intern(values)


@attrs.frozen
class Findings:
    """``present``: what is there. ``channels``: those listened to. ``settings``: their values, None if unknown."""

    present: Effect = Effect.NONE
    channels: frozenset[str] = frozenset()
    settings: Mapping[str, str | None] = attrs.field(factory=dict)


def _literal(text: str) -> str:
    return " E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"

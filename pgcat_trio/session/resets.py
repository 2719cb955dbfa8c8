"""RESET: what a client resets goes back to what it asked for when it connected, which its backends know nothing of.

That is set right behind the RESET, and the client's answer waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pool.settings import IDENTITY, USUAL, intern, put_back_sql, settings_sql
from ..routing.changes import SettingChanges, setting_changes
from ..routing.effects import Effect
from ..routing.lexer import split
from ..wire import codes
from ..wire.statements import messages_in
from ..wire.suspicions import may_reset
from .leftovers import MAX_SETTINGS, NO_CHANGES, Leftovers
from .statements import Translator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.settings import Settings
    from .gateway import Gateway


class Resetter(Translator):
    """A lease whose client's settings go back to what it began with."""

    __slots__ = ("_resets", "startup")

    def __init__(self, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings) -> None:
        super().__init__(gateway, cluster, user, database, settings)
        self.startup = settings
        """What RESET goes back to."""
        self._resets: dict[bytes, SettingChanges] = {}  # in session mode: by the name of a prepared statement

    def begin_with(self, settings: Settings) -> None:
        """These are the settings that the client has asked for when it connected."""
        self.settings = self.startup = settings

    def note_resets(self, backend: Backend, batch: bytes) -> None:
        """In session mode, where nothing else needs to be known, a batch may reset settings."""
        if self._resets or any(may_reset(text) for text in self.downstream.texts):
            for changes in self._resets_in(batch):
                backend.upstream.failed = False
                if self.leftovers is None:
                    self.leftovers = Leftovers()
                self.leftovers.add_changes(changes, executes=True)

    def _resets_in(self, batch: bytes) -> Iterator[SettingChanges]:
        """What a batch resets; who binds a statement is taken to execute it."""
        for kind, start, stop in messages_in(batch):
            if kind == codes.QUERY:
                self._resets.pop(b"", None)
                yield setting_changes(batch[start + 5 : stop - 1])
            elif kind == codes.PARSE:
                name, text, *_ = (batch[start + 5 : stop] + b"\0").split(b"\0", 2)
                changes = setting_changes(text)
                self._resets.pop(name, None)
                if changes.goes_back and len(self._resets) < MAX_SETTINGS:
                    self._resets[name] = changes
            elif kind == codes.BIND and (at := batch.find(0, start + 5, stop) + 1):
                yield self._resets.get(batch[at : batch.find(0, at)], NO_CHANGES)

    def goes_back_soon(self, backend: Backend) -> bool:
        """True if something is being reset, and will be set to what the client began with once that is answered."""
        expected = backend.upstream.expected
        due = self.leftovers is not None and self.leftovers.due.goes_back
        return due and bool(expected.queue) and not (expected.unsynced or expected.copy_in)

    def _starting_values(self, backend: Backend, leftovers: Leftovers, *, certain: bool) -> str:
        """The statements that set what has been reset to what the client asked for when it connected.

        ``certain``: nothing has failed or been rolled back since.
        """
        due, leftovers.due = leftovers.due, NO_CHANGES
        names = {USUAL.canonical_name(name) for name in due.resets}
        if due.reset_all:
            names.update(name for name in self.startup.values if name not in IDENTITY)
        back = {name: value for name, value in self.startup.values.items() if name in names}
        if not back:
            return ""
        # Whether that is what they are in the end is asked when the transaction is over.
        leftovers.changes |= SettingChanges(names=frozenset(back) - backend.reported)
        leftovers.told = dict(backend.parameters)
        had = backend.settings.values
        changed_hands = any(name in had or name in back for name in IDENTITY)  # and perhaps since
        if not (certain and self._resets_only()) or changed_hands or Effect.SETTINGS in leftovers.pinned:
            return put_back_sql(back)
        # What the server reports is known; of the others it is known that they are not there.
        have = {n: v for n, v in had.items() if n in backend.reported or n not in names}
        return settings_sql(intern(have), intern({**have, **back}), backend.reported)

    def _resets_only(self) -> bool:
        """True if the batch that was sent last is one statement that resets something."""
        texts = self.downstream.texts
        return len(texts) == 1 and setting_changes(texts[0]).goes_back and len(split(texts[0])) == 1

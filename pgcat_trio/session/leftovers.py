"""What a client leaves on its backend between transactions: learned, so that it can follow the client, or kept there.

A text shows what a statement *may* leave behind (`routing.effects`). When its transaction has ended the server is asked
what is really there (`pool.inspection`), in one query that the client does not see:

* Settings are noted, and set again on whatever backend the client gets next.
* Channels that are listened to are handed over to the connection that listens for all (`session.listening`).
* Whatever else is there pins the session: it keeps this backend until it has undone it, or leaves.

What a client resets goes back to what it asked for when it connected: that is set right behind the RESET.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

import structlog

from ..config.model import Pinning
from ..errors import FeatureNotSupported, ServerError
from ..pool.inspection import Findings, Inspection
from ..pool.settings import USUAL, intern, settings_sql
from ..routing.changes import SettingChanges, setting_changes
from ..routing.effects import PINNING, Effect
from ..wire import codes, encode
from ..wire.statements import messages_in
from .names import FOREIGN
from .statements import Translator

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from ..errors import ProxyError
    from ..pool.backend import Backend
    from ..pool.cluster import Cluster
    from ..pool.settings import Settings
    from .gateway import Gateway

log = structlog.get_logger("pgcat_trio.session")

REASONS: Final[dict[Effect, str]] = {
    Effect.STATEMENTS: "prepared statement",
    Effect.CURSORS: "cursor WITH HOLD",
    Effect.LISTEN: "LISTEN",
    Effect.ADVISORY_LOCKS: "advisory lock",
    Effect.TEMPORARY: "temporary table",
    Effect.LOADED: "LOAD or dblink",
    Effect.SETTINGS: "settings",
}
"""What keeps a backend, in words: for the log, the console and errors."""

_MAX_SETTINGS: Final = 100
_MAX_VALUE_CHARACTERS: Final = 4096
"""What a client may take with it from backend to backend; with more, it stays where it is."""

_SUSPECT: Final = PINNING | Effect.SETTINGS | Effect.UNKNOWN

_may_reset: Final = re.compile(rb"\b(?:reset|discard|default|local)\b", re.IGNORECASE).search


def reasons(effects: Effect) -> str:
    """The reasons in words, parted by commas."""
    return ", ".join(words for effect, words in REASONS.items() if effect in effects)


_UNLISTEN: Final = "UNLISTEN *"

NO_CHANGES: Final = SettingChanges()


class Leftovers:
    """What is suspected, what the server is being asked about, and what is known to be there."""

    __slots__ = (
        "awaiting",
        "changes",
        "due",
        "given_up",
        "handed_over",
        "later",
        "pinned",
        "question",
        "suspects",
        "told",
        "withheld",
    )

    def __init__(self) -> None:
        self.suspects = Effect.NONE
        """What the transaction under way may leave behind."""
        self.changes = NO_CHANGES
        """Which settings, if they are among the suspects."""
        self.due = NO_CHANGES
        """Those of them that have been reset, and not yet set to what they began with."""
        self.question: Inspection | None = None
        """What the server is being asked, or told, by a query of our own."""
        self.later = Effect.NONE
        """What the client has sent behind it may leave behind."""
        self.pinned = Effect.NONE
        """What keeps the backend."""
        self.awaiting: frozenset[bytes] = frozenset()
        """Channels that are being handed over."""
        self.handed_over = False
        """They have been: the backend need not listen any more."""
        self.given_up: list[bytes | None] = []
        """Channels that are not listened to any more if the transaction commits; None for all."""
        self.withheld = b""
        """What the client is told after that."""
        self.told: Settings | None = None
        """The settings as the client was told, if some of them have gone back since."""

    def add(self, effects: Effect) -> None:
        """Note what a statement may leave behind or take away."""
        self.suspects |= effects & _SUSPECT & ~self.pinned
        if Effect.UNDOING in effects:
            self.suspects |= self.pinned
        if self.question is not None:
            self.later |= effects & ~Effect.UNDOING

    def add_changes(self, changes: SettingChanges, *, executes: bool) -> None:
        """Note which settings a statement may change that is sent, or at least prepared."""
        self.changes |= changes
        if executes:
            self.due |= changes


class Keeper(Translator):
    """A lease that is given up only when nothing of the client's is on the backend that it wants to find again."""

    __slots__ = ("_resets", "startup")

    def __init__(self, gateway: Gateway, cluster: Cluster, user: str, database: str, settings: Settings) -> None:
        super().__init__(gateway, cluster, user, database, settings)
        self.startup = settings
        """What RESET goes back to."""
        self._resets: dict[bytes, SettingChanges] = {}  # in session mode: by the name of a prepared statement

    def begin_with(self, settings: Settings) -> None:
        """These are the settings that the client has asked for when it connected."""
        self.settings = self.startup = settings

    @property
    def pinned(self) -> Effect:
        """What keeps the backend between transactions; nothing in session mode, where nothing need."""
        return self.leftovers.pinned if self.leftovers is not None else Effect.NONE

    @property
    def keeps(self) -> bool:
        """True if the loss of the backend is one that the client cannot make up for."""
        leftovers = self.leftovers
        return leftovers is not None and bool(leftovers.pinned or leftovers.question or leftovers.awaiting)

    @abstractmethod
    def listen(self, backend: Backend, channels: frozenset[str]) -> bool:
        """Hand channels over, or begin to (``awaiting``); False if they must stay on the backend."""

    @abstractmethod
    def unlisten(self, given_up: list[bytes | None]) -> None:
        """A transaction that gave up channels is over."""

    # -- before a batch is sent ------------------------------------------------------------------------------------

    def note(self, backend: Backend, batch: bytes, effects: Effect) -> None:
        """A batch that may leave something behind is about to be sent."""
        backend.effects |= effects & ~Effect.UNDOING
        backend.upstream.failed = False
        leftovers = self.leftovers
        if leftovers is None:
            if not effects & _SUSPECT:
                return
            leftovers = self.leftovers = Leftovers()
        leftovers.add(effects)
        if Effect.SETTINGS in effects:
            downstream = self.downstream
            executes = downstream.executes or codes.QUERY in downstream.markers
            for text in self._texts(batch):
                leftovers.add_changes(setting_changes(text), executes=executes)

    def note_resets(self, backend: Backend, batch: bytes) -> None:
        """In session mode, where nothing else needs to be known, a batch may reset settings."""
        if self._resets or any(_may_reset(text) for text in self.downstream.texts):
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
                if changes.goes_back and len(self._resets) < _MAX_SETTINGS:
                    self._resets[name] = changes
            elif kind == codes.BIND and (at := batch.find(0, start + 5, stop) + 1):
                yield self._resets.get(batch[at : batch.find(0, at)], NO_CHANGES)

    def denial(self, batch: bytes, effects: Effect) -> ProxyError | None:
        """Why a batch must be refused, where sessions may not be pinned."""
        if self.cluster.config.pinning is Pinning.ALLOW:
            return None
        denied = effects & PINNING & ~Effect.LISTEN
        if Effect.SETTINGS in effects and any(setting_changes(text).unnamed for text in self._texts(batch)):
            denied |= Effect.SETTINGS
        if not denied:
            return None
        return FeatureNotSupported(
            f"{reasons(denied)}: not possible while server connections are shared by transactions",
            hint='Use session mode for this user, or allow it for this pool by pinning = "allow".',
        )

    def _texts(self, batch: bytes) -> list[bytes]:
        texts = self.downstream.texts
        return texts if self.names is None else texts + self.names.bound(batch, self.downstream)

    # -- after an answer -------------------------------------------------------------------------------------------

    def look_back(self, backend: Backend, data: bytes) -> bytes:
        """See to what is left on a backend that may have come to rest; returns what the client is told now."""
        leftovers = self.leftovers
        assert leftovers is not None
        upstream = backend.upstream
        if leftovers.question is not None:
            if upstream.expected.swallowing:
                return data  # no more than a notification
            data = self._heard(backend, leftovers) + data
        elif leftovers.withheld:
            data = self._take_withheld(backend, leftovers) + data
        if leftovers.awaiting:
            leftovers.withheld += data
            return b""
        if not (upstream.expected.settled and upstream.between_messages and self._whole) or backend.sending:
            return data
        if upstream.status == codes.FAILED or upstream.failed:
            leftovers.due = NO_CHANGES  # what was reset is as it was
        sql = self._ask_next(backend, leftovers)
        if sql:
            leftovers.withheld = data
            self._send_own(backend, sql)
            return b""
        if upstream.status == codes.IDLE and not leftovers.pinned:
            self.leftovers = None
        return data

    def _ask_next(self, backend: Backend, leftovers: Leftovers) -> str:
        """What to say to the server now: "" for nothing."""
        status = backend.upstream.status
        sql = self._starting_values(backend, leftovers) if leftovers.due.goes_back else ""
        question = Inspection(Effect.NONE, NO_CHANGES)
        if status == codes.IDLE:
            if leftovers.given_up:
                if not backend.upstream.failed:
                    self.unlisten(leftovers.given_up)
                leftovers.given_up = []
            question = Inspection(leftovers.suspects, leftovers.changes, self.settings.values)
            leftovers.suspects, leftovers.changes = Effect.NONE, NO_CHANGES
            asking = question.sql(all_statements=self.cluster.statements is None)
            if not asking:
                self._conclude(backend, leftovers, question, Findings())
            if leftovers.handed_over and Effect.LISTEN not in question.suspects:
                asking = "; ".join(filter(None, (_UNLISTEN, asking)))
            sql = "; ".join(filter(None, (sql, asking)))
        if sql:
            leftovers.question = question
            leftovers.later = Effect.NONE
        return sql

    def _starting_values(self, backend: Backend, leftovers: Leftovers) -> str:
        """The statements that set what has been reset to what the client asked for when it connected."""
        due, leftovers.due = leftovers.due, NO_CHANGES
        names = {USUAL.canonical_name(name) for name in due.resets}
        had, wanted = backend.settings.values, self.startup.values
        # What the server reports is known; of the others it is known that they are not there.
        have = {n: v for n, v in had.items() if n in backend.reported or not (due.reset_all or n in names)}
        back = {n: v for n, v in wanted.items() if due.reset_all or n in names}
        # Whether that is what they are in the end is asked when the transaction is over.
        leftovers.changes |= SettingChanges(names=frozenset(back) - backend.reported)
        leftovers.told = backend.settings
        return settings_sql(intern(have), intern({**have, **back}), backend.reported)

    def _send_own(self, backend: Backend, sql: str) -> None:
        if self.names is not None:
            self.names.unnamed_there = FOREIGN  # a Query takes it away
        backend.upstream.captured = []
        backend.upstream.expected.sent_own_query()
        self._send(backend, encode.query(sql), b"", unsynced=False)

    def _heard(self, backend: Backend, leftovers: Leftovers) -> bytes:
        """The answer to our question is there: returns what the client has been waiting for."""
        question, leftovers.question = leftovers.question, None
        assert question is not None
        rows, backend.upstream.captured = backend.upstream.captured or [], None
        error = backend.upstream.take_swallowed_error()
        if error is None:
            if leftovers.handed_over and Effect.LISTEN not in question.suspects:
                leftovers.handed_over = False
                backend.effects = backend.effects & ~Effect.LISTEN | leftovers.later
            self._conclude(backend, leftovers, question, question.findings(rows))
        elif question.suspects:
            # For example the client's own statement_timeout. Then all that was suspected may be there.
            self._conclude(backend, leftovers, question, Findings(question.suspects & (PINNING | Effect.SETTINGS)))
        else:
            raise ServerError(error)
        return self._take_withheld(backend, leftovers)

    def _take_withheld(self, backend: Backend, leftovers: Leftovers) -> bytes:
        """What the client was not told yet; before its ReadyForQuery, which settings have gone back."""
        if leftovers.awaiting:
            return b""
        data, leftovers.withheld = leftovers.withheld, b""
        told, leftovers.told = leftovers.told, None
        if told is None:
            return data
        had, has = told.values, self.settings.values
        news = [item for item in has.items() if item[0] in backend.reported and had.get(item[0]) != item[1]]
        statuses = b"".join(encode.parameter_status(*item) for item in news)
        end = len(data) - len(encode.ready_for_query())
        return data[:end] + statuses + data[end:] if end > 0 else statuses + data

    def _conclude(self, backend: Backend, leftovers: Leftovers, question: Inspection, found: Findings) -> None:
        """Act upon what was found: learn the settings, hand over the channels, be pinned by the rest."""
        suspects = question.suspects
        if not suspects:
            return
        stays = (found.present & ~Effect.LISTEN) | (suspects & Effect.LOADED)
        if Effect.SETTINGS in suspects | found.present and not self._learn(backend, question, found):
            stays |= Effect.SETTINGS
        elif Effect.UNKNOWN in suspects:
            self._learn(backend, question, found)
        if (found.channels or Effect.LISTEN in found.present) and not self.listen(backend, found.channels):
            stays |= Effect.LISTEN
        if Effect.SETTINGS in leftovers.pinned and not question.changes.reset_all:
            stays |= Effect.SETTINGS
        gone = suspects & ~(stays | Effect.UNKNOWN | (Effect.LISTEN if found.channels else Effect.NONE))
        backend.effects = (backend.effects & ~gone) | leftovers.later
        self.pin(backend, leftovers, (leftovers.pinned & ~suspects) | stays)

    def _learn(self, backend: Backend, question: Inspection, found: Findings) -> bool:
        """Take over the settings that were found; False if they cannot follow the client."""
        learned = question.learned(self.settings, found, backend.reported)
        if question.changes.unnamed or Effect.SETTINGS in found.present or not portable(learned, backend.reported):
            return False
        self.settings = backend.settings = learned
        return True

    def pin(self, backend: Backend, leftovers: Leftovers, pinned: Effect) -> None:
        """From now on this keeps the backend."""
        before, leftovers.pinned = leftovers.pinned, pinned
        if pinned == before:
            return
        if not pinned:
            backend.effects |= Effect.UNKNOWN  # statements have been carried out that were not seen
        log.info(
            "session.pinned" if pinned else "session.unpinned",
            user=self.user,
            database=self.database,
            pool=backend.pool.name,
            pid=backend.pid,
            reason=reasons(pinned or before),
        )


def portable(settings: Settings, reported: Container[str]) -> bool:
    """True if a client may take these settings with it, and they mean the same in every client encoding."""
    own = {name: value for name, value in settings.values.items() if name not in reported}
    return len(own) <= _MAX_SETTINGS and all(
        len(value) <= _MAX_VALUE_CHARACTERS and value.isascii() for value in own.values()
    )

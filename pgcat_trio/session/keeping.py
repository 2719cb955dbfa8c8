"""What is left on a backend between two transactions of a session: it follows the client, or keeps the backend.

A text shows what a statement *may* leave behind (`routing.effects`). When its transaction has ended the server is asked
what is really there (`pool.inspection`), in one query that the client does not see:

* Settings are noted, and set again on whatever backend the client gets next.
* Channels that are listened to are handed over to the connection that listens for all (`session.listening`).
* Whatever else is there pins the session: it keeps this backend until it has undone it, or leaves.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Final

import attrs
import structlog

from ..config.model import Pinning, PoolMode
from ..errors import FeatureNotSupported, ServerError
from ..pool.inspection import Findings, Inspection
from ..routing.changes import setting_changes
from ..routing.effects import PINNING, Effect
from ..routing.lexer import split
from ..wire import codes, encode
from .leftovers import EVERYTHING, NO_CHANGES, SUSPECT, Leftovers, portable, reasons
from .names import FOREIGN
from .resets import Resetter

if TYPE_CHECKING:
    from ..errors import ProxyError
    from ..pool.backend import Backend

log = structlog.get_logger("pgcat_trio.session")

_OWN_NAME: Final = "pgcat_own"

_CANCELED: Final = "57014"
_UNHURRIED: Final = "SET LOCAL statement_timeout TO 0"
"""Several statements in one query are one transaction: it lasts until their end."""

_SETTINGS: Final = Effect.SETTINGS | Effect.UNKNOWN
"""What may change settings."""


class Keeper(Resetter):
    """A lease that is given up only when nothing of the client's is on the backend that it wants to find again."""

    __slots__ = ()

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
        """Begin to hand channels over (``joining``, perhaps ``awaiting``); False if they must stay on the backend."""

    @abstractmethod
    def marked(self, backend: Backend, leftovers: Leftovers) -> None:
        """The server has been told the mark, which parts what the backend tells of channels from what others do."""

    @abstractmethod
    def unlisten(self, given_up: list[bytes | None], channels: frozenset[str]) -> None:
        """A transaction that gave up channels is over, and ``channels`` are those that it has left on the backend."""

    @abstractmethod
    def take_diverted(self, backend: Backend) -> bytes:
        """What the backend has notified of and the client is to be told; from now on that is passed on."""

    # -- before a batch is sent ------------------------------------------------------------------------------------

    def note(self, backend: Backend, batch: bytes, effects: Effect) -> None:
        """A batch that may leave something behind is about to be sent."""
        backend.effects |= effects & ~Effect.UNDOING
        backend.upstream.failed = False
        leftovers = self.leftovers
        if leftovers is None:
            if not effects & SUSPECT:
                return
            leftovers = self.leftovers = Leftovers()
        leftovers.add(effects)
        if effects & _SETTINGS:
            downstream = self.downstream
            executes = downstream.executes or codes.QUERY in downstream.markers
            for text in self._texts(batch):
                changes = setting_changes(text)
                if Effect.SETTINGS not in effects and b"set_config" not in text.lower():
                    changes = attrs.evolve(changes, unnamed=False)  # a mere doubt keeps no backend
                leftovers.add_changes(changes, executes=executes)

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
        leftovers.hear(data)
        upstream = backend.upstream
        if leftovers.question is not None:
            if upstream.expected.swallowing:
                leftovers.withheld += data  # no more than a notification: behind the answer to which it is news
                return b""
            data = self._heard(backend, leftovers) + data
        elif leftovers.withheld:
            data = self._take_withheld(backend, leftovers) + data
        if leftovers.awaiting:
            leftovers.withheld += data
            return b""
        if not (upstream.expected.settled and upstream.between_messages and self._whole) or backend.sending:
            return data
        sql = self._mark(backend, leftovers) or self._ask_next(backend, leftovers)
        if sql:
            self._send_own(backend, sql)
        if sql or leftovers.awaiting:
            leftovers.withheld += data
            return b""
        if upstream.status == codes.IDLE:
            if upstream.diverted is not None:
                data += self.take_diverted(backend)
            if not leftovers.pinned:
                self.leftovers = None
        return data

    def _mark(self, backend: Backend, leftovers: Leftovers) -> str:
        """What sets the mark that a hand-over of channels waits for; "" if none does."""
        if leftovers.joining is None or backend.upstream.status != codes.IDLE:
            return ""
        leftovers.marking = True
        leftovers.question = Inspection(Effect.NONE, NO_CHANGES)
        leftovers.later = Effect.NONE
        if backend.upstream.diverted is None:
            backend.upstream.diverted = []
        return f"{_UNHURRIED}; {leftovers.joining.mark_sql}"

    def _ask_next(self, backend: Backend, leftovers: Leftovers) -> str:
        """What to say to the server now: "" for nothing."""
        status = backend.upstream.status
        done = not (backend.upstream.failed or leftovers.rolled_back)
        goes_back = leftovers.due.goes_back and status != codes.FAILED
        sql = self._starting_values(backend, leftovers, certain=done) if goes_back else ""
        question = Inspection(Effect.NONE, NO_CHANGES)
        if status == codes.IDLE:
            if done:
                leftovers.giving_up += leftovers.given_up
            question = Inspection(leftovers.suspects, leftovers.changes, self.settings.values, backend.pool.target.user)
            leftovers.all_reset = done and leftovers.changes.reset_all
            leftovers.suspects, leftovers.changes, leftovers.given_up = Effect.NONE, NO_CHANGES, []
            leftovers.rolled_back = False
            asking = question.sql(all_statements=self.cluster.statements is None)
            if not asking:
                self._conclude(backend, leftovers, question, Findings())
            if leftovers.unlisten and Effect.LISTEN not in question.suspects:
                asking = "; ".join(filter(None, (leftovers.unlisten, asking)))
            sql = "; ".join(filter(None, (sql, asking)))
            if sql and leftovers.asked_again:
                sql = f"{_UNHURRIED}; {sql}"
        if sql:
            leftovers.question = question
            leftovers.later = Effect.NONE
        return sql

    def _own_request(self, sql: str) -> bytes:
        if self.mode is not PoolMode.SESSION:
            return encode.query(sql)
        # There the unnamed statement is the client's own, and a Query would take it away.
        text = sql.encode("utf-8", "surrogateescape")
        return encode.requests((text[each.start : each.end] for each in split(text)), _OWN_NAME)

    def _send_own(self, backend: Backend, sql: str) -> None:
        if self.names is not None:
            self.names.unnamed_there = FOREIGN  # a Query takes it away
        backend.upstream.captured = []
        backend.upstream.expected.sent_own_query()
        self._send(backend, self._own_request(sql), b"", unsynced=False)

    def _heard(self, backend: Backend, leftovers: Leftovers) -> bytes:
        """The answer to our question is there: returns what the client has been waiting for."""
        question, leftovers.question = leftovers.question, None
        assert question is not None
        rows, backend.upstream.captured = backend.upstream.captured or [], None
        error = backend.upstream.take_swallowed_error()
        if leftovers.marking:
            leftovers.marking = False
            self.marked(backend, leftovers)
        elif error is None:
            if leftovers.unlisten and Effect.LISTEN not in question.suspects:
                unlisten, leftovers.unlisten = leftovers.unlisten, ""
                if unlisten == EVERYTHING:
                    backend.effects = backend.effects & ~Effect.LISTEN | leftovers.later
            leftovers.asked_again = False
            self._conclude(backend, leftovers, question, question.findings(rows))
        elif error.get("C") == _CANCELED and backend.upstream.expected.settled and not leftovers.asked_again:
            # By the client's own statement_timeout, or by a cancel request that came late.
            leftovers.asked_again = leftovers.rolled_back = True
            leftovers.suspects |= question.suspects
            leftovers.changes |= question.changes
            leftovers.due |= question.changes
            return b""
        elif question.suspects:
            # For example the client's own statement_timeout. Then all that was suspected may be there.
            self._conclude(backend, leftovers, question, Findings(question.suspects & (PINNING | Effect.SETTINGS)))
        else:
            raise ServerError(error)
        return self._take_withheld(backend, leftovers)

    def _take_withheld(self, backend: Backend, leftovers: Leftovers) -> bytes:
        """What the client was not told yet; before its ReadyForQuery, the news, and which settings have gone back."""
        if leftovers.awaiting:
            return b""
        data, leftovers.withheld = leftovers.withheld, b""
        news, leftovers.news = leftovers.news, b""
        told, leftovers.told = leftovers.told, None
        if told is not None:
            changed = [item for item in backend.parameters.items() if told.get(item[0]) != item[1]]
            news += b"".join(encode.parameter_status(*item) for item in changed)
        if not news:
            return data
        # Behind it may be notifications.
        end = max(0, data.rfind(encode.ready_for_query(backend.upstream.status)))
        return data[:end] + news + data[end:]

    def _conclude(self, backend: Backend, leftovers: Leftovers, question: Inspection, found: Findings) -> None:
        """Act upon what was found: learn the settings, hand over the channels, be pinned by the rest."""
        if leftovers.giving_up:
            given_up, leftovers.giving_up = leftovers.giving_up, []
            self.unlisten(given_up, found.channels)
        suspects = question.suspects
        if not suspects:
            return
        stays = (found.present & ~Effect.LISTEN) | (suspects & Effect.LOADED)
        if (suspects | found.present) & _SETTINGS and not self._learn(backend, question, found):
            stays |= Effect.SETTINGS
        if (found.channels or Effect.LISTEN in found.present) and not self.listen(backend, found.channels):
            stays |= Effect.LISTEN
        if Effect.SETTINGS in leftovers.pinned and not leftovers.all_reset:
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

"""What a client leaves on its backend between transactions: what is suspected, and what is known to be there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..routing.changes import SettingChanges
from ..routing.effects import PINNING, Effect
from ..wire import encode

if TYPE_CHECKING:
    from collections.abc import Container

    from ..pool.inspection import Inspection
    from ..pool.listening import Joining
    from ..pool.settings import Settings

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

MAX_SETTINGS: Final = 100
_MAX_VALUE_CHARACTERS: Final = 4096
"""What a client may take with it from backend to backend; with more, it stays where it is."""

SUSPECT: Final = PINNING | Effect.SETTINGS | Effect.UNKNOWN

_ROLLBACK: Final = encode.command_complete("ROLLBACK")

EVERYTHING: Final = "UNLISTEN *"

NO_CHANGES: Final = SettingChanges()


def reasons(effects: Effect) -> str:
    """The reasons in words, parted by commas."""
    return ", ".join(words for effect, words in REASONS.items() if effect in effects)


class Leftovers:
    """What is suspected, what the server is being asked about, and what is known to be there."""

    __slots__ = (
        "_tail",
        "all_reset",
        "asked_again",
        "awaiting",
        "changes",
        "due",
        "given_up",
        "giving_up",
        "joining",
        "later",
        "marking",
        "news",
        "pinned",
        "question",
        "rolled_back",
        "suspects",
        "told",
        "unlisten",
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
        self.asked_again = False
        """The question was canceled, and is asked once more, whatever the client's statement_timeout."""
        self.later = Effect.NONE
        """What the client has sent behind it may leave behind."""
        self.pinned = Effect.NONE
        """What keeps the backend."""
        self.awaiting = 0
        """What the client must wait for: the connection that listens for all is to hear its channels, to leave some."""
        self.joining: Joining | None = None
        """The channels that are being handed over to that connection."""
        self.marking = False
        """What the server is being told is the mark: what it notifies of before that is ours to tell."""
        self.unlisten = ""
        """What the backend need not listen to any more: `EVERYTHING`, or the marks."""
        self.given_up: list[bytes | None] = []
        """Channels that are not listened to any more if the transaction commits; None for all."""
        self.giving_up: list[bytes | None] = []
        """Those of a transaction that has committed, unless the server says that they are still listened to."""
        self.withheld = b""
        """What the client is told after that."""
        self.news = b""
        """What it is told with that: notifications on channels that it has given up."""
        self.told: dict[str, str] | None = None
        """The parameters as the client was told, if some of them have gone back since."""

        self.all_reset = False
        """All settings have been reset for certain, whatever they were, before the server was asked last."""
        self.rolled_back = False
        """Something has been rolled back, if only to a savepoint, since the server was asked last."""
        self._tail = b""

    def hear(self, data: bytes) -> None:
        """Look through what the client is told. Rows that look like a ROLLBACK only make us careful."""
        if _ROLLBACK in data or _ROLLBACK in self._tail + data[: len(_ROLLBACK)]:
            self.rolled_back = True
        self._tail = data[-len(_ROLLBACK) :]

    def add(self, effects: Effect) -> None:
        """Note what a statement may leave behind or take away."""
        self.suspects |= effects & SUSPECT & ~(self.pinned & PINNING)
        if Effect.UNDOING in effects:
            self.suspects |= self.pinned
        if self.question is not None:
            self.later |= effects & ~Effect.UNDOING

    def add_changes(self, changes: SettingChanges, *, executes: bool) -> None:
        """Note which settings a statement may change that is sent, or at least prepared."""
        self.changes |= changes
        if executes:
            self.due |= changes


def portable(settings: Settings, reported: Container[str]) -> bool:
    """True if a client may take these settings with it, and they mean the same in every client encoding."""
    own = {name: value for name, value in settings.values.items() if name not in reported}
    return len(own) <= MAX_SETTINGS and all(
        len(value) <= _MAX_VALUE_CHARACTERS and value.isascii() for value in own.values()
    )

"""One server connection, from the moment it is ready for queries until it is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..routing.effects import Effect
from ..wire import codes
from ..wire.upstream import Upstream
from .settings import intern
from .statements import Prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..net.transport import Transport
    from .pool import Pool
    from .settings import Settings

NO_EFFECT: Final = Effect.NONE


class Backend:
    """A connection that is ready for queries. Who holds it owns it; its pool knows it until `Pool.forget`.

    ``parameters`` are all ParameterStatus values the server sent, ``settings`` those that follow a client plus what the
    proxy has set for one.
    """

    __slots__ = (
        "broken",
        "cancelling",
        "counted",
        "counted_transactions",
        "created_at",
        "effects",
        "expires_at",
        "idle_since",
        "key",
        "on_idle_data",
        "parameters",
        "pid",
        "pool",
        "prepared",
        "quarantined",
        "reported",
        "retired",
        "sending",
        "settings",
        "transport",
        "upstream",
    )

    def __init__(
        self, pool: Pool, transport: Transport, parameters: Mapping[str, str], pid: int, key: bytes, now: float
    ) -> None:
        self.pool = pool
        self.transport = transport
        self.upstream = Upstream()
        self.parameters = dict(parameters)
        self.settings: Settings = intern(dict(pool.tracking.of(parameters.items())))
        self.reported = frozenset(self.settings.values)
        """The tracked settings: their values are always known."""
        self.pid = pid
        self.key = key
        self.created_at = now
        self.expires_at = now
        self.idle_since = now
        self.on_idle_data: Callable[[bytes], bool] = bool
        """What its pool does with bytes that come while it is idle."""
        self.effects = NO_EFFECT
        """What its users have left behind on it since it was last cleaned."""
        self.prepared = Prepared()
        """The statements on it that clients share."""
        self.counted = self.counted_transactions = 0
        """The queries and transactions on it that its users have put down to their own account."""
        self.broken: str | None = None
        """Why it must not be used any more."""
        self.retired = False
        """Its pool has been replaced: close it when it comes back."""
        self.sending = False
        """A send to it is in progress, or ended in the middle of a message."""
        self.cancelling = 0
        """CancelRequests on their way to it: until they have arrived it serves nobody else."""
        self.quarantined = False
        """It has been given back and waits for them."""

    @property
    def clean(self) -> bool:
        """True if the next user cannot see that there was a last one."""
        return (
            self.effects is NO_EFFECT
            and not (self.cancelling or self.sending or self.retired)
            and self.broken is None
            and not self.upstream.expected.in_doubt
            and self.upstream.last_error is None
            and self.upstream.last_words is None
            and self.upstream.quiet
        )

    @property
    def lost(self) -> bool:
        """True if nothing can make it fit for another user."""
        upstream = self.upstream
        return bool(
            self.broken
            or self.retired
            or self.sending
            or upstream.streaming
            or upstream.expected.in_doubt
            or self.last_words() is not None
        )

    @property
    def blemish(self) -> str:
        """In a word, why it is not clean: for the log."""
        if self.broken:
            return self.broken
        upstream = self.upstream
        reasons = {
            "retired": self.retired,
            "unfinished message": self.sending or not upstream.between_messages,
            "replication": upstream.streaming,
            "server is going away": self.last_words() is not None,
            "replies in doubt": upstream.expected.in_doubt,
            "copy": upstream.expected.copy_in,
            "query running": not upstream.expected.settled,
            "transaction": upstream.status != codes.IDLE,
            "cancel request under way": bool(self.cancelling),
        }
        effects = [effect.name.lower() for effect in Effect if effect in self.effects and effect.name]
        return ", ".join([name for name, holds in reasons.items() if holds] + effects)

    def take_changed_parameters(self) -> list[tuple[str, str]]:
        """Note the ParameterStatus values that arrived; return those that follow a client."""
        upstream = self.upstream
        changes = upstream.changed_parameters
        upstream.changed_parameters = []
        self.parameters.update(changes)
        self.pool.owner.reported(self.pool, changes)
        changes = self.pool.tracking.of(changes)
        if changes:
            self.settings = self.settings.with_changes(changes)
        return changes

    def last_words(self) -> str | None:
        """What the server said before it went away, if it said that it would."""
        words = self.upstream.last_words
        return None if words is None else words.get("M", "the server ended the connection")

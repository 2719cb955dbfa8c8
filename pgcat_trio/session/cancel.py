"""Cancel keys: from what a CancelRequest shows to the session that may be cancelled by it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from ..wire import codes
from ..wire.scram import equal

if TYPE_CHECKING:
    from .session import Session

_SECRET_BYTES_3_0: Final = 4
_SECRET_BYTES_3_2: Final = 32
"""As long as PostgreSQL 18's own (MAX_CANCEL_KEY_LENGTH there)."""


class CancelKeys:
    """The keys of all sessions. A process id names one session only, for as long as the session lives."""

    def __init__(self) -> None:
        self._sessions: dict[int, tuple[bytes, Session | None]] = {}

    def issue(self, protocol: int) -> tuple[int, bytes]:
        """A new process id and secret; `bind` a session to it, and `withdraw` it in the end."""
        size = _SECRET_BYTES_3_2 if protocol >= codes.PROTOCOL_3_2 else _SECRET_BYTES_3_0
        while (pid := secrets.randbelow(2**31 - 1) + 1) in self._sessions:
            pass
        secret = secrets.token_bytes(size)
        self._sessions[pid] = (secret, None)
        return pid, secret

    def bind(self, pid: int, session: Session) -> None:
        """Say which session the key cancels."""
        self._sessions[pid] = (self._sessions[pid][0], session)

    def withdraw(self, pid: int) -> None:
        """Forget a key."""
        self._sessions.pop(pid, None)

    def find(self, pid: int, secret: bytes) -> Session | None:
        """The session that a CancelRequest means, None if the key is wrong."""
        known, session = self._sessions.get(pid, (b"", None))
        return session if equal(known, secret) and known else None

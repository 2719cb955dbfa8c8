"""Cancel keys: from what a CancelRequest shows to whoever may be cancelled by it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, Protocol

from ..wire import codes
from ..wire.scram import equal

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

_SECRET_BYTES_3_0: Final = 4
_SECRET_BYTES_3_2: Final = 32
"""As long as PostgreSQL 18's own (MAX_CANCEL_KEY_LENGTH there)."""


class Cancellable(Protocol):
    """What a key is for."""

    def cancel(self) -> trio.Event | None:
        """A CancelRequest came: see `lease.Lease.cancel`."""
        ...


class CancelKeys:
    """The keys of all clients.

    Several may have one process id: that of a backend counts on its own server only. Their secrets tell them apart.
    """

    def __init__(self) -> None:
        self._keys: dict[int, list[tuple[bytes, Cancellable | None]]] = {}
        self.elsewhere: Callable[[int, bytes], Cancellable] | None = None
        """Who may know a key that is not known here: the process that this one replaces."""

    def issue(self, protocol: int, target: Cancellable | None = None, pid: int = 0) -> tuple[int, bytes]:
        """A process id and a new secret for ``target``, to be given to `withdraw` in the end.

        The process id is ``pid`` if there is one, else one that nobody has.
        """
        size = _SECRET_BYTES_3_2 if protocol >= codes.PROTOCOL_3_2 else _SECRET_BYTES_3_0
        if not pid:
            while (pid := secrets.randbelow(2**31 - 1) + 1) in self._keys:
                pass
        known = self._keys.setdefault(pid, [])
        taken = {secret for secret, _ in known}
        while (secret := secrets.token_bytes(size)) in taken:
            pass
        known.append((secret, target))
        return pid, secret

    def withdraw(self, pid: int, secret: bytes) -> None:
        """Forget a key."""
        left = [key for key in self._keys.get(pid, ()) if key[0] != secret]
        if left:
            self._keys[pid] = left
        else:
            self._keys.pop(pid, None)

    def find(self, pid: int, secret: bytes) -> Cancellable | None:
        """Whom a CancelRequest means, None if the key is wrong. All secrets are compared, each in constant time."""
        found = [target for known, target in self._keys.get(pid, ()) if equal(known, secret)]
        if not found and self.elsewhere is not None:
            return self.elsewhere(pid, secret)
        return found[0] if found else None

"""Which function a command is for. Each takes (supervisor, arguments, administrator's address), returns the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...errors import FeatureNotSupported
from .answers import refusal
from .control import ban, reload, set_nothing, shut_down, unban
from .show import show

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..supervisor import Supervisor

COMMANDS: Final[dict[str, Callable[[Supervisor, list[str], str], bytes]]] = {
    "SHOW": show,
    "RELOAD": reload,
    "SHUTDOWN": shut_down,
    "SET": set_nothing,
    "BAN": ban,
    "UNBAN": unban,
}

NOT_BUILT: Final = frozenset(["PAUSE", "RESUME", "KILL", "DISABLE", "ENABLE", "RECONNECT", "SUSPEND", "WAIT_CLOSE"])
"""Commands of PgCat's and PgBouncer's that will come."""


def execute(supervisor: Supervisor, words: Sequence[str], peer: str) -> bytes:
    """Do what one statement says; its answer without ReadyForQuery. Raises `ProxyError` with what to tell instead."""
    verb, *arguments = words
    command = COMMANDS.get(verb.upper())
    if command is not None:
        return command(supervisor, arguments, peer)
    if verb.upper() in NOT_BUILT:
        raise FeatureNotSupported(
            f"{verb.upper()} is not built yet", hint="SHOW HELP lists the commands that there are."
        )
    raise refusal(
        "42601", "Unsupported query against the admin database", hint="SHOW HELP lists the commands that there are."
    )

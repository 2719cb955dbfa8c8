"""Which function a command is for, and which columns it answers with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from ...errors import FeatureNotSupported
from . import control, show, traffic
from .answers import Answer, refusal

if TYPE_CHECKING:
    from ..supervisor import Supervisor
    from .answers import Column

Run = Callable[["Supervisor", list[str], str], Answer | Awaitable[Answer]]
"""Takes (supervisor, arguments, administrator's address). One that waits is cancelled if the administrator leaves."""


@attrs.frozen
class Command:
    """``header`` says for the arguments of a command which columns its answer has: none for most."""

    run: Run
    header: Callable[[list[str]], Sequence[Column]] = lambda _: ()


def _nothing(supervisor: Supervisor, arguments: list[str], peer: str) -> Answer:
    """SET, RESET, DISCARD: for tools that say them on their own accord."""
    return Answer("SET")


def _transaction(tag: str) -> Command:
    """BEGIN and its like, for drivers that begin transactions by themselves: each command stands for itself."""
    return Command(lambda supervisor, arguments, peer: Answer(tag))


def _select(supervisor: Supervisor, arguments: list[str], peer: str) -> Answer:
    """By PgBouncer's SQLSTATE for it, pgcli and others tell a console from a database: it is no syntax error."""
    raise refusal("08P01", UNKNOWN, hint=HINT)


UNKNOWN: Final = "Unsupported query against the admin database"
HINT: Final = "SHOW HELP lists the commands that there are."

COMMANDS: Final = {
    "SHOW": Command(show.show, show.header),
    "RELOAD": Command(control.reload, control.reload_header),
    "SHUTDOWN": Command(control.shut_down, lambda _: control.SHUTDOWN),
    "BAN": Command(control.ban, lambda _: control.BANNED),
    "UNBAN": Command(control.unban, lambda _: control.BANNED),
    "PAUSE": Command(traffic.pause),
    "RESUME": Command(traffic.resume),
    "RECONNECT": Command(traffic.reconnect),
    "WAIT_CLOSE": Command(traffic.wait_close),
    "WAIT": Command(traffic.wait_close),
    "KILL": Command(traffic.kill),
    "KILL_CLIENT": Command(traffic.kill_client),
    "DISABLE": Command(traffic.disable),
    "ENABLE": Command(traffic.enable),
    "SET": Command(_nothing),
    "RESET": Command(_nothing),
    "DISCARD": Command(_nothing),
    "BEGIN": _transaction("BEGIN"),
    "START": _transaction("START TRANSACTION"),
    "COMMIT": _transaction("COMMIT"),
    "END": _transaction("COMMIT"),
    "ROLLBACK": _transaction("ROLLBACK"),
    "SELECT": Command(_select),
}

NOT_BUILT: Final = frozenset(["SUSPEND"])
"""Commands of PgBouncer's that will come."""


def execute(supervisor: Supervisor, words: Sequence[str], peer: str) -> Answer | Awaitable[Answer]:
    """Do what one statement says. Raises `ProxyError` with what to tell instead."""
    verb, *arguments = words
    return _find(verb).run(supervisor, arguments, peer)


def header_of(words: Sequence[str]) -> Sequence[Column]:
    """The columns of the answer to a statement; raises `ProxyError` for what is no command."""
    verb, *arguments = words
    return _find(verb).header(arguments)


def _find(verb: str) -> Command:
    command = COMMANDS.get(verb.upper())
    if command is not None:
        return command
    if verb.upper() in NOT_BUILT:
        raise FeatureNotSupported(f"{verb.upper()} is not built yet", hint=HINT)
    raise refusal("42601", UNKNOWN, hint=HINT)

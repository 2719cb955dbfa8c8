"""What reaches the server from outside without a connection: signals, and changes of its file.

SIGHUP reloads the configuration. SIGINT and SIGTERM shut down, letting transactions end; a second one cuts them off.
SIGQUIT does so at once. SIGUSR2 has a new process take over.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import structlog
import trio

from ..errors import ConfigError
from .ending import Manner
from .handover import hand_over

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .supervisor import Supervisor

log = structlog.get_logger("pgcat_trio")

HANDLED: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR2)
"""What `obey` has to be given, by ``trio.open_signal_receiver(*HANDLED)``."""

_AUTORELOAD_OFF_S: Final = 1.0
"""While ``autoreload`` is off: how soon it is noticed that a reload has switched it on."""


async def obey(signals: AsyncIterator[int], supervisor: Supervisor, serving: trio.Event) -> None:
    """Do what signals say, for ever. Before ``serving`` there is nothing in force yet that could be reloaded."""
    async with trio.open_nursery() as handovers:
        async for number in signals:
            log.info("signal.received", signal=signal.Signals(number).name)
            if number == signal.SIGQUIT:
                supervisor.ending.begin(Manner.CUT)
            elif number in (signal.SIGINT, signal.SIGTERM):
                supervisor.ending.hasten()
            elif not serving.is_set():
                log.warning("config.not_reloaded", reason="the server is still starting; send the signal again")
            elif number == signal.SIGHUP:
                reload(supervisor)
            else:
                handovers.start_soon(hand_over, supervisor)


def reload(supervisor: Supervisor) -> None:
    """Put the file in force; if it cannot be used, log every problem and leave everything as it is."""
    try:
        supervisor.reload()
    except ConfigError as error:
        for problem in error.problems or (error.message,):
            log.error("config.problem", problem=problem)
        log.error("config.not_reloaded", path=supervisor.config.path, reason="the old configuration stays in force")


async def autoreload(supervisor: Supervisor, seen: bytes | None) -> None:
    """Reload whenever the content of the file has changed, looking every ``general.autoreload_s``; for ever.

    ``seen`` is its `content` before it was first loaded.
    """
    while True:
        period_s = supervisor.general.autoreload_s
        await trio.sleep(period_s or _AUTORELOAD_OFF_S)
        found = await content(supervisor.config.path)
        # What is changed while autoreload is off waits for SIGHUP, also when it is switched on later.
        if found != seen and period_s is not None:
            log.info("config.changed", path=supervisor.config.path)
            reload(supervisor)
        seen = found


async def content(path: str) -> bytes | None:
    """What a file says; None while it cannot be read."""
    try:
        return await trio.Path(path).read_bytes()
    except (OSError, ValueError):
        return None

"""The sockets that clients connect to: opened here, or given to the process by whoever started it.

systemd gives them by socket activation (sd_listen_fds(3)); a process that is replaced by this one, by `handover`.
"""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Final

import attrs
import trio

from ..errors import BindError

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from ..config.model import General

HANDOVER_VARIABLE: Final = "PGCAT_TRIO_HANDOVER"
"""In the environment of a process that replaces another one: see `handed_over`."""

_SD_LISTEN_FDS_START: Final = 3

_BACKLOG: Final = 1024
"""Connections that may wait for accept: as many as may storm in after a restart of the application."""


@attrs.frozen
class Legacy:
    """What a process was started with.

    ``sockets`` listen already. ``address``: the host and the port of the configuration that they were opened for; None
    if they are to be used whatever the configuration says. ``control``: to the process before, see `handover`.
    """

    sockets: Sequence[socket.socket]
    address: tuple[str, int] | None = None
    control: socket.socket | None = None


def handed_over(sockets: Sequence[int], address: tuple[str, int], control: int) -> str:
    """The value of `HANDOVER_VARIABLE` for a process that gets sockets of these numbers."""
    return json.dumps({"sockets": sockets, "address": address, "control": control})


def take_legacy(environ: MutableMapping[str, str]) -> Legacy | None:
    """What this process was started with, if it was; taken out of the environment, so that no child believes it.

    Raises `BindError` if the environment names sockets that are not there.
    """
    bequest = environ.pop(HANDOVER_VARIABLE, None)
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "0")
    environ.pop("LISTEN_FDNAMES", None)
    try:
        if bequest is not None:
            found = json.loads(bequest)
            host, port = found["address"]
            return Legacy([_socket(each) for each in found["sockets"]], (host, port), _socket(found["control"]))
        if pid == str(os.getpid()) and int(count) > 0:
            return Legacy([_socket(_SD_LISTEN_FDS_START + index) for index in range(int(count))])
    except OSError as problem:
        raise BindError(f"the sockets that the process was started with cannot be used: {problem.strerror}") from None
    return None


def _socket(number: int) -> socket.socket:
    os.set_inheritable(number, False)
    return socket.socket(fileno=number)


async def open_listeners(general: General, legacy: Legacy | None) -> list[trio.SocketListener]:
    """The listeners of a configuration: those of the legacy, unless they are for another address. Raises `BindError`.

    What is not used of the legacy's sockets is closed.
    """
    if legacy is not None and legacy.address in (None, (general.host, general.port)):
        return [_listener(each) for each in legacy.sockets]
    for each in legacy.sockets if legacy is not None else ():
        each.close()
    try:
        return await trio.open_tcp_listeners(general.port, host=general.host, backlog=_BACKLOG)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise BindError(f"cannot listen on {general.host}:{general.port}: {reason}") from None


def _listener(sock: socket.socket) -> trio.SocketListener:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        raise BindError("a socket that the process was started with is not for TCP")
    try:
        return trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    except ValueError:
        raise BindError("a socket that the process was started with does not listen") from None

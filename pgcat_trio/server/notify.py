"""Telling systemd how the service is doing (sd_notify(3)). Where nobody wants to know, nothing happens."""

from __future__ import annotations

import contextlib
import os
import socket


def notify_ready() -> None:
    """This process serves, and is the service's main one: after an online restart that is another than at first."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.sendto(f"READY=1\nMAINPID={os.getpid()}".encode(), address.replace("@", "\0", 1))

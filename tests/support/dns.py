"""A resolver of names for the Trio run that a test is in."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator


class FakeResolver(trio.abc.HostnameResolver):
    """Answers with ``answers``, an error where there is none."""

    def __init__(self) -> None:
        self.answers: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.silent = False

    async def getaddrinfo(self, host: Any, port: Any, family: int = 0, type: int = 0, *_: Any, **__: Any) -> Any:
        name = host if isinstance(host, str) else host.decode()
        self.asked.append(name)
        await trio.lowlevel.checkpoint()
        if self.silent:
            await trio.sleep_forever()
        if name not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port or 0)) for each in self.answers[name]]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


@contextlib.contextmanager
def fake_dns() -> Iterator[FakeResolver]:
    """Have a `FakeResolver` asked in this Trio run, for everything but addresses."""
    resolver = FakeResolver()
    before = trio.socket.set_custom_hostname_resolver(resolver)
    try:
        yield resolver
    finally:
        trio.socket.set_custom_hostname_resolver(before)

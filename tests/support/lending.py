"""Taking backends from a pool, using them as sessions do, and giving them back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
import trio.testing

from pgcat_trio.config.model import Role
from pgcat_trio.errors import ProxyError
from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from pgcat_trio.pool.backend import Backend

    from .world import World


async def acquire(world: World, role: Role = Role.ANY) -> Backend:
    return await world.cluster.acquire(role, fallback_to_primary=role is not Role.PRIMARY)


class Asker:
    """A task that asks for a backend and keeps it until it is told otherwise."""

    def __init__(self, world: World, role: Role = Role.ANY) -> None:
        self.world = world
        self.role = role
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.backend: Backend | None = None
        self.error: ProxyError | None = None

    async def run(self) -> None:
        try:
            with self.scope:
                self.backend = await acquire(self.world, self.role)
        except ProxyError as error:
            self.error = error
        self.done.set()

    def give_back(self) -> None:
        assert self.backend is not None
        backend, self.backend = self.backend, None
        backend.pool.release(backend)


async def ask(world: World, role: Role = Role.ANY) -> Asker:
    """An asker that has come as far as it can."""
    asker = Asker(world, role)
    world.nursery.start_soon(asker.run)
    await world.idle()
    return asker


async def say(backend: Backend, data: bytes, markers: bytes = b"Q", *, unsynced: bool = False) -> None:
    """Send what a client says, as a session does."""
    backend.upstream.expected.sent(markers, unsynced)
    await backend.transport.send(data)


async def run(backend: Backend, sql: str) -> None:
    """A whole query of a client."""
    await say(backend, encode.query(sql))
    while backend.upstream.expected.queue:
        backend.upstream.feed(await backend.transport.receive())


async def idle_again(world: World, backend: Backend) -> None:
    """Wait for what the release set going, and see that the backend came out of it."""
    await world.idle()
    assert world.counts() == (1, 1, 0)
    assert list(world.pool.idle) == [backend]
    assert backend.clean


async def closed(world: World) -> None:
    await world.idle()
    assert world.counts() == (0, 0, 0)
    assert world.primary.connections == 0

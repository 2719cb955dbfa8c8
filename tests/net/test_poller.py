"""The poller in several threads of one process."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import trio

from pgcat_trio.net import poller as net_poller
from pgcat_trio.net.transport import SocketTransport

BYTES = 50_000_000


@pytest.mark.skipif(not net_poller.AVAILABLE, reason="needs epoll")
def test_proxies_in_several_threads_do_not_mix_what_they_read() -> None:
    """Reading lets other threads run, also before what has been read is taken."""

    async def read_all(letter: bytes) -> bytes:
        poller = net_poller.Poller()
        near, far = socket.socketpair()
        strange = b""
        done = trio.Event()

        def take(data: bytes) -> bool:
            nonlocal strange
            strange += data.strip(letter)
            if not data:
                done.set()
            return bool(data)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            transport = SocketTransport(near, poller)
            assert transport.watch(take)
            async with trio.SocketStream(trio.socket.from_stdlib_socket(far)) as stream:
                await stream.send_all(letter * BYTES)
            await done.wait()
            transport.close()
            nursery.cancel_scope.cancel()
        return strange

    with ThreadPoolExecutor(3) as threads:
        strange = list(threads.map(lambda letter: trio.run(read_all, letter), (b"a", b"b", b"c")))
    assert strange == [b"", b"", b""]

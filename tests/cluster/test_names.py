"""A server whose name gets another address while clients work."""

from __future__ import annotations

import contextlib
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import trio
from support.dns import FakeResolver, fake_dns
from support.proxy import RunningProxy, proxy_config, running_proxy
from support.relay import CANCEL_CODE, Relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgcat_trio.embedded import EmbeddedCluster

HERE, THERE = "127.0.0.1", "127.0.0.2"


@contextlib.asynccontextmanager
async def open_relay(port: int) -> AsyncIterator[Relay]:
    """The server at another address."""
    relay = Relay(HERE, port)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(port, host=THERE)
        nursery.start_soon(trio.serve_listeners, relay.serve, listeners)
        yield relay
        nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def open_proxy(cluster: EmbeddedCluster, dns: FakeResolver) -> AsyncIterator[RunningProxy]:
    """A proxy that knows the primary by name; the name is looked up again every second."""
    dns.answers["db.test"] = [HERE]
    port = cluster.primary.port
    general = "dns_cache_enabled = true\ndns_max_ttl = 1\nhealthcheck_interval = 200"
    text = proxy_config(cluster, general=general).replace(f'"{HERE}", {port}', f'"db.test", {port}')
    async with running_proxy(text) as proxy:
        yield proxy


def addresses(proxy: RunningProxy) -> set[str]:
    pools = proxy.supervisor.directory.pools()
    peers = [backend.transport.peer for pool in pools if pool.target.host == "db.test" for backend in pool.backends]
    return {peer.partition(":")[0] for peer in peers}


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.02)


async def ask(client: psycopg.Connection[Any], sql: str) -> None:
    await trio.to_thread.run_sync(client.execute, sql.encode())


async def connect(proxy: RunningProxy) -> psycopg.Connection[Any]:
    return await trio.to_thread.run_sync(partial(psycopg.connect, proxy.dsn(), autocommit=True))


@pytest.mark.trio
async def test_backends_follow_the_name_between_transactions(cluster: EmbeddedCluster) -> None:
    with fake_dns() as dns:
        async with open_relay(cluster.primary.port) as relay, open_proxy(cluster, dns) as proxy:
            with await connect(proxy) as busy, await connect(proxy) as idle, await connect(proxy) as listening:
                await ask(listening, "listen news")
                await ask(busy, "begin")
                await ask(idle, "select 1")
                dns.answers["db.test"] = [THERE]
                await until(lambda: bool(relay.packets))  # the health check is the first to go there
                await ask(idle, "select 1")
                await until(lambda: addresses(proxy) == {HERE, THERE})
                # The one that is busy goes on where it is, and is cancelled there.
                async with trio.open_nursery() as nursery:

                    async def sleep() -> None:
                        with pytest.raises(psycopg.errors.QueryCanceled):
                            await ask(busy, "select pg_sleep(63)")
                        nursery.cancel_scope.cancel()

                    nursery.start_soon(sleep)
                    while True:
                        await trio.to_thread.run_sync(partial(busy.cancel_safe, timeout=10))
                        await trio.sleep(0.05)
                await ask(busy, "rollback")
                await until(lambda: addresses(proxy) == {THERE})
                # Who has listened in the old place may have missed something, and is told so.
                with pytest.raises(psycopg.OperationalError, match="nobody listens for this session any more"):
                    await ask(listening, "select 1")
    cancels = [packet for packet in relay.packets if packet[4:8] == struct.pack("!I", CANCEL_CODE)]
    assert cancels == []
    assert any(b"health check" in packet for packet in relay.packets)


@pytest.mark.trio
async def test_one_of_several_addresses_is_enough(cluster: EmbeddedCluster) -> None:
    with fake_dns() as dns:
        async with open_proxy(cluster, dns) as proxy:
            dns.answers["db.test"] = ["127.0.0.9", HERE]
            resolver = proxy.supervisor.directory.resolver
            await until(lambda: len(resolver.remembered()[0][2]) == 2)
            clients = [await connect(proxy) for _ in range(3)]
            for client in clients:
                await ask(client, "begin")
            assert addresses(proxy) == {HERE}
            for client in clients:
                client.close()

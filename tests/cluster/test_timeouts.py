"""The timeouts that a session is held to, against a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support import client as pg
from support.proxy import proxy_config, running_proxy

if TYPE_CHECKING:
    from pgcat_trio.embedded import EmbeddedCluster

pytestmark = pytest.mark.trio


async def test_a_long_query_is_not_the_clients_silence(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, general="idle_client_in_transaction_timeout = 500")
    async with running_proxy(config) as proxy, await pg.connect(proxy) as client:
        await client.query("begin")
        await client.query("select pg_sleep(0.7)")
        await trio.sleep(0.4)  # longer than the sweep's period
        assert await client.query("select 1") == [["1"]]


async def test_waiting_for_a_backend_is_not_the_clients_silence(cluster: EmbeddedCluster) -> None:
    config = proxy_config(
        cluster, pool_size=1, general="idle_client_in_transaction_timeout = 500", user="statement_timeout = 500"
    )
    async with (
        running_proxy(config) as proxy,
        await pg.connect(proxy) as one,
        await pg.connect(proxy) as two,
    ):
        async with trio.open_nursery() as nursery:
            await one.query("begin")
            nursery.start_soon(two.query, "begin")
            for _ in range(5):
                await trio.sleep(0.2)
                await one.query("select 1")
            await one.query("commit")
        await trio.sleep(0.4)
        assert await two.query("select pg_sleep(0.1)") == [[""]]


async def test_a_silent_client_in_a_transaction_is_told_why_and_its_backend_is_free(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, pool_size=1, general="idle_client_in_transaction_timeout = 300")
    async with (
        running_proxy(config) as proxy,
        await pg.connect(proxy) as one,
        await pg.connect(proxy) as two,
    ):
        await one.query("begin")
        assert await two.query("select 1") == [["1"]]
        with pytest.raises(pg.PostgresError, match="25P03: terminating connection due to idle-in-transaction timeout"):
            await one.reply()


async def test_statement_timeout_cancels_the_statement_and_keeps_the_session(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, pool_size=1, user="statement_timeout = 300")
    async with running_proxy(config) as proxy, await pg.connect(proxy) as client:
        for _ in range(2):
            with trio.fail_after(5), pytest.raises(pg.PostgresError, match="57014"):
                await client.query("select pg_sleep(30)")
            assert await client.query("select 1") == [["1"]]


async def test_a_full_pool_answers_53300_and_the_session_goes_on(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, pool_size=1, general="connect_timeout = 300")
    async with (
        running_proxy(config) as proxy,
        await pg.connect(proxy) as one,
        await pg.connect(proxy) as two,
    ):
        await one.query("begin")
        with pytest.raises(pg.PostgresError, match=r"53300: no backend of pool .* became free within 0.3 s"):
            await two.query("select 1")
        await one.query("commit")
        assert await two.query("select 1") == [["1"]]
        assert not any(server.banned for server in proxy.supervisor.directory.servers.values())

"""Clients that leave without a word: their backend is free at once, and nobody else notices."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trio
from support import client as pg
from support.proxy import proxy_config, running_proxy

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from support.certificates import Authority

    from pgcat_trio.embedded import EmbeddedCluster

pytestmark = pytest.mark.trio

LARGE = "select repeat('x', 1000000) from generate_series(1, 1000)"


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize("link", ["plain", "tls"])
async def test_leaving_in_the_middle_of_a_result(
    cluster: EmbeddedCluster, authority: Authority, client_tls: str, link: str, reset: bool
) -> None:
    tls = ssl.create_default_context(cafile=str(authority.certificate)) if link == "tls" else None
    async with running_proxy(proxy_config(cluster, pool_size=1, general=client_tls)) as proxy:
        for read_first in (False, True) * 5:
            leaver = await pg.connect(proxy, tls)
            await leaver.send(encode.query(LARGE))
            if read_first:
                await leaver.message()
            await trio.sleep(0.02)  # the proxy is in the middle of sending
            leaver.leave(reset=reset)
            with trio.fail_after(5):
                async with await pg.connect(proxy, tls) as other:
                    assert await other.query("select 1") == [["1"]]
        assert all(pool.busy <= 1 for pool in proxy.supervisor.directory.pools())


async def test_a_query_whose_client_left_is_cancelled(cluster: EmbeddedCluster) -> None:
    running = "select count(*) from pg_stat_activity where state = 'active' and query = 'select pg_sleep(30)'"
    async with running_proxy(proxy_config(cluster, pool_size=1)) as proxy:
        leaver = await pg.connect(proxy)
        await leaver.send(encode.query("select pg_sleep(30)"))
        with trio.fail_after(5):
            while await cluster.psql(running) != "1":
                pass
            leaver.leave()
            async with await pg.connect(proxy) as other:
                assert await other.query(running) == [["0"]]


async def test_a_transaction_whose_client_left_is_rolled_back(cluster: EmbeddedCluster, schema: None) -> None:
    async with running_proxy(proxy_config(cluster, pool_size=1)) as proxy:
        leaver = await pg.connect(proxy)
        await leaver.query("begin")
        await leaver.query("insert into item (name) values ('never')")
        leaver.leave()
        async with await pg.connect(proxy) as other:
            with trio.fail_after(5):
                assert await other.query("select name from item") == []


async def test_a_client_that_does_not_read_is_let_go(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, pool_size=1, general="client_write_timeout = 500")
    async with running_proxy(config) as proxy, await pg.connect(proxy) as frozen, await pg.connect(proxy) as other:
        await frozen.send(encode.query(LARGE))
        with trio.fail_after(5):
            assert await other.query("select 1") == [["1"]]

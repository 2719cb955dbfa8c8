"""Transactions that only read, by whatever says so, at real servers: on a replica where it runs them, else not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import client as pg
from support.proxy import proxy_config, running_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.proxy import RunningProxy

    from pgcat_trio.embedded import EmbeddedCluster

pytestmark = pytest.mark.trio

WHO = "select current_setting('port')"
READ_ONLY = "set session characteristics as transaction read only"
SERIALIZABLE = "set default_transaction_isolation to serializable"


@pytest.fixture
async def proxy(cluster: EmbeddedCluster) -> AsyncIterator[RunningProxy]:
    await cluster.wait_caught_up()
    async with running_proxy(proxy_config(cluster, splitting=True, pool="lazy_begin = true")) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("before", "begin", "role"),
    [
        ([], ["begin"], "primary"),
        ([], ["start transaction read only isolation level repeatable read"], "replica"),
        ([], ["begin", "set transaction read only"], "replica"),
        ([], ["begin isolation level serializable", "set transaction read only"], "primary"),
        ([READ_ONLY], ["begin"], "replica"),
        ([READ_ONLY], ["begin read write"], "primary"),
        ([READ_ONLY, "set session characteristics as transaction read write"], ["begin"], "primary"),
        (["set default_transaction_read_only to on"], ["begin"], "replica"),
        (["set default_transaction_read_only to on", "reset default_transaction_read_only"], ["begin"], "primary"),
        ([SERIALIZABLE], ["begin read only"], "primary"),
        ([SERIALIZABLE, READ_ONLY], ["begin isolation level read committed"], "replica"),
        ([SERIALIZABLE], [], "primary"),
        ([SERIALIZABLE, "reset all"], [], "replica"),
    ],
)
async def test_server_of_a_transaction(
    proxy: RunningProxy, cluster: EmbeddedCluster, before: list[str], begin: list[str], role: str
) -> None:
    async with await pg.connect(proxy) as client:
        for sql in (*before, *begin):
            await client.query(sql)
        [[port]] = await client.query(WHO)
        assert {str(server.port): server.role for server in cluster.servers}[port or ""] == role
        assert await client.execute(WHO) == [[port]] or not begin
        await client.query("rollback")


async def test_session_that_asks_for_it_when_it_connects(proxy: RunningProxy, cluster: EmbeddedCluster) -> None:
    async with await pg.connect(proxy, options="-c default_transaction_read_only=true") as client:
        await client.query("begin")
        assert await client.query(WHO) != [[str(cluster.primary.port)]]
        await client.query("commit")

"""``read_after_write`` at replicas that are two seconds behind: no session misses what it has written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest
import trio
from support import client as pg
from support.proxy import proxy_config, running_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.proxy import RunningProxy

    from pgcat_trio.embedded import EmbeddedCluster

pytestmark = pytest.mark.trio

SESSIONS: Final = 50
PAIRS: Final = int(os.environ.get("PGCAT_TRIO_PAIRS", "500"))
"""In all; 10,000 take about half a minute."""


@pytest.fixture
async def slow_replicas(cluster: EmbeddedCluster) -> AsyncIterator[EmbeddedCluster]:
    await cluster.psql("drop table if exists written; create table written (session int primary key, number int)")
    await cluster.psql(f"insert into written select generate_series(1, {SESSIONS}), 0")
    await cluster.wait_caught_up()
    for replica in cluster.replicas:
        await replica.psql("alter system set recovery_min_apply_delay = '2s'; select pg_reload_conf()")
    yield cluster
    for replica in cluster.replicas:
        await replica.psql("alter system reset recovery_min_apply_delay; select pg_reload_conf()")
    await cluster.psql("drop table written")


async def stale_reads(proxy: RunningProxy, session: int, pairs: int) -> int:
    """How many of so many reads do not find what has been written right before."""
    stale = 0
    async with await pg.connect(proxy) as client:
        for number in range(1, pairs + 1):
            await client.query(f"update written set number = {number} where session = {session}")
            read = f"select number from written where session = {session}"
            [[found]] = await (client.query(read) if number % 2 else client.execute(read))
            stale += int(found or 0) != number
    return stale


async def all_stale_reads(proxy: RunningProxy, pairs: int) -> int:
    found: list[int] = []

    async def run(session: int) -> None:
        found.append(await stale_reads(proxy, session, pairs // SESSIONS))

    async with trio.open_nursery() as nursery:
        for session in range(1, SESSIONS + 1):
            nursery.start_soon(run, session)
    return sum(found)


@pytest.mark.parametrize(
    ("pool", "finds_stale_reads"),
    [
        ('read_after_write = "lsn"', False),
        ('read_after_write = "session"\nread_after_write_window = 3000', False),
        ('read_after_write = "off"', True),
    ],
    ids=["lsn", "session", "off"],
)
async def test_no_stale_read(slow_replicas: EmbeddedCluster, pool: str, finds_stale_reads: bool) -> None:
    config = proxy_config(slow_replicas, pool_size=10, splitting=True, pool=pool)
    async with running_proxy(config) as proxy:
        assert (await all_stale_reads(proxy, PAIRS) > 0) is finds_stale_reads


async def test_replicas_that_have_caught_up_are_read_again(slow_replicas: EmbeddedCluster) -> None:
    """And only then; the position is the same for whoever it is handed to."""
    config = proxy_config(
        slow_replicas, splitting=True, pool='read_after_write = "lsn"', general="healthcheck_interval = 100"
    )
    who = "select current_setting('port'), number from written where session = 1"
    async with running_proxy(config) as proxy, await pg.connect(proxy) as client, await pg.connect(proxy) as other:
        await client.query("update written set number = 7 where session = 1")
        [[position]] = await client.query("show pgcat.lsn")
        await other.query(f"set pgcat.lsn = '{position}'")
        for reader in (client, other):
            assert await reader.query(who) == [[str(slow_replicas.primary.port), "7"]]
        with trio.fail_after(10):
            while (row := (await client.query(who))[0])[0] == str(slow_replicas.primary.port):  # noqa: ASYNC110
                await trio.sleep(0.1)
        assert row[1] == "7"
        assert (await other.query(who))[0][1] == "7"

"""A pool that stays full: nobody is banned, those who wait are served in their order, the rest is told 53300."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import trio
from chaos.conftest import FULL
from support import client as pg
from support.chaos import chaos_config
from support.proxy import running_proxy

if TYPE_CHECKING:
    from pgcat_trio.embedded import EmbeddedCluster

pytestmark = [pytest.mark.trio, pytest.mark.slow]

SECONDS: Final = 60 if FULL else 2
POOL_SIZE: Final = 2
WAITERS: Final = 20
STATEMENT_S: Final = 0.1
IMPATIENT_S: Final = 0.5

WAIT: Final = f"select pg_sleep({STATEMENT_S})"


class Queue:
    """Who has asked, and who has been answered, in that order."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.answered: list[tuple[int, int]] = []
        self.errors: list[str] = []

    async def patient(self, client: pg.Client, number: int, end: float) -> None:
        """Ask again and again; every answer comes in the end."""
        turn = 0
        while trio.current_time() < end:
            turn += 1
            self.asked.append((number, turn))
            await client.query(WAIT)
            self.answered.append((number, turn))

    def overtaken(self) -> list[tuple[int, int]]:
        """Who was answered after more than a pool of those who asked later."""
        place = {who: at for at, who in enumerate(self.asked)}
        return [who for at, who in enumerate(self.answered) if at - place[who] > POOL_SIZE]


@pytest.mark.parametrize("role", ["primary", "replica"])
async def test_a_full_pool(chaos_cluster: EmbeddedCluster, role: str) -> None:
    servers = [chaos_cluster.primary] if role == "primary" else chaos_cluster.servers[:2]
    config = chaos_config(
        chaos_cluster,
        [server.port for server in servers],
        pool_size=POOL_SIZE,
        general="query_wait_timeout = 20000",
        pool="replica_to_primary_failover_enabled = false\nprimary_reads_enabled = false",
    )
    queue = Queue()
    async with running_proxy(config) as proxy:
        clients = [await pg.connect(proxy) for _ in range(WAITERS)]
        end = trio.current_time() + SECONDS
        async with trio.open_nursery() as nursery:
            for number, client in enumerate(clients):
                nursery.start_soon(queue.patient, client, number, end)
        for client in clients:
            client.leave()
        servers_known = proxy.supervisor.directory.servers.values()
        assert not [server.address for server in servers_known if server.banned]
        assert {str(server.state.status) for server in servers_known} == {"up"}
    assert len(queue.answered) > SECONDS / STATEMENT_S * POOL_SIZE / 3
    assert not queue.overtaken()


async def test_who_waits_too_long_in_a_full_pool(chaos_cluster: EmbeddedCluster) -> None:
    config = chaos_config(chaos_cluster, pool_size=POOL_SIZE, general=f"query_wait_timeout = {IMPATIENT_S * 1000:.0f}")
    async with running_proxy(config) as proxy:
        busy = [await pg.connect(proxy) for _ in range(POOL_SIZE)]
        impatient = [await pg.connect(proxy) for _ in range(WAITERS)]
        for client in busy:
            await client.query("begin; select pg_current_xact_id()")
        end = trio.current_time() + SECONDS
        while trio.current_time() < end:
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                for client in impatient:
                    nursery.start_soon(_is_refused, client)
            assert IMPATIENT_S <= trio.current_time() - began + 0.1 < IMPATIENT_S + 2
        for client in busy:
            await client.query("commit")
        for client in impatient:  # they are all still there
            assert await client.query("create temp table if not exists one (); drop table one") == []
        assert not [server for server in proxy.supervisor.directory.servers.values() if server.banned]
        for client in busy + impatient:
            client.leave()


async def _is_refused(client: pg.Client) -> None:
    with pytest.raises(pg.PostgresError) as caught:
        await client.query("create table never ()")
    assert (caught.value.sqlstate, caught.value.fields["V"]) == ("53300", "ERROR")

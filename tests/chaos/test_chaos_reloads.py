"""Hundreds of reloads that add and remove replicas and change limits, under load: no client notices, nothing leaks."""

from __future__ import annotations

import gc
import os
import random
from typing import TYPE_CHECKING, Final

import pytest
import trio
from chaos.conftest import FULL
from support.chaos import chaos_config, chaos_load
from support.proxy import running_proxy

if TYPE_CHECKING:
    from pathlib import Path

    from pgcat_trio.embedded import EmbeddedCluster

pytestmark = [pytest.mark.trio, pytest.mark.slow]

RELOADS: Final = 500 if FULL else 40
PAUSE_S: Final = 0.05
SETTLE_S: Final = 20.0


def some_config(cluster: EmbeddedCluster, dice: random.Random) -> str:
    """The primary, any of the replicas, and limits as they come."""
    replicas = dice.sample(cluster.replicas, dice.randrange(len(cluster.replicas) + 1))
    limits = [
        f"query_wait_timeout = {dice.choice((20000, 30000))}",
        f"healthcheck_interval = {dice.choice((200, 1000))}",
        f"server_lifetime = {dice.choice((500, 60000))}",
        f"idle_timeout = {dice.choice((300, 60000))}",
        "slow_start = 0",
    ]
    ports = [cluster.primary.port, *(server.port for server in replicas)]
    balancing = f"load_balancing_mode = {dice.choice(('random', 'loc', 'round_robin', 'ewma'))!r}"
    size = dice.choice((5, 10, 20))
    return chaos_config(cluster, ports, pool_size=size, general="\n".join(limits), pool=balancing)


async def test_reloads(chaos_cluster: EmbeddedCluster, chaos_clients: int, tmp_path: Path) -> None:
    dice = random.Random(5)
    file = tmp_path / "pgcat.toml"
    file.write_text(chaos_config(chaos_cluster))
    open_files = len(os.listdir("/proc/self/fd"))
    async with running_proxy(file) as proxy:
        tasks = trio.lowlevel.current_statistics().tasks_living
        async with chaos_load(proxy, chaos_clients, pause_s=0.05) as load:
            await load.steady()
            for _ in range(RELOADS):
                file.write_text(some_config(chaos_cluster, dice))
                proxy.supervisor.reload()
                await trio.sleep(PAUSE_S * dice.random() * 2)
            file.write_text(chaos_config(chaos_cluster))
            proxy.supervisor.reload()
            await load.steady()
        load.report(f"{RELOADS} reloads")
        assert not load.errors(), load.errors()[:5]
        await load.check_rows(chaos_cluster.primary, chaos_cluster.database)
        directory = proxy.supervisor.directory
        with trio.fail_after(SETTLE_S):
            while proxy.supervisor.connections or any(pool.busy or pool.opening for pool in directory.pools()):  # noqa: ASYNC110
                await trio.sleep(0.02)
        connected = sum(len(pool.backends) for pool in directory.pools())
        # One connection each that looks after a server; nothing of the pools of before is left.
        with trio.fail_after(SETTLE_S):
            while await _connections(chaos_cluster) != connected + len(directory.servers):
                await trio.sleep(0.1)
                connected = sum(len(pool.backends) for pool in directory.pools())
        await trio.testing.wait_all_tasks_blocked(0.2)
        assert trio.lowlevel.current_statistics().tasks_living <= tasks + 10
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= open_files


async def _connections(cluster: EmbeddedCluster) -> int:
    """How many come from elsewhere than a UNIX socket: those of the proxy."""
    count = "select count(*) from pg_stat_activity where client_addr is not null and backend_type = 'client backend'"
    return sum([int(await server.psql(count)) for server in cluster.servers])

"""Many clients that use all a session has, over few backends, with faults: each finds its own, and nothing else.

``PGCAT_TRIO_SOAK_SECONDS`` makes each run as long as is wished.
"""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import pytest
import trio
import trio.testing
from support.proxy import RunningProxy, proxy_config, running_proxy
from support.rogue import Rogue
from support.rogue_knowledge import World

if TYPE_CHECKING:
    from pathlib import Path

    from pgcat_trio.embedded import EmbeddedCluster

SECONDS: Final = float(os.environ.get("PGCAT_TRIO_SOAK_SECONDS", "5"))
ROGUES: Final = 30
BACKENDS: Final = 8
SETTLE_S: Final = 20.0

SCHEMA: Final = """
drop table if exists ledger;
create table ledger (tenant integer not null, serial integer not null);
"""


@pytest.mark.slow
@pytest.mark.trio
@pytest.mark.parametrize("variant", ["calm", "killing", "reloading", "session"])
async def test_rogues(cluster: EmbeddedCluster, tmp_path: Path, variant: str) -> None:
    await cluster.psql(SCHEMA)
    file = tmp_path / "pgcat.toml"
    file.write_text(_config(cluster, variant, BACKENDS))
    open_files = len(os.listdir("/proc/self/fd"))
    async with running_proxy(file) as proxy:
        tasks = trio.lowlevel.current_statistics().tasks_living
        world = World(proxy, killing=variant == "killing")
        rogues = [Rogue(number, world) for number in range(ROGUES)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_disturb, cluster, proxy, file, variant)
            async with trio.open_nursery() as lives:
                for rogue in rogues:
                    lives.start_soon(rogue.live, SECONDS)
            nursery.cancel_scope.cancel()
        await _check_rest(proxy)
        await _check_ledger(rogues, cluster)
        await trio.testing.wait_all_tasks_blocked(0.2)
        assert trio.lowlevel.current_statistics().tasks_living <= tasks + 2 * BACKENDS
    assert len(os.listdir("/proc/self/fd")) <= open_files
    checks, losses = sum(rogue.checks for rogue in rogues), sum(rogue.losses for rogue in rogues)
    print(f"{checks} checks in {sum(rogue.lives for rogue in rogues)} lives, {losses} losses")
    assert checks > ROGUES


def _config(cluster: EmbeddedCluster, variant: str, size: int) -> str:
    mode = "session" if variant == "session" else "transaction"
    general = "connect_timeout = 30000\nclient_write_timeout = 5000"
    pool = "prepared_statements_cache_size = 50"
    size = ROGUES if mode == "session" else size
    return proxy_config(cluster, pool_mode=mode, pool_size=size, general=general, pool=pool)


async def _disturb(cluster: EmbeddedCluster, proxy: RunningProxy, file: Path, variant: str) -> None:
    step = 0
    while variant in ("killing", "reloading"):
        await trio.sleep(0.3 if variant == "killing" else 1.5)
        step += 1
        if variant == "killing":
            await cluster.psql(
                "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' "
                "and pid <> pg_backend_pid() and client_addr is not null order by random() limit 1"
            )
        else:
            file.write_text(_config(cluster, variant, BACKENDS + step % 2))  # noqa: ASYNC240
            proxy.supervisor.reload()


async def _check_rest(proxy: RunningProxy) -> None:
    """Every backend is idle, clean and accounted for, and nobody waits."""
    pools = proxy.supervisor.directory.pools
    with trio.fail_after(SETTLE_S):
        while proxy.supervisor.connections or any(pool.busy or pool.opening for pool in pools()):  # noqa: ASYNC110
            await trio.sleep(0.02)
    for pool in pools():
        assert set(pool.idle) == pool.backends
        assert all(backend.clean for backend in pool.backends)
        assert not pool.owner.waiters  # type: ignore[attr-defined]


async def _check_ledger(rogues: list[Rogue], cluster: EmbeddedCluster) -> None:
    """Each row that was acknowledged is there once, and none that was rolled back."""
    rows = defaultdict[int, list[int]](list)
    for line in (await cluster.psql("select tenant, serial from ledger")).splitlines():
        number, serial = map(int, line.split("|"))
        rows[number].append(serial)
    for rogue in rogues:
        found = rows[rogue.number]
        assert len({*found}) == len(found), f"rogue {rogue.number}: rows are there more than once"
        assert rogue.acknowledged <= {*found}, f"rogue {rogue.number}: {rogue.acknowledged - {*found}} are missing"
        unknown = {*found} - rogue.acknowledged - rogue.uncertain
        assert not unknown, f"rogue {rogue.number}: {unknown} were never committed"

"""One online restart after the other, under load, with clients that come and go: nobody notices any of them."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final

import pytest
import trio
from chaos.conftest import FULL
from support.chaos import chaos_config, chaos_load
from support.chaos_client import Door
from support.program import Program, environment

if TYPE_CHECKING:
    from pathlib import Path

    from pgcat_trio.embedded import EmbeddedCluster

pytestmark = [
    pytest.mark.trio,
    pytest.mark.slow,
    pytest.mark.skipif(not FULL, reason="in nox -s chaos; a restart under load is in tests/cli/test_online_restart.py"),
]

RESTARTS: Final = 5
LEAVES: Final = 0.5
"""After each request a client connects anew with this chance: so the processes of before are soon without any."""

ENDED_S: Final = 30.0


async def test_online_restarts(chaos_cluster: EmbeddedCluster, chaos_clients: int, tmp_path: Path) -> None:
    (tmp_path / "pgcat.toml").write_text(chaos_config(chaos_cluster, pool_size=10, general="slow_start = 0"))
    with Program(("-F", "structured"), tmp_path, environment()) as program:
        listening = await trio.to_thread.run_sync(program.event, "server.listening")
        door = Door("127.0.0.1", listening["port"], chaos_cluster.database)
        pids = [program.process.pid]
        try:
            async with chaos_load(door, chaos_clients, leaves=LEAVES) as load:
                await load.steady()
                for _ in range(RESTARTS):
                    began = trio.current_time()
                    os.kill(pids[-1], signal.SIGUSR2)
                    pids.append((await trio.to_thread.run_sync(program.event, "handover.begun"))["pid"])
                    await trio.to_thread.run_sync(program.event, "handover.done")
                    await load.served_since(trio.current_time(), ("login", "read", "write", "transaction"))
                    await _ended(pids.pop(0))
                    load.mark(f"{trio.current_time() - began:.1f} s")
            os.kill(pids[-1], signal.SIGTERM)
            await _ended(pids.pop())
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    load.report(f"{RESTARTS} online restarts, {', '.join(load.marks)}")
    assert not load.errors(), load.errors()[:5]
    await load.check_rows(chaos_cluster.primary, chaos_cluster.database)


async def _ended(pid: int) -> None:
    """Wait for the end of a process, or for its being the zombie of a parent that does not care."""
    path = trio.Path(f"/proc/{pid}/stat")
    with trio.fail_after(ENDED_S):
        # There is no event to wait for: it is nobody's child any more.
        while await path.exists() and (await path.read_text()).rpartition(")")[2].split()[0] != "Z":  # noqa: ASYNC110
            await trio.sleep(0.05)

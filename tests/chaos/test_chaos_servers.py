"""Whatever happens to one server: no acknowledged commit is lost, none is there twice, and reads go on.

Each fault on each server in turn, under load. Where a server is out, that is found out within ``fail_after`` intervals
plus one timeout, and no read fails that begins later.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import pytest
import trio
from chaos.conftest import FULL
from support.chaos import Load, Watch, chaos_config, chaos_load
from support.chaos_client import DISCONNECTED
from support.chaos_faults import FAULTS, Victim
from support.faults import faulty_link
from support.proxy import running_proxy

if TYPE_CHECKING:
    from pgcat_trio.embedded import EmbeddedCluster

pytestmark = [pytest.mark.trio, pytest.mark.slow]

INTERVAL_S: Final = 1.0 if FULL else 0.3
TIMEOUT_S: Final = 1.0 if FULL else 0.5
FAIL_AFTER: Final = 3
DETECTED_S: Final = FAIL_AFTER * INTERVAL_S + TIMEOUT_S
SLACK_S: Final = 3.0
"""A machine that has other things to do."""
OUTAGE_S: Final = 5.0 if FULL else 1.0
HEALTH: Final = (
    f"healthcheck_interval = {INTERVAL_S * 1000:.0f}\nhealthcheck_timeout = {TIMEOUT_S * 1000:.0f}\n"
    f"fail_after = {FAIL_AFTER}\nslow_start = 0"
)

SHORT: Final = (("SIGSTOP", 1), ("black hole", 0), ("full disk", 0))
"""Those of the short form."""


@pytest.mark.parametrize("which", [0, 1, 2], ids=["primary", "replica-1", "replica-2"])
@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_of_one_server(chaos_cluster: EmbeddedCluster, chaos_clients: int, name: str, which: int) -> None:
    if not FULL and (name, which) not in SHORT:
        pytest.skip("in nox -s chaos")
    fault = FAULTS[name]
    async with AsyncExitStack() as stack:
        links = [
            await stack.enter_async_context(faulty_link(server.host, server.port)) for server in chaos_cluster.servers
        ]
        config = chaos_config(chaos_cluster, [link.port for link in links], general=HEALTH)
        proxy = await stack.enter_async_context(running_proxy(config))
        victim = Victim(chaos_cluster.servers[which], links[which])
        outage = victim.server.role in fault.outage
        watch = Watch(proxy.supervisor.directory.servers[f"127.0.0.1:{victim.link.port}"])
        async with chaos_load(proxy, chaos_clients) as load:
            await load.steady()
            began = load.mark("fault")
            await fault.begin(victim)
            figures: dict[str, float] = {}
            over = began
            try:
                if outage:
                    over = await watch.seen("down", since=began, within_s=DETECTED_S + SLACK_S)
                    figures["detected after, s"] = over - began
                await trio.sleep(OUTAGE_S)
            finally:
                await fault.end(victim)
            ended = load.mark("ended")
            figures["read and write after the end, s"] = await load.served_since(ended) - ended
            if outage:
                await watch.seen("up", since=ended, within_s=30)
            await load.steady()
        figures["failed reads"] = len(load.errors(began, "read"))
        figures["failed reads after detection"] = len(load.errors(over, "read")) if outage else 0
        load.report(f"{name}, {victim.server.name}", **figures)
        await load.check_rows(chaos_cluster.primary, chaos_cluster.database)
        _check_errors(load, fault.errors, over if outage else ended)


def _check_errors(load: Load, expected: frozenset[str], known: float) -> None:
    """Only what was under way has failed, by errors that say so, and no client has lost its connection."""
    unexpected = [event for event in load.errors() if event.error not in expected]
    assert not unexpected, unexpected[:5]
    assert not [event for event in load.errors() if event.error == DISCONNECTED or event.kind == "login"]
    late = load.errors(known + 0.05)
    assert not late, f"{len(late)} failed after the fault was known, for example {late[:5]}"

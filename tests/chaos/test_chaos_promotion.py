"""The primary dies, and a replica is promoted: whoever is between two transactions notices a pause, and no more.

Then the old primary comes back and takes itself for one: nobody may write there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import trio
from support.chaos import Watch, chaos_config, chaos_load
from support.chaos_client import DISCONNECTED
from support.proxy import running_proxy

if TYPE_CHECKING:
    from pgcat_trio.embedded import EmbeddedCluster, EmbeddedServer

pytestmark = [pytest.mark.trio, pytest.mark.slow]

PROMOTED_AFTER_S: Final = 1.0
"""How long whoever promotes takes to find out."""
AIM_S: Final = 2.0
SLACK_S: Final = 3.0


async def most_advanced(cluster: EmbeddedCluster) -> tuple[EmbeddedServer, EmbeddedServer]:
    """The replica that has received the most, which has all that was acknowledged, and the other one."""
    positions = [int(await server.psql("select pg_last_wal_receive_lsn() - '0/0'")) for server in cluster.replicas]
    first, second = cluster.replicas if positions[0] >= positions[1] else reversed(cluster.replicas)
    return first, second


async def come_back_alone(server: EmbeddedServer) -> None:
    """Start an old primary that waits for no standby, so that it would acknowledge whatever is written to it."""
    path = trio.Path(server.data_dir / "postgresql.auto.conf")
    await path.write_text(await path.read_text() + "synchronous_standby_names = ''\n")
    await server.start()


async def test_a_replica_is_promoted(chaos_cluster: EmbeddedCluster, chaos_clients: int) -> None:
    old = chaos_cluster.primary
    async with running_proxy(chaos_config(chaos_cluster, general="slow_start = 0")) as proxy:
        servers = proxy.supervisor.directory.servers
        watch = Watch(servers[f"{old.host}:{old.port}"])
        async with chaos_load(proxy, chaos_clients) as load:
            await load.steady()
            killed = load.mark("killed")
            await old.kill()
            down = await watch.seen("down", since=killed, within_s=10)
            await trio.sleep(PROMOTED_AFTER_S)
            new, other = await most_advanced(chaos_cluster)
            await new.promote()
            promoted = load.mark("promoted")
            written = await load.served_since(down, ("write",))
            other.follow(new)
            await other.psql("select pg_reload_conf()")
            await load.steady()
            returned = load.mark("returned")
            await come_back_alone(old)
            fenced = await watch.seen("fenced", "up", since=returned, within_s=15)
            await load.steady(1.0)
            assert watch.changes[-1][1] == "fenced"
        load.report(
            "kill -9 of the primary, promotion",
            **{
                "detected after, s": down - killed,
                "from promotion to the first write, s": written - promoted,
                "longest write, s": load.longest_s("write"),
                "the old one is fenced after, s": fenced - returned,
            },
        )
        await load.check_rows(new, chaos_cluster.database)
    assert written - promoted < AIM_S + SLACK_S
    # What was under way has failed, once; what began later has waited.
    assert {event.error for event in load.errors()} <= {"08006", "57P01", "57P02"}
    assert not load.errors(down + 0.05)
    assert not [event for event in load.errors() if event.error == DISCONNECTED or event.kind == "login"]
    ports = {event.port for event in load.since(returned) if event.kind == "write"}
    assert ports == {new.port}, "somebody has written elsewhere than on the new primary"

"""A reload changes what it has to, in place where that is possible, and clients notice nothing."""

from __future__ import annotations

import os
import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import trio
from support.client import connect
from support.proxy import proxy_config, running_proxy

from pgcat_trio.config import Role
from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from support.client import Client
    from support.proxy import RunningProxy

    from pgcat_trio.embedded import EmbeddedCluster
    from pgcat_trio.pool.cluster import Cluster

pytestmark = pytest.mark.trio


class Reloading:
    """A running proxy, and its file."""

    def __init__(self, proxy: RunningProxy, path: Path, cluster: EmbeddedCluster) -> None:
        self.proxy = proxy
        self.path = path
        self.servers = cluster

    @property
    def cluster(self) -> Cluster:
        (cluster,) = self.proxy.supervisor.directory.clusters.values()
        return cluster

    def reload(self, servers: list[int] | None = None, **changes: object) -> Cluster:
        """Put the usual file with some changes in force; ``servers`` are the numbers of those in it."""
        text = proxy_config(self.servers, **{"splitting": True, **changes})  # type: ignore[arg-type]
        if servers is not None:
            text = only(text, self.servers, servers)
        self.path.write_text(text)
        self.proxy.supervisor.reload()
        return self.cluster


def only(text: str, cluster: EmbeddedCluster, numbers: list[int]) -> str:
    rows = [f'["{server.host}", {server.port}, "{server.role}"]' for server in cluster.servers]
    chosen = ", ".join(rows[number] for number in numbers)
    return re.sub("^servers = .*$", f"servers = [{chosen}]", text, flags=re.MULTILINE)


@pytest.fixture
async def running(cluster: EmbeddedCluster, tmp_path: Path) -> AsyncIterator[Reloading]:
    path = tmp_path / "pgcat.toml"
    path.write_text(proxy_config(cluster, splitting=True))
    async with running_proxy(path) as proxy:
        yield Reloading(proxy, path, cluster)


async def pid(client: Client) -> str:
    ((found,),) = await client.query("begin; select pg_backend_pid(); commit")
    assert found is not None
    return found


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.lowlevel.checkpoint()  # others may be busy all the time


# -- limits --------------------------------------------------------------------------------------------------------


async def test_limits_and_timeouts_act_in_place(running: Reloading) -> None:
    cluster = running.cluster
    async with await connect(running.proxy) as client:
        before = await pid(client)
        pools, router = list(cluster.pools), cluster.router
        user = "idle_timeout = 1234\nquery_wait_timeout = 99\nstatement_timeout = 77"
        assert running.reload(pool_size=9, user=user, pool="load_balancing_mode = 'loc'") is cluster
        assert (cluster.pools, cluster.router) == (pools, router)
        assert {pool.user.pool_size for pool in pools} == {9}
        assert cluster.user.wait_timeout_s == 0.099
        assert await pid(client) == before
        with pytest.raises(Exception, match="57014"):
            await client.query("select pg_sleep(10)")


async def test_a_smaller_pool_closes_what_is_over_its_size_at_the_end_of_transactions(running: Reloading) -> None:
    primary = running.cluster.pools[0]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await connect(running.proxy)) for _ in range(4)]
        for client in clients:
            await client.query("begin; create temp table t () on commit drop")
        assert len(primary.backends) == 4
        running.reload(pool_size=2)
        assert [await client.query("select 1") for client in clients] == [[["1"]]] * 4
        for client in clients:
            await client.query("commit")
        assert (len(primary.backends), len(primary.idle)) == (2, 2)
    running.reload(pool_size=1)
    assert (len(primary.backends), len(primary.idle)) == (1, 1)


async def test_more_room_is_there_for_those_who_wait_already(running: Reloading) -> None:
    running.reload(pool_size=1, user="query_wait_timeout = 10000")
    async with await connect(running.proxy) as one, await connect(running.proxy) as other:
        await one.query("begin; create temp table t () on commit drop")
        await other.send(encode.query("create temp table t (); drop table t"))
        await until(lambda: running.cluster.waiters)
        running.reload(pool_size=2)
        assert (await other.reply()).tags == ["CREATE TABLE", "DROP TABLE"]


async def test_a_shorter_lifetime_holds_for_old_connections(running: Reloading) -> None:
    async with await connect(running.proxy) as client:
        await pid(client)
        running.reload(general="server_lifetime = 1")
        await until(lambda: not running.cluster.pools[0].backends)


async def test_routing_changes_at_once(running: Reloading) -> None:
    async with await connect(running.proxy) as client:
        where = "select pg_is_in_recovery()"
        assert await client.query(where) == [["t"]]
        cluster = running.cluster
        assert running.reload(splitting=False) is cluster
        assert await client.query(where) == [["f"]]
        running.reload()
        assert await client.query(where) == [["t"]]


async def test_passwords_of_clients_change_without_a_new_pool(running: Reloading) -> None:
    cluster = running.cluster
    assert running.reload(users={"app_user": "a new one"}) is cluster
    with pytest.raises(Exception, match="28P01"):
        await connect(running.proxy)


async def test_more_prepared_statements(running: Reloading) -> None:
    cluster = running.cluster
    statements = cluster.statements
    assert statements is not None
    assert running.reload(pool="prepared_statements_cache_size = 7").statements is statements
    assert statements.size == 7
    assert running.reload(pool="prepared_statements_cache_size = 0") is not cluster


# -- servers -------------------------------------------------------------------------------------------------------


async def test_servers_come_and_go_at_the_ends_of_transactions(running: Reloading) -> None:
    cluster, servers = running.cluster, running.servers
    port = "select inet_server_port()"
    async with await connect(running.proxy) as client:
        primary, *_ = cluster.pools
        before = await pid(client)
        assert running.reload([0, 1]) is cluster
        assert [pool.target.port for pool in cluster.pools] == [servers.servers[number].port for number in (0, 1)]
        await client.query("begin read only")
        assert await client.query(port) == [[str(servers.servers[1].port)]]
        running.reload([2, 0])
        assert [pool.target.port for pool in cluster.pools] == [servers.servers[number].port for number in (2, 0)]
        assert await client.query(port) == [[str(servers.servers[1].port)]]
        await client.query("commit")
        assert await client.query(port) == [[str(servers.servers[2].port)]]
        assert cluster.pools[1] is primary
        assert await pid(client) == before
    assert set(running.proxy.supervisor.directory.servers) == {
        f"127.0.0.1:{servers.servers[number].port}" for number in (0, 2)
    }


async def test_bans_outlive_a_reload_of_the_other_servers(running: Reloading) -> None:
    replica = running.cluster.pools[1]
    replica.server.ban_by_hand(600, trio.current_time())
    running.reload([0, 1], pool_size=3)
    assert running.cluster.pools[1] is replica
    assert replica.server.banned
    async with await connect(running.proxy) as client:
        assert await client.query("select pg_is_in_recovery()") == [["f"]]


async def test_those_who_wait_for_a_server_that_goes_find_another(running: Reloading) -> None:
    running.reload([0, 1], pool_size=1, user="query_wait_timeout = 10000")
    async with await connect(running.proxy) as one, await connect(running.proxy) as other:
        await one.query("begin read only")
        await other.send(encode.query("select inet_server_port()"))
        await until(lambda: running.cluster.waiters)
        running.reload([0, 2], pool_size=1, user="query_wait_timeout = 10000")
        assert (await other.reply()).rows == [[str(running.servers.servers[2].port)]]
        await one.query("commit")
        await until(lambda: sum(len(pool.backends) for pool in running.cluster.pools) == 2)


async def test_the_primary_changes(running: Reloading) -> None:
    """Not a failover: an operator who says so in the file."""
    async with await connect(running.proxy) as client:
        text = running.path.read_text()
        primary, replica = (f'{server.port}, "{server.role}"' for server in running.servers.servers[:2])
        swapped = text.replace(primary, primary.replace("primary", "replica"))
        running.path.write_text(swapped.replace(replica, replica.replace("replica", "primary")))
        running.proxy.supervisor.reload()
        assert [pool.role for pool in running.cluster.pools] == [Role.REPLICA, Role.PRIMARY, Role.REPLICA]
        assert await client.query("/* in doubt */ select pg_is_in_recovery() for update") == [["t"]]


# -- what is replaced ----------------------------------------------------------------------------------------------


async def test_changed_tls_replaces_connections_when_they_come_back(running: Reloading) -> None:
    async with await connect(running.proxy) as client:
        await client.query("begin")
        ((before,),) = await client.query("select pg_backend_pid()")
        cluster = running.cluster
        assert running.reload(general="server_tls = 'prefer'") is cluster
        assert await client.query("select pg_backend_pid()") == [[before]]
        await client.query("commit")
        assert await pid(client) != before


async def test_another_database_is_another_pool(running: Reloading) -> None:
    async with await connect(running.proxy) as client:
        cluster = running.cluster
        await client.query("begin")
        running.path.write_text(running.path.read_text().replace('database = "app"', 'database = "postgres"'))
        running.proxy.supervisor.reload()
        assert running.cluster is not cluster
        assert await client.query("select current_database()") == [["app"]]
        await client.query("commit")
        assert await client.query("select current_database()") == [["postgres"]]


async def test_tls_files_are_read_again_though_the_configuration_is_the_same(
    running: Reloading, tmp_path: Path
) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.write_text("no certificate")
    with pytest.raises(Exception, match=r"ca\.pem"):
        running.reload(general=f"server_tls = 'verify-ca'\nserver_tls_ca_file = '{certificate}'")
    assert running.cluster.pools[0].target.ssl_context is None
    async with await connect(running.proxy) as client:
        assert await client.query("select 1") == [["1"]]


# -- again and again -----------------------------------------------------------------------------------------------


async def test_many_reloads_under_load(running: Reloading) -> None:
    """No client gets an error, and nothing is left behind."""
    reloads, stop, progress = 50, trio.Event(), trio.Event()

    async def work(number: int) -> None:
        async with await connect(running.proxy) as client:
            while not stop.is_set():
                assert await client.query(f"select {number}") == [[str(number)]]
                await client.query("begin; create temp table t () on commit drop")
                assert await client.query("select count(*) from t") == [["0"]]
                await client.query("commit")
                progress.set()

    descriptors = len(os.listdir("/proc/self/fd"))
    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(work, number)
        choices = ([0, 1, 2], [0, 1], [0, 2], [0], [1, 0])
        for number in range(reloads):
            general = f"server_tls = '{('disable', 'prefer')[number % 7 == 0]}'"
            user = f"idle_timeout = {1000 + number}"
            pool = f"prepared_statements_cache_size = {0 if number % 11 == 10 else 500}"  # replaces it
            running.reload(choices[number % 5], pool_size=2 + number % 3, general=general, pool=pool, user=user)
            progress = trio.Event()
            await progress.wait()
        stop.set()
    running.reload()
    for cluster in running.proxy.supervisor.directory.clusters.values():
        for pool in cluster.pools:
            assert (len(pool.backends), pool.opening) == (len(pool.idle), 0)
    await until(lambda: not running.proxy.supervisor.connections)
    backends = sum(len(pool.backends) for pool in running.cluster.pools)
    assert len(os.listdir("/proc/self/fd")) <= descriptors + backends

"""PAUSE, RESUME, RECONNECT, WAIT_CLOSE, KILL, DISABLE and ENABLE, on real servers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from support.client import Client, Disconnected, PostgresError
from support.proxy import ADMIN_PASSWORD, ADMIN_USER, APP_PASSWORD, proxy_config, running_proxy

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from support.proxy import RunningProxy

    from pgcat_trio.embedded import EmbeddedCluster
    from pgcat_trio.pool.cluster import Cluster

pytestmark = pytest.mark.trio

TWO_USERS = {"ann": "ann-secret", "bob": "bob-secret"}


@pytest.fixture
async def proxy(cluster: EmbeddedCluster, tmp_path: Path) -> AsyncIterator[RunningProxy]:
    path = tmp_path / "pgcat.toml"
    path.write_text(proxy_config(cluster, splitting=True, users=TWO_USERS, general="connect_timeout = 1000"))
    async with running_proxy(path) as proxy:
        yield proxy


def client(proxy: RunningProxy, user: str = "ann") -> AbstractAsyncContextManager[Client]:
    return opened(proxy, user, TWO_USERS.get(user, APP_PASSWORD), "app")


def administrator(proxy: RunningProxy) -> AbstractAsyncContextManager[Client]:
    return opened(proxy, ADMIN_USER, ADMIN_PASSWORD, "pgcat")


@asynccontextmanager
async def opened(proxy: RunningProxy, user: str, password: str, database: str) -> AsyncIterator[Client]:
    async with await Client.connect(proxy.host, proxy.port, user, password, database) as client:
        yield client


def cluster_of(proxy: RunningProxy, user: str = "ann") -> Cluster:
    return proxy.supervisor.directory.clusters["app", user]


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.lowlevel.checkpoint()  # others may be busy all the time


async def tell(console: Client, command: str) -> str:
    """The tag."""
    reply = await console.ask(encode.query(command))
    reply.rows_or_raise()
    return reply.tags[-1]


async def silent(*clients: Client) -> bool:
    """True if nobody is told anything for a while."""
    heard = False

    async def listen(client: Client) -> None:
        nonlocal heard
        await trio.lowlevel.wait_readable(client.socket)
        heard = True

    with trio.move_on_after(0.1):
        async with trio.open_nursery() as nursery:
            for each in clients:
                nursery.start_soon(listen, each)
    return not heard


# -- PAUSE and RESUME ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["", " app", " app, ann"])
async def test_pause_waits_for_transactions_and_those_who_come_wait_for_resume(proxy: RunningProxy, what: str) -> None:
    async with (
        administrator(proxy) as console,
        administrator(proxy) as other,
        client(proxy) as busy,
        client(proxy) as idle,
    ):
        await busy.query("begin; create temp table t () on commit drop")
        await console.send(encode.query(f"PAUSE{what}"))
        await until(lambda: cluster_of(proxy).pools[0].paused)
        await idle.send(encode.query("select 1"))
        assert await silent(console, idle)
        assert await busy.query("select 2") == [["2"]]
        await busy.query("commit")
        tag = f"{what.strip().replace(', ', ',').replace(' ', ',')}"
        assert (await console.reply()).tags == [f"PAUSE {tag}".strip()]
        assert [len(pool.backends) for pool in cluster_of(proxy).pools] == [0, 0, 0]
        paused = [row[11] for row in (await other.ask(encode.query("SHOW DATABASES"))).rows if row[4] == "ann"]
        assert paused == ["1"] * 3
        await busy.send(encode.query("select 3"))
        assert await silent(idle, busy)
        assert await tell(console, f"RESUME{what}") == f"RESUME {tag}".strip()
        assert (await idle.reply()).rows == [["1"]]
        assert (await busy.reply()).rows == [["3"]]


async def test_pause_of_one_user_lets_the_others_go_on(proxy: RunningProxy) -> None:
    async with administrator(proxy) as console, client(proxy) as ann, client(proxy, "bob") as bob:
        await tell(console, "PAUSE app, ann")
        await ann.send(encode.query("select 1"))
        assert await bob.query("select 2") == [["2"]]
        assert await silent(ann)
        await tell(console, "RESUME app, bob")
        assert await silent(ann)
        await tell(console, "RESUME")
        assert (await ann.reply()).rows == [["1"]]


async def test_pause_of_a_server(proxy: RunningProxy, cluster: EmbeddedCluster) -> None:
    primary, first, second = (f"127.0.0.1:{server.port}" for server in cluster.servers)
    async with administrator(proxy) as console, client(proxy) as ann, client(proxy, "bob") as bob:
        assert await tell(console, f"PAUSE {first}") == f"PAUSE {first}"
        for each in (ann, bob) * 4:
            assert await each.query("select inet_server_port()") == [[str(cluster.servers[2].port)]]
        await tell(console, f"PAUSE {second}")
        assert await ann.query("select inet_server_port()") == [[str(cluster.servers[0].port)]]
        await tell(console, f"PAUSE {primary}")
        await ann.send(encode.query("select inet_server_port()"))
        await bob.send(encode.query("create temp table t () on commit drop"))
        assert await silent(ann, bob)
        await tell(console, f"RESUME {second}")
        assert (await ann.reply()).rows == [[str(cluster.servers[2].port)]]
        assert await silent(bob)
        await tell(console, f"RESUME {primary}")
        assert (await bob.reply()).tags == ["CREATE TABLE"]


async def test_a_pause_ends_with_its_administrator(proxy: RunningProxy) -> None:
    async with client(proxy) as busy, client(proxy) as idle:
        await busy.query("begin; create temp table t () on commit drop")
        async with administrator(proxy) as console:
            await console.send(encode.query("PAUSE"))
            await until(lambda: cluster_of(proxy).pools[0].paused)
            await idle.send(encode.query("select 1"))
        assert (await idle.reply()).rows == [["1"]]
        assert not proxy.supervisor.directory.pauses.pools
        assert not proxy.supervisor.directory.pauses.newcomers
        await busy.query("commit")


async def test_a_pause_can_be_cancelled(proxy: RunningProxy) -> None:
    async with administrator(proxy) as console, client(proxy) as busy, client(proxy) as idle:
        await busy.query("begin; create temp table t () on commit drop")
        await tell(console, "PAUSE app, bob")
        await console.send(encode.query("PAUSE; SHOW VERSION"))
        await until(lambda: cluster_of(proxy).pools[0].paused)
        await console.cancel()
        reply = await console.reply()
        assert [error.sqlstate for error in reply.errors] == ["57014"]
        assert reply.rows == []
        assert await idle.query("select 1") == [["1"]]
        assert proxy.supervisor.directory.pauses.pools == {("app", "bob")}  # what was complete before stays
        await busy.query("commit")


async def test_resume_ends_a_pause_that_waits(proxy: RunningProxy) -> None:
    async with administrator(proxy) as console, administrator(proxy) as other, client(proxy) as busy:
        await busy.query("begin; create temp table t () on commit drop")
        await console.send(encode.query("PAUSE"))
        await until(lambda: cluster_of(proxy).pools[0].paused)
        await tell(other, "RESUME")
        assert [error.sqlstate for error in (await console.reply()).errors] == ["57014"]
        await busy.query("commit")


async def test_a_pause_outlives_reloads_and_so_do_those_who_wait(
    proxy: RunningProxy, cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    async with administrator(proxy) as console, client(proxy) as ann:
        await tell(console, "PAUSE")
        await ann.send(encode.query("select 1"))
        path = tmp_path / "pgcat.toml"
        for pool in ("", "prepared_statements_cache_size = 0"):  # in place; replaced
            users = {**TWO_USERS, f"new{pool[:1]}": "secret"}
            path.write_text(proxy_config(cluster, splitting=True, users=users, pool_size=3, pool=pool))
            await tell(console, "RELOAD")
            assert {pool.paused for pool in proxy.supervisor.directory.pools()} == {True}
            assert await silent(ann)
        await tell(console, "RESUME")
        assert (await ann.reply()).rows == [["1"]]
        assert {pool.paused for pool in proxy.supervisor.directory.pools()} == {False}


async def test_a_bound_is_a_bound_while_paused(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, users=TWO_USERS, user="query_wait_timeout = 200")
    async with running_proxy(config) as proxy, administrator(proxy) as console, client(proxy) as ann:
        await tell(console, "PAUSE")
        with pytest.raises(PostgresError, match="53300"):
            await ann.query("select 1")


async def test_session_mode_is_paused_when_its_clients_have_left(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, users=TWO_USERS, pool_mode="session")
    async with running_proxy(config) as proxy, administrator(proxy) as console:
        async with client(proxy) as ann:
            await console.send(encode.query("PAUSE"))
            assert await silent(console)
            assert await ann.query("select 1") == [["1"]]
        assert (await console.reply()).tags == ["PAUSE"]
        async with trio.open_nursery() as nursery:
            arrived = trio.Event()

            async def arrive() -> None:
                async with client(proxy) as ann:
                    arrived.set()
                    assert await ann.query("select 2") == [["2"]]

            nursery.start_soon(arrive)
            await until(lambda: cluster_of(proxy).waiters)
            assert not arrived.is_set()
            await tell(console, "RESUME")


async def test_servers_restarted_during_a_pause_are_not_missed(fresh_cluster_after: EmbeddedCluster) -> None:
    """What PAUSE is for: nobody sees an error, idle clients neither, whatever happens to the servers meanwhile."""
    cluster = fresh_cluster_after
    config = proxy_config(cluster, splitting=True, users=TWO_USERS, general="healthcheck_interval = 100")
    stopped = False
    async with running_proxy(config) as proxy, administrator(proxy) as console, trio.open_nursery() as nursery:

        async def work(user: str) -> None:
            async with client(proxy, user) as each:
                while not stopped:
                    assert await each.query("select 1") == [["1"]]
                    await each.query("create temp table t () on commit drop")

        for user in ("ann", "bob", "bob"):
            nursery.start_soon(work, user)
        await until(lambda: cluster_of(proxy).pools[0].usage.totals.queries > 5)
        await tell(console, "PAUSE")
        for server in cluster.servers:
            await server.restart()
        before = cluster_of(proxy).pools[0].usage.totals.queries
        await tell(console, "RESUME")
        with trio.fail_after(20):
            while cluster_of(proxy).pools[0].usage.totals.queries < before + 10:
                await trio.lowlevel.checkpoint()
        stopped = True


# -- RECONNECT and WAIT_CLOSE --------------------------------------------------------------------------------------


async def test_reconnect_replaces_connections_when_they_are_given_back(proxy: RunningProxy) -> None:
    pid = "select pg_backend_pid() for update"  # of the primary
    async with administrator(proxy) as console, client(proxy) as busy, client(proxy) as idle:
        await busy.query("begin; create temp table t () on commit drop")
        before, idle_before = await busy.query(pid), await idle.query(pid)
        assert await tell(console, "RECONNECT app") == "RECONNECT app"
        await console.send(encode.query("WAIT_CLOSE app"))
        assert await idle.query(pid) != idle_before
        assert await busy.query(pid) == before
        assert await silent(console)
        await busy.query("commit")
        assert (await console.reply()).tags == ["WAIT_CLOSE app"]
        assert await busy.query(pid) != before


async def test_wait_close_waits_for_what_a_reload_has_replaced(
    proxy: RunningProxy, cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    async with administrator(proxy) as console, client(proxy) as busy:
        await busy.query("begin; create temp table t () on commit drop")
        path = tmp_path / "pgcat.toml"
        path.write_text(proxy_config(cluster, users=TWO_USERS, pool="prepared_statements_cache_size = 0"))
        await tell(console, "RELOAD")
        active = [row for row in (await console.ask(encode.query("SHOW SERVERS"))).rows if row[5] == "active"]
        assert [row[1:3] for row in active] == [["app", "ann"]]
        await console.send(encode.query("WAIT_CLOSE"))
        assert await silent(console)
        await busy.query("commit")
        assert (await console.reply()).tags == ["WAIT_CLOSE"]


# -- KILL ----------------------------------------------------------------------------------------------------------


async def test_kill_ends_clients_and_what_they_run_and_pauses(proxy: RunningProxy) -> None:
    async with administrator(proxy) as console, client(proxy) as busy, client(proxy) as idle:
        async with client(proxy, "bob") as bob:
            await busy.send(encode.query("select pg_sleep(600)"))
            await until(lambda: any(pool.busy for pool in cluster_of(proxy).pools))
            assert await tell(console, "KILL app, ann") == "KILL app,ann"
            assert {len(pool.backends) for pool in cluster_of(proxy).pools} == {0}
            for each in (busy, idle):
                with pytest.raises((PostgresError, Disconnected)) as caught:
                    await each.reply()
                assert "57P01" in str(caught.value) or isinstance(caught.value, Disconnected)
            sleeping = "select count(*) from pg_stat_activity where query like 'select pg_sleep%'"
            while await bob.query(sleeping) != [["0"]]:
                pass
        async with client(proxy) as again:
            await again.send(encode.query("select 1"))
            assert await silent(again)
            await tell(console, "RESUME app, ann")
            assert (await again.reply()).rows == [["1"]]


async def test_kill_of_one_client(proxy: RunningProxy) -> None:
    async with administrator(proxy) as console, client(proxy) as one, client(proxy) as other:
        rows = (await console.ask(encode.query("SHOW CLIENTS"))).rows
        port = one.socket.getsockname()[1]
        (found,) = [row[0] for row in rows if str(row[0]).endswith(f":{port}")]
        assert await tell(console, f"KILL_CLIENT {found}") == "KILL_CLIENT"
        with pytest.raises(PostgresError, match="57P01"):
            await one.reply()
        assert await other.query("select 1") == [["1"]]
        with pytest.raises(PostgresError, match="42704"):
            await tell(console, f"KILL_CLIENT {found}")


# -- DISABLE and ENABLE --------------------------------------------------------------------------------------------


async def test_disable_refuses_new_clients_only(proxy: RunningProxy) -> None:
    async with administrator(proxy) as console, client(proxy) as there:
        assert await tell(console, "DISABLE app") == "DISABLE"
        assert await there.query("select 1") == [["1"]]
        with pytest.raises(PostgresError, match="57P03"):
            await client(proxy).__aenter__()
        assert {row[12] for row in (await console.ask(encode.query("SHOW DATABASES"))).rows} == {"1"}
        with pytest.raises(PostgresError, match="55000"):
            await tell(console, "ENABLE app, ann")
        assert await tell(console, "ENABLE app") == "ENABLE"
        await tell(console, "DISABLE app, bob")
        async with client(proxy):
            pass
        with pytest.raises(PostgresError, match="57P03"):
            await client(proxy, "bob").__aenter__()
        await tell(console, "ENABLE app, bob")
        async with client(proxy, "bob"):
            pass


async def test_a_wrong_password_is_told_nothing_of_that(proxy: RunningProxy) -> None:
    async with administrator(proxy) as console:
        await tell(console, "DISABLE app")
        with pytest.raises(PostgresError, match="28P01"):
            await Client.connect(proxy.host, proxy.port, "ann", "wrong", "app")


# -- what cannot be ------------------------------------------------------------------------------------------------


REFUSED = {
    "PAUSE nobody": "3D000",
    "PAUSE app, nobody": "3D000",
    "PAUSE app, ann, bob": "42601",
    "PAUSE , app": "42601",
    "RESUME app,": "42601",
    "KILL 127.0.0.1:1": "3D000",
    "DISABLE": "42601",
    "DISABLE 127.0.0.1": "42601",
    "ENABLE": "42601",
    "KILL_CLIENT": "42601",
}


async def test_refused(proxy: RunningProxy) -> None:
    async with administrator(proxy) as console:
        found = {command: (await console.ask(encode.query(command))).errors for command in REFUSED}
    assert {command: [error.sqlstate for error in errors] for command, errors in found.items()} == {
        command: [sqlstate] for command, sqlstate in REFUSED.items()
    }
    assert not proxy.supervisor.directory.pauses.pools


async def test_ways_to_say_what_is_meant(proxy: RunningProxy) -> None:
    async with administrator(proxy) as console:
        for spelling in ("app,ann", "app, ann", "app ann", "'app' \"ann\""):
            assert await tell(console, f"pause {spelling};") == "PAUSE app,ann"
            assert await tell(console, f"Resume {spelling}") == "RESUME app,ann"


async def test_pause_while_every_server_is_down(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, users=TWO_USERS, general="connect_timeout = 500")
    for nobody, server in enumerate(cluster.servers, start=1):  # the ports 1, 2 and 3 are nobody's
        config = config.replace(f" {server.port},", f" {nobody},")
    async with running_proxy(config) as proxy, administrator(proxy) as console:
        for command in ("PAUSE", "RESUME", "RECONNECT", "WAIT_CLOSE", "KILL", "RESUME"):
            with trio.fail_after(5):
                assert await tell(console, command) == command

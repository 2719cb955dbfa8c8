"""The timeouts that a session is held to, against a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support import client as pg
from support.proxy import proxy_config, running_proxy

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from pgcat_trio.embedded import EmbeddedCluster

pytestmark = pytest.mark.trio


async def test_a_long_query_is_not_the_clients_silence(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, general="idle_client_in_transaction_timeout = 500")
    async with running_proxy(config) as proxy, await pg.connect(proxy) as client:
        await client.query("begin")
        await client.query("select pg_sleep(0.7)")
        await trio.sleep(0.4)  # longer than the sweep's period
        assert await client.query("select 1") == [["1"]]


async def test_waiting_for_a_backend_is_not_the_clients_silence(cluster: EmbeddedCluster) -> None:
    config = proxy_config(
        cluster, pool_size=1, general="idle_client_in_transaction_timeout = 500", user="transaction_timeout = 1000"
    )
    async with (
        running_proxy(config) as proxy,
        await pg.connect(proxy) as one,
        await pg.connect(proxy) as two,
    ):
        async with trio.open_nursery() as nursery:
            await one.query("begin")
            nursery.start_soon(two.query, "begin")
            for _ in range(5):
                await trio.sleep(0.2)
                await one.query("select 1")
            await one.query("commit")
        await trio.sleep(0.4)
        assert await two.query("select pg_sleep(0.1)") == [[""]]


async def test_a_silent_client_in_a_transaction_is_told_why_and_its_backend_is_free(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, pool_size=1, general="idle_client_in_transaction_timeout = 300")
    async with (
        running_proxy(config) as proxy,
        await pg.connect(proxy) as one,
        await pg.connect(proxy) as two,
    ):
        await one.query("begin")
        assert await two.query("select 1") == [["1"]]
        with pytest.raises(pg.PostgresError, match="25P03: terminating connection due to idle-in-transaction timeout"):
            await one.reply()


async def test_statement_timeout_cancels_the_statement_and_keeps_the_session(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, pool_size=1, user="statement_timeout = 300")
    async with running_proxy(config) as proxy, await pg.connect(proxy) as client:
        for _ in range(2):
            with trio.fail_after(5), pytest.raises(pg.PostgresError, match=r"57014: .* statement timeout"):
                await client.query("select pg_sleep(30)")
            assert await client.query("select 1") == [["1"]]


async def test_a_full_pool_answers_53300_and_the_session_goes_on(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, pool_size=1, general="connect_timeout = 300")
    async with (
        running_proxy(config) as proxy,
        await pg.connect(proxy) as one,
        await pg.connect(proxy) as two,
    ):
        await one.query("begin")
        with pytest.raises(pg.PostgresError, match=r"53300: no backend of pool .* became free within 0.3 s"):
            await two.query("select 1")
        await one.query("commit")
        assert await two.query("select 1") == [["1"]]
        assert not any(server.banned for server in proxy.supervisor.directory.servers.values())


async def test_statement_timeout_counts_while_it_waits(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, pool_size=1, user="statement_timeout = 300")
    async with running_proxy(config) as proxy, await pg.connect(proxy) as one, await pg.connect(proxy) as two:
        await one.query("begin")
        with trio.fail_after(5), pytest.raises(pg.PostgresError, match="57014: canceling statement due to statement"):
            await two.query("select 1")
        await one.query("commit")
        assert await two.query("select 1") == [["1"]]


async def test_query_wait_timeout(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, pool_size=1, general="connect_timeout = 60000", user="query_wait_timeout = 300")
    async with running_proxy(config) as proxy, await pg.connect(proxy) as one, await pg.connect(proxy) as two:
        await one.query("begin")
        with trio.fail_after(5), pytest.raises(pg.PostgresError, match=r"53300: .* within 0\.3 s") as refused:
            await two.query("select 1")
        assert "query_wait_timeout" in refused.value.fields["H"]
        await one.query("commit")
        assert await two.query("select 1") == [["1"]]


@pytest.mark.parametrize("pool_mode", ["transaction", "session"])
@pytest.mark.parametrize(
    ("request_", "before"),
    [
        (encode.query("begin"), "CZ"),
        (encode.query("select pg_sleep(30)"), ""),
        (encode.query("select 1") + encode.query("select pg_sleep(30)") * 3, "TDCZ"),
        (pg.extended("select pg_sleep(30)") + encode.FLUSH, ""),
        (encode.query("copy copied from stdin") + pg.copy_data(b"1\tname\t\\N\n"), "G"),
        (encode.query("begin; create temp table t (id integer); select pg_sleep(30)"), "CC"),
    ],
    ids=["idle", "running", "pipelined", "no Sync", "COPY", "left something behind"],
)
async def test_transaction_timeout(
    cluster: EmbeddedCluster, schema: None, pool_mode: str, request_: bytes, before: str
) -> None:
    """One error, the end; and the next client finds the one connection clean."""
    config = proxy_config(cluster, pool_size=1, pool_mode=pool_mode, general="transaction_timeout = 500")
    async with running_proxy(config) as proxy, await pg.connect(proxy) as one:
        await one.send(request_)
        kinds = ""
        with trio.fail_after(5):
            while (message := await one.message())[0] != pg.ERROR:
                kinds += chr(message[0])
            error = pg.PostgresError(message[1])
            with pytest.raises(pg.Disconnected):
                await one.message()
        assert before.startswith(kinds)  # a server may keep what it has said so far to itself
        assert (error.fields["S"], error.sqlstate) == ("FATAL", "25P04")
        async with await pg.connect(proxy) as two:
            with trio.fail_after(5):
                assert await two.query("select count(*) from copied") == [["0"]]
                assert await two.query("select to_regclass('pg_temp.t')") == [[None]]
                running = "select count(*) from pg_stat_activity where query like '%pg_sleep(30)%' and state = 'active'"
                assert await two.query(f"{running} and pid <> pg_backend_pid()") == [["0"]]


PINNED = ["create temp table t (id integer)", "select pg_advisory_lock(1)", "listen channel", "select 1"]


@pytest.mark.parametrize("statement", PINNED)
async def test_client_that_keeps_a_connection_is_idle_as_any_other(cluster: EmbeddedCluster, statement: str) -> None:
    """Whatever it has on its server connection, or waits for; and then the connection is free."""
    config = proxy_config(cluster, pool_size=1, general="client_idle_timeout = 500\ntransaction_timeout = 2000")
    async with running_proxy(config) as proxy, await pg.connect(proxy) as one:
        await one.query(statement)
        for _ in range(8):
            await trio.sleep(0.1)
            await one.query("select pg_sleep(0.2)")  # longer in all than a transaction may take
        with trio.fail_after(5), pytest.raises(pg.PostgresError, match="57P05"):
            await one.reply()
        async with await pg.connect(proxy) as two:
            with trio.fail_after(5):
                assert await two.query("select pg_try_advisory_lock(1), to_regclass('pg_temp.t')") == [["t", None]]


@pytest.mark.parametrize("pool_mode", ["transaction", "session"])
async def test_client_idle_timeout(cluster: EmbeddedCluster, pool_mode: str) -> None:
    config = proxy_config(cluster, pool_size=1, pool_mode=pool_mode, general="client_idle_timeout = 500")
    async with running_proxy(config) as proxy, await pg.connect(proxy) as one:
        await one.query("select pg_sleep(0.8)")
        await one.query("begin")
        await trio.sleep(0.8)
        await one.query("commit")
        with trio.fail_after(5), pytest.raises(pg.PostgresError, match="57P05: terminating connection due to idle-ses"):
            await one.reply()

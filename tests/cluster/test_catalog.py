"""What the servers say about a database's own functions and views reaches the decision, and so do changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support import client as pg
from support.proxy import RunningProxy, proxy_config, running_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgcat_trio.embedded import EmbeddedCluster

pytestmark = pytest.mark.trio

SCHEMA = """
drop schema if exists catalog_test cascade;
create schema catalog_test;
create sequence catalog_test.seq;
create function catalog_test.reads(a int default 1) returns int language sql stable as 'select a';
create function catalog_test.writes() returns bigint language sql as $$select nextval('catalog_test.seq')$$;
create function catalog_test.listed() returns int language sql as 'select 1';
create function catalog_test.denied() returns int language sql immutable as 'select 1';
create view catalog_test.good as select catalog_test.reads() as n;
create view catalog_test.bad as select catalog_test.writes() as n;
create table catalog_test.secret (n int);
"""
READS = ["reads()", "listed()", "reads() from catalog_test.good"]
WRITES = ["writes()", "denied()", "reads() from catalog_test.bad", "reads() from catalog_test.secret", "other()"]
LISTS = """
read_functions = ["catalog_test.listed"]
write_functions = ["denied"]
write_tables = ["catalog_test.secret"]
"""


@pytest.fixture
async def schema(cluster: EmbeddedCluster) -> AsyncIterator[None]:
    await cluster.psql(SCHEMA)
    await cluster.wait_caught_up()
    yield
    await cluster.psql("drop schema catalog_test cascade")


async def known(proxy: RunningProxy, sql: str, role: str) -> None:
    """Wait until the proxy sends a text to a server of this role."""
    (cluster,) = proxy.supervisor.directory.clusters.values()
    while cluster.router.route(sql.encode()).role.value != role:
        await trio.testing.wait_all_tasks_blocked(0.01)


@pytest.mark.parametrize("refresh", [50, 60_000])
async def test_a_database_says_what_reads(cluster: EmbeddedCluster, schema: None, refresh: int) -> None:
    config = proxy_config(cluster, splitting=True, pool=f"catalog_refresh = {refresh}\n{LISTS}")
    with trio.fail_after(30):
        async with running_proxy(config) as proxy, await pg.connect(proxy) as client:
            assert await client.query("select current_setting('port')") is not None
            await known(proxy, "select catalog_test.reads()", "replica")
            ports = {str(server.port) for server in cluster.replicas}
            for call in READS:
                assert (await client.query(f"select current_setting('port'), catalog_test.{call}"))[0][0] in ports
            (own,) = proxy.supervisor.directory.clusters.values()
            for call in WRITES:
                assert own.router.route(f"select catalog_test.{call}".encode()).role.value == "primary", call


async def test_a_change_is_noticed(cluster: EmbeddedCluster, schema: None) -> None:
    config = proxy_config(cluster, splitting=True, pool="catalog_refresh = 50")
    with trio.fail_after(30):
        async with running_proxy(config) as proxy, await pg.connect(proxy) as client:
            await client.query("select 1")
            await known(proxy, "select catalog_test.reads()", "replica")
            await cluster.psql("alter function catalog_test.reads(int) volatile")
            await known(proxy, "select catalog_test.reads()", "primary")
            await known(proxy, "select * from catalog_test.good", "primary")
            await cluster.psql("create function catalog_test.other() returns int language sql stable as 'select 1'")
            await known(proxy, "select catalog_test.other()", "replica")


async def test_nobody_is_asked_where_nothing_is_split(cluster: EmbeddedCluster) -> None:
    asked = "select count(*) from pg_stat_activity where application_name = 'pgcat-trio catalog'"
    for pool in ("catalog_refresh = 10\nquery_parser_read_write_splitting = false", "catalog_refresh = 0"):
        config = proxy_config(cluster, splitting=True, pool=pool)
        async with running_proxy(config) as proxy, await pg.connect(proxy) as client:
            assert await client.query(asked) == [["0"]]
            (own,) = proxy.supervisor.directory.clusters.values()
            assert not own.router.catalog.reads


async def test_without_an_answer_everything_goes_on(
    cluster: EmbeddedCluster, schema: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that lets nobody else in: said once, and functions that are not known go to the primary."""
    config = proxy_config(cluster, splitting=True, general="healthcheck_interval = 0", pool="catalog_refresh = 10")
    password = f"password '{cluster.password}'"
    await cluster.psql(f"create role catalog_guest login connection limit 1 {password}")
    await cluster.wait_caught_up()
    try:
        guest = config.replace(f'server_username = "{cluster.superuser}"', 'server_username = "catalog_guest"')
        async with running_proxy(guest) as proxy, await pg.connect(proxy) as client:
            for _ in range(20):
                assert await client.query("select 1") == [["1"]]
                await trio.sleep(0.01)
            (own,) = proxy.supervisor.directory.clusters.values()
            assert own.router.route(b"select catalog_test.reads()").role.value == "primary"
        assert capsys.readouterr().out.count("catalog.failed") == 1
    finally:
        await cluster.psql("drop role catalog_guest")

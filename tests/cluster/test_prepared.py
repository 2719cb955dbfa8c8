"""Drivers that prepare statements, over a pool in transaction mode with fewer backends than clients."""

from __future__ import annotations

import asyncio
import math
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import psycopg.rows
import pytest
import trio
import trio.testing
from support.client import PostgresError, bind, connect, describe_portal, execute, parse
from support.proxy import APP_USER, ProxyThread, proxy_config, running_proxy

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.client import Client

    from pgcat_trio.embedded import EmbeddedCluster

CACHE = "prepared_statements_cache_size"
FLUSH, SYNC = encode.FLUSH, encode.SYNC


@pytest.fixture
def proxy(cluster: EmbeddedCluster, schema: None) -> Iterator[ProxyThread]:
    config = proxy_config(cluster, pool_size=2, pool=f"{CACHE} = 100", general="server_round_robin = true")
    with ProxyThread(config) as proxy:
        yield proxy


def connect_psycopg(proxy: ProxyThread, threshold: int | None = 5) -> psycopg.Connection[tuple[object, ...]]:
    dsn = f"{proxy.dsn()}?sslmode=disable"
    return psycopg.connect(dsn, autocommit=True, prepare_threshold=threshold)


def backends_of(proxy: ProxyThread) -> list[object]:
    pools = proxy.proxy.supervisor.directory.pools()
    return proxy.call_sync(lambda: [backend for pool in pools for backend in pool.backends])  # type: ignore[return-value]


@pytest.mark.parametrize("threshold", [0, 1, 5], ids=["always", "from the second", "by default"])
def test_psycopg_prepares(proxy: ProxyThread, threshold: int) -> None:
    clients = [connect_psycopg(proxy, threshold) for _ in range(4)]
    for round_number in range(12):
        for number, client in enumerate(clients):
            row = client.execute("select %s::int + %s", (round_number, number)).fetchone()
            assert row == (round_number + number,)
            with client.transaction():
                client.execute("insert into item (name, amount) values (%s, %s)", (f"n{number}", round_number))
                assert client.execute("select count(*) from item").fetchone() == (4 * round_number + number + 1,)
            with pytest.raises(psycopg.errors.DivisionByZero):
                client.execute("select 1 / %s::int", (0,))
    for client in clients:
        client.close()
    assert {backend.effects for backend in backends_of(proxy)} == {0}  # type: ignore[attr-defined]


def test_psycopg_forgets_the_oldest_by_deallocate(proxy: ProxyThread) -> None:
    with connect_psycopg(proxy, 0) as client:
        client.prepared_max = 5
        for turn in range(3):
            for number in range(12):
                assert client.execute(f"select {number} + %s::int", (turn,)).fetchone() == (number + turn,)


def test_psycopg_pipelines(proxy: ProxyThread) -> None:
    with connect_psycopg(proxy, 0) as client, connect_psycopg(proxy, 0) as other:
        for turn in range(5):
            with client.pipeline() as pipeline:
                cursors = [client.execute("select %s::int, %s::text", (n, "x" * n)) for n in range(50)]
                pipeline.sync()
                assert other.execute("select %s::int, %s::text", (turn, "y")).fetchone() == (turn, "y")
                assert [cursor.fetchone() for cursor in cursors] == [(n, "x" * n) for n in range(50)]
        with client.cursor() as cursor:
            cursor.executemany("insert into item (name) values (%s)", [(f"n{i}",) for i in range(300)])
        assert other.execute("select count(*) from item").fetchone() == (300,)


def test_asyncpg_with_its_cache(proxy: ProxyThread, run_asyncio: Callable[..., object]) -> None:
    async def main() -> None:
        pool = await asyncpg.create_pool(proxy.dsn(), min_size=4, max_size=4, ssl=False)
        try:
            for turn in range(30):
                async with pool.acquire() as one, pool.acquire() as two:
                    assert await one.fetchval("select $1::int + 1", turn) == turn + 1
                    assert await two.fetchval("select $1::int + 1", turn) == turn + 1
                    statement = await two.prepare("select $1::text")
                    assert await statement.fetchval("x") == "x"
                    async with one.transaction():
                        await one.executemany("insert into item (name, amount) values ($1, $2)", [("a", 1), ("b", 2)])
                        rows = [row async for row in one.cursor("select name from item order by id", prefetch=7)]
                        assert len(rows) == 2 * (turn + 1)
                    with pytest.raises(asyncpg.PostgresSyntaxError):
                        await two.fetchval("selec 1")
        finally:
            await pool.close()

    run_asyncio(main)


@pytest.fixture
def run_asyncio() -> Callable[..., object]:
    return lambda main: asyncio.run(main())


def test_asyncpg_after_a_change_of_the_table(proxy: ProxyThread, run_asyncio: Callable[..., object]) -> None:
    async def main() -> None:
        clients = [await asyncpg.connect(proxy.dsn(), ssl=False) for _ in range(3)]
        for _ in range(2):
            for client in clients:
                await client.fetch("select * from item")
        await clients[0].execute("alter table item add column more int default 7")
        for _ in range(3):
            for client in clients:
                await client.execute("insert into item (name) values ('x')")
                rows = await client.fetch("select * from item limit 1")
                assert dict(rows[0])["more"] == 7
        for client in clients:
            await client.close()

    run_asyncio(main)


def test_psycopg_after_a_change_of_the_table(proxy: ProxyThread) -> None:
    """Who has prepared before it is refused as by a server; who prepares after it is not, whatever backend it gets."""
    early = [connect_psycopg(proxy, 0) for _ in range(3)]
    for _ in range(2):
        for client in early:
            assert client.execute("select * from item").fetchall() == []
    with connect_psycopg(proxy, None) as other:
        other.execute("insert into item (name, amount) values ('x', 1)")
        other.execute("alter table item drop column amount")
    late: list[psycopg.Connection[tuple[object, ...]]] = []
    for _ in range(3):
        late.append(connect_psycopg(proxy, 0))
        for client in early:
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="cached plan must not change result type"):
                client.execute("select * from item")
        for client in late:
            assert client.execute("select * from item").fetchall() == [(1, "x")]
    for client in early:
        client.execute("deallocate all")
        assert client.execute("select * from item", prepare=False).fetchall() == [(1, "x")]
    for client in (*early, *late):
        client.close()


def test_a_statement_lost_behind_our_back_is_prepared_again(proxy: ProxyThread) -> None:
    with connect_psycopg(proxy, 0) as client:
        client.execute(
            "create or replace function public.forget() returns void language plpgsql "
            "as $$ begin execute 'deallocate all'; end $$"
        )
        for n in range(6):
            client.execute("select public.forget()", prepare=False)
            assert client.execute("select %s::int", (n,)).fetchone() == (n,)


def show_servers(admin_dsn: str) -> list[dict[str, Any]]:
    with psycopg.connect(f"{admin_dsn}?sslmode=disable", autocommit=True) as console:
        return console.cursor(row_factory=psycopg.rows.dict_row).execute("SHOW SERVERS").fetchall()


def test_psycopg_over_a_cache_of_100(proxy: ProxyThread) -> None:
    clients = [connect_psycopg(proxy, 0) for _ in range(3)]
    for client in clients:
        client.prepared_max = 1000
    for number in range(1000):
        client = clients[number % 3]
        assert client.execute(f"select {number} + %s::int", (1,)).fetchone() == (number + 1,)
    for client in clients:
        client.close()


@pytest.mark.trio
async def test_a_thousand_statements_over_a_cache_of_100(cluster: EmbeddedCluster) -> None:
    """No error, and what SHOW SERVERS counts is what was done, and what the servers know of it."""
    config = proxy_config(cluster, pool_size=2, pool=f"{CACHE} = 100", general="server_round_robin = true")
    async with running_proxy(config) as proxy, await connect(proxy) as one, await connect(proxy) as two:
        await one.query("begin")
        await two.query("select 'a second backend'")
        await one.query("rollback")
        uses = 0
        for number in range(1000):
            await one.ask(parse(f"select {number}", f"s{number}") + SYNC)
        for number in [*range(1000), *range(950, 1000), *range(0, 1000, 7)]:
            used = await one.ask(bind(name=f"s{number}") + describe_portal() + execute() + SYNC)
            assert used.rows_or_raise() == [[str(number)]]
            uses += 1
        in_server = {}
        await one.query("begin")
        for client in (one, two):  # each on one of the two backends
            [[pid, count]] = await client.query(
                "select pg_backend_pid(), count(*) from pg_prepared_statements where name ~ '^pgcat_[0-9]+$'"
            )
            in_server[f"0x{int(str(pid)):08X}"] = int(str(count))
        await one.query("rollback")
        rows = await trio.to_thread.run_sync(show_servers, proxy.admin_dsn)
    rows = [row for row in rows if row["address_id"].endswith("primary")]
    assert {row["server_id"]: row["prepare_cache_size"] for row in rows} == in_server == dict.fromkeys(in_server, 100)
    assert len(in_server) == 2
    assert sum(row["prepare_cache_hit"] + row["prepare_cache_miss"] for row in rows) == 1000 + uses
    for row in rows:
        assert row["prepare_cache_miss"] - row["prepare_cache_eviction"] == 100
        assert row["prepare_cache_hit"] >= 10


def test_pgbench_with_more_clients_than_backends(cluster: EmbeddedCluster) -> None:
    # A thread for each client: pgbench blocks the thread when it prepares, also in a transaction that holds a backend.
    config = proxy_config(cluster, pool_size=4, auth_type="trust", pool=f"{CACHE} = 100")
    seconds = float(os.environ.get("PGCAT_TRIO_SOAK_SECONDS", "3"))
    with ProxyThread(config) as proxy:
        where = ["-h", proxy.host, "-p", str(proxy.port), "-U", APP_USER, cluster.database]
        environ = {**os.environ, **cluster.environ, "PGSSLMODE": "disable"}
        for options in (
            ["-i", "-I", "dtgvp", "-s", "1", "-q"],
            ["-n", "-M", "prepared", "-c", "50", "-j", "50", "-T", str(math.ceil(seconds))],
        ):
            command = [str(cluster.bin_dir / "pgbench"), *options, *where]
            done = subprocess.run(
                command, env=environ, capture_output=True, text=True, timeout=60 + seconds, check=False
            )
            assert (done.returncode, "ERROR" in done.stderr) == (0, False), done.stderr
        assert "number of failed transactions: 0 " in done.stdout
        transactions = re.search(r"actually processed: (\d+)", done.stdout)
        assert transactions is not None
        assert int(transactions[1]) >= 100
        with psycopg.connect(f"{proxy.dsn()}?sslmode=disable") as client:
            sums = "select (select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history)"
            assert client.execute(sums).fetchone() == (True,)


@pytest.mark.trio
async def test_what_a_prepared_read_needs_decides_where_it_runs(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, splitting=True, pool=f"{CACHE} = 10")

    async def places(client: Client, name: str) -> set[str | None]:
        use = bind(name=name) + describe_portal() + execute() + encode.SYNC
        return {(await client.ask(use)).rows_or_raise()[0][0] for _ in range(12)}

    async with running_proxy(config) as proxy, await connect(proxy) as client:
        await client.ask(parse("select pg_is_in_recovery()", "read") + encode.SYNC)
        await client.ask(parse("select pg_is_in_recovery(), txid_current()", "write") + encode.SYNC)
        assert "t" in await places(client, "read")
        assert await places(client, "write") == {"f"}


@pytest.mark.trio
async def test_reads_that_wait_in_the_middle_of_a_batch(cluster: EmbeddedCluster) -> None:
    """A replica answers what comes before them together with the question that they wait for."""
    config = proxy_config(cluster, splitting=True, pool=f"{CACHE} = 1")
    async with running_proxy(config) as proxy, await connect(proxy) as client:
        await client.ask(parse("select 'a'", "a") + parse("select 'b'", "b") + SYNC)
        with trio.fail_after(10):
            for _ in range(4):
                use = b"".join(bind(name=name) + execute() for name in ("a", "b", "a"))
                assert (await client.ask(parse("select 3") + use + SYNC)).rows_or_raise() == [["a"], ["b"], ["a"]]


@pytest.mark.trio
async def test_what_a_prepared_statement_leaves_behind_is_cleaned(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, pool_size=1, pool=f"{CACHE} = 10")
    async with running_proxy(config) as proxy, await connect(proxy) as one, await connect(proxy) as two:
        await one.ask(parse("set work_mem = '77MB'", "s") + encode.SYNC)
        await one.ask(bind(name="s") + execute() + encode.SYNC)
        assert await two.query("show work_mem") != [["77MB"]]
        await one.ask(bind(name="s") + execute() + encode.SYNC)
        with trio.fail_after(5):
            assert await two.query("show work_mem") != [["77MB"]]


MINE, FAILS = "select 'mine'", bind(name="nobody's")
USE = bind() + execute()


@pytest.mark.trio
@pytest.mark.parametrize(
    "requests",
    [
        [USE],
        [FAILS + USE, USE],
        [FAILS + parse(MINE), USE],
        [FAILS + encode.message(b"C", b"S\0"), USE],
        [parse(MINE, "a") + bind(name="a") + FAILS + USE, USE],
        [parse(MINE, "a"), FAILS, USE],
        [FAILS + FLUSH + parse(MINE) + FLUSH, USE],
        [parse(MINE, "a") + FLUSH + FAILS + FLUSH + parse(MINE), USE],
        [parse("selec", "a") + FLUSH + USE, USE],
        [parse("selec"), USE],
    ],
)
@pytest.mark.parametrize("remembers", [True, False])
@pytest.mark.parametrize("pace", ["at once", "in pieces"])
async def test_nobody_gets_at_anothers_unnamed_statement(
    cluster: EmbeddedCluster, requests: list[bytes], remembers: bool, pace: str
) -> None:
    config = proxy_config(cluster, pool_size=1, pool=f"{CACHE} = 10")
    async with running_proxy(config) as proxy, await connect(proxy) as one, await connect(proxy) as other:
        if remembers:
            await one.ask(parse(MINE) + SYNC)
        await other.ask(parse("select 'another''s'") + SYNC)
        script = b"".join(request + SYNC for request in requests)
        for piece in [script] if pace == "at once" else re.findall(b".*?(?:%b|%b)" % (FLUSH, SYNC), script, re.DOTALL):
            await one.send(piece)
            await trio.testing.wait_all_tasks_blocked(0.005)
        rows = [row for _ in requests for row in (await one.reply()).rows]
        assert [row for row in rows if row != ["mine"]] == []


@pytest.mark.trio
@pytest.mark.parametrize("describes", [True, False])
async def test_type_that_was_made_anew(cluster: EmbeddedCluster, describes: bool) -> None:
    """What others have prepared knows the old one, on every server connection."""
    text = parse("select $1::pair", "s")
    use = bind("(1,2)", name="s") + describe_portal() * describes + execute() + encode.SYNC
    await cluster.psql("drop type if exists pair; create type pair as (a int, b int)")
    config = proxy_config(cluster, pool_size=2, pool=f"{CACHE} = 100")
    async with running_proxy(config) as proxy, await connect(proxy) as first, await connect(proxy) as second:
        for client in (first, second):
            await client.query("begin")
        for client in (first, second):
            assert (await client.ask(text + use)).rows_or_raise() == [["(1,2)"]]
            await client.query("commit")
        await cluster.psql("drop type pair; create type pair as (a int, b int)")
        async with await connect(proxy) as late:
            (await late.ask(text + encode.SYNC)).rows_or_raise()
            await first.query("begin")
            assert (await late.ask(use)).rows_or_raise() == [["(1,2)"]]
            await second.query("begin")
            await first.query("commit")
            assert (await late.ask(use)).rows_or_raise() == [["(1,2)"]]


@pytest.mark.trio
async def test_session_mode_passes_names_on(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, pool_mode="session", pool=f"{CACHE} = 10")
    async with running_proxy(config) as proxy, await connect(proxy) as client:
        await client.ask(parse("select 1", "mine") + encode.SYNC)
        assert await client.query("select name from pg_prepared_statements") == [["mine"]]


@pytest.mark.trio
async def test_too_many_names_end_the_session(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, pool_size=1, pool=f"{CACHE} = 10")
    async with running_proxy(config) as proxy, await connect(proxy) as greedy, await connect(proxy) as other:
        for hundred in range(100):
            names = (f"s{hundred}_{number}" for number in range(100))
            assert not (await greedy.ask(b"".join(parse("select 1", name) for name in names) + encode.SYNC)).errors
        with pytest.raises(PostgresError, match="53400"):
            await greedy.ask(parse("select 1", "one too many") + encode.SYNC)
        assert (await other.ask(parse("select 1", "a") + bind(name="a") + execute() + encode.SYNC)).rows == [["1"]]

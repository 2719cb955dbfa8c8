"""Timeouts of statements, of waiting for a backend, and of clients that do not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.transcript import IN_TRANSACTION, READY, extended, fields_of, rows, shape
from support.world import By, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])

SLEEP = "SELECT pg_sleep(100)"
WAITING = config_of("connect_timeout = 10000", user="pool_size = 1\nstatement_timeout = 2000")


@pytest.mark.trio
@both_ways
async def test_statement_timeout_cancels_the_statement_only(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(user="pool_size = 1\nstatement_timeout = 2000"), by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        await trio.sleep(30)
        for _ in range(2):
            began = trio.current_time()
            said = await client.query(SLEEP)
            assert shape(said) == "E(error 57014) ZE"
            assert fields_of(said)["M"] == "canceling statement due to statement timeout"
            assert 2 <= trio.current_time() - began < 2.5
            assert shape(await client.query("ROLLBACK TO SAVEPOINT s")) == "C ZT"
        assert await client.query("SELECT pg_sleep(1.5)") == encode.command_complete("SELECT") + IN_TRANSACTION
        assert await client.query("ROLLBACK") == encode.command_complete("ROLLBACK") + READY


@pytest.mark.trio
@both_ways
async def test_users_request_stays_one(autojump_clock: MockClock, by: By) -> None:
    """Also on a backend where another statement has been over its time before."""
    async with open_world(config_of(user="pool_size = 1\nstatement_timeout = 2000"), by=by) as world:
        first, second = await world.connect(), await world.connect()
        await first.query(SLEEP)
        await second.send(encode.query(SLEEP))
        await trio.sleep(1)
        await second.cancel()
        assert fields_of(await second.reply())["M"] == "canceling statement due to user request"


@pytest.mark.trio
@both_ways
async def test_statement_timeout_counts_from_the_request_in_session_mode(autojump_clock: MockClock, by: By) -> None:
    config = config_of(pool='pool_mode = "session"', user="pool_size = 1\nstatement_timeout = 2000")
    async with open_world(config, by=by) as world:
        client = await world.connect()
        await client.query("SELECT 1")
        await trio.sleep(30)
        assert shape(await client.query("SELECT pg_sleep(1.5)")) == "C ZI"
        assert shape(await client.query(SLEEP)) == "E(error 57014) ZI"


@pytest.mark.trio
@both_ways
async def test_statement_timeout_counts_from_the_request(autojump_clock: MockClock, by: By) -> None:
    """What a client waits for is its answer, not what the proxy does for it."""
    async with open_world(WAITING, by=by) as world:
        holder, client = await world.connect(), await world.connect()
        await holder.query("BEGIN")
        began = trio.current_time()
        await client.send(encode.query("SELECT pg_sleep(1.5)"))
        await trio.sleep(1)
        await holder.query("COMMIT")
        assert shape(await client.reply()) == "E(error 57014) ZI"
        assert 2 <= trio.current_time() - began < 2.5
        assert shape(await client.query("SELECT pg_sleep(1.5)")) == "C ZI"


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (encode.query("INSERT INTO t"), "E(error 57014) ZI"),
        (extended("INSERT INTO t") + encode.SYNC, "E(error 57014) ZI"),
        (encode.query("INSERT INTO t") * 2, "E(error 57014) ZI E(error 57014) ZI"),
    ],
    ids=["simple", "extended", "two"],
)
async def test_statement_timeout_while_it_waits(
    autojump_clock: MockClock, by: By, request_: bytes, answer: str
) -> None:
    async with open_world(WAITING, by=by) as world:
        holder, client = await world.connect(), await world.connect()
        await holder.query("BEGIN")
        began = trio.current_time()
        await client.send(request_)
        said = await client.reply(answer.count("Z"))
        assert shape(said) == answer
        assert fields_of(said)["M"] == "canceling statement due to statement timeout"
        assert 2 <= trio.current_time() - began < 2.5
        await holder.query("COMMIT")
        assert await client.query("SELECT 1") == rows("1") + READY
        assert "INSERT INTO t" not in world.primary.texts()
        assert world.primary.cancels == []


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_statement_timeout_is_for_each_of_several(autojump_clock: MockClock, by: By, mode: str) -> None:
    config = config_of(pool=f'pool_mode = "{mode}"', user="pool_size = 1\nstatement_timeout = 2000")
    async with open_world(config, by=by) as world:
        client = await world.connect()
        await client.send(*[encode.query("SELECT pg_sleep(1.5)")] * 3, encode.query(SLEEP) * 2)
        assert shape(await client.reply(3)) == "C ZI C ZI C ZI"
        assert shape(await client.reply(2)) == "E(error 57014) ZI E(error 57014) ZI"
        await client.send(*[extended("SELECT pg_sleep(1.5)") + encode.SYNC] * 3)
        assert shape(await client.reply(3)) == "1 2 C ZI 1 2 C ZI 1 2 C ZI"


@pytest.mark.trio
@both_ways
async def test_statement_timeout_without_sync(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(user="pool_size = 1\nstatement_timeout = 2000"), by=by) as world:
        client = await world.connect()
        for _ in range(3):
            await client.send(extended("SELECT pg_sleep(1.5)"), encode.FLUSH)
            assert [shape(await client.message()) for _ in range(3)] == ["1", "2", "C"]
            await trio.sleep(1)
        await client.send(extended(SLEEP), encode.FLUSH)
        assert [shape(await client.message()) for _ in range(3)] == ["1", "2", "E(error 57014)"]
        await client.send(encode.SYNC)
        assert await client.reply() == READY


@pytest.mark.trio
@both_ways
async def test_statement_timeout_of_a_copy(autojump_clock: MockClock, by: By) -> None:
    """As a server alone: it counts, but who reads copy data hears of it only when there are some."""
    async with open_world(config_of(user="pool_size = 1\nstatement_timeout = 2000"), by=by) as world:
        client = await world.connect()
        await client.send(encode.query("COPY t FROM STDIN"))
        for _ in range(4):
            await trio.sleep(1)
            await client.send(encode.message(b"d", b"row\n"))
        await world.idle()
        assert len(world.primary.cancels) == 1
        await client.send(encode.COPY_DONE)
        assert shape(await client.reply()) == "G C ZI"


@pytest.mark.trio
@both_ways
async def test_statement_timeout_begins_when_the_statement_is_there(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(user="pool_size = 1\nstatement_timeout = 2000"), by=by) as world:
        client = await world.connect()
        request = encode.query("SELECT pg_sleep(1)" + " " * 200_000)
        for start in range(0, len(request), 50_000):
            await client.send(request[start : start + 50_000])
            await trio.sleep(1)
        said = await client.reply()
        assert world.primary.cancels == []
        assert shape(said).endswith("ZI")


@pytest.mark.trio
async def test_statement_timeout_of_a_statement_that_is_read_slowly(autojump_clock: MockClock) -> None:
    config = config_of("client_write_timeout = 60000", user="pool_size = 1\nstatement_timeout = 2000")
    async with open_world(config, by="sockets") as world:
        client = await world.connect()
        await client.send(encode.query("SELECT generate_series(1, 1000000)"))
        await trio.sleep(3)
        assert len(world.primary.cancels) == 1
        assert shape(await client.reply()).endswith("D E(error 57014) ZI")


@pytest.mark.trio
@both_ways
async def test_wait_for_a_backend_is_bounded(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of("connect_timeout = 3000"), by=by) as world:
        holder, client = await world.connect(), await world.connect()
        await holder.query("BEGIN")
        began = trio.current_time()
        said = await client.query("SELECT 1")
        assert shape(said) == "E(error 53300) ZI"
        assert "became free within 3 s" in fields_of(said)["M"]
        assert fields_of(said)["H"].startswith("All are in use: raise pool_size or connect_timeout")
        assert 3 <= trio.current_time() - began < 3.5
        await holder.query("COMMIT")
        assert await client.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(("connect", "wait"), [(1000, 5000), (5000, 1000)])
async def test_query_wait_timeout_is_the_bound_where_it_is_set(
    autojump_clock: MockClock, by: By, connect: int, wait: int
) -> None:
    config = config_of(f"connect_timeout = {connect}\nquery_wait_timeout = {wait}")
    async with open_world(config, by=by) as world:
        holder, client = await world.connect(), await world.connect()
        await holder.query("BEGIN")
        began = trio.current_time()
        said = await client.query("SELECT 1")
        assert shape(said) == "E(error 53300) ZI"
        assert f"became free within {wait // 1000} s" in fields_of(said)["M"]
        assert fields_of(said)["H"].startswith("All are in use: raise pool_size or query_wait_timeout")
        assert wait / 1000 <= trio.current_time() - began < wait / 1000 + 0.5
        assert not any(server.banned for server in world.bans.values())
        await holder.query("COMMIT")
        assert await client.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
async def test_query_wait_timeout_bounds_dials_too(autojump_clock: MockClock) -> None:
    async with open_world(config_of("connect_timeout = 9000\nquery_wait_timeout = 1000"), by="sockets") as world:
        client = await world.connect()
        await world.idle()
        gate = world.primary.hold("startup")
        world.primary.leave()
        await world.idle()
        began = trio.current_time()
        said = await client.query("SELECT 1")
        assert shape(said) == "E(error 53300) ZI"
        assert fields_of(said)["H"] == "The server has not answered to a new connection yet."
        assert 1 <= trio.current_time() - began < 1.5
        gate.opened.set()
        assert await client.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
async def test_query_wait_timeout_is_for_all_servers_together(autojump_clock: MockClock) -> None:
    config = config_of("connect_timeout = 800\nquery_wait_timeout = 2000", pool='default_role = "replica"', replicas=4)
    async with open_world(config, by="sockets") as world:
        client = await world.connect()
        for server in world.servers.values():
            server.hold("startup")
            server.leave()
        await world.idle()
        began = trio.current_time()
        assert shape(await client.query("SELECT 1")) == "E(error 53300) ZI"
        assert 2 <= trio.current_time() - began < 2.5


@pytest.mark.trio
async def test_client_that_does_not_read_is_cut_off(autojump_clock: MockClock) -> None:
    async with open_world(config_of("client_write_timeout = 5000"), by="sockets") as world:
        client = await world.connect()
        await client.send(encode.query("SELECT generate_series(1, 100000)"))
        await trio.sleep(4.5)
        assert client.session.ended is None
        await trio.sleep(1)
        assert "does not read" in str(client.session.ended)
        await world.idle()
        assert world.pool.busy == 0


@pytest.mark.trio
async def test_client_that_reads_slowly_is_not(autojump_clock: MockClock) -> None:
    async with open_world(config_of("client_write_timeout = 5000"), by="sockets") as world:
        client = await world.connect()
        await client.send(encode.query("SELECT generate_series(1, 100000)"))
        said = 0
        while said < 1_000_000:
            await trio.sleep(1)
            said += len(await client.stream.receive_some(65536))
        assert client.session.ended is None


@pytest.mark.trio
@both_ways
async def test_checkout_failure_limit_ends_the_session(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(pool="checkout_failure_limit = 2"), by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        world.primary.down = "Connection refused"
        world.primary.leave()
        await world.idle()
        assert shape(await client.query("COMMIT")) == "E(error 08006) ZI"
        assert shape(await client.query("SELECT 1")) == "E(error 08001) ZI"
        await client.send(encode.query("SELECT 1"))
        assert shape(await client.rest()) == "E(error 08001) ZI E(fatal 08001)"

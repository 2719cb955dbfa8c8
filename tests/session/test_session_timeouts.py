"""Timeouts: of transactions, statements, waits and writes."""

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


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    "request_",
    [encode.query("BEGIN"), extended("SELECT 1") + encode.FLUSH, encode.query("COPY t FROM STDIN")],
    ids=["transaction", "no Sync", "COPY"],
)
async def test_idle_in_transaction_ends_the_session(autojump_clock: MockClock, by: By, request_: bytes) -> None:
    async with open_world(config_of("idle_client_in_transaction_timeout = 2000"), by=by) as world:
        client = await world.connect()
        began = trio.current_time()
        await client.send(request_)
        said = await client.rest()
        assert shape(said).endswith("E(fatal 25P03)")
        assert 2 <= trio.current_time() - began < 3
        await world.idle()
        assert world.counts() == (1, 1, 0)


@pytest.mark.trio
@both_ways
async def test_idle_in_transaction_counts_from_the_answer(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of("idle_client_in_transaction_timeout = 2000"), by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        await client.query("SELECT pg_sleep(30)")
        await trio.sleep(1.5)
        assert await client.query("COMMIT") == encode.command_complete("COMMIT") + READY


@pytest.mark.trio
@both_ways
async def test_copy_that_goes_on_is_not_idle(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of("idle_client_in_transaction_timeout = 2000"), by=by) as world:
        client = await world.connect()
        await client.send(encode.query("COPY t FROM STDIN"))
        for _ in range(10):
            await trio.sleep(1)
            await client.send(encode.message(b"d", b"row\n"))
        await client.send(encode.COPY_DONE)
        assert shape(await client.reply()) == "G C ZI"


@pytest.mark.trio
@both_ways
async def test_parked_sessions_may_be_idle_for_ever(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of("idle_client_in_transaction_timeout = 2000"), by=by) as world:
        client = await world.connect()
        await trio.sleep(100)
        assert await client.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
@both_ways
async def test_statement_timeout_cancels_the_statement_only(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(user="pool_size = 1\nstatement_timeout = 2000"), by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        await trio.sleep(30)
        for _ in range(2):
            began = trio.current_time()
            assert shape(await client.query(SLEEP)) == "E(error 57014) ZE"
            assert 2 <= trio.current_time() - began < 2.5
            assert shape(await client.query("ROLLBACK TO SAVEPOINT s")) == "C ZT"
        assert await client.query("SELECT pg_sleep(1.5)") == encode.command_complete("SELECT") + IN_TRANSACTION
        assert await client.query("ROLLBACK") == encode.command_complete("ROLLBACK") + READY


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
async def test_statement_timeout_counts_from_the_lease(autojump_clock: MockClock, by: By) -> None:
    config = config_of("connect_timeout = 10000", user="pool_size = 1\nstatement_timeout = 2000")
    async with open_world(config, by=by) as world:
        holder, client = await world.connect(), await world.connect()
        await holder.query("BEGIN")
        await client.send(encode.query("SELECT pg_sleep(1)"))
        await trio.sleep(5)
        await holder.query("COMMIT")
        assert shape(await client.reply()) == "C ZI"


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
        assert 3 <= trio.current_time() - began < 3.5
        await holder.query("COMMIT")
        assert await client.query("SELECT 1") == rows("1") + READY


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

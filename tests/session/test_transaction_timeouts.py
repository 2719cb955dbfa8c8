"""Timeouts of clients: idle inside a transaction, a transaction that lasts, idle outside of transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.transcript import IN_TRANSACTION, READY, bind, execute, extended, fields_of, parse, rows, shape
from support.world import By, config_of, open_world

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from support.scripted_backend import ScriptedBackend
    from support.world import Client
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])
both_modes = pytest.mark.parametrize("mode", ["transaction", "session"])

SLEEP = "SELECT pg_sleep(100)"
LARGE = encode.query("INSERT INTO t VALUES ('" + "x" * 200_000 + "')")


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
async def test_copy_that_begins_late_is_not_idle_before(autojump_clock: MockClock, by: By) -> None:
    """The server may have to wait for a lock first."""

    async def copy(process: ScriptedBackend) -> None:
        await trio.sleep(10)
        await process.send(encode.message(b"G", b"\x00\x00\x00"))

    async with open_world(config_of("idle_client_in_transaction_timeout = 2000"), by=by) as world:
        world.primary.scripts["COPY late"] = copy
        client = await world.connect()
        await client.send(encode.query("COPY late"))
        assert shape(await client.message()) == "G"
        began = trio.current_time()
        assert began >= 10
        # The script takes no data, so that the COPY is over for the server.
        assert shape(await client.reply()) == "C ZI"


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("executed", [extended(SLEEP), extended("SELECT 1") + encode.SYNC + extended(SLEEP)])
async def test_without_a_sync_a_long_statement_is_not_the_clients_silence(
    autojump_clock: MockClock, by: By, executed: bytes
) -> None:
    async with open_world(config_of("idle_client_in_transaction_timeout = 2000"), by=by) as world:
        client = await world.connect()
        began = trio.current_time()
        await client.send(executed, encode.FLUSH)
        said = await client.rest()
        assert shape(said).endswith("1 2 C E(fatal 25P03)")
        assert 102 <= trio.current_time() - began < 103


@pytest.mark.trio
@both_ways
async def test_client_that_stops_in_the_middle_of_a_message(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of("idle_client_in_transaction_timeout = 2000"), by=by) as world:
        client = await world.connect()
        began = trio.current_time()
        await client.send(LARGE[:100_000])
        assert shape(await client.rest()) == "E(fatal 25P03)"
        assert 2 <= trio.current_time() - began < 3
        await world.idle()
        assert world.counts() == (0, 0, 0)


# -- transaction_timeout -------------------------------------------------------------------------------------------


@pytest.mark.trio
@both_ways
@both_modes
@pytest.mark.parametrize(
    ("request_", "answer", "cancels"),
    [
        (encode.query("BEGIN"), "C ZT E(fatal 25P04)", 0),
        (encode.query("BEGIN") + encode.query("SELECT 1/0"), "C ZT E(error 22012) ZE E(fatal 25P04)", 0),
        (encode.query("BEGIN") + encode.query(SLEEP), "C ZT E(fatal 25P04)", 1),
        (encode.query(SLEEP), "E(fatal 25P04)", 1),
        (encode.query(SLEEP) * 3, "E(fatal 25P04)", 1),
        (encode.query("SELECT 1") + encode.query(SLEEP) * 2, "T D C ZI E(fatal 25P04)", 1),
        (extended(SLEEP) + encode.SYNC, "1 2 E(fatal 25P04)", 1),
        ((extended(SLEEP) + encode.SYNC) * 3, "1 2 E(fatal 25P04)", 1),
        (extended("SELECT 1") + encode.FLUSH, "1 2 D C E(fatal 25P04)", 0),
        (extended(SLEEP) + encode.FLUSH, "1 2 E(fatal 25P04)", 0),
        (encode.query("COPY t FROM STDIN"), "G E(fatal 25P04)", 0),
        (encode.query("COPY t FROM STDIN") + encode.message(b"d", b"row\n") * 3, "G E(fatal 25P04)", 0),
        (extended("COPY t FROM STDIN") + encode.SYNC, "1 2 G E(fatal 25P04)", 0),
    ],
    ids=[
        "idle",
        "failed",
        "running",
        "implicit",
        "pipelined",
        "second of three",
        "extended",
        "pipelined extended",
        "no Sync",
        "no Sync, running",
        "COPY",
        "COPY with data",
        "extended COPY",
    ],
)
async def test_transaction_timeout_is_one_error_and_the_end(
    autojump_clock: MockClock, by: By, mode: str, request_: bytes, answer: str, cancels: int
) -> None:
    config = config_of("transaction_timeout = 2000", pool=f'pool_mode = "{mode}"')
    async with open_world(config, by=by) as world:
        client = await world.connect()
        began = trio.current_time()
        await client.send(request_)
        said = await client.rest()
        assert shape(said) == answer
        assert fields_of(said[said.rindex(b"E\x00") :])["M"] == "terminating connection due to transaction timeout"
        assert 2 <= trio.current_time() - began < 3
        # Nobody else notices: what ran is cancelled, the transaction rolled back, the connection clean.
        await trio.sleep(2)
        assert world.pool.busy == 0
        assert len(world.primary.cancels) >= cancels
        assert await (await world.connect()).query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
@both_ways
async def test_transaction_timeout_in_the_middle_of_a_row_says_nothing(autojump_clock: MockClock, by: By) -> None:
    """What was added would be taken for a part of the row."""
    row = encode.data_row(["x" * 100])

    async def half_a_row(process: ScriptedBackend) -> None:
        await process.send(row[:50])
        await trio.sleep(100)

    async with open_world(config_of("transaction_timeout = 2000"), by=by) as world:
        world.primary.scripts["SELECT half"] = half_a_row
        client = await world.connect()
        await client.send(encode.query("SELECT half"))
        assert await client.rest() == row[:50]


@pytest.mark.trio
@both_ways
@both_modes
@pytest.mark.parametrize("together", [False, True], ids=["one by one", "together"])
@pytest.mark.parametrize("syncs", [False, True], ids=["simple", "extended"])
async def test_transactions_that_follow_each_other_are_not_one(
    autojump_clock: MockClock, by: By, mode: str, together: bool, syncs: bool
) -> None:
    """However often the sweep finds the session at work."""
    config = config_of("transaction_timeout = 2000", pool=f'pool_mode = "{mode}"')
    text = "SELECT pg_sleep(1.5)"
    request = extended(text) + encode.SYNC if syncs else encode.query(text)
    async with open_world(config, by=by) as world:
        client = await world.connect()
        for _ in range(1 if together else 5):
            await client.send(request * (5 if together else 1))
            said = await client.reply(5 if together else 1)
            assert shape(said).count("C ZI") == (5 if together else 1)
            assert "E(" not in shape(said)


@pytest.mark.trio
@both_ways
async def test_waiting_for_a_backend_is_no_transaction(autojump_clock: MockClock, by: By) -> None:
    config = config_of("connect_timeout = 60000", user="pool_size = 1\ntransaction_timeout = 2000")
    async with open_world(config, by=by) as world:
        clients = [await world.connect() for _ in range(5)]
        for client in clients:
            await client.send(encode.query("SELECT pg_sleep(1.5)"))
        assert [shape(await client.reply()) for client in clients] == ["C ZI"] * 5


@pytest.mark.trio
async def test_transaction_timeout_of_a_client_that_reads_slowly(autojump_clock: MockClock) -> None:
    async with open_world(config_of("transaction_timeout = 2000"), by="sockets") as world:
        client = await world.connect()
        await client.send(encode.query("SELECT generate_series(1, 1000000)"))
        for _ in range(10):
            await trio.sleep(0.5)
            await client.stream.receive_some(65536)
        assert client.session.ended is not None
        await world.idle()
        assert world.pool.busy == 0


# -- client_idle_timeout -------------------------------------------------------------------------------------------

IDLE = "client_idle_timeout = 2000"


async def ends_as_idle(client: Client, since: float) -> None:
    """The client is told why, and it takes as long as is configured."""
    said = await client.rest()
    assert shape(said) == "E(fatal 57P05)"
    assert fields_of(said)["M"] == "terminating connection due to idle-session timeout"
    assert 1.6 <= trio.current_time() - since < 3


@pytest.mark.trio
@both_ways
@both_modes
@pytest.mark.parametrize(
    ("request_", "replies"),
    [
        (b"", 0),
        (encode.query("SELECT 1"), 1),
        (encode.query("SELECT pg_sleep(30)"), 1),
        (encode.query("SELECT 1") * 3, 3),
        (extended("SELECT pg_sleep(30)") + encode.SYNC, 1),
        (encode.query("BEGIN") + encode.query("SELECT pg_sleep(30)") + encode.query("COMMIT"), 3),
        (encode.query("LISTEN channel"), 1),
        (encode.query("SELECT 1") + encode.query("SELECT 2")[:5], 1),
    ],
    ids=["login", "query", "long query", "pipelined", "extended", "transaction", "LISTEN", "half a message"],
)
async def test_idle_client_is_told_why_it_must_go(
    autojump_clock: MockClock, by: By, mode: str, request_: bytes, replies: int
) -> None:
    async with open_world(config_of(IDLE, pool=f'pool_mode = "{mode}"'), by=by) as world:
        client = await world.connect()
        await client.send(request_)
        assert "E(" not in shape(await client.reply(replies)) if replies else True
        await ends_as_idle(client, trio.current_time())
        await world.idle()
        assert world.counts() == (1, 1, 0)


@pytest.mark.trio
@both_ways
async def test_statement_that_is_not_sent_yet_keeps_nobody(autojump_clock: MockClock, by: By) -> None:
    """Parse, Bind, Execute without Sync or Flush: no backend has been asked for."""
    async with open_world(config_of(IDLE), by=by) as world:
        client = await world.connect()
        await client.send(parse("SELECT 1"), bind(), execute())
        await ends_as_idle(client, trio.current_time())


@pytest.mark.trio
@both_ways
@both_modes
async def test_client_inside_a_transaction_is_not_idle_in_this_sense(
    autojump_clock: MockClock, by: By, mode: str
) -> None:
    async with open_world(config_of(IDLE, pool=f'pool_mode = "{mode}"'), by=by) as world:
        client = await world.connect()
        await client.query("BEGIN")
        await trio.sleep(30)
        assert await client.query("SELECT 1") == rows("1") + IN_TRANSACTION
        await client.send(encode.query("COPY t FROM STDIN"))
        await trio.sleep(30)
        await client.send(encode.COPY_DONE)
        assert shape(await client.reply()) == "G C ZT"
        await client.query("ROLLBACK")
        await ends_as_idle(client, trio.current_time())


@pytest.mark.trio
@both_ways
async def test_client_that_waits_for_a_backend_is_not_idle(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(f"{IDLE}\nconnect_timeout = 60000"), by=by) as world:
        holder, client = await world.connect(), await world.connect()
        await holder.query("BEGIN")
        await client.send(encode.query("SELECT 1"))
        await trio.sleep(30)
        await holder.query("COMMIT")
        assert await client.reply() == rows("1") + READY
        await ends_as_idle(client, trio.current_time())


@pytest.mark.trio
@both_ways
async def test_waiting_at_the_login_is_not_idle_either(autojump_clock: MockClock, by: By) -> None:
    config = config_of(f"{IDLE}\nconnect_timeout = 60000", pool='pool_mode = "session"')
    async with open_world(config, by=by) as world:
        holder = await world.connect()
        client = world.dial_in()
        await client.send(encode.startup({"user": "ann", "database": "app"}))
        for _ in range(20):
            await trio.sleep(1)
            assert await holder.query("SELECT 1") == rows("1") + READY
        await holder.leave()
        assert shape(await client.reply()).endswith("ZI")
        await ends_as_idle(client, trio.current_time())


@pytest.mark.trio
async def test_client_that_has_not_read_its_answer_is_not_idle(autojump_clock: MockClock) -> None:
    async with open_world(config_of(IDLE), by="sockets") as world:
        client = await world.connect()
        await client.send(encode.query("SELECT generate_series(1, 100000)"))
        await trio.sleep(30)
        assert shape(await client.reply()).endswith("D C ZI")
        await ends_as_idle(client, trio.current_time())


@pytest.mark.trio
@both_ways
async def test_client_that_says_something_now_and_then_may_stay(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(IDLE), by=by) as world:
        client = await world.connect()
        for _ in range(10):
            await trio.sleep(1.6)
            assert await client.query("SELECT 1") == rows("1") + READY


@pytest.mark.trio
@both_ways
async def test_reload_holds_for_those_who_are_idle_already(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = await world.connect()
        await trio.sleep(30)
        old = world.cluster
        world.config = config_of(IDLE)
        world.build()
        old.retire()
        assert shape(await client.rest()) == "E(fatal 57P05)"


@pytest.mark.trio
@both_ways
async def test_user_may_have_its_own(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(IDLE, user="pool_size = 1\nclient_idle_timeout = 0"), by=by) as world:
        client = await world.connect()
        await trio.sleep(100)
        assert await client.query("SELECT 1") == rows("1") + READY

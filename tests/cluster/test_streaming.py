"""Much data, in both directions at once, and what must not wait: notices, parameter changes, Flush."""

from __future__ import annotations

import gc
import struct
import tracemalloc
from typing import TYPE_CHECKING

import psycopg
import pytest
import trio
from support import client as pg
from support.proxy import RunningProxy, proxy_config, running_proxy

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conftest import Door

    from pgcat_trio.embedded import EmbeddedCluster

MB = 1 << 20
PATIENCE_S = 20.0


@pytest.fixture(params=["transaction", "session"])
async def proxy(request: pytest.FixtureRequest, cluster: EmbeddedCluster, schema: None) -> AsyncIterator[RunningProxy]:
    async with running_proxy(proxy_config(cluster, pool_mode=request.param)) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: RunningProxy, cluster: EmbeddedCluster) -> AsyncIterator[pg.Client]:
    with trio.fail_after(PATIENCE_S):
        async with await pg.connect(proxy) as client:
            yield client
            # Whatever a test did, the session is in order at its end.
            assert await client.query("select 'in order'") == [["in order"]]


# -- size ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [65535, 65536, 65537, MB, 5 * MB])
def test_statements_and_rows_of_many_sizes(door: Door, size: int) -> None:
    text = "x" * size
    with psycopg.connect(door.dsn, autocommit=True, prepare_threshold=None) as connection:
        assert connection.execute("select length(%s)", (text,)).fetchone() == (size,)
        assert connection.execute(f"select length('{text}')").fetchone() == (size,)
        assert connection.execute("select repeat('x', %s)", (size,)).fetchone() == (text,)
        with connection.transaction():
            assert connection.execute("select %s", (text,)).fetchone() == (text,)


@pytest.mark.trio
async def test_a_large_result_is_never_stored(client: pg.Client) -> None:
    """50 MB in rows, then one row of 50 MB, read in small sips: the proxy's memory does not follow."""
    for sql in (
        "select repeat('x', 10000) from generate_series(1, 5000)",
        "select repeat('x', 50000000)",
    ):
        await client.send(encode.query(sql))
        peak, received = await _sip(client, 50_000_000)
        assert received >= 50_000_000
        assert peak < 8 * MB, f"{peak / MB:.0f} MB"


async def _sip(client: pg.Client, size: int) -> tuple[int, int]:
    gc.collect()
    tracemalloc.start()
    try:
        received = 0
        tail = b""
        while not tail.endswith(b"Z\x00\x00\x00\x05I"):
            data = await client.stream.receive_some(65536)
            assert data
            tail = (tail + data)[-16:]
            received += len(data)
        return tracemalloc.get_traced_memory()[1], received
    finally:
        tracemalloc.stop()


@pytest.mark.trio
async def test_a_large_copy_in_is_never_stored(client: pg.Client) -> None:
    row = b"1\t" + b"x" * 9_997 + b"\n"
    await client.send(encode.query("copy copied (id, name) from stdin"))
    assert (await client.message())[0] == ord("G")
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(500):
            await client.send(pg.copy_data(row * 10))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    reply = await client.ask(encode.COPY_DONE)
    assert reply.tags == ["COPY 5000"]
    assert peak < 8 * MB, f"{peak / MB:.0f} MB"


def test_copy_of_50_mb_both_ways(door: Door) -> None:
    row = b"1\t" + b"x" * 9_997 + b"\n"
    with psycopg.connect(door.dsn, autocommit=True) as connection:
        with connection.cursor().copy("copy copied (id, name) from stdin") as copy:
            for _ in range(500):
                copy.write(row * 10)
        with connection.cursor().copy("copy copied (id, name) to stdout") as copy:
            assert sum(len(data) for data in copy) == 50_000_000


# -- both directions at once ---------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_a_pipeline_of_10000_statements_that_nobody_reads_until_it_is_sent(client: pg.Client) -> None:
    """Requests and answers are each more than all the buffers on the way: whoever waits for the other to read hangs."""
    count, filler = 10_000, "x" * 1000
    request = pg.extended("select $1::text || $2::text", filler, "y") + encode.SYNC
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send, request * count)
        await trio.sleep(0.1)
        for _ in range(count):
            [[value]] = (await client.reply()).rows_or_raise()
            assert value == filler + "y"


@pytest.mark.trio
async def test_a_pipeline_in_one_implicit_transaction(client: pg.Client) -> None:
    insert = pg.extended("insert into item (name) values ($1)", "x" * 100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send, insert * 10_000 + encode.SYNC)
        reply = await client.reply()
    assert len(reply.tags) == 10_000
    failed = await client.ask(insert * 100 + pg.extended("select 1/0") + insert * 100 + encode.SYNC)
    assert [error.sqlstate for error in failed.errors] == ["22012"]
    assert await client.query("select count(*) from item") == [["10000"]]


@pytest.mark.trio
async def test_simple_queries_pipelined(client: pg.Client) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send, b"".join(encode.query(f"select {i}, repeat('x', 500)") for i in range(10_000)))
        for i in range(10_000):
            assert (await client.reply()).rows_or_raise()[0][0] == str(i)


@pytest.mark.trio
async def test_a_pipeline_over_several_transactions_and_errors(client: pg.Client) -> None:
    requests = [
        encode.query("begin"),
        pg.extended("insert into item (name) values ('kept')") + encode.SYNC,
        encode.query("commit"),
        pg.extended("select 1/0") + pg.extended("select 'skipped'") + encode.SYNC,
        encode.query("begin; insert into item (name) values ('lost')"),
        encode.query("select nonsense"),
        encode.query("commit"),
        encode.query("select name from item"),
    ]
    await client.send(b"".join(requests) + encode.SYNC)
    replies = [await client.reply() for _ in range(len(requests) + 1)]
    assert "".join(reply.status for reply in replies) == "TTIITEIII"
    assert [len(reply.errors) for reply in replies] == [0, 0, 0, 1, 0, 1, 0, 0, 0]
    assert replies[3].rows == []
    assert replies[7].rows == [["kept"]]


@pytest.mark.trio
@pytest.mark.parametrize("piece", [1, 7])
async def test_requests_that_dribble_in(client: pg.Client, piece: int) -> None:
    request = pg.extended("select $1::int + 1", "41") + encode.SYNC + encode.query("select 'simple'")
    for start in range(0, len(request), piece):
        await client.send(request[start : start + piece])
        await trio.lowlevel.checkpoint()
    assert (await client.reply()).rows == [["42"]]
    assert (await client.reply()).rows == [["simple"]]


# -- Flush, portals, FunctionCall ----------------------------------------------------------------------------------


@pytest.mark.trio
async def test_flush_brings_the_answers_without_a_sync(client: pg.Client) -> None:
    await client.send(pg.parse("select generate_series(1, 5)") + pg.bind() + pg.describe_portal() + encode.FLUSH)
    assert [chr((await client.message())[0]) for _ in range(3)] == ["1", "2", "T"]
    await client.send(pg.execute(max_rows=2) + encode.FLUSH)
    assert [chr((await client.message())[0]) for _ in range(3)] == ["D", "D", "s"]
    await client.send(pg.execute(max_rows=2) + encode.FLUSH)
    assert [chr((await client.message())[0]) for _ in range(3)] == ["D", "D", "s"]
    reply = await client.ask(pg.execute() + encode.SYNC)
    assert (reply.kinds, reply.rows) == ("DCZ", [["5"]])


@pytest.mark.trio
async def test_an_error_after_a_flush_skips_to_the_sync(client: pg.Client) -> None:
    await client.send(pg.extended("select 1/0") + encode.FLUSH)
    assert [chr((await client.message())[0]) for _ in range(2)] == ["1", "E"]
    reply = await client.ask(pg.extended("select 'skipped'") + encode.FLUSH + encode.SYNC)
    assert reply.kinds == "Z"


@pytest.mark.trio
async def test_function_call(client: pg.Client) -> None:
    int4pl = 177
    reply = await client.ask(pg.function_call(int4pl, [struct.pack("!i", 40), struct.pack("!i", 2)]))
    assert reply.kinds == "VZ"
    assert reply.messages[0][1] == struct.pack("!ii", 4, 42)
    failed = await client.ask(pg.function_call(1, []))
    assert failed.kinds == "EZ"


@pytest.mark.trio
async def test_an_empty_query_and_an_empty_batch(client: pg.Client) -> None:
    assert (await client.ask(encode.query(""))).kinds == "IZ"
    assert (await client.ask(encode.query(" ; "))).kinds == "IZ"
    assert (await client.ask(encode.SYNC)).kinds == "Z"
    assert (await client.ask(pg.extended("") + encode.SYNC)).kinds == "12IZ"


@pytest.mark.trio
@pytest.mark.parametrize("early_sync", [True, False])
async def test_copy_in_by_the_extended_protocol(client: pg.Client, early_sync: bool) -> None:
    """libpq sends the Sync with the Execute, where the server ignores it; others send it after CopyDone only."""
    start = pg.extended("copy copied (id) from stdin") + (encode.SYNC if early_sync else encode.FLUSH)
    await client.send(start)
    kinds = []
    while (kind := chr((await client.message())[0])) != "G":
        kinds.append(kind)
    assert kinds == ["1", "2"]
    reply = await client.ask(pg.copy_data(b"1\n2\n") + encode.COPY_DONE + encode.SYNC)
    assert (reply.kinds, reply.tags) == ("CZ", ["COPY 2"])
    await client.send(start)
    while chr((await client.message())[0]) != "G":
        pass
    reply = await client.ask(encode.copy_fail("changed my mind") + encode.SYNC)
    assert [error.sqlstate for error in reply.errors] == ["57014"]
    assert await client.query("select count(*) from copied") == [["2"]]


# -- what must not wait --------------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_a_notice_arrives_before_the_end_of_its_statement(client: pg.Client) -> None:
    await client.send(encode.query("do $$ begin raise notice 'at once'; perform pg_sleep(1.5); end $$"))
    with trio.fail_after(1):
        kind, body = await client.message()
    assert (chr(kind), b"at once" in body) == ("N", True)
    assert (await client.reply()).kinds == "CZ"


@pytest.mark.trio
async def test_rows_arrive_before_the_end_of_their_query(client: pg.Client) -> None:
    sql = "select repeat('x', 10000), pg_sleep(case i when 20 then 1.5 else 0 end) from generate_series(1, 20) i"
    await client.send(encode.query(sql))
    with trio.fail_after(1):
        for _ in range(10):
            await client.message()
    assert (await client.reply()).status == "I"


@pytest.mark.trio
async def test_a_parameter_change_is_reported_once_and_follows_the_client(
    client: pg.Client, proxy: RunningProxy, cluster: EmbeddedCluster
) -> None:
    reply = await client.ask(encode.query("set timezone to 'Asia/Kathmandu'"))
    assert reply.kinds.count("S") == 1
    assert client.parameters["TimeZone"] == "Asia/Kathmandu"
    async with await pg.connect(proxy) as other:
        assert await other.query("show timezone") == [["UTC"]]
        reply = await client.ask(encode.query("show timezone"))
        # The backend may have had to be told; the client knows already.
        assert (reply.kinds, reply.rows) == ("TDCZ", [["Asia/Kathmandu"]])


@pytest.mark.trio
async def test_each_clients_encoding_is_its_own(proxy: RunningProxy, cluster: EmbeddedCluster) -> None:
    """Bytes pass as they are; which encoding they are in follows the client from backend to backend."""
    async with await pg.connect(proxy, client_encoding="latin1") as latin, await pg.connect(proxy) as utf8:
        assert latin.parameters["client_encoding"] == "LATIN1"
        for _ in range(3):
            reply = await latin.ask(
                encode.message(b"Q", b"select '\xe9'::text, length('\xe9'), octet_length('\xe9')\0")
            )
            [body] = [body for kind, body in reply.messages if kind == pg.ROW]
            assert body == b"\x00\x03" + b"\x00\x00\x00\x01\xe9" + b"\x00\x00\x00\x011" + b"\x00\x00\x00\x012"
            assert await utf8.query("select '\u00e9'") == [["\u00e9"]]


@pytest.mark.trio
async def test_an_error_text_in_the_clients_encoding_passes(proxy: RunningProxy, cluster: EmbeddedCluster) -> None:
    async with await pg.connect(proxy, client_encoding="latin1") as latin:
        reply = await latin.ask(encode.message(b"Q", b'select "\xe9"\0'))
        assert any(kind == pg.ERROR and b'"\xe9"' in body for kind, body in reply.messages)
        assert (await latin.query("select 1")) == [["1"]]

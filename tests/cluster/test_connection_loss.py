"""A server that ends a connection (pg_terminate_backend) in each state: its last words reach the client."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest
import trio
from support import client as pg
from support.proxy import proxy_config, running_proxy

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgcat_trio.embedded import EmbeddedCluster

pytestmark = pytest.mark.trio

WORDS: Final = "57P01: terminating connection due to administrator command"
SLEEP: Final = "select pg_sleep(30)"
LARGE: Final = "select repeat('x', 100000) from generate_series(1, 1000)"
RUNNING: Final = "from pg_stat_activity where application_name = 'the victim' and pid <> pg_backend_pid()"

both_modes = pytest.mark.parametrize("pool_mode", ["transaction", "session"])


@asynccontextmanager
async def victim_and_executioner(
    cluster: EmbeddedCluster, pool_mode: str
) -> AsyncIterator[tuple[pg.Client, pg.Client]]:
    """A client of a proxy whose one backend is its, and a connection to the server itself."""
    config = proxy_config(cluster, pool_size=1, pool_mode=pool_mode)
    server = cluster.primary
    async with running_proxy(config) as proxy, await pg.connect(proxy, application_name="the victim") as victim:
        direct = pg.Client.connect(
            server.host, server.port, cluster.superuser, cluster.password or "", cluster.database
        )
        async with await direct as executioner:
            with trio.fail_after(10):
                yield victim, executioner


async def terminate(executioner: pg.Client, state: str = "active") -> None:
    """End the victim's backend as soon as it is in this state."""
    while not await executioner.query(f"select pg_terminate_backend(pid, 5000) {RUNNING} and state = '{state}'"):
        pass


async def goes_on(victim: pg.Client) -> None:
    """The session is alive, outside of any transaction, on another backend."""
    assert await victim.query("select 1") == [["1"]]
    assert victim.status == "I"


async def is_over(victim: pg.Client) -> None:
    """The server's words, as it said them, and the end."""
    while (message := await victim.message())[0] != pg.ERROR:
        pass
    error = pg.PostgresError(message[1])
    assert str(error) == WORDS
    assert error.fields["S"] == error.fields["V"] == "FATAL"
    assert error.fields["R"] == "ProcessInterrupts"
    with pytest.raises(pg.Disconnected):
        await victim.message()


async def test_parked(cluster: EmbeddedCluster) -> None:
    async with victim_and_executioner(cluster, "transaction") as (victim, executioner):
        await victim.query("select 1")
        await terminate(executioner, "idle")
        await goes_on(victim)


async def test_idle_in_session_mode(cluster: EmbeddedCluster) -> None:
    async with victim_and_executioner(cluster, "session") as (victim, executioner):
        await victim.query("select 1")
        await terminate(executioner, "idle")
        await is_over(victim)


@pytest.mark.parametrize("statement", ["create temp table t (id integer)", "select pg_advisory_lock(1)"])
async def test_what_a_client_has_kept_is_gone_with_its_session(cluster: EmbeddedCluster, statement: str) -> None:
    """In transaction mode: to go on without it would be to lie."""
    async with victim_and_executioner(cluster, "transaction") as (victim, executioner):
        await victim.query(statement)
        await terminate(executioner, "idle")
        await is_over(victim)


@both_modes
@pytest.mark.parametrize("state", ["idle in transaction", "idle in transaction (aborted)"])
async def test_in_a_transaction(cluster: EmbeddedCluster, pool_mode: str, state: str) -> None:
    async with victim_and_executioner(cluster, pool_mode) as (victim, executioner):
        await victim.query("begin")
        if "aborted" in state:
            await victim.ask(encode.query("select 1/0"))
        await terminate(executioner, state)
        if pool_mode == "session":
            await is_over(victim)
        else:
            with pytest.raises(pg.PostgresError, match=WORDS) as told:
                await victim.query("commit")
            assert told.value.fields["S"] == "ERROR"
            await goes_on(victim)


@both_modes
@pytest.mark.parametrize(
    ("request_", "replies"),
    [
        (encode.query(SLEEP), 1),
        (encode.query(SLEEP) * 3, 3),
        (encode.query("begin") + encode.query(SLEEP), 2),
        (pg.extended(SLEEP) + encode.SYNC, 1),
        ((pg.extended(SLEEP) + encode.SYNC) * 2, 2),
    ],
    ids=["query", "pipelined", "in a transaction", "extended", "pipelined extended"],
)
async def test_running(cluster: EmbeddedCluster, pool_mode: str, request_: bytes, replies: int) -> None:
    async with victim_and_executioner(cluster, pool_mode) as (victim, executioner):
        await victim.send(request_)
        await terminate(executioner)
        answers = []
        for _ in range(replies - 1 if b"begin" not in request_ else 1):
            if b"begin" in request_:
                assert (await victim.reply()).tags == ["BEGIN"]
            elif pool_mode == "transaction":
                answers.append(await victim.reply())
        if pool_mode == "session":
            await is_over(victim)
            return
        answers.append(await victim.reply())
        for answer in answers:
            (error,) = answer.errors
            assert str(error) == WORDS
            assert error.fields["S"] == error.fields["V"] == "ERROR"
            assert answer.status == "I"
        await goes_on(victim)


@both_modes
async def test_copy_in(cluster: EmbeddedCluster, schema: None, pool_mode: str) -> None:
    async with victim_and_executioner(cluster, pool_mode) as (victim, executioner):
        await victim.send(encode.query("copy copied from stdin") + pg.copy_data(b"1\tname\t\\N\n"))
        assert (await victim.message())[0] == ord("G")
        await terminate(executioner)
        if pool_mode == "session":
            await is_over(victim)
            return
        reply = await victim.reply()
        assert [str(error) for error in reply.errors] == [WORDS]
        # A client that does not read before it is done with sending.
        await victim.send(pg.copy_data(b"2\tname\t\\N\n") * 100 + encode.COPY_DONE)
        await goes_on(victim)
        assert await victim.query("select count(*) from copied") == [["0"]]


@both_modes
async def test_in_the_middle_of_a_result(cluster: EmbeddedCluster, pool_mode: str) -> None:
    """A server that is stuck in half a row says nothing, and nobody can say anything there; else it is as ever."""
    async with victim_and_executioner(cluster, pool_mode) as (victim, executioner):
        await victim.send(encode.query(LARGE))
        assert (await victim.message())[0] == ord("T")
        await terminate(executioner)
        try:
            while (message := await victim.message())[0] == pg.ROW:
                assert len(pg.row_values(message[1])[0] or "") == 100_000
        except pg.Disconnected:
            return
        assert str(pg.PostgresError(message[1])) == WORDS
        if pool_mode == "session":
            with pytest.raises(pg.Disconnected):
                await victim.message()
        else:
            await victim.reply()
            await goes_on(victim)

"""Giving a backend back: whatever state it is in, the next user finds it clean, or does not find it at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.lending import acquire, closed, idle_again, run, say
from support.scripted_backend import Refusal, ScriptedBackend
from support.transcript import bind, execute, extended, parse
from support.world import By, config_of, open_world

from pgcat_trio.pool.exchange import CLEANING
from pgcat_trio.pool.pool import CLEANING_TIMEOUT_S
from pgcat_trio.routing.effects import Effect
from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from trio.testing import MockClock


both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("queries", "cleaning"),
    [
        (["SELECT 1"], []),
        (["BEGIN"], ["ROLLBACK"]),
        (["BEGIN", "INSERT INTO t VALUES (1)"], ["ROLLBACK"]),
        (["BEGIN", "SELECT 1/0"], ["ROLLBACK"]),
        (["BEGIN", "COMMIT"], []),
    ],
    ids=lambda value: "+".join(value) or "nothing",
)
async def test_transactions_are_rolled_back(
    autojump_clock: MockClock, by: By, queries: list[str], cleaning: list[str]
) -> None:
    async with open_world(by=by) as world:
        backend = await acquire(world)
        for query in queries:
            await run(backend, query)
        world.pool.release(backend)
        await idle_again(world, backend)
        assert world.primary.texts() == queries + cleaning
        assert world.primary.cancels == []


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("begin", [[], ["BEGIN"]], ids=["alone", "in a transaction"])
async def test_running_query_is_cancelled(autojump_clock: MockClock, by: By, begin: list[str]) -> None:
    async with open_world(by=by) as world:
        backend = await acquire(world)
        for query in begin:
            await run(backend, query)
        await say(backend, encode.query("SELECT pg_sleep(100)"))
        await world.idle()
        began = trio.current_time()
        world.pool.release(backend)
        await idle_again(world, backend)
        assert trio.current_time() == began
        assert world.primary.cancels == [backend.pid]
        assert world.primary.texts() == [*begin, "SELECT pg_sleep(100)"] + ["ROLLBACK"] * len(begin)


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    ("data", "markers", "unsynced", "asked"),
    [
        (encode.query("COPY t FROM STDIN"), b"Q", False, True),
        (encode.query("COPY t FROM STDIN"), b"Q", False, False),
        (extended("COPY t FROM STDIN"), b"", True, True),
    ],
    ids=["simple", "simple, before CopyInResponse", "extended"],
)
async def test_abandoned_copy_fails(
    autojump_clock: MockClock, by: By, data: bytes, markers: bytes, unsynced: bool, asked: bool
) -> None:
    async with open_world(by=by) as world:
        backend = await acquire(world)
        gate = world.primary.hold("statement")
        await say(backend, data, markers, unsynced=unsynced)
        if asked:
            gate.opened.set()
            while not backend.upstream.expected.copy_in:
                backend.upstream.feed(await backend.transport.receive())
        else:
            await gate.reached.wait()
        world.pool.release(backend)
        await world.idle()
        gate.opened.set()
        began = trio.current_time()
        await idle_again(world, backend)
        assert trio.current_time() == began
        assert world.primary.texts() == ["COPY t FROM STDIN"]
        assert world.primary.errors == ["COPY from stdin failed: the client is gone"]


@pytest.mark.trio
@both_ways
async def test_copy_that_swallows_our_sync_costs_the_backend(autojump_clock: MockClock, by: By) -> None:
    """Whether the server has read that Sync before or after the COPY failed nobody can tell."""
    async with open_world(by=by) as world:
        backend = await acquire(world)
        gate = world.primary.hold("statement")
        await say(backend, extended("COPY t FROM STDIN"), b"", unsynced=True)
        await gate.reached.wait()
        world.pool.release(backend)
        await world.idle()
        gate.opened.set()
        await closed(world)


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize(
    "data",
    [parse("SELECT 1"), extended("SELECT 1"), bind("unknown"), parse("SELECT pg_sleep(100)") + bind() + execute()],
    ids=["Parse", "Execute", "Bind that fails", "Execute that runs"],
)
async def test_extended_messages_without_sync_are_synced(autojump_clock: MockClock, by: By, data: bytes) -> None:
    async with open_world(by=by) as world:
        backend = await acquire(world)
        await say(backend, data, b"", unsynced=True)
        await world.idle()
        world.pool.release(backend)
        await idle_again(world, backend)


@pytest.mark.trio
async def test_whole_pipeline_is_drained(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        backend = await acquire(world)
        pipeline = encode.query("SELECT pg_sleep(5)") + (extended("SELECT 1") + encode.SYNC) * 3
        await say(backend, pipeline, b"QSSS")
        world.pool.release(backend)
        await idle_again(world, backend)
        assert world.primary.texts() == ["SELECT pg_sleep(5)"] + ["SELECT 1"] * 3


@pytest.mark.trio
@pytest.mark.parametrize("effect", list(CLEANING), ids=lambda effect: effect.name)
async def test_each_effect_is_taken_away(autojump_clock: MockClock, effect: Effect) -> None:
    async with open_world() as world:
        backend = await acquire(world)
        backend.effects |= effect
        world.pool.release(backend)
        await idle_again(world, backend)
        assert "; ".join(world.primary.texts()) == CLEANING[effect]


@pytest.mark.trio
async def test_every_effect_has_a_cleaning_or_closes(autojump_clock: MockClock) -> None:
    for effect in Effect:
        if effect in CLEANING:
            continue
        async with open_world() as world:
            backend = await acquire(world)
            backend.effects |= effect
            world.pool.release(backend)
            await closed(world)
            assert world.primary.texts() == []


@pytest.mark.trio
async def test_several_effects_in_one_round_trip_after_the_rollback(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        backend = await acquire(world)
        await run(backend, "BEGIN")
        backend.effects |= Effect.LISTEN | Effect.PREPARED
        world.pool.release(backend)
        await idle_again(world, backend)
        assert world.primary.texts() == ["BEGIN", "ROLLBACK", "DEALLOCATE ALL", "UNLISTEN *"]


@pytest.mark.trio
async def test_effects_stay_where_the_configuration_wants_no_cleaning(autojump_clock: MockClock) -> None:
    async with open_world(config_of(pool="cleanup_server_connections = false")) as world:
        backend = await acquire(world)
        await run(backend, "BEGIN")
        backend.effects |= Effect.PREPARED
        world.pool.release(backend)
        await idle_again(world, backend)
        assert world.primary.texts() == ["BEGIN", "ROLLBACK"]


@pytest.mark.trio
async def test_settings_are_what_they_were_after_a_reset(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        backend = await acquire(world)
        before = backend.settings
        await run(backend, "SET TimeZone TO 'Asia/Tokyo'")
        backend.take_changed_parameters()
        assert backend.settings.values["TimeZone"] == "Asia/Tokyo"
        backend.effects |= Effect.SETTINGS
        world.pool.release(backend)
        await idle_again(world, backend)
        assert backend.settings is before


@pytest.mark.trio
async def test_cleaned_backend_goes_to_who_waits(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        backend = await acquire(world)
        await run(backend, "BEGIN")
        world.pool.release(backend)
        assert await acquire(world) is backend
        assert world.primary.texts() == ["BEGIN", "ROLLBACK"]
        world.pool.release(backend)


@pytest.mark.trio
async def test_half_sent_message_closes(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        backend = await acquire(world)
        backend.sending = True
        await backend.transport.send(encode.query("INSERT INTO t VALUES (1)")[:-5])
        world.pool.release(backend)
        await closed(world)
        assert world.primary.texts() == []


@pytest.mark.trio
@pytest.mark.parametrize("broken", ["server closed the connection", ""], ids=["broken", "too old"])
async def test_broken_or_too_old_closes(autojump_clock: MockClock, broken: str) -> None:
    async with open_world() as world:
        backend = await acquire(world)
        if broken:
            backend.broken = broken
        else:
            backend.expires_at = trio.current_time()
        world.pool.release(backend)
        await closed(world)


@pytest.mark.trio
@pytest.mark.parametrize("step", ["statement", "answer", "cancel", "cancelled"])
async def test_cleaning_that_hangs_ends_at_its_deadline(autojump_clock: MockClock, step: str) -> None:
    async with open_world() as world:
        backend = await acquire(world)
        await run(backend, "BEGIN")
        if step in ("cancel", "cancelled"):
            await say(backend, encode.query("SELECT pg_sleep(100)"))
        world.primary.hold(step)
        world.pool.release(backend)
        await world.idle()
        assert world.counts() == (1, 0, 0)
        await trio.sleep(CLEANING_TIMEOUT_S - 0.1)
        assert world.counts() == (1, 0, 0)
        await trio.sleep(0.2)
        assert world.counts() == (0, 0, 0)


@pytest.mark.trio
@pytest.mark.parametrize("step", ["statement", "answer", "cancel", "cancelled"])
async def test_cleaning_cancelled_at_each_step_closes(autojump_clock: MockClock, step: str) -> None:
    async with open_world() as world:
        backend = await acquire(world)
        await run(backend, "BEGIN")
        if step in ("cancel", "cancelled"):
            await say(backend, encode.query("SELECT pg_sleep(100)"))
        gate = world.primary.hold(step)
        world.pool.release(backend)
        await gate.reached.wait()
        world.pools.cancel_scope.cancel()
        gate.opened.set()
        await closed(world)


@pytest.mark.trio
async def test_server_that_refuses_to_clean_up_is_left(autojump_clock: MockClock) -> None:
    async def refuse(_backend: ScriptedBackend) -> None:
        raise Refusal("XX000", "out of order")

    async with open_world() as world:
        world.primary.scripts["UNLISTEN *"] = refuse
        backend = await acquire(world)
        backend.effects |= Effect.LISTEN
        world.pool.release(backend)
        await closed(world)


@pytest.mark.trio
@both_ways
async def test_server_that_dies_while_it_cleans_up(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        backend = await acquire(world)
        await run(backend, "BEGIN")
        gate = world.primary.hold("statement")
        world.pool.release(backend)
        await gate.reached.wait()
        world.primary.leave()
        await closed(world)
        # Who waits gets a new one.
        world.primary.gates.clear()
        other = await acquire(world)
        assert other is not backend
        world.pool.release(other)


@pytest.mark.trio
async def test_retired_while_it_is_cleaned(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        backend = await acquire(world)
        await run(backend, "BEGIN")
        gate = world.primary.hold("statement")
        world.pool.release(backend)
        await gate.reached.wait()
        world.cluster.retire()
        gate.opened.set()
        await closed(world)


@pytest.mark.trio
@both_ways
async def test_released_twice_over_many_rounds_nothing_leaks(autojump_clock: MockClock, by: By) -> None:
    async with open_world(config_of(user="pool_size = 4"), by=by) as world:
        for round_number in range(30):
            leased = [await acquire(world) for _ in range(4)]
            for number, backend in enumerate(leased):
                if (round_number + number) % 3 == 0:
                    await run(backend, "BEGIN")
                if (round_number + number) % 7 == 0:
                    backend.broken = "the test says so"
            for backend in leased:
                backend.pool.release(backend)
            await world.idle()
            assert world.pool.busy == 0
            assert world.primary.connections == len(world.pool.backends)


@pytest.mark.trio
@both_ways
async def test_each_of_several_requests_is_cancelled(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        backend = await acquire(world)
        await say(backend, encode.query("SELECT pg_sleep(100)") * 3, b"QQQ")
        await world.idle()
        world.pool.release(backend)
        await trio.sleep(2)
        assert list(world.pool.idle) == [backend]
        assert world.primary.errors == ["canceling statement due to user request"] * 3

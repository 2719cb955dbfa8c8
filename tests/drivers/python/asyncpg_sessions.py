"""Scenarios with asyncpg: errors, transactions, cancellation, and what belongs to a session."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
from asyncpg_common import attempt, connect, failure, scenario, settings
from scenarios import PATIENCE_S

COUNT = "select count(*) from item where name = 'visible'"
INSERT = "insert into item (name) values ('visible')"


@scenario
async def errors() -> object:
    queries = (
        "selec 1",
        "select 1 / 0",
        "insert into item (name) values ('item 1')",
        "select * from no_such_table",
        "insert into item (name) values (null)",
        "select 'x'::int",
    )
    seen: list[object] = []
    async with connect() as connection:
        for query in queries:
            # Once by the simple protocol, once by the extended.
            seen += [await attempt(connection.execute(query)), await attempt(connection.fetch(query))]
            seen.append(await connection.fetchval("select 1"))
    return seen


@scenario
async def errors_in_transaction() -> object:
    seen: list[object] = []
    async with connect() as connection:
        for query in ("begin", "select 1/0", "select 1", "commit", "select 2"):
            seen += [await attempt(connection.fetch(query)), connection.is_in_transaction()]
        async with connection.transaction():
            await connection.execute(INSERT)
            try:
                async with connection.transaction():
                    await connection.execute("insert into item (name) values ($1)", "item 1")
            except asyncpg.PostgresError as error:
                seen.append(failure(error))
            seen.append(await connection.fetchval(COUNT))
        seen += [await connection.fetchval(COUNT), await connection.execute("delete from item where name = 'visible'")]
    return seen


@scenario
async def notices() -> object:
    seen: list[object] = []
    async with connect() as connection:
        connection.add_log_listener(lambda _, said: seen.append((said.severity, said.sqlstate, said.message)))
        seen.append(await connection.fetchval("select noisy('first ✓')"))
        seen.append(await connection.fetchval("select noisy($1) || noisy('third')", "second"))
        seen.append(await attempt(connection.execute("do $$ begin raise warning 'w'; raise exception 'end'; end $$")))
        # Listeners are called by the event loop.
        await asyncio.sleep(0)
        seen.append(await connection.execute("drop table if exists no_such_table"))
        await asyncio.sleep(0)
    return seen


@scenario
async def transactions() -> object:
    seen: list[object] = []
    shown = "select current_setting('transaction_isolation'), current_setting('transaction_read_only')"
    async with connect() as connection, connect() as other:
        for isolation in ("serializable", "repeatable_read", "read_committed", "read_uncommitted"):
            async with connection.transaction(isolation=isolation, readonly=isolation == "serializable"):
                seen += [await connection.fetchrow(shown), await other.fetchrow(shown)]
        transaction = connection.transaction(readonly=True)
        await transaction.start()
        seen.append(await attempt(connection.execute(INSERT)))
        await transaction.rollback()
        for end in ("rollback", "commit"):
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(INSERT)
            seen += [await connection.fetchval(COUNT), await other.fetchval(COUNT)]
            await getattr(transaction, end)()
            seen += [await connection.fetchval(COUNT), await other.fetchval(COUNT)]
        seen.append(await other.execute("delete from item where name = 'visible'"))
    return seen


@scenario
async def empty_and_multi() -> object:
    seen: list[object] = []
    async with connect() as connection:
        for query in ("select 1; select 'two'", "begin; select 1; commit", "; select 1;;"):
            seen += [await attempt(connection.execute(query)), connection.is_in_transaction()]
        seen += [await attempt(connection.fetch("")), await attempt(connection.fetch("select 1; select 2"))]
        seen.append(await attempt(connection.execute(f"{INSERT}; select 1 / 0")))
        seen.append(await connection.fetchval(COUNT))
    return seen


@scenario
async def cancel() -> object:
    running = "select count(*) from pg_stat_activity where state = 'active' and query like 'select slow(30%'"
    seen: list[object] = []
    cases = [(begin, *case) for begin in ("select 1", "begin") for case in (("30", ()), ("30 + $1::int", (0,)))]
    async with connect() as connection, connect() as other:
        for begin, duration, arguments in cases:
            await connection.execute(begin)
            task = asyncio.create_task(connection.fetch(f"select slow({duration})", *arguments))
            while not task.done() and not await other.fetchval(running):  # noqa: ASYNC110 - the server tells no other way
                await asyncio.sleep(0.01)
            task.cancel()
            (ended,) = await asyncio.gather(task, return_exceptions=True)
            # The driver sends nothing until its request to cancel has been answered.
            seen += [type(ended).__name__, await attempt(connection.fetchval("select 'afterwards'"))]
            seen += [await other.fetchval(running), await connection.execute("rollback")]
        seen.append(await attempt(connection.fetchval("select slow(30)", timeout=0.2)))
        seen.append(await attempt(connection.fetchval("select 'afterwards'")))
    return seen


@scenario
async def statement_timeout() -> object:
    seen: list[object] = []
    async with connect() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("set local statement_timeout = '100ms'")
        seen.append(await attempt(connection.fetchval("select slow($1)", 10)))
        await transaction.rollback()
        seen += [await connection.fetchval("show statement_timeout"), await connection.fetchval("select slow(0.2)")]
    async with connect(server_settings={"statement_timeout": "100"}) as connection, connect() as other:
        seen.append(await attempt(connection.fetchval("select slow($1)", 10)))
        seen += [await each.fetchval("show statement_timeout") for each in (other, connection, other, connection)]
    return seen


@scenario
async def connection_lost() -> object:
    async with connect() as connection:
        seen = [await attempt(connection.fetch("select pg_terminate_backend(pg_backend_pid())"))]
        return [*seen, connection.is_closed(), await attempt(connection.fetch("select 1"))]


@scenario
async def session_settings() -> object:
    seen: list[object] = []
    noon = "select '2026-07-01 12:00+00'::timestamptz::text"
    async with connect() as first, connect() as second, connect() as third:
        everybody = (first, second, third)
        await first.execute("set TimeZone = 'Europe/Paris'; set DateStyle = 'SQL, DMY'; set application_name = 'first'")
        await second.execute("set TimeZone to 'Asia/Tokyo'")
        for _ in range(3):
            seen += [(await settings(each), await each.fetchval(noon)) for each in everybody]
        await first.execute("set search_path = pg_catalog, public; set statement_timeout = '12s'")
        seen += [await settings(each) for each in everybody]
        await first.reset()
        seen += [await settings(each) for each in everybody]
        known = first.get_settings()
        seen.append([getattr(known, name) for name in ("TimeZone", "DateStyle", "application_name")])
    return seen


@scenario
async def startup_settings() -> object:
    seen: list[object] = []
    chosen = {"statement_timeout": "4321", "search_path": "pg_catalog", "IntervalStyle": "iso_8601"}
    chosen |= {"TimeZone": "America/New_York", "application_name": "starter"}
    async with connect(server_settings=chosen) as first, connect() as second:
        seen += [await settings(each) for each in (first, second, first, second)]
        await first.execute("set statement_timeout = 1234; set application_name = 'another'; set search_path = public")
        seen += [await settings(each) for each in (first, second)]
        await first.execute("reset statement_timeout; reset application_name")
        seen += [await settings(each) for each in (first, second)]
        await first.reset()
        seen += [await settings(each) for each in (first, second)]
    for refused in ({"no_such_setting": "1"}, {"statement_timeout": "soon"}, {"TimeZone": "Nowhere/Land"}):
        try:
            async with connect(server_settings=refused):
                seen.append("accepted")
        except asyncpg.PostgresError as error:
            seen.append(failure(error))
    return seen


@scenario
async def listen_notify() -> object:
    seen: list[object] = []
    heard: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()

    async def next_one() -> object:
        return await attempt(asyncio.wait_for(heard.get(), PATIENCE_S))

    async with connect() as listener, connect() as other, connect() as third:
        await listener.add_listener("news", lambda *about: heard.put_nowait(about[2:]))
        await listener.add_listener("Other News", lambda *about: heard.put_nowait(about[2:]))
        await other.execute("notify news, 'one'")
        seen.append(await next_one())
        await third.fetch("select pg_notify('Other News', $1), pg_notify('unheard', '')", "two ✓")
        seen.append(await next_one())
        async with other.transaction():
            await other.execute("notify news, 'three'; notify news, 'four'")
            seen.append(await listener.fetchval("select 1"))
        seen += [await next_one(), await next_one()]
    return seen


@scenario
async def advisory_locks() -> object:
    try_lock, unlock = "select pg_try_advisory_lock($1)", "select pg_advisory_unlock($1)"
    async with connect() as first, connect() as second:
        seen = [await first.fetchval("select pg_advisory_lock(42)"), await second.fetchval(try_lock, 42)]
        seen += [await first.fetchval("select 1"), await second.fetchval(try_lock, 42)]
        seen += [await first.fetchval(unlock, 42), await second.fetchval(try_lock, 42)]
        await second.reset()
        return [*seen, await first.fetchval(try_lock, 42), await first.fetchval(unlock, 42)]


@scenario
async def temp_tables() -> object:
    seen: list[object] = []
    known = "select to_regclass('scratch') is not null"
    async with connect() as first, connect() as second, connect() as third:
        await first.execute("create temporary table scratch (n int)")
        for n in range(4):
            await first.execute("insert into scratch values ($1)", n)
            seen += [await second.fetchval(known), await third.fetchval(known)]
            seen.append(await first.fetchval("select sum(n) from scratch"))
        await first.execute("drop table scratch")
        async with first.transaction():
            await first.execute("create temp table scratch (n int) on commit drop")
            await first.copy_records_to_table("scratch", records=[(1,), (2,)])
            seen += [await first.fetchval("select sum(n) from scratch"), await second.fetchval(known)]
        seen += [await each.fetchval(known) for each in (first, second, third)]
    return seen


@scenario
async def server_info() -> object:
    async with connect() as connection:
        known = connection.get_settings()
        names = ("server_encoding", "client_encoding", "integer_datetimes", "DateStyle", "TimeZone", "server_version")
        return [
            *(getattr(known, name) for name in names),
            connection.get_server_version(),
            connection.get_server_pid() > 0,
        ]

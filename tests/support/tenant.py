"""A client that lives many short lives, misbehaves in most of them, and keeps account of what it may find.

Every statement also asks who the server thinks it is talking to. An answer that is not the tenant's own, a row that
should not be there, or one that is missing, is an AssertionError.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import trio

from pgcat_trio.wire import codes, encode

from . import client as pg

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Sequence

    from .proxy import RunningProxy

SCHEMA: Final = """
drop table if exists ledger;
create table ledger (tenant integer not null, serial integer not null);
create index on ledger (tenant);
"""

PATIENCE_S: Final = 30.0
"""No conversation takes as long as this; one that does hangs."""

_IDENTITY: Final = (
    "current_setting('application_name'), current_setting('timezone'), current_setting('search_path'), "
    "coalesce(current_setting('tenant.secret', true), ''), to_regclass('pg_temp.mine')::text"
)


class Tenant:
    """Tenant ``number`` of a table ``ledger``; ``freezes`` makes it stop dead now and then, with its socket open."""

    def __init__(
        self, number: int, proxy: RunningProxy, *, tls: ssl.SSLContext | None = None, freezes_s: float = 0
    ) -> None:
        self.number = number
        self.acknowledged: set[int] = set()
        """Serial numbers whose commit the server confirmed."""
        self.uncertain: set[int] = set()
        """Those whose commit was under way when the tenant left."""
        self.statements = 0
        self.exact = True
        """Reads see all that was written before (false where they may go to a replica)."""
        self._proxy = proxy
        self._tls = tls
        self._freezes_s = freezes_s
        self._random = random.Random(number)
        self._serial = 0
        self._name = f"tenant-{number}"
        self._zone = f"Etc/GMT{number % 27 - 14:+d}"
        self._path = f"schema_{number}, public"

    async def live(self, seconds: float) -> None:
        """One life after the other until the time is over."""
        end = trio.current_time() + seconds
        settings = {"application_name": self._name, "TimeZone": self._zone, "search_path": self._path}
        while trio.current_time() < end:
            with trio.fail_after(PATIENCE_S):
                client = await pg.connect(self._proxy, self._tls, **settings)
            async with client:
                alive = True
                while alive and trio.current_time() < end:
                    action = self._random.choice(self._actions())
                    with trio.fail_after(PATIENCE_S):
                        alive = await action(client)
                if alive:
                    await client.close()

    def _actions(self) -> Sequence[Callable[[pg.Client], Awaitable[bool]]]:
        well = [
            self.read,
            self.write,
            self.write_extended,
            self.transaction,
            self.rollback,
            self.fail,
            self.keep,
            self.listen,
            self.copy,
        ]
        ill = [self.leave_in_query, self.leave_in_transaction, self.leave_in_commit, self.leave_in_message]
        ill += [self.leave_in_copy, self.leave_in_result]
        frozen = [self.freeze_in_transaction, self.freeze_in_result] if self._freezes_s else []
        return well * 6 + ill + frozen * 10

    # -- behaving --------------------------------------------------------------------------------------------------

    async def read(self, client: pg.Client) -> bool:
        """Ask for all that is ours."""
        sql = f"select {_IDENTITY}, (select array_agg(serial) from ledger where tenant = {self.number})"
        [array] = self._check_identity((await client.query(sql))[0])
        found = [int(serial) for serial in (array or "{}")[1:-1].split(",") if serial]
        self.check_rows(found, exact=self.exact)
        return True

    async def write(self, client: pg.Client) -> bool:
        """One row, committed by itself."""
        serial = self._new_serial()
        await self._insert(client, serial)
        self.acknowledged.add(serial)
        return True

    async def write_extended(self, client: pg.Client) -> bool:
        """The same by the extended protocol, its parts in one to three packets."""
        serial = self._new_serial()
        sql = f"insert into ledger values ($1, $2) returning {_IDENTITY}"
        request = pg.parse(sql) + pg.bind(str(self.number), str(serial)) + pg.execute() + encode.SYNC
        cut = self._random.randrange(len(request))
        for part in (request[:cut], request[cut:]):
            await client.send(part)
            await trio.lowlevel.checkpoint()
        self._check_identity((await client.reply()).rows_or_raise()[0])
        self.acknowledged.add(serial)
        return True

    async def transaction(self, client: pg.Client) -> bool:
        """Several rows and settings of our own, all seen until the end, then committed."""
        written = await self._begin_and_write(client)
        await client.query("commit")
        assert client.status == "I", client.status
        self.acknowledged |= written
        return True

    async def rollback(self, client: pg.Client) -> bool:
        await self._begin_and_write(client)
        await client.query("rollback")
        return True

    async def fail(self, client: pg.Client) -> bool:
        """A transaction that fails stays failed, until it ends."""
        await self._begin_and_write(client)
        for sql, sqlstate in (("select 1/0", "22012"), ("select 1", "25P02")):
            try:
                await client.query(sql)
            except pg.PostgresError as error:
                assert error.sqlstate == sqlstate, error  # noqa: PT017
            assert client.status == "E", client.status
        await client.query("rollback")
        return True

    async def keep(self, client: pg.Client) -> bool:
        """A setting, a temporary table, a lock and a prepared statement: ours until we undo them, and nobody else's."""
        secret = f"{self._name}-{self._new_serial()}"
        await client.query(f"set tenant.secret = '{secret}'")
        await self._insert_acknowledged(client, secret)
        await client.query(f"create temp table mine as select {self.number} as number")
        await client.query(f"select pg_advisory_lock({self.number})")
        await client.query(f"prepare mine as select {self.number}")
        sql = f"select (select number from mine), pg_advisory_unlock({self.number}), pg_advisory_unlock({self.number})"
        assert await client.query(sql) == [[str(self.number), "t", "f"]]
        assert await client.query("execute mine") == [[str(self.number)]]
        if self._random.random() < 0.2:
            return self._leave(client)
        undoing = ("discard all",), ("drop table mine", "deallocate mine", "reset tenant.secret")
        for sql in self._random.choice(undoing):
            await client.query(sql)
        return True

    async def listen(self, client: pg.Client) -> bool:
        """What is notified on a channel of our own comes to us."""
        payload = f"{self._name}-{self._new_serial()}"
        await client.query(f"listen channel_{self.number}")
        await client.send(encode.query(f"notify channel_{self.number}, '{payload}'"))
        missing = {codes.NOTIFICATION_RESPONSE, codes.READY_FOR_QUERY}
        while missing:
            kind, body = await client.message()
            missing.discard(kind)
            assert kind != codes.NOTIFICATION_RESPONSE or body.endswith(f"{payload}\0".encode()), body
        await client.query("unlisten *")
        return True

    async def copy(self, client: pg.Client) -> bool:
        serials = [self._new_serial() for _ in range(3)]
        await client.send(encode.query("copy ledger from stdin"))
        kind, _ = await client.message()
        assert kind == ord("G"), kind
        lines = "".join(f"{self.number}\t{serial}\n" for serial in serials)
        await client.send(pg.copy_data(lines.encode()) + encode.COPY_DONE)
        (await client.reply()).rows_or_raise()
        self.acknowledged |= {*serials}
        return True

    # -- misbehaving -----------------------------------------------------------------------------------------------

    async def leave_in_query(self, client: pg.Client) -> bool:
        await client.send(encode.query(f"select pg_sleep(0.5), {_IDENTITY}"))
        await trio.sleep(self._random.choice((0, 0.01)))
        return self._leave(client)

    async def leave_in_transaction(self, client: pg.Client) -> bool:
        """What was not committed must never be seen."""
        await self._begin_and_write(client)
        return self._leave(client)

    async def leave_in_commit(self, client: pg.Client) -> bool:
        self.uncertain |= await self._begin_and_write(client)
        await client.send(encode.query("commit"))
        return self._leave(client)

    async def leave_in_message(self, client: pg.Client) -> bool:
        """Part of an INSERT must not be carried out, be it so large that the server has seen its beginning."""
        filler = "x" * self._random.choice((0, 0, 200_000))
        request = encode.query(f"insert into ledger values ({self.number}, {self._new_serial()}) /* {filler} */")
        if self._random.random() < 0.5:
            await client.query("begin")
        await client.send(request[: self._random.randrange(1, len(request))])
        return self._leave(client)

    async def leave_in_copy(self, client: pg.Client) -> bool:
        await client.send(encode.query("copy ledger from stdin"))
        await client.message()
        await client.send(pg.copy_data(f"{self.number}\t{self._new_serial()}\n".encode()))
        return self._leave(client)

    async def leave_in_result(self, client: pg.Client) -> bool:
        await client.send(encode.query("select repeat('x', 1000) from generate_series(1, 20000)"))
        await client.message()
        return self._leave(client)

    async def freeze_in_transaction(self, client: pg.Client) -> bool:
        await self._begin_and_write(client)
        return await self._freeze(client)

    async def freeze_in_result(self, client: pg.Client) -> bool:
        await client.send(encode.query("select repeat('x', 1000) from generate_series(1, 20000)"))
        return await self._freeze(client)

    # -- accounts --------------------------------------------------------------------------------------------------

    def check_rows(self, found: list[int], *, exact: bool) -> None:
        """Every acknowledged row is there once, and nothing that was not committed."""
        rows = set(found)
        assert len(rows) == len(found), f"{self._name}: rows are there more than once"
        surprising = rows - self.acknowledged - self.uncertain
        assert not surprising, f"{self._name}: rows that were never committed: {sorted(surprising)}"
        missing = self.acknowledged - rows
        assert not (exact and missing), f"{self._name}: committed rows are missing: {sorted(missing)}"

    async def _begin_and_write(self, client: pg.Client) -> set[int]:
        """An open transaction with a few rows, a setting and, at times, an error survived; the rows' numbers."""
        await client.query("begin")
        assert client.status == "T", client.status
        secret = f"{self._name}-{self._new_serial()}"
        await client.query(f"set local tenant.secret = '{secret}'")
        written: set[int] = set()
        transactions: set[str | None] = set()
        for _ in range(self._random.randrange(1, 4)):
            serial = self._new_serial()
            transactions.update(await self._insert(client, serial, secret, "pg_current_xact_id()::text"))
            written.add(serial)
        assert len(transactions) == 1, f"{self._name}: one transaction became several: {transactions}"
        return written

    async def _insert_acknowledged(self, client: pg.Client, secret: str) -> None:
        serial = self._new_serial()
        await self._insert(client, serial, secret)
        self.acknowledged.add(serial)

    async def _insert(self, client: pg.Client, serial: int, secret: str = "", extra: str = "null") -> list[str | None]:
        sql = f"insert into ledger values ({self.number}, {serial}) returning {_IDENTITY}, {extra}"
        return self._check_identity((await client.query(sql))[0], secret)

    def _check_identity(self, row: pg.Row, secret: str = "") -> list[str | None]:
        self.statements += 1
        expected = [self._name, self._zone, self._path, secret, None]
        assert row[:5] == expected, f"{self._name} was taken for somebody else: {row[:5]}"
        return row[5:]

    def _new_serial(self) -> int:
        self._serial += 1
        return self._serial

    def _leave(self, client: pg.Client) -> bool:
        client.leave(reset=self._random.random() < 0.5)
        return False

    async def _freeze(self, client: pg.Client) -> bool:
        await trio.sleep(self._freezes_s)
        return False

"""Statements of all kinds, and settings: what a client that tries everything does with any server connection."""

from __future__ import annotations

import trio

from pgcat_trio.wire import encode

from . import client as pg
from .rogue_knowledge import IDENTITY, VALUES, Knowing, canonical


class Asking(Knowing):
    """Reads, writes, transactions, settings, prepared statements."""

    async def check(self) -> None:
        row = await self._random.choice((self._check_simple, self._check_unnamed, self._check_named))()
        self._check(row)

    async def _check_simple(self) -> pg.Row:
        return (await self._query(f"select {IDENTITY}"))[0]

    async def _check_unnamed(self) -> pg.Row:
        return (await self._ask(pg.extended(f"select {IDENTITY}") + encode.SYNC)).rows_or_raise()[0]

    async def _check_named(self) -> pg.Row:
        request = b"" if "check" in self._named else pg.parse(f"select {IDENTITY}", "check")
        if request:
            self._doubtful = True
        self._named["check"] = ""
        return (await self._ask(request + pg.bind(name="check") + pg.execute() + encode.SYNC)).rows_or_raise()[0]

    # -- rows and transactions -------------------------------------------------------------------------------------

    async def write(self) -> None:
        serial = self._world.serial()
        self.uncertain.add(serial)
        sql = f"insert into ledger values ({self.number}, {serial}) returning {IDENTITY}"
        rows = await self._query_somehow(sql)
        self._check(rows[0])
        self.acknowledged.add(serial)

    async def transaction(self) -> None:
        serials = [self._world.serial() for _ in range(2)]
        self.uncertain.update(serials)
        tag = self._draw_value("rogue.tag")
        await self._query(f"begin; set local rogue.tag = '{tag}'")
        for serial in serials:
            row = (await self._query(f"insert into ledger values ({self.number}, {serial}) returning {IDENTITY}"))[0]
            self._check(row, settings={"rogue.tag": canonical(tag)})
        end = self._random.choice(("commit", "rollback", "select 1/0"))
        try:
            await self._query(end)
        except pg.PostgresError as error:
            if error.sqlstate != "22012":
                raise
            assert self._client.status == "E"
            await self._query("rollback")
        if end == "commit":
            self.acknowledged.update(serials)
        else:
            self.uncertain.difference_update(serials)
        assert self._client.status == "I"

    # -- settings --------------------------------------------------------------------------------------------------

    async def set(self) -> None:
        self._doubtful = True
        name = self._random.choice(sorted(VALUES))
        value = self._draw_value(name)
        if name == "search_path" or self._random.random() < 0.3:
            sql = f"select set_config('{name}', '{value}', false)"
        else:
            sql = f"set {name} = '{value}'" if name != "DateStyle" else f"set DateStyle to {value}"
        await self._query_somehow(sql)
        self._session[name] = canonical(value)

    async def set_and_roll_back(self) -> None:
        name = self._random.choice(sorted(VALUES))
        await self._query("begin")
        await self._query(f"select set_config('{name}', '{self._draw_value(name)}', false)")
        self._check((await self._query(f"rollback; select {IDENTITY}"))[0])

    async def reset(self) -> None:
        self._doubtful = True
        name = self._random.choice(sorted(VALUES))
        everything = self._random.random() < 0.3
        sql = "reset all" if everything else f"reset {name}"
        await self._query(sql)
        if everything:
            self._session.clear()
        else:
            self._session.pop(name, None)

    # -- prepared statements ---------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        self._doubtful = True
        name = f"s{self._random.randrange(5)}"
        if name in self._named:
            return
        answer = f"{self._random.choice((0, self.number))}-{self._random.randrange(30)}"
        request = pg.parse(f"select '{answer}' || $1", name) + encode.SYNC
        (await self._ask(request)).rows_or_raise()
        self._named[name] = answer

    async def execute(self) -> None:
        names = [name for name in self._named if name != "check"]
        if not names:
            return
        chosen = self._random.choices(names, k=self._random.randrange(1, 4))
        syncs = self._random.random() < 0.5
        end = pg.execute() + (encode.SYNC if syncs else b"")
        request = b"".join(pg.bind(f"x{n}", name=name) + end for n, name in enumerate(chosen))
        await self._client.send(request if syncs else request + encode.SYNC)
        rows = [row for _ in range(len(chosen) if syncs else 1) for row in (await self._reply()).rows_or_raise()]
        wanted = [[f"{self._named[name]}x{n}"] for n, name in enumerate(chosen)]
        assert rows == wanted, f"{self._name}: {rows}, wanted {wanted}"

    async def fail_in_pipeline(self) -> None:
        """What is prepared before the error is there, what comes after it is not; unknown names are unknown."""
        self._doubtful = True
        if {"f0", "f1"} & {*self._named}:
            return
        request = pg.parse("select 'f0' || $1", "f0") + pg.extended("select 1/0") + pg.parse("select $1", "f1")
        reply = await self._ask(request + encode.SYNC)
        assert [error.sqlstate for error in reply.errors] in (["22012"], ["57P01"]), reply.errors
        if reply.errors[0].sqlstate != "22012":
            raise reply.errors[0]
        reply = await self._ask(pg.bind("x", name="f1") + pg.execute() + encode.SYNC)
        if [error.sqlstate for error in reply.errors] != ["26000"]:
            reply.rows_or_raise()
            raise AssertionError(reply)
        request = pg.bind("x", name="f0") + pg.execute() + pg.extended("select 5") + _close("f0")
        assert (await self._ask(request + encode.SYNC)).rows_or_raise() == [["f0x"], ["5"]]

    async def close(self) -> None:
        self._doubtful = True
        if self._named:
            name = self._random.choice(sorted(self._named))
            if self._random.random() < 0.5:
                (await self._ask(_close(name) + encode.SYNC)).rows_or_raise()
            else:
                await self._query(f'deallocate "{name}"')
            del self._named[name]

    async def unnamed(self) -> None:
        """The unnamed statement, one request after the other."""
        answer = f"u{self.number}-{self._random.randrange(100)}"
        (await self._ask(pg.parse(f"select '{answer}' || $1") + encode.SYNC)).rows_or_raise()
        for value in "ab"[: self._random.randrange(3)]:
            if self._random.random() < 0.3:
                await trio.sleep(0.001)
            reply = await self._ask(pg.bind(value) + pg.execute() + encode.SYNC)
            assert reply.rows_or_raise() == [[answer + value]], reply.rows

    async def prepare_by_sql(self) -> None:
        self._doubtful = True
        if "mine" in self._sql_named:
            assert await self._query("execute mine(1)") == [[f"mine-{self.number}-1"]]
            await self._query("deallocate mine")
            self._sql_named.clear()
        else:
            self._sql_named.add("mine")
            await self._query(f"prepare mine(int) as select 'mine-{self.number}-' || $1")

    async def _query_somehow(self, sql: str) -> list[pg.Row]:
        if self._random.random() < 0.5:
            return await self._query(sql)
        return (await self._ask(pg.extended(sql) + encode.SYNC)).rows_or_raise()


def _close(name: str) -> bytes:
    return encode.message(b"C", b"S" + encode.cstring(name))

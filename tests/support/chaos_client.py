"""A client of the chaos suite: reads and writes at random, and knows of each row whether it must be there.

A row is *acknowledged* when its commit was confirmed, *lost* when it cannot be there (its transaction failed before the
COMMIT was sent, or the server or the proxy said that nothing was done), and *in doubt* when the answer to the commit
was an error or none. What happened is noted with its time, for the tests to judge.
"""

from __future__ import annotations

import random
from typing import Final

import attrs
import trio

from pgcat_trio.wire import encode

from . import client as pg
from .proxy import APP_PASSWORD, APP_USER

SCHEMA: Final = """
drop table if exists chaos_row;
create table chaos_row (client integer not null, serial integer not null);
create index on chaos_row (client);
"""

NOTHING_DONE: Final = frozenset(("08001", "25006", "53300", "57P03", "25P02"))
"""Errors that say that a statement was not executed. 25006: a standby was asked to write."""

DISCONNECTED: Final = "gone"
HANGS: Final = "hangs"
PATIENCE_S: Final = 60.0

_READ_SHARE: Final = 0.8
_PAUSE_S: Final = 0.1


@attrs.frozen
class Door:
    """Where clients connect to."""

    host: str
    port: int
    database: str


@attrs.frozen
class Event:
    """Something that a client did: from when, until when, by Trio's clock, and with what outcome."""

    client: int
    kind: str
    """``read``, ``write``, ``transaction`` or ``login``."""
    began: float
    ended: float
    error: str = ""
    """The SQLSTATE of what went wrong, `DISCONNECTED` or `HANGS`."""
    message: str = ""
    port: int = 0
    """Of the server that answered."""


class ChaosClient:
    """Client ``number``. ``live`` does things until it is told to stop; ``events`` is what all clients share.

    With the chance ``leaves`` it connects anew after what it has done.
    """

    def __init__(
        self, number: int, door: Door, events: list[Event], *, pause_s: float = _PAUSE_S, leaves: float = 0.0
    ) -> None:
        self.number = number
        self.acknowledged: set[int] = set()
        self.doubtful: set[int] = set()
        self.lost: set[int] = set()
        self._door = door
        self._events = events
        self._pause_s = pause_s
        self._leaves = leaves
        self._random = random.Random(number)
        self._serial = 0
        self._port = 0

    async def live(self, stop: trio.Event) -> None:
        """Connect, work, connect again when the connection is lost, until ``stop``."""
        await trio.sleep(self._random.random() * self._pause_s)
        while not stop.is_set():
            client = await self._connect()
            if client is not None:
                async with client:
                    while not stop.is_set() and await self._attempt(client):
                        await self._pause()
                        if self._random.random() < self._leaves:
                            break
                    await client.close()
            await self._pause()

    async def _pause(self) -> None:
        await trio.sleep(self._random.random() * 2 * self._pause_s)

    async def _connect(self) -> pg.Client | None:
        began = trio.current_time()
        try:
            with trio.fail_after(PATIENCE_S):
                door = self._door
                client = await pg.Client.connect(door.host, door.port, APP_USER, APP_PASSWORD, door.database)
        except (pg.PostgresError, pg.Disconnected, OSError, trio.TooSlowError) as problem:
            self._note("login", began, problem)
            return None
        self._note("login", began)
        return client

    async def _attempt(self, client: pg.Client) -> bool:
        """Do something; False if the connection is lost."""
        draw = self._random.random()
        kind, action = ("read", self._read)
        if draw > _READ_SHARE:
            kind, action = ("write", self._write) if draw > (1 + _READ_SHARE) / 2 else ("transaction", self._transact)
        began = trio.current_time()
        self._port = 0
        try:
            with trio.fail_after(PATIENCE_S):
                await action(client)
        except (pg.PostgresError, pg.Disconnected, trio.TooSlowError) as problem:
            self._note(kind, began, problem)
            ends = not isinstance(problem, pg.PostgresError) or problem.fields.get("V") != "ERROR"
            return not ends and await self._roll_back(client)
        self._note(kind, began)
        return True

    async def _roll_back(self, client: pg.Client) -> bool:
        """After an error the session goes on: in no transaction, unless the error was the server's."""
        try:
            with trio.fail_after(PATIENCE_S):
                if client.status != "I":
                    await client.query("rollback")
        except (pg.PostgresError, pg.Disconnected, trio.TooSlowError):
            return False
        return True

    def _note(self, kind: str, began: float, problem: Exception | None = None) -> None:
        error = ""
        if isinstance(problem, pg.PostgresError):
            error = problem.sqlstate
        elif problem is not None:
            error = HANGS if isinstance(problem, trio.TooSlowError) else DISCONNECTED
        event = Event(self.number, kind, began, trio.current_time(), error, str(problem or ""), self._port)
        self._events.append(event)

    # -- what it does ----------------------------------------------------------------------------------------------

    async def _read(self, client: pg.Client) -> None:
        sql = f"select inet_server_port(), count(*) from chaos_row where client = {self.number}"
        how = self._random.choice((client.query, client.execute))
        [[port, _]] = await how(sql)
        self._port = int(port or 0)

    async def _write(self, client: pg.Client) -> None:
        serial = self._new_serial()
        sql = f"insert into chaos_row values ({self.number}, {serial}) returning inet_server_port()"
        how = self._random.choice((client.query, client.execute))
        self.doubtful.add(serial)
        try:
            [[port]] = await how(sql)
        except pg.PostgresError as error:
            if error.sqlstate in NOTHING_DONE:
                self._settle(serial, self.lost)
            raise
        self._port = int(port or 0)
        self._settle(serial, self.acknowledged)

    async def _transact(self, client: pg.Client) -> None:
        serials = [self._new_serial() for _ in range(2)]
        self.lost.update(serials)  # until the commit is sent
        await client.query("begin")
        for serial in serials:
            await client.query(f"insert into chaos_row values ({self.number}, {serial})")
        self.lost.difference_update(serials)
        self.doubtful.update(serials)
        reply = await client.ask(encode.query("commit"))
        reply.rows_or_raise()
        assert reply.tags == ["COMMIT"], reply.tags
        for serial in serials:
            self._settle(serial, self.acknowledged)

    def _settle(self, serial: int, into: set[int]) -> None:
        self.doubtful.discard(serial)
        into.add(serial)

    def _new_serial(self) -> int:
        self._serial += 1
        return self._serial

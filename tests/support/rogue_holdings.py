"""What a client that tries everything leaves on its server connection: locks, tables, cursors, channels."""

from __future__ import annotations

from pgcat_trio.wire import codes

from . import client as pg
from .rogue_knowledge import CHANNELS, LOCKS, Knowing


class Holding(Knowing):
    """Locks, temporary tables, cursors; LISTEN and NOTIFY."""

    # -- what is kept on a server connection -----------------------------------------------------------------------

    async def lock(self) -> None:
        self._doubtful = True
        key = self._random.randrange(LOCKS)
        if key in self._locks:
            return
        [[got]] = await self._query(f"select pg_try_advisory_lock({key})")
        if got == "t":
            holder = self._world.holders.get(key)
            assert holder is None or self._world.killing, f"{self._name}: {holder} holds {key}, too"
            self._world.holders[key] = self.number
            self._locks.add(key)

    async def unlock(self) -> None:
        self._doubtful = True
        if self._locks:
            key = self._locks.pop()
            self._world.holders.pop(key, None)
            assert await self._query(f"select pg_advisory_unlock({key})") == [["t"]]

    async def temporary(self) -> None:
        self._doubtful = True
        if self._temporary is None:
            self._temporary = self._random.randrange(1000)
            await self._query(f"create temp table mine as select {self._temporary} as n")
        assert await self._query("select n from pg_temp.mine") == [[str(self._temporary)]]

    async def drop(self) -> None:
        self._doubtful = True
        if self._temporary is not None:
            await self._query("drop table pg_temp.mine")
            self._temporary = None

    async def hold(self) -> None:
        self._doubtful = True
        if self._held:
            await self._query("close held")
        else:
            await self._query("declare held cursor with hold for select 7")
        self._held = not self._held

    async def undo(self) -> None:
        """Let go of all that keeps a server connection."""
        self._doubtful = True
        for key in tuple(self._locks):
            self._world.holders.pop(key, None)
        self._locks.clear()
        await self._query("select pg_advisory_unlock_all()")
        await self._query("drop table if exists pg_temp.mine")
        self._temporary = None
        if self._held:
            await self.hold()
        if self._sql_named:
            await self._query("deallocate mine")
            self._sql_named.clear()

    async def discard(self) -> None:
        self._doubtful = True
        self._give_up_locks()
        self._collect()
        await self._query("discard all")
        self._session.clear()
        self._named.clear()
        self._sql_named.clear()
        self._temporary, self._held = None, False
        self._channels.clear()

    # -- notifications ---------------------------------------------------------------------------------------------

    async def listen(self) -> None:
        self._doubtful = True
        number = self._random.randrange(CHANNELS)
        await self._query(f"listen rogue_{number}")
        self._channels.setdefault(number, self._world.serial())

    async def notify(self) -> None:
        number = self._random.randrange(CHANNELS)
        payload = str(self._world.serial())
        await self._query(f"notify rogue_{number}, '{payload}'")
        self._world.notified[number].append(payload)

    async def unlisten(self) -> None:
        """All that was notified in the meantime has come, once; our own word comes last."""
        self._doubtful = True
        if self._channels:
            number = self._random.choice(sorted(self._channels))
            wanted = [p for p in self._world.notified[number] if int(p) > self._channels[number]]
            last = str(self._world.serial())
            await self._query(f"notify rogue_{number}, '{last}'")
            while (number, last) not in self._heard:
                kind, body = await self._client.message()
                if kind == codes.ERROR_RESPONSE:
                    raise pg.PostgresError(body)
                self._hear([(kind, body)])
            payloads = [payload for channel, payload in self._heard if channel == number]
            assert len({*payloads}) == len(payloads), f"{self._name}: told more than once: {payloads}"
            missing = {*wanted} - {*payloads}
            assert not missing, f"{self._name}: not told of {missing} on {number}"
            self._world.notified[number].append(last)
            await self._query(f"unlisten rogue_{number}")
            self._channels.pop(number)
            self._collect()

"""A client that uses all that makes a session more than its transactions, and knows what it must find of it.

Settings, prepared statements by the protocol and by SQL, advisory locks, temporary tables, LISTEN, COPY, cancel
requests; it may leave in the middle of any of them. What it finds is compared with what it has done: an answer that
differs is an AssertionError, an error that nothing explains a `PostgresError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import outcome
import trio

from pgcat_trio.wire import codes, encode, messages

from . import client as pg
from .rogue_holdings import Holding
from .rogue_knowledge import VALUES, Left
from .rogue_statements import Asking

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

PATIENCE_S: Final = 30.0
"""Nothing takes as long as this; what does hangs."""


class Rogue(Asking, Holding):
    """See the top of the file. `live` is all that a test calls."""

    async def live(self, seconds: float) -> None:
        """Lead one life after the other until the time is over."""
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            await self._one_life(end)

    async def _one_life(self, end: float) -> None:
        self._begin()
        drawn = self._random.sample(sorted(VALUES.keys() - {"rogue.tag"}), 2)
        self._startup = {name: self._draw_value(name) for name in drawn}
        try:
            with trio.fail_after(PATIENCE_S):
                self._client = await pg.connect(self._world.proxy, **self._startup)
        except (pg.PostgresError, pg.Disconnected) as problem:
            self._must_be_loss(problem)
            return
        async with self._client:
            try:
                await self._spend(end)
            except Left:
                pass
            finally:
                self._give_up_locks()

    async def _spend(self, end: float) -> None:
        action: Callable[[], Awaitable[None]] = self.look_around
        while trio.current_time() < end:
            try:
                with trio.fail_after(PATIENCE_S):
                    await action()
            except trio.TooSlowError:
                raise AssertionError(f"{self._name}: {action.__name__} hangs") from None
            except (pg.PostgresError, pg.Disconnected) as problem:
                self._must_be_loss(problem)
                if self._doubtful or isinstance(problem, pg.Disconnected) or problem.fields.get("V") != "ERROR":
                    return
                assert self._client.status == "I", self._client.status
                pinned = (self._locks, self._held, self._sql_named, self._temporary)
                assert not any(pinned), f"{self._name}: goes on without its server connection: {pinned}"
            action = self._random.choice(self._actions())
            self._doubtful = False
        with trio.fail_after(PATIENCE_S):
            await self._client.close()

    def _actions(self) -> Sequence[Callable[[], Awaitable[None]]]:
        well = [self.check, self.check, self.write, self.transaction, self.set, self.set_and_roll_back, self.reset]
        well += [self.prepare, self.execute, self.execute, self.fail_in_pipeline, self.close, self.unnamed]
        well += [self.lock, self.unlock, self.temporary, self.drop, self.prepare_by_sql, self.hold, self.undo]
        well += [self.listen, self.notify, self.notify, self.unlisten]
        well += [self.copy_in, self.copy_fails, self.cancel, self.idle]
        return well * 3 + [self.leave, self.discard]

    async def leave(self) -> None:
        """Somewhere in a request that does a bit of everything."""
        serial = self._world.serial()
        self.uncertain.add(serial)
        requests = [
            encode.query("begin; select pg_advisory_xact_lock(99, 1)"),
            encode.query(f"set rogue.tag = 'left'; listen left; select pg_advisory_lock(98, {self.number})"),
            pg.parse("select 1", "left") + encode.SYNC + pg.bind(name="left") + pg.execute() + encode.SYNC,
            pg.parse("create temp table mine as select 1", "t") + pg.bind(name="t") + pg.execute() + encode.SYNC,
            encode.query(f"insert into ledger values ({self.number}, {serial})"),
            encode.query("copy ledger from stdin") + pg.copy_data(b"1\t") + encode.COPY_DONE,
            encode.query("select pg_sleep(0.05), repeat('x', 1000) from generate_series(1, 3)"),
            pg.extended("select repeat('x', 1000) from generate_series(1, 5000)") + encode.FLUSH,
            encode.query("copy (select repeat('x', 1000) from generate_series(1, 5000)) to stdout"),
            encode.query("prepare mine as select 1; declare mine cursor with hold for select 1"),
        ]
        request = b"".join(self._random.sample(requests, self._random.randrange(1, 5)))
        sent = request[: self._random.randrange(1, len(request) + 1)] if self._random.random() < 0.7 else request
        await self._client.send(sent + (encode.TERMINATE if sent == request and self._random.random() < 0.5 else b""))
        if self._random.random() < 0.5:
            await trio.sleep(self._random.random() * 0.02)
        self._leave()

    async def idle(self) -> None:
        await trio.sleep(self._random.random() * 0.02)

    # -- COPY and cancel -------------------------------------------------------------------------------------------

    async def copy_in(self) -> None:
        serials = [self._world.serial() for _ in range(3)]
        self.uncertain.update(serials)
        await self._client.send(encode.query("copy ledger from stdin"))
        await self._copy_begun()
        lines = [f"{self.number}\t{serial}\n".encode() for serial in serials]
        for line in lines:
            await self._client.send(pg.copy_data(line))
        await self._client.send(encode.COPY_DONE)
        (await self._reply()).rows_or_raise()
        self.acknowledged.update(serials)

    async def copy_fails(self) -> None:
        await self._client.send(encode.query("copy ledger from stdin"))
        await self._copy_begun()
        line = f"{self.number}\t{self._world.serial()}\nrubbish\n".encode()
        await self._client.send(pg.copy_data(line) + encode.COPY_DONE)
        [error] = (await self._reply()).errors
        if error.sqlstate != "22P02":
            raise error

    async def _copy_begun(self) -> None:
        while True:
            kind, body = await self._client.message()
            self._hear([(kind, body)])
            if kind == codes.ERROR_RESPONSE:
                if messages.error_fields(body).get("V") == "ERROR":
                    await self._reply()
                raise pg.PostgresError(body)
            if kind == ord("G"):
                return

    async def cancel(self) -> None:
        """A cancel request ends what it was meant for, or nothing."""
        await self._client.send(encode.query(f"select pg_sleep({self._random.choice((0, 0.01, 20))})"))
        await trio.sleep(self._random.random() * 0.01)
        end = await self._answer_to_cancel()
        assert end is not None, f"{self._name}: cannot be cancelled"
        errors = end.unwrap().errors
        if errors and errors[0].sqlstate != "57014":
            raise errors[0]

    async def _answer_to_cancel(self) -> outcome.Outcome[pg.Reply] | None:
        """Cancel until that has an effect. No request is under way any more in the end: it would hit what is next."""
        end: outcome.Outcome[pg.Reply] | None = None
        answered = trio.Event()
        with trio.move_on_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_until, answered)
                end = await outcome.acapture(self._reply)
                answered.set()
        return end

    async def _cancel_until(self, answered: trio.Event) -> None:
        while not answered.is_set():
            await self._client.cancel()
            with trio.move_on_after(0.05):
                await answered.wait()

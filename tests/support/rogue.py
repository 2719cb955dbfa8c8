"""A client that uses all that makes a session more than its transactions, and knows what it must find of it.

Settings, prepared statements by the protocol and by SQL, advisory locks, temporary tables, LISTEN, COPY, cancel requests;
it may leave in the middle of any of them. What it finds is compared with what it has done: an answer that differs is an
AssertionError, an error that nothing explains a `PostgresError`.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Final

import attrs
import outcome
import trio

from pgcat_trio.wire import codes, encode, messages

from . import client as pg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .proxy import RunningProxy

PATIENCE_S: Final = 30.0
ONCE: Final = bool(os.environ.get("ONCE"))
LOCKS: Final = 8
CHANNELS: Final = 6
LOST: Final = frozenset(("57P01", "57P02", "08006", "08001"))
"""What a client may hear where servers are killed."""

_VALUES: Final = {
    "TimeZone": ("UTC", "Asia/Tokyo", "Europe/Paris"),
    "statement_timeout": ("25s", "41s", "26001ms"),
    "work_mem": ("5MB", "65kB", "1234kB"),
    "search_path": ("a, public", "public", '"$user", public, "B c"'),
    "rogue.tag": ("one", "it''s", "zwei drei"),
    "application_name": ("first", "second", "third"),
    "DateStyle": ("ISO, DMY", "German, DMY", "SQL, MDY"),
}
_IDENTITY: Final = ", ".join(
    [
        "(select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())",
        "to_regclass('pg_temp.mine')::text",
        "(select count(*) from pg_prepared_statements where from_sql)",
        "(select count(*) from pg_cursors where is_holdable)",
        *(f"coalesce(current_setting('{name}', true), '')" for name in _VALUES),
    ]
)


class Left(Exception):
    """The client has left without a word."""


@attrs.define
class World:
    """What all of them share: who holds which lock, and what has been notified on each channel."""

    proxy: RunningProxy
    killing: bool = False
    """Server connections may break at any time."""
    reloading: bool = False
    """The pool may be replaced at any time: who listens is disconnected then."""
    holders: dict[int, int] = attrs.field(factory=dict)
    notified: dict[int, list[str]] = attrs.field(factory=lambda: {n: [] for n in range(CHANNELS)})
    serials: int = 0

    def serial(self) -> int:
        self.serials += 1
        return self.serials


class Rogue:
    """One client after the other, all called ``number``. ``acknowledged`` are rows of ``ledger`` known to be there."""

    def __init__(self, number: int, world: World) -> None:
        self.number = number
        self.acknowledged: set[int] = set()
        self.uncertain: set[int] = set()
        self.checks = self.losses = self.lives = 0
        self._world = world
        self._random = random.Random(number)

    async def live(self, seconds: float) -> None:
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            await self._one_life(end)

    async def _one_life(self, end: float) -> None:
        self.lives += 1
        draw = self._random.sample(sorted(_VALUES), 3)
        self._startup = {name: self._draw_value(name) for name in draw if name != "rogue.tag"}
        try:
            with trio.fail_after(PATIENCE_S):
                self._client = await pg.connect(self._world.proxy, **self._startup)
        except (pg.PostgresError, pg.Disconnected) as problem:
            self._must_be_loss(problem)
            return
        self._session: dict[str, str] = {}
        self._named: dict[str, str] = {}
        self._sql_named: set[str] = set()
        self._unnamed: str | None = None
        self._locks: set[int] = set()
        self._temporary: int | None = None
        self._held = False
        self._channels: dict[int, int] = {}
        self._heard: list[tuple[int, str]] = []
        async with self._client:
            try:
                await self._spend(end)
            except Left:
                pass
            finally:
                self._give_up_locks()

    async def _spend(self, end: float) -> None:
        if not self._world.killing:
            self._defaults = {}
        self._defaults = await self._learn_defaults()
        while trio.current_time() < end:
            action = self._random.choice(self._actions())
            self._doubtful = False
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
                assert not (self._locks or self._held or self._sql_named), "the loss of a pinned connection goes on"
                self._unnamed = None
        with trio.fail_after(PATIENCE_S):
            await self._client.close()

    def _actions(self) -> Sequence[Callable[[], Awaitable[None]]]:
        well = [self.check, self.check, self.write, self.transaction, self.set, self.set_and_roll_back, self.reset]
        well += [self.prepare, self.execute, self.execute, self.fail_in_pipeline, self.close, self.unnamed]
        well += [
            self.lock,
            self.unlock,
            self.temporary,
            self.drop,
            self.listen,
            self.notify,
            self.notify,
            self.unlisten,
        ]
        well += [self.copy_in, self.copy_fails, self.cancel, self.prepare_by_sql, self.hold, self.undo, self.idle]
        return well * 3 + [self.leave, self.discard]

    @property
    def _name(self) -> str:
        return f"rogue {self.number}, life {self.lives}"

    # -- what may go wrong -----------------------------------------------------------------------------------------

    def _must_be_loss(self, problem: pg.PostgresError | pg.Disconnected) -> None:
        self.losses += 1
        if self._world.reloading and "nobody listens" in str(problem):
            return
        if not self._world.killing or (isinstance(problem, pg.PostgresError) and problem.sqlstate not in LOST):
            raise problem

    def _leave(self) -> None:
        self._give_up_locks()
        self._client.leave(reset=self._random.random() < 0.5)
        raise Left

    def _give_up_locks(self) -> None:
        for key in self._locks:
            self._world.holders.pop(key, None)
        self._locks.clear()

    async def leave(self) -> None:
        """Somewhere in a request that does a bit of everything."""
        serial = self._world.serial()
        self.uncertain.add(serial)
        requests = [
            encode.query("begin; select pg_advisory_xact_lock(99, 1)"),
            encode.query(
                f"set rogue.tag = 'left'; listen left_{self.number}; select pg_advisory_lock(98, {self.number})"
            ),
            pg.parse("select 1", "left") + encode.SYNC + pg.bind(name="left") + pg.execute() + encode.SYNC,
            pg.parse("create temp table mine as select 1", "t") + pg.bind(name="t") + pg.execute() + encode.SYNC,
            encode.query(f"insert into ledger values ({self.number}, {serial})"),
            encode.query("copy ledger from stdin") + pg.copy_data(b"1\t") + encode.COPY_DONE,
            encode.query("select pg_sleep(0.05), repeat('x', 1000) from generate_series(1, 3)"),
            pg.parse("select repeat('x', 1000) from generate_series(1, 5000)")
            + pg.bind()
            + pg.execute()
            + b"H\0\0\0\4",
            encode.query("copy (select repeat('x', 1000) from generate_series(1, 5000)) to stdout"),
            encode.query("prepare mine as select 1; declare mine cursor with hold for select 1"),
        ]
        request = b"".join(self._random.sample(requests, self._random.randrange(1, 5)))
        sent = request[: self._random.randrange(1, len(request) + 1)] if self._random.random() < 0.7 else request
        await self._client.send(sent + (encode.TERMINATE if sent == request and self._random.random() < 0.5 else b""))
        if self._random.random() < 0.5:
            await trio.sleep(self._random.random() * 0.02)
        self._leave()

    # -- what must be found ----------------------------------------------------------------------------------------

    async def _learn_defaults(self) -> dict[str, str]:
        """What this client has at first, which must be what it has asked for, and else what everybody has."""
        row = (await self._query(f"select {_IDENTITY}"))[0]
        found = dict(zip(_VALUES, map(str, row[4:]), strict=True))
        for name, value in self._startup.items():
            assert found[name] == _canonical(value), f"{self._name}: {name} is {found[name]}, wanted {value}"
        server = {"TimeZone": "UTC", "statement_timeout": "0", "work_mem": "4MB", "search_path": '"$user", public'}
        server |= {"rogue.tag": "", "application_name": "", "DateStyle": "ISO, MDY"}
        wanted = server | {name: _canonical(value) for name, value in self._startup.items()}
        assert found == wanted, f"{self._name}: begins with {found}, not {wanted}"
        assert row[:4] == ["0", None, "0", "0"], row[:4]
        return found

    async def check(self) -> None:
        row = await self._random.choice((self._check_simple, self._check_unnamed, self._check_named))()
        self._check(row)

    async def _check_simple(self) -> pg.Row:
        return (await self._query(f"select {_IDENTITY}"))[0]

    async def _check_unnamed(self) -> pg.Row:
        self._unnamed = None
        return (await self._ask(pg.extended(f"select {_IDENTITY}") + encode.SYNC)).rows_or_raise()[0]

    async def _check_named(self) -> pg.Row:
        request = b"" if "check" in self._named else pg.parse(f"select {_IDENTITY}", "check")
        if request:
            self._doubtful = True
        self._named["check"] = ""
        return (await self._ask(request + pg.bind(name="check") + pg.execute() + encode.SYNC)).rows_or_raise()[0]

    def _check(self, row: pg.Row, *, settings: dict[str, str] | None = None) -> None:
        self.checks += 1
        found = dict(zip(_VALUES, row[4:], strict=True))
        wanted = self._defaults | self._session | (settings or {})
        assert found == wanted, f"{self._name}: has {found}, wanted {wanted}"
        temporary = None if self._temporary is None else "mine"
        names = [str(len(self._locks)), temporary, str(len(self._sql_named)), str(int(self._held))]
        assert [row[0], row[1] and "mine", row[2], row[3]] == names, f"{self._name}: finds {row[:4]}, wanted {names}"

    async def idle(self) -> None:
        await trio.sleep(self._random.random() * 0.02)

    # -- rows and transactions -------------------------------------------------------------------------------------

    async def write(self) -> None:
        serial = self._world.serial()
        self.uncertain.add(serial)
        sql = f"insert into ledger values ({self.number}, {serial}) returning {_IDENTITY}"
        if self._random.random() < 0.5:
            rows = await self._query(sql)
        else:
            self._unnamed = None
            rows = (await self._ask(pg.extended(sql) + encode.SYNC)).rows_or_raise()
        self._check(rows[0])
        self.acknowledged.add(serial)

    async def transaction(self) -> None:
        serials = [self._world.serial() for _ in range(2)]
        self.uncertain.update(serials)
        tag = self._draw_value("rogue.tag")
        await self._query(f"begin; set local rogue.tag = '{tag}'")
        for serial in serials:
            row = (await self._query(f"insert into ledger values ({self.number}, {serial}) returning {_IDENTITY}"))[0]
            self._check(row, settings={"rogue.tag": _canonical(tag)})
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

    def _draw_value(self, name: str) -> str:
        return self._random.choice(_VALUES[name])

    async def set(self) -> None:
        self._doubtful = True
        name = self._random.choice(sorted(_VALUES))
        value = self._draw_value(name)
        if name == "search_path" or self._random.random() < 0.3:
            quoted = value if name != "rogue.tag" else value
            sql = f"select set_config('{name}', '{quoted}', false)"
        else:
            sql = f"set {name} = '{value}'" if name != "DateStyle" else f"set DateStyle to {value}"
        if self._random.random() < 0.5:
            await self._query(sql)
        else:
            self._unnamed = None
            (await self._ask(pg.extended(sql) + encode.SYNC)).rows_or_raise()
        self._session[name] = _canonical(value)

    async def set_and_roll_back(self) -> None:
        name = self._random.choice(sorted(_VALUES))
        await self._query("begin")
        await self._query(f"select set_config('{name}', '{self._draw_value(name)}', false)")
        self._check((await self._query(f"rollback; select {_IDENTITY}"))[0])

    async def reset(self) -> None:
        self._doubtful = True
        name = self._random.choice(sorted(_VALUES))
        everything = self._random.random() < 0.3
        sql = "reset all" if everything else f"reset {name}"
        await self._query(sql)
        if everything:
            self._session.clear()
        else:
            self._session.pop(name, None)

    async def discard(self) -> None:
        self._doubtful = True
        self._give_up_locks()
        self._collect()
        await self._query("discard all")
        self._session.clear()
        self._named.clear()
        self._sql_named.clear()
        self._unnamed, self._temporary, self._held = None, None, False
        self._channels.clear()

    # -- prepared statements ---------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        self._doubtful = True
        name = f"s{self._random.randrange(5)}"
        if name in self._named:
            return
        answer = f"{self._random.choice((0, self.number))}-{self._random.randrange(30)}"
        request = pg.parse(f"select '{answer}' || $1", name) + pg.describe_portal()[:0] + encode.SYNC
        (await self._ask(request)).rows_or_raise()
        self._named[name] = answer

    async def execute(self) -> None:
        names = [name for name in self._named if name != "check"]
        if not names:
            return
        chosen = self._random.choices(names, k=self._random.randrange(1, 4))
        syncs = self._random.random() < 0.5
        request = b"".join(
            pg.bind(f"x{n}", name=name) + pg.execute() + (encode.SYNC if syncs else b"")
            for n, name in enumerate(chosen)
        )
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
        self._unnamed = None
        reply = await self._ask(pg.bind("x", name="f1") + pg.execute() + encode.SYNC)
        if [error.sqlstate for error in reply.errors] != ["26000"]:
            reply.rows_or_raise()
            raise AssertionError(reply)
        request = (
            pg.bind("x", name="f0") + pg.execute() + pg.extended("select 5") + b"C" + b"\0\0\0\x08Sf0\0" + encode.SYNC
        )
        assert (await self._ask(request)).rows_or_raise() == [["f0x"], ["5"]]

    async def close(self) -> None:
        self._doubtful = True
        if self._named:
            name = self._random.choice(sorted(self._named))
            if self._random.random() < 0.5:
                (await self._ask(encode.message(b"C", b"S" + encode.cstring(name)) + encode.SYNC)).rows_or_raise()
            else:
                await self._query(f'deallocate "{name}"')
            del self._named[name]
            self._unnamed = None

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

    # -- what is kept on a server connection -----------------------------------------------------------------------

    async def lock(self) -> None:
        self._doubtful = True
        key = self._random.randrange(LOCKS)
        if key in self._locks:
            return
        [[got]] = await self._query(f"select pg_try_advisory_lock({key})")
        if got == "t":
            holder = self._world.holders.get(key)
            assert holder is None or self._world.killing or self._world.reloading, (
                f"{self._name}: lock {key} is held by {holder}, too"
            )
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
            assert ONCE <= (len({*payloads}) == len(payloads)), f"{self._name}: told more than once: {payloads}"
            missing = {*wanted} - {*payloads}
            assert not missing, f"{self._name}: not told of {missing} on {number}"
            self._world.notified[number].append(last)
            await self._query(f"unlisten rogue_{number}")
            self._channels.pop(number)
            self._collect()

    def _collect(self) -> None:
        self._heard = [(number, payload) for number, payload in self._heard if number in self._channels]

    def _hear(self, heard: Sequence[pg.Message]) -> None:
        for kind, body in heard:
            if kind == codes.NOTIFICATION_RESPONSE:
                try:
                    channel, payload = messages.notification(body)
                except Exception:
                    raise AssertionError(f"{self._name}: {body!r} {bytes(self._client._buffer)[:200]!r}")
                number = int(channel.decode().removeprefix("rogue_"))
                self._heard.append((number, payload.decode()))

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
        self._unnamed = None
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

    # -- talking ---------------------------------------------------------------------------------------------------

    async def _query(self, sql: str) -> list[pg.Row]:
        return (await self._ask(encode.query(sql))).rows_or_raise()

    async def _ask(self, request: bytes) -> pg.Reply:
        await self._client.send(request)
        return await self._reply()

    async def _reply(self) -> pg.Reply:
        reply = await self._client.reply()
        self._hear(reply.messages)
        return reply


def _canonical(value: str) -> str:
    return {"26001ms": "26001ms"}.get(value, value.replace("''", "'"))

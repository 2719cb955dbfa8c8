"""What a client that tries everything knows of itself and the others, and what it must find of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import attrs

from pgcat_trio.wire import codes, encode, messages

from . import client as pg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .proxy import RunningProxy

LOCKS: Final = 8
CHANNELS: Final = 6
LOST: Final = frozenset(("57P01", "57P02", "08006", "08001"))
"""What a client may hear where servers are killed."""

VALUES: Final = {
    "TimeZone": ("UTC", "Asia/Tokyo", "Europe/Paris"),
    "statement_timeout": ("25s", "41s", "26001ms"),
    "work_mem": ("5MB", "65kB", "1234kB"),
    "search_path": ("a, public", "public", '"$user", public, "B c"'),
    "rogue.tag": ("one", "it''s", "zwei drei"),
    "application_name": ("first", "second", "third"),
    "DateStyle": ("ISO, DMY", "German, DMY", "SQL, MDY"),
}
IDENTITY: Final = ", ".join(
    [
        "(select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())",
        "to_regclass('pg_temp.mine')::text",
        "(select count(*) from pg_prepared_statements where from_sql)",
        "(select count(*) from pg_cursors where is_holdable)",
        *(f"coalesce(current_setting('{name}', true), '')" for name in VALUES),
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
    holders: dict[int, int] = attrs.field(factory=dict)
    notified: dict[int, list[str]] = attrs.field(factory=lambda: {n: [] for n in range(CHANNELS)})
    serials: int = 0

    def serial(self) -> int:
        self.serials += 1
        return self.serials


class Knowing:
    """Client ``number``, one life after the other: its connection, and what it has left there."""

    def __init__(self, number: int, world: World) -> None:
        self.number = number
        self.acknowledged: set[int] = set()
        """Rows of ``ledger`` that are known to be there, by their serial numbers."""
        self.uncertain: set[int] = set()
        """Those that may be there."""
        self.checks = self.losses = self.lives = 0
        """How often what it found was compared, it met with a loss that had to be expected, it was born."""
        self._world = world
        self._random = random.Random(number)
        self._client: pg.Client
        self._begin()

    def _begin(self) -> None:
        """A new life: nothing has been left anywhere."""
        self.lives += 1
        self._defaults: dict[str, str] = {}
        self._startup: dict[str, str] = {}
        self._session: dict[str, str] = {}
        self._named: dict[str, str] = {}
        self._sql_named: set[str] = set()
        self._locks: set[int] = set()
        self._temporary: int | None = None
        self._held = False
        self._channels: dict[int, int] = {}  # listened to, since which serial number
        self._heard: list[tuple[int, str]] = []
        self._doubtful = False  # the loss of the connection leaves open what the client has

    @property
    def _name(self) -> str:
        return f"rogue {self.number}, life {self.lives}"

    # -- what may go wrong -----------------------------------------------------------------------------------------

    def _must_be_loss(self, problem: pg.PostgresError | pg.Disconnected) -> None:
        self.losses += 1
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

    # -- what must be found ----------------------------------------------------------------------------------------

    async def look_around(self) -> None:
        """What this client has at first, which must be what it has asked for, and else what everybody has."""
        self._doubtful = True
        row = (await self._query(f"select {IDENTITY}"))[0]
        server = {"TimeZone": "UTC", "statement_timeout": "0", "work_mem": "4MB", "search_path": '"$user", public'}
        server |= {"rogue.tag": "", "application_name": "", "DateStyle": "ISO, MDY"}
        self._defaults = server | {name: canonical(value) for name, value in self._startup.items()}
        self._check(row)

    def _check(self, row: pg.Row, *, settings: dict[str, str] | None = None) -> None:
        self.checks += 1
        found = dict(zip(VALUES, row[4:], strict=True))
        wanted = self._defaults | self._session | (settings or {})
        assert found == wanted, f"{self._name}: has {found}, wanted {wanted}"
        temporary = None if self._temporary is None else "mine"
        names = [str(len(self._locks)), temporary, str(len(self._sql_named)), str(int(self._held))]
        assert [row[0], row[1] and "mine", row[2], row[3]] == names, f"{self._name}: finds {row[:4]}, wanted {names}"

    def _draw_value(self, name: str) -> str:
        return self._random.choice(VALUES[name])

    def _collect(self) -> None:
        self._heard = [(number, payload) for number, payload in self._heard if number in self._channels]

    def _hear(self, heard: Sequence[pg.Message]) -> None:
        for kind, body in heard:
            if kind == codes.NOTIFICATION_RESPONSE:
                channel, payload = messages.notification(body)
                number = int(channel.decode().removeprefix("rogue_"))
                self._heard.append((number, payload.decode()))

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


def canonical(value: str) -> str:
    """A value that was written between quotes, as the server shows it."""
    return value.replace("''", "'")

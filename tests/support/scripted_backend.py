"""One process of a scripted server: the conversation with it, and the handful of statements that it knows.

It keeps the server's contract where the proxy relies on it: one ReadyForQuery a request, skipping until Sync after an
error, copy data that swallows Sync and Flush.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import trio

from pgcat_trio.wire import codes, encode, messages

from . import scripted_texts as texts

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from .scripted_server import ScriptedServer

REPORTED: Final = {
    "server_version": "18.0",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "TimeZone": "UTC",
    "standard_conforming_strings": "on",
    "IntervalStyle": "postgres",
    "application_name": "",
}
"""What the server says about itself, and the settings whose changes it reports."""


class Refusal(Exception):
    """An error of a statement: its fields."""

    def __init__(self, sqlstate: str, message: str, severity: str = "ERROR") -> None:
        super().__init__(message)
        self.text = message
        self.message = encode.report(b"E", [("S", severity), ("V", severity), ("C", sqlstate), ("M", message)])


class ScriptedBackend:
    """One server process."""

    def __init__(self, server: ScriptedServer, stream: trio.abc.Stream) -> None:
        self.server = server
        self.stream = stream
        self.pid = 0
        self.key = b""
        self.status = codes.IDLE
        self.channels: set[str] = set()
        """What is listened to."""
        self.drowsy = False
        """It tells of notifications only when it is asked something."""
        self.settings = dict(server.parameters)
        self._defaults = self.settings
        self._buffer = b""
        self._prepared: dict[bytes, str] = {}
        self._portal = ""
        self._left: set[str] = set()
        self._idle = False
        self._notifications: list[bytes] = []  # until the request is done
        self._running: trio.CancelScope | None = None
        self._ended = False
        self._answered = False
        self._refusal: Refusal | None = None

    # -- from the test ---------------------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """Say something, whether it fits or not."""
        await self.stream.send_all(data)

    async def end(self, last_words: str = "") -> None:
        """Go away, with an error of severity FATAL if there is something to say."""
        if last_words:
            await self.send(Refusal("57P01", last_words, "FATAL").message)
        self._ended = True
        await trio.aclose_forcefully(self.stream)

    async def hear(self) -> tuple[int, bytes]:
        """The client's next message, for a script that wants to read it: its letter's code and its body."""
        return await self._message()

    def expect_no_ready(self) -> None:
        """A script has said all there is to say to this request, ReadyForQuery included."""
        self._answered = True

    def refuse_next(self, sqlstate: str, message: str) -> None:
        """The statement that is under way, or the next one, fails."""
        self._refusal = Refusal(sqlstate, message)

    def interrupt(self) -> None:
        """What SIGINT does: the running statement ends; an idle process does not care."""
        if self._running is not None:
            self._running.cancel()

    # -- the conversation ------------------------------------------------------------------------------------------

    async def first_packet(self) -> messages.FirstPacket:
        while (length := messages.first_packet_length(self._buffer)) is None:
            await self._fill(4)
        await self._fill(length)
        packet, self._buffer = self._buffer[:length], self._buffer[length:]
        return messages.first_packet(packet)

    async def greet(self, startup: dict[str, str]) -> None:
        self.key = b"key" + bytes([self.pid % 256])
        self.settings.update((name, value) for name, value in startup.items() if name in self.server.parameters)
        self._defaults = dict(self.settings)
        await self.server.at("parameters")
        await self.send(b"".join(encode.parameter_status(name, self.settings[name]) for name in self.server.parameters))
        await self.send(encode.notice_response("a warning of no importance"))
        await self.send(encode.backend_key_data(self.pid, self.key))
        await self.server.at("ready")
        await self.send(encode.ready_for_query() + self.server.after_login)

    async def password(self) -> bytes:
        kind, body = await self._message()
        assert kind == codes.PASSWORD
        return body

    async def run(self) -> None:
        """Answer requests until Terminate or the end."""
        skipping = False
        while not self._ended:
            self._idle = True
            kind, body = await self._message()
            self._idle = False
            if kind == codes.TERMINATE:
                return
            if kind == codes.SYNC:
                skipping = False
                await self._ready()
            elif skipping:
                continue
            elif kind == codes.QUERY:
                await self._attempt(self._simple(body[:-1].decode()))
                await self._ready()
            elif kind not in (codes.FLUSH, codes.COPY_DATA, codes.COPY_DONE, codes.COPY_FAIL):
                skipping = not await self._attempt(self._extended(kind, body))

    async def _attempt(self, work: Awaitable[None]) -> bool:
        try:
            await work
        except Refusal as refusal:
            if self.status == codes.IN_TRANSACTION:
                self.status = codes.FAILED
            self.server.errors.append(refusal.text)
            await self.send(refusal.message)
            return False
        return True

    async def _ready(self) -> None:
        answered, self._answered = self._answered, False
        if not self._ended and not answered:
            await self.server.at("answer")
            notifications = b""
            if self.status == codes.IDLE:
                notifications, self._notifications = b"".join(self._notifications), []
            await self.send(notifications + encode.ready_for_query(self.status))

    async def _simple(self, text: str) -> None:
        self._prepared.pop(b"", None)
        statements = [part.strip() for part in texts.STATEMENTS.findall(text) if part.strip()]
        if not statements:
            self.server.statements.append((self.pid, ""))
            await self.server.at("statement")
            await self.send(encode.EMPTY_QUERY_RESPONSE)
        for statement in statements:
            await self._execute(statement)

    async def _extended(self, kind: int, body: bytes) -> None:
        if kind == codes.PARSE:
            name, text, _ = body.split(b"\x00", 2)
            self._prepared[name] = text.decode()
            await self.send(encode.message(b"1", b""))
        elif kind == codes.BIND:
            _portal, name, _ = body.split(b"\x00", 2)
            if name not in self._prepared:
                raise Refusal("26000", f'prepared statement "{name.decode()}" does not exist')
            self._portal = self._prepared[name]
            await self.send(encode.message(b"2", b""))
        elif kind == codes.DESCRIBE:
            await self._describe(body)
        elif kind == codes.EXECUTE:
            await self._execute(self._portal, described=False)
        else:
            if body[:1] == b"S":
                self._prepared.pop(body[1:-1], None)
            await self.send(encode.message(b"3", b""))

    async def _describe(self, body: bytes) -> None:
        if body[:1] == b"P":
            await self.send(encode.message(b"n", b""))
            return
        text = self._prepared[body[1:-1]]
        await self.server.at("describe")
        columns = self.server.columns.get(text, [("column", 25)] if text.startswith("SELECT") else [])
        row = encode.row_description(columns) if columns else encode.message(b"n", b"")
        await self.send(encode.message(b"t", b"\0\0") + row)

    # -- statements ------------------------------------------------------------------------------------------------

    async def _check(self, *, simple: bool) -> None:
        """The proxy's question how the server is (`pool.probe`)."""
        server = self.server
        server.checks += 1
        await server.at("check")
        if server.simple and not simple:
            raise Refusal("42501", "permission denied for function pg_control_system")
        position = f"{server.position >> 32:X}/{server.position & 0xFFFFFFFF:X}"
        file = None if server.standby else f"{server.timeline:08X}0000000000000001"
        timeline = str(server.timeline) if server.standby else None
        row = ["t" if server.standby else "f", position, file, timeline, "0.5" if server.standby else None, "7"]
        if simple:
            row[1:] = [None] * 5
        columns = [(name, 25) for name in ("standby", "position", "file", "timeline", "replayed", "system")]
        await self.send(encode.row_description(columns) + encode.data_row(row) + encode.command_complete("SELECT 1"))

    async def _execute(self, statement: str, *, described: bool = True) -> None:
        if statement.startswith("SELECT standby, "):
            await self._check(simple="NULL, NULL" in statement)
            return
        self.server.statements.append((self.pid, statement))
        await self.server.at("statement")
        if self._refusal is not None:
            refusal, self._refusal = self._refusal, None
            raise refusal
        if self.status == codes.FAILED and not re.match("ROLLBACK|COMMIT|ABORT", statement):
            raise Refusal("25P02", "current transaction is aborted")
        script = self.server.scripts.get(statement)
        with trio.CancelScope() as self._running:
            if script is not None:
                await script(self)
            elif match := texts.SLEEP.match(statement):
                await trio.sleep(float(match[1]))
            elif match := texts.SERIES.match(statement):
                await self._rows([str(number) for number in range(1, int(match[1]) + 1)], described)
            elif re.match("SELECT 1/0", statement):
                raise Refusal("22012", "division by zero")
            elif "pgcat_refuses_this" in statement:
                raise Refusal("42883", "function pg_catalog.pgcat_refuses_this() does not exist")
            elif re.match(r"\(?SELECT '[A-Z_]+',", statement):
                await self._inspected(statement, described)
            elif re.match("SELECT", statement):
                await self._rows([statement.removeprefix("SELECT ").replace("pid", str(self.pid))], described)
            elif re.match("SHOW", statement):
                await self._rows([self.settings.get(statement[5:], "")], described)
            elif re.match("COPY .* FROM STDIN", statement):
                await self._copy_in()
            elif re.match("COPY .* TO STDOUT", statement):
                await self.send(encode.message(b"H", b"\x00\x00\x00") + encode.message(b"d", b"row\n") * 3)
                await self.send(encode.message(b"c", b""))
            elif match := texts.CHANNEL.match(statement):
                await self._channel(match[1], match[2].strip('"'), match[3])
            elif re.match("SET|RESET|DISCARD", statement):
                await self._set(statement)
            else:
                self._control(statement)
        for left, (begins, ends) in texts.LEFT.items():
            if re.match(begins, statement):
                self._left.add(left)
            elif re.match(ends, statement):
                self._left.discard(left)
        interrupted, self._running = self._running.cancelled_caught, None
        if interrupted:
            raise Refusal("57014", "canceling statement due to user request")
        if not self._ended and not self._answered:
            await self.send(encode.command_complete(statement.split()[0]))

    async def _channel(self, word: str, channel: str, payload: str | None) -> None:
        if word == "LISTEN":
            self.channels.add(channel)
        elif word == "NOTIFY":
            await self.server.notify(self.pid, channel, payload or "")
        elif channel == "*":
            self.channels.clear()
        else:
            self.channels.discard(channel)

    async def notified(self, notification: bytes) -> None:
        """Tell of a notification: at once, or when the request that is under way is done."""
        if self._idle and self.status == codes.IDLE and not self.drowsy:
            await self.send(notification)
        else:
            self._notifications.append(notification)

    async def _inspected(self, statement: str, described: bool) -> None:
        """The proxy's question what is left in this process (`pool.inspection`)."""
        rows: list[list[str | None]] = []
        for kind, name in texts.INSPECTED.findall(statement):
            if name:
                rows.append([kind, name, self.settings.get(name)])
            elif kind == "SETTINGS":
                changed = self.settings.items() - self._defaults.items()
                rows += [[kind, each, value] for each, value in changed]
            elif kind == "STATEMENTS" and "from_sql" not in statement and any(self._prepared):
                rows.append([kind, "", ""])
            elif kind == "LISTEN":
                rows += [[kind, channel, ""] for channel in sorted(self.channels)]
            elif kind in self._left:
                rows.append([kind, "", ""])
        if described:
            await self.send(encode.row_description([("kind", 25), ("name", 25), ("value", 25)]))
        await self.send(b"".join(map(encode.data_row, rows)))

    def _control(self, statement: str) -> None:
        word = statement.split()[0]
        if word in ("BEGIN", "START"):
            self.status = codes.IN_TRANSACTION
        elif word in ("COMMIT", "ROLLBACK", "ABORT", "END") and " TO " not in statement:
            self.status = codes.IDLE
        elif " TO " in statement and word == "ROLLBACK":
            self.status = codes.IN_TRANSACTION

    async def _rows(self, values: list[str], described: bool) -> None:
        if described:
            await self.send(encode.row_description([("column", 25)]))
        for start in range(0, len(values), 1000):
            rows = b"".join(encode.data_row([value]) for value in values[start : start + 1000])
            # A cancelled statement ends between two messages.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 60):
                await self.send(rows)
            await trio.lowlevel.checkpoint_if_cancelled()

    async def _set(self, statement: str) -> None:
        if match := texts.SET.match(statement):
            name, escaped, value = match[1].replace('"', ""), match[2], match[3].replace("''", "'")
            value = value.replace("\\\\", "\\") if escaped else value
            if value in self.server.invalid:
                raise Refusal("22023", f'invalid value for parameter "{name}": "{value}"')
            changes = {name: value}
        elif statement in ("RESET ALL", "DISCARD ALL"):
            if statement == "DISCARD ALL":
                self._prepared.clear()
                self.channels.clear()
            changes = {name: self._defaults.get(name, "") for name in self.settings}
        elif match := texts.RESET.match(statement):
            name = match[1].replace('"', "")
            changes = {name: self._defaults.get(name, "")}
        else:
            changes = {}
        for name, value in changes.items():
            if self.settings.get(name) != value and name in self.server.parameters:
                await self.send(encode.parameter_status(name, value))
            self.settings[name] = value

    async def _copy_in(self) -> None:
        # While it reads copy data a server cannot be interrupted.
        self._running, running = None, self._running
        await self.send(encode.message(b"G", b"\x00\x00\x00"))
        while True:
            kind, body = await self._message()
            if kind == codes.COPY_DATA:
                if body == b"bad\n":
                    raise Refusal("22P02", "invalid input syntax")
            elif kind == codes.COPY_DONE:
                break
            elif kind == codes.COPY_FAIL:
                raise Refusal("57014", f"COPY from stdin failed: {body[:-1].decode()}")
            elif kind not in (codes.SYNC, codes.FLUSH):
                raise Refusal("08P01", f"unexpected message type 0x{kind:02X} during COPY from stdin")
        self._running = running

    # -- bytes -----------------------------------------------------------------------------------------------------

    async def _message(self) -> tuple[int, bytes]:
        await self._fill(5)
        length: int = codes.UINT32.unpack_from(self._buffer, 1)[0]
        await self._fill(1 + length)
        kind, body, self._buffer = self._buffer[0], self._buffer[5 : 1 + length], self._buffer[1 + length :]
        return kind, body

    async def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError
            self._buffer += bytes(data)

"""The console's conversation: reads commands, writes answers. What the commands do is in `commands`.

The console needs no pool, so it works when every server is down, and while the proxy drains. While a command waits, the
administrator is listened to: one who leaves, or cancels it, ends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
import trio

from ...errors import FeatureNotSupported, MessageTooLarge, ProxyError, QueryCanceled, ShuttingDown
from ...session.outbox import Outbox
from ...session.session import FAREWELL_S
from ...wire import codes, encode
from ...wire.downstream import Downstream
from .answers import Answer
from .commands import execute
from .extended import Extended
from .show import SETTINGS
from .statements import split_statements

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from ...session.handshake import Login
    from ..supervisor import Supervisor

log = structlog.get_logger("pgcat_trio.admin")

MAX_MESSAGE_BYTES: Final = 16 * 1024
"""No command is nearly as long, and less than what `Downstream` would hand out in parts."""

_EXTENDED: Final = frozenset(b"PBDEC")

_NO_FUNCTIONS: Final = FeatureNotSupported(
    "the admin console is no database: there are no functions to call",
    hint="SHOW HELP lists the commands that there are.",
)


class _Left(Exception):
    """The administrator has closed the connection."""


class Console:
    """One administrator's connection, logged in. ``first`` is what came after the login already."""

    def __init__(self, supervisor: Supervisor, login: Login, first: bytes) -> None:
        self.peer = login.transport.peer
        self.database = login.database
        self.user = login.user
        self.application_name = login.parameters.get("application_name", "")
        self.started_at = trio.current_time()
        self._supervisor = supervisor
        self._login = login
        self._outbox = Outbox(login.transport)
        self._downstream = Downstream(MAX_MESSAGE_BYTES)
        self._downstream.feed(first)
        self._extended = Extended(self._execute)
        self._skipping = False  # after an error in the extended protocol, up to the next Sync
        self._waiting: trio.CancelScope | None = None  # around the command that waits
        self._cancelled = False

    async def run(self) -> None:
        """Answer until the administrator leaves. Raises nothing but `Cancelled`; the connection is closed afterwards.

        When it is cancelled the administrator is told that the proxy is shutting down.
        """
        keys = self._supervisor.cancel_keys
        pid, secret = keys.issue(self._login.protocol, self)
        log.info("admin.connected", client=self.peer, user=self.user)
        error: ProxyError | None = None
        try:
            await self._converse(self._welcome(pid, secret))
        except (trio.BrokenResourceError, _Left):
            pass
        except MessageTooLarge:
            error = MessageTooLarge(
                f"the admin console takes messages of up to {MAX_MESSAGE_BYTES} bytes",
                hint="SHOW HELP lists the commands that there are.",
            )
        except ProxyError as problem:
            error = problem
        except trio.Cancelled:
            error = ShuttingDown("terminating connection due to administrator command")
            raise
        finally:
            keys.withdraw(pid, secret)
            with trio.move_on_after(FAREWELL_S, shield=True):
                await self._farewell(error)
            log.info("admin.disconnected", client=self.peer, user=self.user, reason=error and error.message)

    def cancel(self) -> trio.Event | None:
        """A CancelRequest: it ends the command that waits, if there is one."""
        if self._waiting is not None:
            self._cancelled = True
            self._waiting.cancel()
        return None

    async def _converse(self, welcome: bytes) -> None:
        await self._send(welcome)
        while True:
            while batch := self._downstream.take(streaming=True):
                for kind, body in _messages(batch):
                    await self._send(await self._answer(kind, body))
            if self._downstream.terminated:
                return
            await self._listen()

    async def _listen(self) -> None:
        data = await self._login.transport.receive()
        if not data:
            raise _Left
        self._downstream.feed(data)

    async def _answer(self, kind: int, body: bytes) -> bytes:
        """What a message is answered with; b"" for those that need no answer."""
        if kind == codes.SYNC:
            self._skipping = False
            self._extended.sync()
            return encode.ready_for_query()
        if self._skipping:
            return b""
        if kind == codes.QUERY:
            return await self._answer_query(body) + encode.ready_for_query()
        if kind == codes.FUNCTION_CALL:
            return encode.error_response(_NO_FUNCTIONS, severity="ERROR") + encode.ready_for_query()
        if kind in _EXTENDED:
            try:
                return await self._extended.answer(kind, body)
            except (trio.BrokenResourceError, _Left):
                raise
            except Exception as problem:
                self._skipping = True
                return self._failure(problem)
        return b""  # Flush, and copy messages, which servers ignore outside COPY

    async def _answer_query(self, body: bytes) -> bytes:
        """The answers to all statements of a Query, up to the first that fails."""
        answers = b""
        try:
            for words in split_statements(body.removesuffix(b"\x00").decode("utf-8", "replace")):
                answers += (await self._execute(words)).whole()
        except (trio.BrokenResourceError, _Left):
            raise
        except Exception as problem:
            answers += self._failure(problem)
        return answers or encode.EMPTY_QUERY_RESPONSE

    def _failure(self, problem: Exception) -> bytes:
        """What a command is answered with that raised an error."""
        if isinstance(problem, ProxyError):
            return encode.error_response(problem, severity="ERROR")
        log.error("admin.bug", client=self.peer, exc_info=problem)
        bug = ProxyError("internal error in the proxy", hint="The proxy's log has the details.")
        return encode.error_response(bug, severity="ERROR")

    async def _execute(self, words: list[str]) -> Answer:
        answer = execute(self._supervisor, words, self.peer)
        return answer if isinstance(answer, Answer) else await self._wait_for(answer)

    async def _wait_for(self, answer: Awaitable[Answer]) -> Answer:
        """The answer, as long as the administrator is there; raises `QueryCanceled` if it was cancelled."""
        found: list[Answer] = []
        failure: Exception | None = None
        self._cancelled = False
        try:
            async with trio.open_nursery() as nursery:
                self._waiting = nursery.cancel_scope

                async def watch() -> None:
                    nonlocal failure
                    try:
                        while not self._downstream.full:
                            await self._listen()
                    except (trio.BrokenResourceError, ProxyError, _Left) as problem:
                        failure = problem
                        nursery.cancel_scope.cancel()

                nursery.start_soon(watch)
                try:
                    found.append(await answer)
                except ProxyError as problem:
                    failure = problem
                nursery.cancel_scope.cancel()
        finally:
            self._waiting = None
        if found:
            return found[0]
        if failure is None and self._cancelled:
            failure = QueryCanceled("canceling statement due to user request")
        assert failure is not None
        raise failure

    def _welcome(self, pid: int, secret: bytes) -> bytes:
        parameters = SETTINGS | {"application_name": self.application_name}
        statuses = [encode.parameter_status(name, value) for name, value in parameters.items()]
        ready = encode.backend_key_data(pid, secret) + encode.ready_for_query()
        return encode.authentication(codes.AUTH_OK) + b"".join(statuses) + ready

    async def _send(self, data: bytes) -> None:
        self._outbox.write(data)
        await self._outbox.flush()

    async def _farewell(self, error: ProxyError | None) -> None:
        """Last words, where they do not fall into the middle of others, and the end."""
        if error is not None and self._outbox.intact:
            try:
                await self._send(encode.error_response(error, severity="FATAL"))
                await self._login.transport.linger()
            except trio.BrokenResourceError:
                return
        await self._login.transport.aclose()


def _messages(batch: bytes) -> Iterator[tuple[int, bytes]]:
    """The letter and the body of each message of a batch, which holds whole ones only."""
    position = 0
    while position < len(batch):
        stop = position + 1 + codes.UINT32.unpack_from(batch, position + 1)[0]
        yield batch[position], batch[position + 5 : stop]
        position = stop

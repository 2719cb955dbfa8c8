"""The console's conversation: reads commands, writes answers. What the commands do is in `show` and `control`.

Simple protocol only. The console needs no pool, so it works when every server is down, and while the proxy drains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
import trio

from ..._version import __version__
from ...errors import FeatureNotSupported, MessageTooLarge, ProxyError, ShuttingDown
from ...session.outbox import Outbox
from ...session.session import FAREWELL_S
from ...wire import codes, encode
from ...wire.downstream import Downstream
from .commands import execute
from .statements import split_statements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...session.handshake import Login
    from ..supervisor import Supervisor

log = structlog.get_logger("pgcat_trio.admin")

MAX_MESSAGE_BYTES: Final = 16 * 1024
"""No command is nearly as long, and less than what `Downstream` would hand out in parts."""

_PARAMETERS: Final = {
    "server_version": __version__,
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "TimeZone": "Etc/UTC",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
}

_SIMPLE_ONLY: Final = FeatureNotSupported(
    "the admin console speaks the simple query protocol only",
    hint="Use psql, or send commands without parameters (psycopg: prepare_threshold=None).",
)


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
        self._skipping = False  # after an error in the extended protocol, up to the next Sync

    async def run(self) -> None:
        """Answer until the administrator leaves. Raises nothing but `Cancelled`; the connection is closed afterwards.

        When it is cancelled the administrator is told that the proxy is shutting down.
        """
        keys = self._supervisor.cancel_keys
        pid, secret = keys.issue(self._login.protocol)  # there is nothing to cancel, but drivers want to have it
        log.info("admin.connected", client=self.peer, user=self.user)
        error: ProxyError | None = None
        try:
            await self._converse(self._welcome(pid, secret))
        except trio.BrokenResourceError:
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

    async def _converse(self, welcome: bytes) -> None:
        await self._send(welcome)
        while True:
            while batch := self._downstream.take(streaming=True):
                await self._send(b"".join(self._answer(kind, body) for kind, body in _messages(batch)))
            if self._downstream.terminated:
                return
            data = await self._login.transport.receive()
            if not data:
                return
            self._downstream.feed(data)

    def _answer(self, kind: int, body: bytes) -> bytes:
        """What a message is answered with; b"" for those that need no answer."""
        if kind == codes.SYNC:
            self._skipping = False
            return encode.ready_for_query()
        if self._skipping:
            return b""
        if kind == codes.QUERY:
            return self._answer_query(body) + encode.ready_for_query()
        if kind == codes.FUNCTION_CALL:
            return encode.error_response(_SIMPLE_ONLY) + encode.ready_for_query()
        if kind in b"PBDEC":
            self._skipping = True
            return encode.error_response(_SIMPLE_ONLY)
        return b""  # Flush, and copy messages, which servers ignore outside COPY

    def _answer_query(self, body: bytes) -> bytes:
        """The answers to all statements of a Query, up to the first that fails."""
        answers = b""
        try:
            for words in split_statements(body.removesuffix(b"\x00").decode("utf-8", "replace")):
                answers += execute(self._supervisor, words, self.peer)
        except ProxyError as error:
            answers += encode.error_response(error, severity="ERROR")
        except Exception:
            log.exception("admin.bug", client=self.peer)
            bug = ProxyError("internal error in the proxy", hint="The proxy's log has the details.")
            answers += encode.error_response(bug, severity="ERROR")
        return answers or encode.EMPTY_QUERY_RESPONSE

    def _welcome(self, pid: int, secret: bytes) -> bytes:
        parameters = _PARAMETERS | {"application_name": self.application_name}
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

"""A PostgreSQL server in memory: the real protocol, a handful of statements, and gates at which it can be held up.

It serves any `trio.abc.Stream`. What it was asked is in ``statements``, who is connected in ``backends``. A
CancelRequest is acted upon before its connection is closed, and does nothing to an idle backend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from pgcat_trio.errors import AuthenticationFailed
from pgcat_trio.wire import codes, encode, messages
from pgcat_trio.wire.scram import SCRAM, ScramServer, ScramVerifier, md5_password

from .scripted_backend import REPORTED, Refusal, ScriptedBackend

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable


class Gate:
    """A place where the server stops until it is told to go on."""

    def __init__(self) -> None:
        self.reached = trio.Event()
        self.opened = trio.Event()


@attrs.define(eq=False)
class ScriptedServer:
    """One server. ``serve`` runs a connection; ``down`` is why nobody can connect, "" while one can."""

    name: str = "primary"
    auth: str = "trust"
    password: str = "sesame"
    greeting_error: Refusal | None = None
    first_words: bytes = b""
    """What it says to whoever connects, and then it hangs up."""
    after_login: bytes = b""
    """What it says right after its first ReadyForQuery."""
    tls: ssl.SSLContext | None = None
    down: str = ""
    parameters: dict[str, str] = attrs.field(factory=lambda: dict(REPORTED))
    invalid: set[str] = attrs.field(factory=set)
    """Values that no setting takes."""
    backends: dict[int, ScriptedBackend] = attrs.field(factory=dict)
    statements: list[tuple[int, str]] = attrs.field(factory=list)
    """(process id, statement) in the order in which they were begun."""
    errors: list[str] = attrs.field(factory=list)
    """What went wrong with statements, in the server's words."""
    startups: list[dict[str, str]] = attrs.field(factory=list)
    """The parameters of all startup packets, refused ones too."""
    cancels: list[int] = attrs.field(factory=list)
    """The process ids that CancelRequests named."""
    dials: int = 0
    checks: int = 0
    """Health checks that it was asked to answer."""
    standby: bool = False
    simple: bool = False
    """It does not tell the proxy's login more than whether it is a standby."""
    timeline: int = 1
    position: int = 0x1000000
    """What it has written, or a standby replayed, in bytes of WAL."""
    gates: dict[str, Gate] = attrs.field(factory=dict)
    scripts: dict[str, Callable[[ScriptedBackend], Awaitable[None]]] = attrs.field(factory=dict)
    """Statements of a test's own: what they do before CommandComplete."""
    columns: dict[str, list[tuple[str, int]]] = attrs.field(factory=dict)
    """What statements return, as far as a Describe tells it, where that is not one column of a SELECT."""
    _last_pid: int = 100
    _connections: set[trio.CancelScope] = attrs.field(factory=set)

    def hold(self, point: str) -> Gate:
        """Stop whoever comes to a point from now on: dial, ssl, tls, startup, auth, sasl_continue, sasl_final,
        auth_ok, parameters, ready, describe, statement, check, answer, cancel, cancelled."""
        gate = self.gates[point] = Gate()
        return gate

    async def at(self, point: str) -> None:
        """Come to a point."""
        gate = self.gates.get(point)
        if gate is not None:
            gate.reached.set()
            await gate.opened.wait()

    @property
    def connections(self) -> int:
        """Streams that are open, whatever they carry."""
        return len(self._connections)

    def leave(self) -> None:
        """Close all connections without a word, as a crash does."""
        for connection in self._connections:
            connection.cancel()

    async def notify(self, pid: int, channel: str, payload: str) -> None:
        """Tell all processes that listen to a channel; ``pid`` is the one that notifies."""
        names = encode.cstring(channel) + encode.cstring(payload)
        for process in tuple(self.backends.values()):
            if channel in process.channels:
                await process.notified(encode.message(b"A", pid.to_bytes(4) + names))

    def texts(self, pid: int | None = None) -> list[str]:
        """The statements of one backend, or of all."""
        return [text for by, text in self.statements if pid in (None, by)]

    async def serve(self, stream: trio.abc.Stream) -> None:
        """One connection, to its end. Closes the stream."""
        with trio.CancelScope() as connection:
            self._connections.add(connection)
            try:
                await self._serve(stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
                pass  # the proxy has left
            finally:
                self._connections.remove(connection)
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                    await trio.aclose_forcefully(stream)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        backend = ScriptedBackend(self, stream)
        packet = await backend.first_packet()
        if isinstance(packet, messages.EncryptionRequest):
            await self.at("ssl")
            if self.tls is None:
                await stream.send_all(b"N")
            else:
                await stream.send_all(b"S")
                await self.at("tls")
                backend.stream = stream = trio.SSLStream(stream, self.tls, server_side=True, https_compatible=True)
            packet = await backend.first_packet()
        if isinstance(packet, messages.CancelRequest):
            await self._cancel(packet)
            return
        assert isinstance(packet, messages.StartupMessage)
        self.startups.append(packet.parameters)
        await self.at("startup")
        if self.first_words:
            await backend.send(self.first_words)
            return
        await self._authenticate(backend, packet.parameters["user"])
        if self.greeting_error is not None:
            await backend.send(self.greeting_error.message)
            return
        self._last_pid += 1
        backend.pid = self._last_pid
        self.backends[backend.pid] = backend
        try:
            await backend.greet(packet.parameters)
            await backend.run()
        finally:
            del self.backends[backend.pid]

    async def _cancel(self, packet: messages.CancelRequest) -> None:
        await self.at("cancel")
        self.cancels.append(packet.pid)
        backend = self.backends.get(packet.pid)
        if backend is not None and backend.key == packet.secret:
            backend.interrupt()
        await self.at("cancelled")

    async def _authenticate(self, backend: ScriptedBackend, user: str) -> None:
        refusal = Refusal("28P01", f'password authentication failed for user "{user}"', "FATAL")
        await self.at("auth")
        if self.auth == "cleartext":
            await backend.send(encode.authentication(codes.AUTH_CLEARTEXT))
            proved = messages.password(await backend.password()) == self.password.encode()
        elif self.auth == "md5":
            await backend.send(encode.authentication(codes.AUTH_MD5, b"salt"))
            proved = messages.password(await backend.password()) == md5_password(user, self.password, b"salt")
        elif self.auth == "scram":
            proved = await self._scram(backend)
        else:
            proved = True
        if not proved:
            await backend.send(refusal.message)
            raise EOFError
        await self.at("auth_ok")
        await backend.send(encode.authentication(codes.AUTH_OK))

    async def _scram(self, backend: ScriptedBackend) -> bool:
        server = ScramServer(ScramVerifier(self.password), SCRAM, None)
        await backend.send(encode.authentication(codes.AUTH_SASL, encode.cstring(SCRAM) + b"\x00"))
        _, first = messages.sasl_initial_response(await backend.password())
        await self.at("sasl_continue")
        await backend.send(encode.authentication(codes.AUTH_SASL_CONTINUE, server.first(first)))
        try:
            final = server.final(await backend.password())
        except AuthenticationFailed:
            return False
        await self.at("sasl_final")
        await backend.send(encode.authentication(codes.AUTH_SASL_FINAL, final))
        return True

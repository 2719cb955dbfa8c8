"""One accepted connection, from its first byte to its last: handshake, then a session or the admin console.

Here is the one boundary of errors for clients: nothing that a client does, and no bug that it finds, reaches the
listener. Whatever a client must be told before it has a session is told here.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import structlog
import trio

from ..errors import LoginTimeout, ProxyError, ShuttingDown
from ..net.transport import SocketTransport
from ..pool.connect import set_keepalive
from ..session.gateway import ADMIN_DATABASES
from ..session.handshake import ClientGone, Handshake, Login
from ..session.replication import Replication, wants_replication
from ..session.session import FAREWELL_S, Session
from ..wire import encode
from .admin.console import Console
from .admission import Admission

if TYPE_CHECKING:
    from .supervisor import Supervisor

log = structlog.get_logger("pgcat_trio.client")


async def serve_connection(supervisor: Supervisor, stream: trio.SocketStream) -> None:
    """Handle one connection of ``trio.serve_listeners``. Never raises an Exception; closes the connection."""
    transport = SocketTransport(socket.socket(fileno=stream.socket.detach()), supervisor.poller)
    connection = Connection(supervisor, transport)
    supervisor.connections.add(connection)
    try:
        set_keepalive(transport.socket, supervisor.general)
        await connection.run()
    except* Exception:
        log.exception("client.bug", client=connection.peer)
    finally:
        connection.handshake.transport.close()
        supervisor.forget(connection)


class Connection:
    """A client's connection. One of ``session``, ``replication`` and ``console`` is there once it has logged in."""

    def __init__(self, supervisor: Supervisor, transport: SocketTransport) -> None:
        self.supervisor = supervisor
        self.handshake = Handshake(transport, supervisor)
        self.peer = transport.peer
        self.session: Session | None = None
        self.replication: Replication | None = None
        self.console: Console | None = None
        self.login_scope: trio.CancelScope | None = None

    async def run(self) -> None:
        """From the first byte to the last."""
        try:
            login, served = await self._log_in()
            if login is None:
                with trio.move_on_after(FAREWELL_S):
                    await self.handshake.transport.aclose()
                return
            if served is not None:
                await self._serve(login, served)
            else:
                self.console = Console(self.supervisor, login, self.handshake.take_rest())
                await self.console.run()
        except ClientGone as reason:
            log.debug("client.left_during_login", client=self.peer, reason=str(reason))
        except ProxyError as error:
            log.warning("client.refused", client=self.peer, sqlstate=error.sqlstate, reason=error.message)
            await self._tell(error)

    def drain(self) -> None:
        """The server shuts down: end at the next boundary; logins and idle sessions end now."""
        served = self.session or self.replication
        if served is not None:
            served.drain()
        elif self.login_scope is not None:
            self.login_scope.cancel()

    def sweep(self, now: float) -> None:
        """Enforce the timeouts: called a few times a second, less often for idle sessions."""
        served = self.session or self.replication
        if served is not None:
            served.sweep(now)

    async def _log_in(self) -> tuple[Login | None, Session | Replication | None]:
        """The client's login and its session; no session for the admin console, no login for a CancelRequest."""
        with trio.move_on_after(self.supervisor.general.client_login_timeout_s) as self.login_scope:
            login = await self.handshake.run()
            if login is None or login.database in ADMIN_DATABASES:
                return login, None
            admission = Admission(self.supervisor, self.handshake, self.login_scope)
            if wants_replication(login.parameters):
                return login, await admission.open_replication(login)
            return login, await admission.open_session(login)
        if self.supervisor.draining:
            raise ShuttingDown("the proxy is shutting down")
        raise LoginTimeout("canceling authentication due to timeout")

    async def _serve(self, login: Login, served: Session | Replication) -> None:
        keys, backend = self.supervisor.cancel_keys, served.backend
        pid, secret = keys.issue(login.protocol, served, backend.pid if backend is not None else 0)
        try:
            if isinstance(served, Replication):
                self.replication = served
            else:
                self.session = served
            self._log_connected(login)
            served.outbox.write(encode.welcome(served.reported, pid, secret))
            await served.run(self.handshake.take_rest())
        except trio.BrokenResourceError:
            served.ended = "client left during the login"
        finally:
            keys.withdraw(pid, secret)
            served.release()
            self._log_disconnected(served)

    async def _tell(self, error: ProxyError) -> None:
        """Send last words to a client that has no session."""
        transport = self.handshake.transport
        with trio.move_on_after(FAREWELL_S, shield=True):
            try:
                await transport.send(encode.error_response(error, severity="FATAL"))
                await transport.linger()
                await transport.aclose()
            except trio.BrokenResourceError:
                return

    def _log_connected(self, login: Login) -> None:
        write = log.info if self.supervisor.general.log_client_connections else log.debug
        write(
            "client.connected",
            client=self.peer,
            user=login.user,
            database=login.database,
            tls=login.transport.encrypted,
        )

    def _log_disconnected(self, served: Session | Replication) -> None:
        error = served.ended if isinstance(served.ended, ProxyError) else None
        if error is not None:
            write = log.warning
        else:
            write = log.info if self.supervisor.general.log_client_disconnections else log.debug
        write(
            "client.disconnected",
            client=self.peer,
            user=served.user,
            database=served.database,
            reason=error.message if error else served.ended,
            transactions=served.transactions,
            seconds=round(trio.current_time() - served.started_at, 3),
        )

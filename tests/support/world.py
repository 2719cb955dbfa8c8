"""A proxy without sockets of its own: real clusters, pools and sessions between scripted servers and scripted clients.

Streams are memory streams, or socket pairs that are watched by a real poller (``by="sockets"``). Both work under a
virtual clock: what is written into a socket pair can be read at once. The sweep runs three times a virtual second, as
in the server; a test that does not come to its end fails after ten virtual minutes.
"""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Literal

import attrs
import trio
import trio.testing

from pgcat_trio import parse_config
from pgcat_trio.config.model import AuthType, Role, SslMode
from pgcat_trio.errors import ServerUnavailable
from pgcat_trio.net.poller import Poller
from pgcat_trio.net.streams import StreamTransport
from pgcat_trio.net.transport import SocketTransport
from pgcat_trio.pool.cluster import Cluster
from pgcat_trio.pool.connect import Target
from pgcat_trio.pool.fleet import Fleet
from pgcat_trio.pool.pool import Pool
from pgcat_trio.server.listener import Connection
from pgcat_trio.server.supervisor import SWEEP_PERIOD_S
from pgcat_trio.session.cancel import CancelKeys
from pgcat_trio.session.gateway import Account
from pgcat_trio.wire import codes, encode, messages

from .scripted_server import ScriptedServer
from .transcript import READY

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Sequence

    from pgcat_trio.config.model import Config, General
    from pgcat_trio.net.transport import Transport
    from pgcat_trio.pool.server import Server
    from pgcat_trio.session.gateway import ClientTls
    from pgcat_trio.session.session import Session

By = Literal["memory", "sockets"]

_LIMIT_S: Final = 600.0
_PASSWORD: Final = "open"


def config_of(
    general: str = "", pool: str = "", user: str = "pool_size = 1", replicas: int = 0, servers: Sequence[str] = ()
) -> Config:
    """A configuration of one pool ``app`` for the user ``ann``, with more keys for its sections.

    ``servers`` are the servers as they stand in the file, where they are not a primary and ``replicas``. Nobody looks
    after them unless ``general`` says so.
    """
    names = ["primary", *(f"replica{number}" for number in range(1, replicas + 1))]
    lines = ", ".join(servers or [f'["{name}", 1, "{name.rstrip("0123456789")}"]' for name in names])
    if "healthcheck_interval" not in general:
        general += "\nhealthcheck_interval = 0"
    return parse_config(
        f"""
        [general]
        host = "127.0.0.1"
        port = 0
        admin_username = "admin"
        admin_password = "admin"
        {general}
        [pools.app]
        {pool}
        [pools.app.users.0]
        username = "ann"
        password = "{_PASSWORD}"
        {user}
        [pools.app.shards.0]
        servers = [{lines}]
        database = "app"
        """
    )


@attrs.define(eq=False)
class World:
    """What a test plays with. It is the gateway of its sessions."""

    config: Config
    servers: dict[str, ScriptedServer]
    nursery: trio.Nursery
    """Clients, servers and sessions."""
    pools: trio.Nursery
    poller: Poller | None
    by: By
    auth: Account
    ssl_mode: SslMode
    ssl_context: ssl.SSLContext | None = None
    client_tls: ClientTls | None = None
    draining: bool = False
    cancel_keys: CancelKeys = attrs.field(factory=CancelKeys)
    clusters: dict[tuple[str, str], Cluster] = attrs.field(factory=dict)
    connections: list[Connection] = attrs.field(factory=list)
    clients: list[Client] = attrs.field(factory=list)
    bans: dict[str, Server] = attrs.field(factory=dict)
    """What the proxy knows about each server, by its name."""
    fleet: Fleet = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.fleet = Fleet(self.pools, self.poller)

    # -- what sessions see -----------------------------------------------------------------------------------------

    @property
    def general(self) -> General:
        return self.config.general

    def admit(self) -> None:
        return

    def find_cluster(self, database: str, user: str) -> Cluster | None:
        return self.clusters.get((database, user))

    def physical_pool(self, database: str, user: str) -> str:
        return "app"

    def find_account(self, database: str, user: str) -> Account:
        return self.auth

    # -- the proxy -------------------------------------------------------------------------------------------------

    @property
    def cluster(self) -> Cluster:
        return self.clusters["app", "ann"]

    @property
    def pool(self) -> Pool:
        """The pool of the primary."""
        return self.cluster.pools[0]

    @property
    def primary(self) -> ScriptedServer:
        return self.servers["primary"]

    def build(self) -> Cluster:
        """A cluster of the configuration in force, to be found from now on."""
        config = self.config.pools["app"]
        user = config.users[0]
        cluster = Cluster(config, user)
        for each in config.shards[0].servers:
            target = Target(
                each.host,
                each.port,
                "app",
                "ann",
                self.servers[each.host].password,
                self.ssl_mode,
                self.ssl_context,
                dialer=self.dial,
            )
            self.bans[each.host] = self.fleet.server(target.address, self.general.ban_time_s)
            cluster.add(
                Pool(
                    cluster,
                    self.bans[each.host],
                    Role(each.role),
                    target,
                    user,
                    self.general,
                    self.pools,
                    self.poller,
                    reset=config.cleanup_server_connections,
                    tracking=cluster.tracking,
                    weight=each.weight,
                    zone=each.zone,
                )
            )
        self.clusters["app", "ann"] = cluster
        self.fleet.settle(self.clusters.values(), self.general)
        return cluster

    async def dial(self, target: Target, poller: Poller | None, options: General) -> Transport:
        """Reach a scripted server (`connect.Dialer`)."""
        server = self.servers[target.host]
        server.dials += 1
        await trio.lowlevel.checkpoint()
        await server.at("dial")
        if server.down:
            raise ServerUnavailable(f"cannot connect to server {target.address}: {server.down}")
        transport, stream = self.link(poller)
        self.nursery.start_soon(server.serve, stream)
        return transport

    def link(self, poller: Poller | None) -> tuple[Transport, trio.abc.Stream]:
        """The two ends of a connection: the proxy's and the other one's."""
        if self.by == "memory":
            ours, theirs = trio.testing.memory_stream_pair()
            return StreamTransport(ours), theirs
        near, far = socket.socketpair()
        return SocketTransport(near, poller), trio.SocketStream(trio.socket.from_stdlib_socket(far))

    async def idle(self) -> None:
        """Wait until nobody has anything to do before the clock moves."""
        await trio.testing.wait_all_tasks_blocked(0.002 if self.by == "sockets" else 0.0)

    # -- clients ---------------------------------------------------------------------------------------------------

    def dial_in(self) -> Client:
        """A client's connection that nobody has said anything on."""
        transport, stream = self.link(self.poller)
        connection = Connection(self, transport)  # type: ignore[arg-type]
        self.connections.append(connection)
        client = Client(self, stream, connection)
        self.nursery.start_soon(self._serve, client)
        self.clients.append(client)
        return client

    async def connect(self, **startup: str) -> Client:
        """A client that has logged in and read all that was said to it."""
        client = self.dial_in()
        await client.send(encode.startup({"user": "ann", "database": "app", **startup}))
        client.welcome = await client.reply()
        return client

    async def _serve(self, client: Client) -> None:
        try:
            with client.scope:
                await client.connection.run()
        finally:
            client.connection.handshake.transport.close()

    async def sweep(self) -> None:
        """What the supervisor does by the clock."""
        while True:
            await trio.sleep(SWEEP_PERIOD_S)
            now = trio.current_time()
            for connection in self.connections:
                connection.sweep(now)
            for server in self.bans.values():
                server.expire_ban(now)
            for cluster in self.clusters.values():
                cluster.sweep(now)

    def counts(self, pool: Pool | None = None) -> tuple[int, int, int]:
        """A pool's backends: open, idle, being opened."""
        pool = pool or self.pool
        return len(pool.backends), len(pool.idle), pool.opening


@attrs.define(eq=False)
class Client:
    """The other end of a client's connection."""

    world: World
    stream: trio.abc.Stream
    connection: Connection
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Around the proxy's side of it."""
    welcome: bytes = b""
    _buffer: bytearray = attrs.field(factory=bytearray)

    async def send(self, *data: bytes) -> None:
        await self.stream.send_all(b"".join(data))

    async def query(self, sql: str) -> bytes:
        """Ask and read the whole answer."""
        await self.send(encode.query(sql))
        return await self.reply()

    async def message(self) -> bytes:
        """The next message, whole; b"" at the end."""
        while (end := self._end_of_message(0)) is None:
            if not await self._receive():
                return b""
        return self._take(end)

    async def reply(self, count: int = 1) -> bytes:
        """All bytes up to the ``count``-th ReadyForQuery, that included; what there is if the connection ends."""
        position = 0
        while True:
            while (end := self._end_of_message(position)) is not None:
                count -= self._buffer[position] == codes.READY_FOR_QUERY
                position = end
                if not count:
                    return self._take(position)
            if not await self._receive():
                return self._take(position)

    async def rest(self) -> bytes:
        """All bytes up to the end of the connection."""
        while await self._receive():
            pass
        return self._take(len(self._buffer))

    def _end_of_message(self, start: int) -> int | None:
        end = start + 1 + int.from_bytes(self._buffer[start + 1 : start + 5])
        return end if start + 5 <= len(self._buffer) and end <= len(self._buffer) else None

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def _receive(self) -> bool:
        try:
            data = await self.stream.receive_some()
        except trio.BrokenResourceError:  # a reset: what was unread is lost
            data = b""
        self._buffer += data
        return bool(data)

    async def leave(self) -> None:
        """Close without a word."""
        await trio.aclose_forcefully(self.stream)

    @property
    def session(self) -> Session:
        """The proxy's side of it, once it has logged in."""
        assert self.connection.session is not None
        return self.connection.session

    @property
    def key(self) -> tuple[int, bytes]:
        """What a CancelRequest must show: the BackendKeyData that comes last but for the ReadyForQuery."""
        body = self.welcome.removesuffix(READY).rpartition(b"K\x00\x00\x00\x0c")[2]
        return messages.backend_key_data(body)

    async def cancel(self) -> None:
        """Send a CancelRequest for this client and wait until its connection is closed."""
        messenger = self.world.dial_in()
        await messenger.send(encode.cancel_request(*self.key))
        assert await messenger.rest() == b""


@asynccontextmanager
async def open_world(
    config: Config | None = None,
    *,
    by: By = "memory",
    auth: Account | None = None,
    ssl_mode: SslMode = SslMode.DISABLE,
    ssl_context: ssl.SSLContext | None = None,
    servers: Sequence[ScriptedServer] = (),
) -> AsyncIterator[World]:
    """A world for one test. At the end everything is shut down, and nothing may be left open."""
    config = config or config_of()
    known = {each.host: ScriptedServer(each.host) for each in config.pools["app"].shards[0].servers}
    known.update((server.name, server) for server in servers)
    poller = Poller() if by == "sockets" else None
    account = auth or Account(AuthType.TRUST, None, None)
    with trio.fail_after(_LIMIT_S):
        async with trio.open_nursery() as outermost:
            if poller is not None:
                outermost.start_soon(poller.run)
            async with trio.open_nursery() as pools, trio.open_nursery() as nursery:
                world = World(config, known, nursery, pools, poller, by, account, ssl_mode, ssl_context)
                world.build()
                nursery.start_soon(world.sweep)
                try:
                    yield world
                finally:
                    world.fleet.settle((), config.general)
                    for client in world.clients:
                        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                            await client.leave()
                for cluster in world.clusters.values():
                    cluster.retire()
                nursery.cancel_scope.cancel()
                pools.cancel_scope.cancel()
            outermost.cancel_scope.cancel()
    for cluster in world.clusters.values():
        for pool in cluster.pools:
            assert world.counts(pool) == (0, 0, 0)
    assert all(server.connections == 0 for server in known.values())

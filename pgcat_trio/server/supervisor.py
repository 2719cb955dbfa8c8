"""The process's nursery tree, and the server as its sessions see it.

    process      poller, sweep                         ends last
    └─ pools     dials, cleaning, cancel requests
       └─ sessions
          └─ listeners                                 cancelled first

Shutting down is the way back up the tree: stop listening, let sessions come to an end (`ending.Ending` says how),
cancel those that did not and what they run, close the backends.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import structlog
import trio
from trio_util import periodic

from .._version import __version__
from ..config import AuthType, diff, keep_boot_only, load_config
from ..errors import ConfigError, LoginRefused, ServerLoginFailed, TooManyClients
from ..net import poller as net_poller
from ..net.tls import client_facing_context, own_certificate
from ..session.cancel import CancelKeys
from ..session.gateway import ClientTls
from ..wire.scram import server_end_point
from .directory import Directory, context_of
from .ending import Ending, see_off
from .listener import Connection, serve_connection
from .sockets import open_listeners

if TYPE_CHECKING:
    from ..config import ReloadPlan
    from ..config.model import Config, General
    from ..pool.cluster import Cluster
    from ..pool.pool import Pool
    from ..session.gateway import Account
    from .sockets import Legacy

log = structlog.get_logger("pgcat_trio")

SWEEP_PERIOD_S: Final = 1 / 3
"""How exactly timeouts are kept (PgBouncer's janitor runs as often)."""

_LAST_ERRANDS_S: Final = 2.0
"""How long the cancel requests for what was cut may take."""

_OWN_MISTAKES: Final = ("28", "3D")
"""Classes of SQLSTATE by which a server says that the configuration is wrong, not that it is ill."""


class Supervisor:
    """One running proxy. `serve` makes one; what it offers to sessions is `session.gateway.Gateway`.

    ``legacy`` are sockets to listen on in place of those that the configuration says.
    """

    def __init__(self, config: Config, legacy: Legacy | None = None) -> None:
        self.listeners: list[trio.SocketListener] = []
        self.handing_over = False
        """A new process is being started (see `handover`)."""
        self._legacy = legacy
        self.cancel_keys = CancelKeys()
        self.connections: set[Connection] = set()
        self.poller = net_poller.Poller() if net_poller.AVAILABLE else None
        self.addresses: list[tuple[str, int]] = []
        self.started_at = trio.current_time()
        self._config = config
        self._client_tls = _client_tls(config)
        self._directory: Directory | None = None
        self.stopped = trio.Event()
        """Set when `run` is over."""
        self.ending = Ending(self.connections, lambda: self.general.shutdown_timeout_s)

    # -- what sessions see -----------------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config

    @property
    def general(self) -> General:
        """Its ``[general]`` section."""
        return self._config.general

    @property
    def client_tls(self) -> ClientTls | None:
        """TLS for clients."""
        return self._client_tls

    @property
    def draining(self) -> bool:
        """True once sessions are told to end."""
        return self.ending.draining

    @property
    def directory(self) -> Directory:
        """Clusters, servers and accounts; there from the moment that the pools' nursery is."""
        assert self._directory is not None
        return self._directory

    def find_cluster(self, database: str, user: str) -> Cluster | None:
        """See `session.gateway.Gateway`."""
        return self.directory.clusters.get((database, user))

    def find_account(self, database: str, user: str) -> Account:
        """See `session.gateway.Gateway`."""
        return self.directory.find_account(database, user)

    def physical_pool(self, database: str, user: str) -> str:
        """See `session.gateway.Gateway`."""
        return self.directory.physical_pool(database, user)

    def admit(self) -> None:
        """Raise `TooManyClients` if one connection more than allowed is open."""
        limit = self.general.max_client_conn
        if limit and len(self.connections) > limit:
            raise TooManyClients(
                f"no more connections allowed (max_client_conn = {limit})",
                hint="Close idle connections or raise max_client_conn.",
            )

    # -- the tree --------------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `shut_down`. Reports the bound addresses once clients are accepted.

        Raises `BindError`, and `ConfigError` if a server says that the configuration is wrong.
        """
        self.listeners = listeners = await open_listeners(self.general, self._legacy)
        refusal: ConfigError | None = None
        self.addresses = [listener.socket.getsockname()[:2] for listener in listeners]
        try:
            async with trio.open_nursery() as process:
                if self.poller is not None:
                    process.start_soon(self.poller.run)
                process.start_soon(self._sweep)
                async with trio.open_nursery() as pools:
                    self._directory = Directory(self._config, pools, self.poller)
                    pools.start_soon(self._directory.resolver.run)
                    try:
                        await self._serve(listeners, task_status)
                    except ConfigError as error:
                        refusal = error
                    finally:
                        self._close_pools()
                    pools.cancel_scope.cancel()
                process.cancel_scope.cancel()
        finally:
            for listener in listeners:
                listener.socket.close()
            self.stopped.set()
        log.info("server.stopped")
        if refusal is not None:
            raise refusal

    async def _serve(
        self, listeners: list[trio.SocketListener], task_status: trio.TaskStatus[list[tuple[str, int]]]
    ) -> None:
        if self.general.validate_config:
            await self._validate()
        async with trio.open_nursery() as sessions:
            async with trio.open_nursery() as listening:
                handler = partial(serve_connection, self)
                await listening.start(partial(trio.serve_listeners, handler, listeners, handler_nursery=sessions))
                for host, port in self.addresses:
                    log.info("server.listening", host=host, port=port, version=__version__)
                task_status.started(self.addresses)
                await self.ending.begun.wait()
                listening.cancel_scope.cancel()
            for listener in listeners:
                listener.socket.close()
            await trio.lowlevel.checkpoint()  # who was accepted last is in `connections` now
            self.ending.watch(sessions)
        self.ending.over()
        pools = [*self.directory.pools(), *(pool for _, pool in self.directory.leaving())]
        errands = [errand for pool in pools for errand in pool.errands]
        await see_off(errands, _LAST_ERRANDS_S)

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        self.ending.connection_ended()

    def shut_down(self) -> None:
        """Begin to shut down; a second call ends what is left at once."""
        self.ending.hasten()

    def _close_pools(self) -> None:
        for cluster in self.directory.all_clusters():
            cluster.retire()

    async def _sweep(self) -> None:
        """Everything that is done by the clock, for everybody at once: no query has a timer of its own."""
        async for _ in periodic(SWEEP_PERIOD_S):
            now = trio.current_time()
            for connection in tuple(self.connections):
                session = connection.session
                if session is None or session.backend or session.place or now >= session.rests_until:
                    connection.sweep(now)
            if self._directory is not None:
                for server in self._directory.servers.values():
                    server.expire_ban(now)
                for cluster in self._directory.all_clusters():
                    cluster.sweep(now)
                self._directory.usages.sweep(now)

    # -- configuration ---------------------------------------------------------------------------------------------

    async def _validate(self) -> None:
        """Connect to every server once. One that is down may come back; one that says "no" to our login will not."""
        refusals: list[str] = []

        async def probe(pool: Pool) -> None:
            error = await pool.probe()
            if isinstance(error, LoginRefused) and error.sqlstate.startswith(_OWN_MISTAKES):
                refusals.append(f"server {pool.target.address} refused {pool.name}: {error.reason}")
            elif isinstance(error, ServerLoginFailed):
                refusals.append(f"{pool.name}: {error.message}")

        async with trio.open_nursery() as nursery:
            for pool in self.directory.pools():
                nursery.start_soon(probe, pool)
        if refusals:
            raise ConfigError(
                "servers refuse the logins of the configuration", tuple(f"{self._config.path}: {r}" for r in refusals)
            )

    def reload(self) -> ReloadPlan:
        """Read the file again and put it in force; return what that changed.

        Raises `ConfigError`, and then everything is as it was.
        """
        log.info("config.reloading", path=self._config.path)
        config = load_config(self._config.path)
        client_tls = _client_tls(config)
        for warning in config.warnings:
            log.warning("config.warning", problem=warning)
        plan = diff(self._config, config)
        if plan.boot_only:
            log.warning("config.needs_restart", keys=", ".join(changed.key for changed in plan.boot_only))
        self.directory.apply(config, plan)
        # What needs a restart stays as it is until then, also for those who ask.
        self._config = attrs.evolve(config, general=keep_boot_only(self._config.general, config.general))
        self._client_tls = client_tls
        log.info("config.reloaded", path=config.path)
        return plan

    def plan(self) -> tuple[Config, ReloadPlan]:
        """The file as it is now, and what `reload` would do. Raises `ConfigError` for what would keep it from that."""
        config = load_config(self._config.path)
        _client_tls(config)
        context_of(config)
        return config, diff(self._config, config)


def _client_tls(config: Config) -> ClientTls | None:
    general = config.general
    if general.tls_certificate is None or general.tls_private_key is None:
        return None
    context = client_facing_context(general.tls_certificate, general.tls_private_key)
    end_point = server_end_point(own_certificate(str(general.tls_certificate)))
    auth_types = {user.auth_type for pool in config.pools.values() for user in pool.users} | {general.admin_auth_type}
    if end_point is None and AuthType.SCRAM_PLUS in auth_types:
        raise ConfigError(
            "scram-sha-256-plus cannot work with this tls_certificate: its signature names no hash function to bind to "
            "(Ed25519); use an RSA or ECDSA certificate, or scram-sha-256"
        )
    return ClientTls(context, end_point)


async def serve(
    config: Config, *, task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run the proxy inside the caller's nursery: ``addresses = await nursery.start(serve, config)``.

    Reports the bound (host, port) pairs once clients are accepted. Cancelling it ends sessions at once; every backend
    is closed by the time it returns. Raises `BindError` and `ConfigError`.
    """
    await Supervisor(config).run(task_status=task_status)

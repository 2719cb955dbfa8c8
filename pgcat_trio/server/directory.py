"""Who is behind a database and user, for the configuration in force: clusters, servers and accounts.

`Directory.apply` is the whole of a reload: what did not change stays the same object, with its connections, its bans
and its waiters; what did is retired and ends with its transactions.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import structlog

from ..config import diff
from ..config.model import AuthType, Role
from ..net.tls import server_facing_context
from ..pool.cluster import Cluster
from ..pool.connect import Target
from ..pool.fleet import Fleet
from ..pool.pool import Pool
from ..session.gateway import ADMIN_DATABASES, Account
from ..wire.scram import ScramVerifier

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    import trio

    from ..config.model import Config, Secret, Shard, SslMode, User
    from ..config.model import Pool as PoolConfig
    from ..net.poller import Poller

log = structlog.get_logger("pgcat_trio.config")


class Directory:
    """All clusters by (database, user). ``nursery`` is the pools' nursery."""

    def __init__(self, config: Config, nursery: trio.Nursery, poller: Poller | None) -> None:
        self.config = config
        self.clusters: dict[tuple[str, str], Cluster] = {}
        self.fleet = Fleet(nursery)
        self.servers = self.fleet.servers
        self._nursery = nursery
        self._poller = poller
        self._verifiers: dict[tuple[str, str], ScramVerifier] = {}
        self._mock_secret = secrets.token_bytes(32)
        self._ssl_context = self._server_facing_context(config)
        for pool in config.pools.values():
            for user in pool.users:
                self._add(pool, user)
        self.fleet.settle(self.clusters.values(), config.general)

    def apply(self, config: Config) -> None:
        """Put a new configuration in force. Raises `ConfigError`, and then nothing has changed."""
        context = self._server_facing_context(config)
        plan = diff(self.config, config)
        if self._tls_settings(self.config) != self._tls_settings(config):
            stale = set(self.clusters)  # how servers are reached has changed, for all of them
        else:
            stale = {*plan.changed, *plan.removed}
        self.config = config
        self._ssl_context = context
        self._verifiers.clear()
        retired = {key: self.clusters.pop(key) for key in stale if key in self.clusters}
        for pool in self.pools():
            pool.options = config.general
        for pool_config in config.pools.values():
            for user in pool_config.users:
                if (pool_config.name, user.username) not in self.clusters:
                    self._add(pool_config, user)
                    log.info("pool.created", database=pool_config.name, user=user.username)
        # Last: whoever waits in an old cluster goes over to the new one at this moment.
        for (database, user_name), cluster in retired.items():
            cluster.retire()
            log.info("pool.retired", database=database, user=user_name)
        self.fleet.settle(self.clusters.values(), config.general)

    def pools(self) -> Iterator[Pool]:
        """Every pool of every cluster."""
        for cluster in self.clusters.values():
            yield from cluster.pools

    def physical_pool(self, database: str, user: str) -> str:
        """See `gateway.Gateway.physical_pool`."""
        if (database, user) in self.clusters:
            return database
        own = [
            self.clusters[each.name, user] for each in self.config.pools.values() if (each.name, user) in self.clusters
        ]
        primaries = [(each, pool.server) for each in own for pool in each.pools if pool.role is Role.PRIMARY]
        return primaries[0][0].config.name if len({server for _, server in primaries}) == 1 else database

    def find_account(self, database: str, user: str) -> Account:
        """See `gateway.Gateway.find_account`."""
        general = self.config.general
        if database in ADMIN_DATABASES:
            known = user == general.admin_username
            return self._account(user, general.admin_auth_type, general.admin_password if known else None)
        cluster = self.clusters.get((database, user))
        if cluster is None:
            return self._account(user, self._usual_auth_type(), None)
        if cluster.user.auth_type is AuthType.TRUST:
            return Account(AuthType.TRUST, None, None)
        return self._account(user, cluster.user.auth_type, cluster.user.password)

    def _account(self, user: str, auth_type: AuthType, secret: Secret | None) -> Account:
        password = secret.reveal() if secret is not None else None
        scram = auth_type in (AuthType.SCRAM, AuthType.SCRAM_PLUS)
        return Account(auth_type, password, self._verifier(user, password) if scram else None)

    def _verifier(self, user: str, password: str | None) -> ScramVerifier:
        if password is None:
            return ScramVerifier.mock(user, self._mock_secret)
        found = self._verifiers.get((user, password))
        if found is None:
            found = self._verifiers[user, password] = ScramVerifier(password)
        return found

    def _usual_auth_type(self) -> AuthType:
        """What a login to nothing is asked for: as most real ones are, so that the two cannot be told apart."""
        types = [cluster.user.auth_type for cluster in self.clusters.values()]
        types = [each for each in types if each is not AuthType.TRUST] or [AuthType.MD5]
        return max(set(types), key=types.count)

    # -- building --------------------------------------------------------------------------------------------------

    def _add(self, config: PoolConfig, user: User) -> None:
        cluster = Cluster(config, user)
        shard = self._shard(config)
        for server in shard.servers:
            target = self._target(shard, user, server.host, server.port)
            cluster.add(
                Pool(
                    cluster,
                    self.fleet.server(target.address, self.config.general.ban_time_s),
                    Role(server.role),
                    target,
                    user,
                    self.config.general,
                    self._nursery,
                    self._poller,
                    reset=config.cleanup_server_connections,
                    tracking=cluster.tracking,
                    weight=server.weight,
                    zone=server.zone,
                )
            )
        self.clusters[config.name, user.username] = cluster

    def _shard(self, config: PoolConfig) -> Shard:
        """The shard that is served: sharding itself is not built yet, and says so when the file is loaded."""
        default = config.default_shard
        return config.shards[default if isinstance(default, int) else 0]

    def _target(self, shard: Shard, user: User, host: str, port: int) -> Target:
        password = user.server_password or user.password
        return Target(
            host=host,
            port=port,
            database=shard.database,
            user=user.server_username,
            password=password.reveal() if password is not None else None,
            ssl_mode=self.config.general.server_tls,
            ssl_context=self._ssl_context,
        )

    @staticmethod
    def _server_facing_context(config: Config) -> ssl.SSLContext | None:
        return server_facing_context(*Directory._tls_settings(config))

    @staticmethod
    def _tls_settings(config: Config) -> tuple[SslMode, str | None, str | None, str | None]:
        general = config.general
        files = (general.server_tls_ca_file, general.server_tls_certificate, general.server_tls_private_key)
        ca_file, certificate, private_key = (None if file is None else str(file) for file in files)
        return general.server_tls, ca_file, certificate, private_key

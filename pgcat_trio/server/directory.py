"""Who is behind a database and user, for the configuration in force: clusters, servers and accounts.

`Directory.apply` is the whole of a reload. A pool that stays is the same object, with its connections, its bans and
its waiters, also when its limits, its routing or its servers change; one that does not ends with its transactions.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import structlog
import trio

from ..config.model import AuthType, Role
from ..config.plan import Reach, server_name
from ..net.tls import server_facing_context
from ..pool.adapting import adapt, adapt_pool, rearrange
from ..pool.cluster import Cluster
from ..pool.connect import Target
from ..pool.fleet import Fleet
from ..pool.pausing import Pauses
from ..pool.pool import Pool
from ..pool.resolver import Resolver
from ..pool.shards import join
from ..pool.usage import Usages
from ..routing.activity import Activity
from ..session.gateway import ADMIN_DATABASES, Account
from ..wire.scram import ScramVerifier

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection, Iterator

    from ..config.model import Config, Secret, Shard, User
    from ..config.model import Pool as PoolConfig
    from ..config.model import Server as ServerConfig
    from ..config.plan import PoolChange, ReloadPlan
    from ..net.poller import Poller
    from ..pool.server import Server

log = structlog.get_logger("pgcat_trio.config")


class Directory:
    """All clusters by (database, user), each standing for all shards. ``nursery`` is the pools' nursery."""

    def __init__(self, config: Config, nursery: trio.Nursery, poller: Poller | None) -> None:
        self.config = config
        self.clusters: dict[tuple[str, str], Cluster] = {}
        self.fleet = Fleet(nursery, poller)
        self.pauses = Pauses()
        self.usages = Usages()
        self._activities: dict[str, Activity | None] = {}
        self._leaving: list[tuple[tuple[str, str], Pool]] = []
        self._nursery = nursery
        self._poller = poller
        self._verifiers: dict[tuple[str, str], ScramVerifier] = {}
        self._mock_secret = secrets.token_bytes(32)
        self._ssl_context = context_of(config)
        self.resolver = Resolver(lambda: self.config.general, self._hosts, self._moved)
        for pool in config.pools.values():
            for user in pool.users:
                self._add(pool, user)
        self._share_activity()
        self.fleet.settle([*self.all_clusters()], config.general)

    def apply(self, config: Config, plan: ReloadPlan) -> None:
        """Put a new configuration in force as ``plan`` says. Raises `ConfigError`, and then nothing has changed."""
        self._ssl_context = context_of(config)
        self.config = config
        self._verifiers.clear()
        replaced = [change.pool for change in plan.changed if change.reach is Reach.REPLACE]
        retired = {key: self.clusters.pop(key).shards for key in (*replaced, *plan.removed)}
        for key, shards in retired.items():
            self._leaving += [(key, pool) for shard in shards for pool in shard.pools]
        self.pauses.pools.difference_update(plan.removed)
        if self.pauses.newcomers:
            self.pauses.pools.update(plan.added)
        changes = {change.pool: change for change in plan.changed}
        for pool in config.pools.values():
            for user in pool.users:
                key = (pool.name, user.username)
                if key in self.clusters:
                    for cluster in self.clusters[key].shards:
                        self._adapt(cluster, pool, user, changes.get(key))
                else:
                    self._add(pool, user)
                    log.info("pool.created", database=pool.name, user=user.username)
        self._share_activity()
        self.fleet.settle([*self.all_clusters()], config.general)
        self.pauses.apply(self.clusters)
        # Last: whoever waits in an old cluster goes over to the new one at this moment.
        for (database, user_name), shards in retired.items():
            for cluster in shards:
                cluster.retire()
            log.info("pool.retired", database=database, user=user_name)
        self.leaving()
        self.usages.keep({pool.usage for pool in self.pools()})

    @property
    def servers(self) -> dict[str, Server]:
        """All servers by their addresses."""
        return self.fleet.servers

    def all_clusters(self) -> Iterator[Cluster]:
        """Every cluster: one for each shard of a database and user."""
        for cluster in self.clusters.values():
            yield from cluster.shards

    def pools(self) -> Iterator[Pool]:
        """Every pool of every cluster."""
        for cluster in self.all_clusters():
            yield from cluster.pools

    def _hosts(self) -> set[str]:
        return {pool.target.host for pool in self.pools()}

    def _moved(self, host: str, addresses: Collection[str]) -> None:
        """A name stands for these addresses now."""
        for pool in self.pools():
            if pool.target.host == host:
                pool.move(addresses)
        self.fleet.move(host, addresses)

    def leaving(self) -> list[tuple[tuple[str, str], Pool]]:
        """The pools that reloads have retired, as long as somebody has a backend of theirs; by database and user."""
        self._leaving = [(key, pool) for key, pool in self._leaving if pool.backends or pool.opening]
        return self._leaving

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

    def _share_activity(self) -> None:
        """What one user of a pool writes, others read."""
        known, self._activities = self._activities, {}
        for cluster in self.all_clusters():
            name = cluster.config.name
            if name not in self._activities:
                self._activities[name] = Activity.for_pool(cluster.config, known.get(name))
            cluster.activity = self._activities[name]

    # -- building --------------------------------------------------------------------------------------------------

    def _add(self, config: PoolConfig, user: User) -> None:
        shards = [Cluster(config, user, number) for number in range(len(config.shards))]
        join(shards)
        for cluster in shards:
            for server in config.shards[cluster.shard].servers:
                cluster.add(self._pool(cluster, server))
        default = config.default_shard
        self.clusters[config.name, user.username] = shards[default if isinstance(default, int) else 0]

    def _adapt(self, cluster: Cluster, config: PoolConfig, user: User, change: PoolChange | None) -> None:
        """Bring a cluster that stays up to date; without a change there is only ``[general]`` to see to."""
        before, shard = cluster.config.shards[cluster.shard], config.shards[cluster.shard]
        known = dict(zip(map(server_name, before.servers), cluster.pools, strict=True))
        if change is not None:
            adapt(cluster, config, user)
        for pool in cluster.pools:
            adapt_pool(pool, self.config.general, self._target(shard, user, pool.target.host, pool.target.port))
        if change is None:
            cluster.refresh()
            return
        wanted = {server_name(server): server for server in shard.servers}
        added = {name: self._pool(cluster, server) for name, server in wanted.items() if name not in known}
        removed = [pool for name, pool in known.items() if name not in wanted]
        for name in wanted.keys() & known.keys():
            known[name].weight, known[name].zone = wanted[name].weight, wanted[name].zone
        self._leaving += [((config.name, user.username), pool) for pool in removed]
        rearrange(cluster, list(added.values()), removed, [(known | added)[name] for name in wanted])
        cluster.refresh()
        if change.reach is Reach.RECONNECT:
            for pool in cluster.pools:
                pool.replace_backends("the configuration has changed")
        cluster.reconsider()
        log.info("pool.changed", database=config.name, user=user.username, what=change.words)

    def _pool(self, cluster: Cluster, server: ServerConfig) -> Pool:
        shard = cluster.config.shards[cluster.shard]
        target = self._target(shard, cluster.user, server.host, server.port)
        return Pool(
            cluster,
            self.fleet.server(target.address, self.config.general.ban_time_s),
            Role(server.role),
            target,
            cluster.user,
            self.config.general,
            self._nursery,
            self._poller,
            reset=cluster.config.cleanup_server_connections,
            tracking=cluster.tracking,
            weight=server.weight,
            zone=server.zone,
            usage=self.usages.of(
                (cluster.config.name, cluster.user.username, f"{cluster.shard}: {server_name(server)}"),
                trio.current_time(),
            ),
        )

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
            resolver=self.resolver,
        )


def context_of(config: Config) -> ssl.SSLContext | None:
    """TLS towards servers, with its files as they are on the disk now. Raises `ConfigError`."""
    general = config.general
    files = (general.server_tls_ca_file, general.server_tls_certificate, general.server_tls_private_key)
    return server_facing_context(general.server_tls, *(None if file is None else str(file) for file in files))

"""All servers of the configuration, each with the checker that looks after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from ..config.model import Role
from .health import Checker
from .rounds import Rounds, Watch
from .server import Server
from .topology import Topology

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..config.model import General
    from ..net.poller import Poller
    from .cluster import Cluster
    from .connect import Target

_Shard = tuple[tuple[str, Role], ...]


class Fleet:
    """Servers by their addresses. ``nursery`` is the pools' nursery."""

    def __init__(self, nursery: trio.Nursery, poller: Poller | None) -> None:
        self.servers: dict[str, Server] = {}
        self._nursery = nursery
        self._poller = poller
        self._rounds = Rounds(nursery)
        self._going_round = False
        self._checkers: dict[str, Checker] = {}
        self._watches: dict[str, Watch] = {}
        self._topologies: dict[_Shard, Topology] = {}

    def server(self, address: str, ban_time_s: float) -> Server:
        """The server at an address, a new one where it was not known."""
        known = self.servers.get(address)
        if known is None:
            known = self.servers[address] = Server(address, ban_time_s)
        return known

    def move(self, host: str, addresses: Collection[str]) -> None:
        """The name ``host`` stands for these addresses now."""
        for watch in self._watches.values():
            watch.move(host, addresses)

    def settle(self, clusters: Collection[Cluster], options: General) -> None:
        """Look after the servers of these clusters, and no others: after the start and after each reload.

        A server is asked by the login of the first pool that it is in, but for what ``healthcheck_username``,
        ``healthcheck_password`` and ``healthcheck_database`` say.
        """
        targets: dict[str, Target] = {}
        shards: dict[_Shard, None] = {}
        for cluster in clusters:
            for pool in cluster.pools:
                targets.setdefault(pool.server.address, _for_checks(pool.target, options))
            shards[_shard(cluster)] = None
        for address in self.servers.keys() - targets.keys():
            del self.servers[address]
        for server in self.servers.values():
            server.ban_time_s = options.ban_time_s
            server.dials.limit = options.max_dials
        self._settle_checkers(targets if options.healthcheck_interval_s else {}, options)
        self._settle_topologies([shard for shard in shards if self._checkers])

    def _settle_checkers(self, targets: dict[str, Target], options: General) -> None:
        for address in self._checkers.keys() - targets.keys():
            del self._checkers[address]
            self._watches.pop(address).stop()
        for address, target in targets.items():
            if address in self._watches:
                self._watches[address].retarget(target, options)
            else:
                checker = self._checkers[address] = Checker(self.servers[address], options)
                self._watches[address] = Watch(checker, target, self._poller, self._rounds)
        if targets and not self._going_round:
            self._going_round = True
            self._nursery.start_soon(self._rounds.run)

    def _settle_topologies(self, shards: list[_Shard]) -> None:
        former, self._topologies = self._topologies, {}
        for checker in self._checkers.values():
            checker.topologies.clear()
            checker.fences.clear()
        for shard in shards:
            topology = former.get(shard)
            if topology is None:
                topology = Topology({self._checkers[address]: role for address, role in shard}, trio.current_time())
                for other in former.values():
                    topology.inherit(other)
            self._topologies[shard] = topology
            for checker in topology.members:
                checker.topologies.append(topology)


def _shard(cluster: Cluster) -> _Shard:
    """Which servers with which roles; one that is given twice counts as the primary that it may be."""
    roles = {pool.server.address: pool.configured_role for pool in cluster.pools}
    roles |= {pool.server.address: Role.PRIMARY for pool in cluster.pools if pool.configured_role is Role.PRIMARY}
    return tuple(sorted(roles.items()))


def _for_checks(target: Target, options: General) -> Target:
    target = attrs.evolve(target, database=options.healthcheck_database or target.database)
    if options.healthcheck_username is None:
        return target
    password = options.healthcheck_password
    return attrs.evolve(
        target, user=options.healthcheck_username, password=None if password is None else password.reveal()
    )

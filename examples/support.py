"""What the examples have in common: a throw-away cluster with two replicas, and the proxy in front of it."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
import trio

from pgcat_trio import parse_config, serve
from pgcat_trio.embedded import EmbeddedCluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

# The proxy logs by structlog, which is yours to configure.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

BAN_TIME_S = 2

CONFIG = """
[general]
host = "127.0.0.1"
port = 0
admin_username = "admin"
admin_password = "secret"
ban_time = {ban_time_s}

[pools.app]
load_balancing_mode = "round_robin"
default_role = "primary"
query_parser_enabled = true
query_parser_read_write_splitting = true

[pools.app.users.0]
username = "{user}"
password = "{password}"
auth_type = "scram-sha-256"
pool_size = 5

[pools.app.shards.0]
database = "{database}"
servers = {servers}
"""


@asynccontextmanager
async def cluster_and_proxy() -> AsyncIterator[tuple[EmbeddedCluster, str]]:
    """The cluster, and the DSN of the proxy in front of it."""
    async with EmbeddedCluster(replicas=2) as cluster:
        user, password, database = cluster.superuser, cluster.password, cluster.database
        servers = [[server.host, server.port, server.role] for server in cluster.servers]
        text = CONFIG.format(user=user, password=password, database=database, servers=servers, ban_time_s=BAN_TIME_S)
        config = parse_config(text)
        async with trio.open_nursery() as nursery:
            [(host, port)] = await nursery.start(serve, config)
            yield cluster, f"postgresql://{user}:{password}@{host}:{port}/{database}"
            nursery.cancel_scope.cancel()


def run_with_dsn(program: Callable[[str], None]) -> None:
    """Run a program that knows nothing of Trio, with the proxy's DSN."""

    async def main() -> None:
        async with cluster_and_proxy() as (_, dsn):
            await trio.to_thread.run_sync(program, dsn)

    trio.run(main)

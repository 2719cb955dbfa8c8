"""The proxy inside your own program: a task of your nursery, which ends with it."""

from __future__ import annotations

import logging

import psycopg
import structlog
import trio

from pgcat_trio import parse_config, serve
from pgcat_trio.embedded import EmbeddedCluster

CONFIG = """
[general]
host = "127.0.0.1"
port = 0  # any free one
admin_username = "admin"
admin_password = "secret"

[pools.app.users.0]
username = "{user}"
password = "{password}"
auth_type = "scram-sha-256"
pool_size = 5

[pools.app.shards.0]
database = "{database}"
servers = [["127.0.0.1", {port}, "primary"]]
"""


def ask(dsn: str) -> str:
    """Any driver will do; this one blocks, hence the thread below."""
    with psycopg.connect(dsn) as connection:
        return str(connection.execute("select version()").fetchone()[0])


async def main() -> None:
    # The proxy logs by structlog, which is yours to configure.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    async with EmbeddedCluster(replicas=0) as cluster:
        user, password, port = cluster.superuser, cluster.password, cluster.primary.port
        config = parse_config(CONFIG.format(user=user, password=password, database=cluster.database, port=port))
        async with trio.open_nursery() as nursery:
            [(host, port)] = await nursery.start(serve, config)
            print(f"the proxy listens on {host}:{port}")
            print(await trio.to_thread.run_sync(ask, f"postgresql://{user}:{password}@{host}:{port}/app"))
            nursery.cancel_scope.cancel()
    print("all gone")


if __name__ == "__main__":
    trio.run(main)

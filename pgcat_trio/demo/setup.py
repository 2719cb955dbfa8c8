"""What the demo runs on: the role and the table in the cluster, and the proxy's configuration."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import attrs
import tomlkit

if TYPE_CHECKING:
    from ..embedded import EmbeddedCluster

USER: Final = "demo"
ADMIN: Final = "admin"
ROWS: Final = 1000
"""The table's first rows, which readers ask for; writers add to them."""

POOL_SIZE: Final = 3
"""Fewer backends per server than the workload has clients, so that it can be seen that they are shared."""

BAN_TIME_S: Final = 10
"""Short, so that it can be seen that a server comes back."""

_SCHEMA: Final = f"""
create role {USER} login password '{{password}}';
create table visits (id bigint generated always as identity primary key, note text not null);
insert into visits (note) select 'visit ' || n from generate_series(1, {ROWS}) n;
grant select, insert on visits to {USER};
"""


@attrs.frozen
class Credentials:
    """Passwords made up for one run of the demo; safe in URLs and in SQL."""

    password: str = attrs.field(factory=lambda: secrets.token_urlsafe(9), repr=False)
    admin_password: str = attrs.field(factory=lambda: secrets.token_urlsafe(9), repr=False)


async def prepare(cluster: EmbeddedCluster, credentials: Credentials) -> None:
    """Make the demo's role and its table, and wait until the replicas have them."""
    await cluster.psql(_SCHEMA.format(password=credentials.password))
    await cluster.wait_caught_up()


def config_text(cluster: EmbeddedCluster, credentials: Credentials, port: int) -> str:
    """The proxy's configuration for this cluster, as TOML."""
    servers = tomlkit.item([[server.host, server.port, server.role] for server in cluster.servers])
    document = {
        "general": {
            "host": "127.0.0.1",
            "port": port,
            "admin_username": ADMIN,
            "admin_password": credentials.admin_password,
            "ban_time": tomlkit.item(BAN_TIME_S).comment("seconds"),
        },
        "pools": {
            cluster.database: {
                "load_balancing_mode": "round_robin",
                "default_role": "primary",
                "query_parser_enabled": True,
                "query_parser_read_write_splitting": True,
                "users": {
                    "0": {
                        "username": USER,
                        "password": credentials.password,
                        "auth_type": "scram-sha-256",
                        "pool_size": POOL_SIZE,
                    }
                },
                "shards": {"0": {"database": cluster.database, "servers": servers.multiline(True)}},
            }
        },
    }
    return tomlkit.dumps(document)

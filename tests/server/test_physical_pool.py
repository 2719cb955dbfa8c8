"""Which pool is meant by physical replication, which has no database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgcat_trio import parse_config
from pgcat_trio.server.directory import Directory

if TYPE_CHECKING:
    import trio


def config_text(**pools: tuple[str, str]) -> str:
    """Pools by their name: the user, and the servers in TOML."""
    lines = ['[general]\nadmin_username = "admin"\nadmin_password = "admin"']
    for name, (user, servers) in pools.items():
        lines.append(f'[pools.{name}.users.0]\nusername = "{user}"\npassword = "x"\npool_size = 1')
        lines.append(f'[pools.{name}.shards.0]\ndatabase = "{name}"\nservers = [{servers}]')
    return "\n".join(lines)


A, B = '["a", 5432, "primary"]', '["b", 5432, "primary"]'
A_AND_REPLICA, REPLICA = f'{A}, ["b", 5432, "replica"]', '["b", 5432, "replica"]'


@pytest.mark.trio
@pytest.mark.parametrize(
    ("pools", "found"),
    [
        ({"one": ("ann", A)}, "one"),
        ({"one": ("bob", A), "two": ("ann", A)}, "two"),
        ({"one": ("ann", A), "two": ("ann", A_AND_REPLICA)}, "one"),
        ({"one": ("ann", REPLICA), "two": ("ann", A)}, "two"),
        ({"one": ("ann", A), "replication": ("ann", B)}, "replication"),
        # In doubt, none: a backup of another server than was meant would be taken for the right one.
        ({"one": ("ann", A), "two": ("ann", B)}, "replication"),
        ({"one": ("ann", REPLICA)}, "replication"),
        ({"one": ("bob", A)}, "replication"),
    ],
)
async def test_which_pool(nursery: trio.Nursery, pools: dict[str, tuple[str, str]], found: str) -> None:
    directory = Directory(parse_config(config_text(**pools)), nursery, None)
    assert directory.physical_pool("replication", "ann") == found

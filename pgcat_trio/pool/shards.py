"""The shards of one pool: a cluster each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .cluster import Cluster


def join(shards: Sequence[Cluster]) -> None:
    """Make new clusters the shards of one pool: clients go from one to another, and their statements with them."""
    for cluster in shards:
        cluster.shards = tuple(shards)
        cluster.sharded = len(shards) > 1
        cluster.statements = shards[0].statements

"""The session's cluster, made to lose no commit that it has acknowledged, whichever server dies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import pytest
from support.chaos_client import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgcat_trio.embedded import EmbeddedCluster

FULL: Final = os.environ.get("PGCAT_TRIO_CHAOS") == "full"


@pytest.fixture(scope="session")
def chaos_clients() -> int:
    """How many clients are at work: those of the whole suite (``nox -s chaos``), or of its short form."""
    return 100 if FULL else 30


@pytest.fixture
def chaos_cluster(cluster_thread: Any) -> Iterator[EmbeddedCluster]:
    """What is acknowledged is on a replica, too. Afterwards all servers are up, in their first roles."""
    cluster: EmbeddedCluster = cluster_thread.cluster
    call = cluster_thread.call
    call(cluster.psql, SCHEMA)
    _set_synchronous(call, cluster, "set synchronous_standby_names = 'ANY 1 (*)'")
    yield cluster
    call(cluster.restore)
    _set_synchronous(call, cluster, "reset synchronous_standby_names")


def _set_synchronous(call: Any, cluster: EmbeddedCluster, change: str) -> None:
    for sql in (f"alter system {change}", "select pg_reload_conf()"):
        call(cluster.primary.psql, sql)

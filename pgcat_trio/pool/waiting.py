"""The queue for a backend: what stands in it, and how a task waits there."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import outcome
import trio

from ..config.model import Role
from ..errors import ProxyError

if TYPE_CHECKING:
    from .backend import Backend
    from .cluster import Cluster
    from .pool import Pool


class ClusterRetired(ProxyError):
    """A reload replaced this cluster while somebody waited in it: look the new one up and ask again."""


class Waiter(ABC):
    """Somebody in the queue. Exactly one of `granted` and `refused` is called, unless it leaves the queue before.

    Both are called from within others' business: they must neither raise nor await.
    """

    __slots__ = ("deadline", "failed", "fallback_to_primary", "patient", "pools", "role")

    since: float
    """When it began to wait, by Trio's clock."""

    def __init__(self, role: Role, fallback_to_primary: bool) -> None:
        self.role = role
        self.fallback_to_primary = fallback_to_primary
        self.patient = True
        """While there is no server that it could use, it waits for one (``failover_hold``)."""
        self.pools: list[Pool] = []
        """Where a backend may come from; none while it waits for a server."""
        self.failed: dict[Pool, ProxyError] = {}
        """The pools that could not open a backend in the meantime, and why."""
        self.deadline = math.inf
        """When it has waited long enough, by Trio's clock."""

    @property
    def may_write(self) -> bool:
        """The primary would do, too."""
        return self.fallback_to_primary or self.role is not Role.REPLICA

    def accepts(self, pool: Pool) -> bool:
        """False for a server that would not do now, though it is of the role."""
        return True

    @abstractmethod
    def granted(self, backend: Backend) -> None:
        """The backend is the waiter's now."""

    @abstractmethod
    def refused(self, reason: ProxyError) -> None:
        """There will be no backend. `ClusterRetired` means: ask the new cluster."""


class TaskWaiter(Waiter):
    """A task that waits in the queue."""

    __slots__ = ("_outcome", "_task", "since")

    def __init__(self, role: Role, fallback_to_primary: bool) -> None:
        super().__init__(role, fallback_to_primary)
        self.since = trio.current_time()
        self._task: trio.lowlevel.Task | None = None
        self._outcome: outcome.Outcome[Backend] | None = None

    async def wait(self, cluster: Cluster) -> Backend:
        """Queue, and wait for what comes of it. After `Cancelled` the place is given up."""
        cluster.enqueue(self)
        if self._outcome is None:
            self._task = trio.lowlevel.current_task()

            def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
                cluster.leave(self)
                return trio.lowlevel.Abort.SUCCEEDED

            # Once it is rescheduled it has the backend: a cancellation that comes later finds the wait over.
            await trio.lowlevel.wait_task_rescheduled(abort)
        assert self._outcome is not None
        return self._outcome.unwrap()

    def granted(self, backend: Backend) -> None:
        self._end(outcome.Value(backend))

    def refused(self, reason: ProxyError) -> None:
        self._end(outcome.Error(reason))

    def _end(self, result: outcome.Outcome[Backend]) -> None:
        self._outcome = result
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)

"""One embedded cluster for the whole test session, usable from synchronous tests and from any Trio run."""

from __future__ import annotations

import functools
import queue
import threading
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import hypothesis
import pytest
import trio

from pgcat_trio.embedded import EmbeddedCluster

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("unhurried")
hypothesis.settings.load_profile("unhurried")

P = ParamSpec("P")
T = TypeVar("T")


class ClusterThread:
    """Runs an `EmbeddedCluster` in a Trio run of its own thread, because fixtures of session scope cannot await."""

    def __init__(self) -> None:
        self._ready: queue.SimpleQueue[EmbeddedCluster | BaseException] = queue.SimpleQueue()
        # A daemon, for an interrupt while we wait for it: the watchdog cleans up then.
        self._thread = threading.Thread(target=self._run, name="embedded-cluster", daemon=True)

    def __enter__(self) -> ClusterThread:
        self._thread.start()
        result = self._ready.get()
        if isinstance(result, BaseException):
            self._thread.join()
            raise result
        self.cluster = result
        return self

    def __exit__(self, *_: object) -> None:
        self._token.run_sync_soon(self._done.set)
        self._thread.join()

    def call(self, async_fn: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function, such as a method of the cluster, to its end. For synchronous code only."""
        return trio.from_thread.run(functools.partial(async_fn, *args, **kwargs), trio_token=self._token)

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:
            self._ready.put(error)  # read by __enter__; an error at the end shows as what the cluster left behind
            if hasattr(self, "cluster"):
                raise

    async def _main(self) -> None:
        self._token, self._done = trio.lowlevel.current_trio_token(), trio.Event()
        async with EmbeddedCluster(replicas=2) as cluster:
            self._ready.put(cluster)
            await self._done.wait()


@pytest.fixture(scope="session")
def cluster_thread() -> Iterator[ClusterThread]:
    with ClusterThread() as thread:
        yield thread


@pytest.fixture
def cluster(cluster_thread: ClusterThread) -> EmbeddedCluster:
    """The session's cluster: one primary, two replicas. Its async methods may be awaited in any Trio test."""
    return cluster_thread.cluster


@pytest.fixture
def cluster_call(cluster_thread: ClusterThread) -> Callable[..., Any]:
    """``cluster_call(server.kill)``: run an async method of the cluster from a synchronous test."""
    return cluster_thread.call


@pytest.fixture
def fresh_cluster_after(cluster_thread: ClusterThread) -> Iterator[EmbeddedCluster]:
    """The session's cluster for a test that breaks it: afterwards all its servers are up, in their first roles."""
    yield cluster_thread.cluster
    cluster_thread.call(cluster_thread.cluster.restore)

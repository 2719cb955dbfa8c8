"""The ways of a proxy to its end, in front of the embedded cluster."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.proxy import ProxyThread, proxy_config

from pgcat_trio.server.ending import Manner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgcat_trio.embedded import EmbeddedCluster

Client = psycopg.Connection[Any]


@pytest.fixture
def proxy(cluster: EmbeddedCluster, request: pytest.FixtureRequest) -> Iterator[ProxyThread]:
    general = getattr(request, "param", "")
    with ProxyThread(proxy_config(cluster, general=general)) as proxy:
        yield proxy


def connect(proxy: ProxyThread) -> Client:
    return psycopg.connect(proxy.dsn(), autocommit=True)


def end(proxy: ProxyThread, manner: Manner) -> None:
    proxy.call_sync(proxy.proxy.supervisor.ending.begin, manner)


def is_refused(proxy: ProxyThread) -> bool:
    """Whether nobody is accepted any more."""
    try:
        connect(proxy).close()
    except psycopg.OperationalError:
        return True
    return False


def execute_until_refused(client: Client, command: bytes) -> None:
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            client.execute(command)
    assert client.closed


def wait_for_the_end(proxy: ProxyThread) -> float:
    """How long it took, in seconds."""
    began = time.monotonic()
    proxy.call(proxy.proxy.supervisor.stopped.wait)
    return time.monotonic() - began


def test_clients_are_waited_for(proxy: ProxyThread) -> None:
    with connect(proxy) as client, psycopg.connect(proxy.admin_dsn, autocommit=True) as console:
        assert console.execute(b"SHUTDOWN WAIT_FOR_CLIENTS").statusmessage == "SHUTDOWN"
        while not is_refused(proxy):
            pass
        for _ in range(3):  # as if nothing had happened
            with client.transaction():
                assert client.execute("select 1").fetchone() == (1,)
        assert console.execute(b"SHOW LISTS").fetchone()
        client.close()
        execute_until_refused(console, b"SHOW VERSION")
    wait_for_the_end(proxy)


def test_who_is_logging_in_is_not_left_behind(proxy: ProxyThread) -> None:
    """The connections that are accepted last belong to the clients that are waited for."""
    clients: list[Client] = []
    stop = threading.Event()

    def come() -> None:
        with contextlib.suppress(psycopg.errors.ConnectionTimeout, psycopg.OperationalError):
            while not stop.is_set():
                clients.append(connect(proxy))

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(clients) < 8:
        pass
    end(proxy, Manner.WAIT_FOR_CLIENTS)
    for thread in threads:
        thread.join()
    for client in clients:
        assert client.execute("select 1").fetchone() == (1,)
        client.close()
    wait_for_the_end(proxy)


@pytest.mark.parametrize("proxy", ["shutdown_timeout = 1"], indirect=True)
def test_transactions_are_waited_for_without_limit(proxy: ProxyThread) -> None:
    with connect(proxy) as busy, connect(proxy) as idle:
        busy.execute("begin")
        end(proxy, Manner.WAIT_FOR_SERVERS)
        execute_until_refused(idle, b"select 1")
        busy.execute("select pg_sleep(0.2)")
        busy.execute("commit")
        wait_for_the_end(proxy)


def test_patience_may_end(proxy: ProxyThread) -> None:
    with connect(proxy) as busy, connect(proxy) as idle:
        busy.execute("begin")
        end(proxy, Manner.WAIT_FOR_CLIENTS)
        assert idle.execute("select 1").fetchone() == (1,)
        end(proxy, Manner.DRAIN)
        execute_until_refused(idle, b"select 1")
        assert busy.execute("select 1").fetchone() == (1,)
        end(proxy, Manner.WAIT_FOR_CLIENTS)  # does not come back
        busy.execute("commit")
        wait_for_the_end(proxy)


@pytest.mark.parametrize("proxy", ["shutdown_timeout = 500"], indirect=True)
@pytest.mark.parametrize("manner", [Manner.DRAIN, Manner.CUT])
def test_what_is_cut_is_cancelled(
    proxy: ProxyThread, manner: Manner, cluster: EmbeddedCluster, cluster_call: Callable[..., str]
) -> None:
    running = "select count(*) from pg_stat_activity where state = 'active' and query = 'select pg_sleep(61)'"
    with connect(proxy) as client:
        failures: list[Exception] = []

        def sleep() -> None:
            try:
                client.execute("select pg_sleep(61)")
            except psycopg.Error as problem:
                failures.append(problem)

        sleeper = threading.Thread(target=sleep)
        sleeper.start()
        while cluster_call(cluster.psql, running).strip() != "1":
            pass
        end(proxy, manner)
        assert wait_for_the_end(proxy) < 10
        ended = time.monotonic()
        while cluster_call(cluster.psql, running).strip() != "0":
            assert time.monotonic() - ended < 10
        sleeper.join()
    assert len(failures) == 1

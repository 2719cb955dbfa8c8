"""Online restart and socket activation: real processes, under load."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support.program import COMMAND, environment
from tests.support.proxy import APP_PASSWORD, APP_USER, proxy_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pgcat_trio.embedded import EmbeddedCluster
    from tests.support.program import Program


class Restartable:
    """A program that may be replaced by its successors, which write to its standard output."""

    def __init__(self, program: Program, database: str) -> None:
        self.program = program
        self.port = program.event("server.listening")["port"]
        self.pid = program.process.pid
        self._database = database
        self.successors: list[int] = []

    def connect(self) -> psycopg.Connection[Any]:
        where: dict[str, Any] = {"host": "127.0.0.1", "port": self.port, "dbname": self._database}
        return psycopg.connect(**where, user=APP_USER, password=APP_PASSWORD, autocommit=True)

    def begin_handover(self) -> None:
        os.kill(self.pid, signal.SIGUSR2)
        self.successors.append(self.program.event("handover.begun")["pid"])

    def replace(self) -> None:
        self.begin_handover()
        self.program.event("handover.done")
        self.pid = self.successors[-1]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Where a service manager would hear how the service is doing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        yield manager


@pytest.fixture
def old(start: Callable[..., Program], tmp_path: Path, cluster: EmbeddedCluster) -> Iterator[Restartable]:
    (tmp_path / "pgcat.toml").write_text(proxy_config(cluster))
    found = Restartable(start("-F", "structured", NOTIFY_SOCKET=str(tmp_path / "notify")), cluster.database)
    yield found
    for pid in found.successors:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Load:
    """Clients at work: some keep their connections, some come and go."""

    def __init__(self, proxy: Restartable) -> None:
        self._proxy = proxy
        self._threads = [threading.Thread(target=work) for work in (self._stay, self._come_and_go) for _ in range(2)]
        self.stop_staying = threading.Event()
        self.stop = threading.Event()
        self.failures: list[Exception] = []
        self.transactions = 0
        self.connections = 0

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_staying.set()
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def go_on(self) -> None:
        """Until there has been some more of everything."""
        transactions, connections = self.transactions + 30, self.connections + 10
        while (self.transactions < transactions or self.connections < connections) and not self.failures:
            time.sleep(0.01)

    def _transact(self, client: psycopg.Connection[Any]) -> None:
        with client.transaction():
            client.execute("select 1")
            client.execute("select pg_sleep(0.001)")
        self.transactions += 1

    def _stay(self) -> None:
        try:
            with self._proxy.connect() as client:
                while not self.stop_staying.is_set():
                    self._transact(client)
        except Exception as failure:
            self.failures.append(failure)

    def _come_and_go(self) -> None:
        try:
            while not self.stop.is_set():
                with self._proxy.connect() as client:
                    self.connections += 1
                    self._transact(client)
        except Exception as failure:
            self.failures.append(failure)


def test_nobody_notices_a_restart(old: Restartable) -> None:
    with Load(old) as load:
        load.go_on()
        old.replace()
        load.go_on()
        old.program.send(signal.SIGUSR2)  # to the old process, which those who stay still have
        assert "already" in old.program.event("handover.failed")["reason"]
        load.stop_staying.set()
        assert old.program.process.wait(30) == 0
        load.go_on()
    assert load.failures == []


def test_a_cancel_request_finds_its_client_in_the_old_process(old: Restartable) -> None:
    with old.connect() as client, old.connect() as another:
        failures: list[Exception] = []

        def sleep() -> None:
            try:
                client.execute("select pg_sleep(62)")
            except psycopg.Error as problem:
                failures.append(problem)

        old.replace()
        old.replace()  # from a process to the one before to the one before that
        sleeper = threading.Thread(target=sleep)
        sleeper.start()
        while sleeper.is_alive():
            client.cancel_safe(timeout=10)
            sleeper.join(0.05)
        assert [type(failure) for failure in failures] == [psycopg.errors.QueryCanceled]
        assert another.execute("select 1").fetchone() == (1,)


def test_the_service_manager_is_told_who_serves(manager: socket.socket, old: Restartable) -> None:
    assert manager.recv(100) == f"READY=1\nMAINPID={old.pid}".encode()
    old.replace()
    assert manager.recv(100) == f"READY=1\nMAINPID={old.pid}".encode()
    assert old.program.process.wait(30) == 0


def test_a_new_process_that_cannot_start_changes_nothing(old: Restartable, tmp_path: Path) -> None:
    with old.connect() as client:
        (tmp_path / "pgcat.toml").write_text("nonsense")
        old.begin_handover()
        assert old.program.event("handover.failed")["reason"] == "the new process did not start"
        assert client.execute("select 1").fetchone() == (1,)
        with old.connect() as newcomer:
            assert newcomer.execute("select 2").fetchone() == (2,)


ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_socket_activation(tmp_path: Path, cluster: EmbeddedCluster) -> None:
    """As systemd does it: the socket is there before the process, and stays when that has ended."""
    (tmp_path / "pgcat.toml").write_text(proxy_config(cluster, port=1))  # which is not for us to bind
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where: dict[str, Any] = {"host": "127.0.0.1", "port": listener.getsockname()[1], "dbname": cluster.database}
        number = listener.fileno()
        for _ in range(2):
            with subprocess.Popen(
                [sys.executable, "-c", ACTIVATE, str(number), *COMMAND],
                cwd=tmp_path,
                env=environment(),
                pass_fds=[number],
                stdout=subprocess.DEVNULL,
            ) as process:
                try:
                    with psycopg.connect(**where, user=APP_USER, password=APP_PASSWORD) as client:
                        assert client.execute("select 1").fetchone() == (1,)
                    process.terminate()
                    assert process.wait(30) == 0
                finally:
                    process.kill()

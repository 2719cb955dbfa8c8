"""One server of an embedded cluster: start it, stop it, crash it, freeze it, promote it, build it anew."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import trio

from pgcat_trio import _embedded_guard as guard
from pgcat_trio._embedded_install import EmbeddedError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping

    from pgcat_trio._embedded_install import Installation

HOST = "127.0.0.1"
SOCKETS = "sockets"
POLL_S = 0.01
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
REPLAY_TIMEOUT_S = 10.0
PORT_ATTEMPTS = 5
LOG_TAIL_LINES = 15
ADMIN_DATABASE = "postgres"  # exists in every cluster

Role = Literal["primary", "replica"]
StopMode = Literal["smart", "fast", "immediate"]
# "Shutting Down the Server" in the PostgreSQL manual.
STOP_SIGNALS: dict[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}


async def poll(check: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until ``check()`` holds; False when it did not within the time."""
    with trio.move_on_after(timeout_s):
        # There is no event to wait for: the facts are those of other processes, and no loop may own the servers.
        while not check():  # noqa: ASYNC110
            await trio.sleep(POLL_S)
        return True
    return False


def free_port() -> int:
    """A port nobody listens on, below those which the kernel gives to outgoing connections.

    A server that is down for a while would lose a port of that range to any connection made meanwhile (even to a
    connection to itself: a connect to a closed port of the range may meet its own SYN).
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        first_ephemeral = int(file.read().split()[0])
    while True:
        port = random.randrange(10_000, max(first_ephemeral, 11_000))
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def settings_text(settings: Mapping[str, str]) -> str:
    """Settings as lines of ``postgresql.conf``."""
    quoted = {name: value.replace("\\", "\\\\").replace("'", "''") for name, value in settings.items()}
    return "".join(f"{name} = '{value}'\n" for name, value in quoted.items())


class EmbeddedServer:
    """A server of an `EmbeddedCluster`, which makes it. Its methods are for one task at a time.

    ``port`` and ``data_dir`` stay the same for its whole life; ``role`` is what it was last made, by `promote` or
    `rebuild`. ``pid`` is the postmaster's, None while it is down. A frozen server is up: connections to it hang.
    """

    host = HOST

    def __init__(self, name: str, role: Role, installation: Installation, superuser: str) -> None:
        self.name = name
        self.role: Role = role
        self.port = free_port()
        self.socket_dir = installation.directory / SOCKETS
        self.data_dir = installation.directory / name
        self.log_path = installation.directory / f"{name}.log"
        self.is_frozen = False
        self._install = installation
        self._superuser = superuser
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        state = "down" if not self.is_running else "frozen" if self.is_frozen else "up"
        return f"<EmbeddedServer {self.name} ({self.role}, {state}) at {self.host}:{self.port}>"

    @property
    def is_running(self) -> bool:
        """Whether its postmaster is alive, be it ready or not, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The postmaster's process id."""
        return self._process.pid if self._process is not None and self.is_running else None

    async def psql(self, sql: str, database: str = ADMIN_DATABASE) -> str:
        """Run a script with the psql program as the superuser; returns its output: rows as lines, columns by ``|``.

        Raises `EmbeddedError` with psql's messages at the first statement that fails. After Cancelled the statement
        at work may or may not have been executed.
        """
        program = self._install.program("psql")
        where = ["-h", str(self.socket_dir), "-p", str(self.port), "-U", self._superuser, "-d", database]
        how = [
            "--no-psqlrc",
            "--no-password",
            "--quiet",
            "--no-align",
            "--tuples-only",
            "-v",
            "ON_ERROR_STOP=1",
            "-f",
            "-",
        ]
        return (await self._install.run([program, *where, *how], text=sql)).strip()

    def log_text(self) -> str:
        """All that the server has logged so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    # -- up and down -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start it where it is down, and wait until it is ready. After Cancelled it may be up, or on its way."""
        if not self.is_running:
            self._spawn()
        await self.wait_ready()

    async def start_first(self) -> None:
        """Start a server that nobody knows the port of yet: where somebody took the port, choose another."""
        for attempt in range(PORT_ATTEMPTS):
            try:
                return await self.start()
            except EmbeddedError as error:
                if "Address already in use" not in str(error) or attempt == PORT_ATTEMPTS - 1:
                    raise
                self.port = free_port()
        return None

    async def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until it accepts connections; at once where it does already (or did when it was frozen)."""
        if not await poll(lambda: not self.is_running or self._says_ready(), timeout_s) or not self.is_running:
            raise self._failure("is not ready" if self.is_running else "did not start")

    async def stop(self, mode: StopMode = "fast") -> None:
        """Stop it in order, thawing it first, and wait for its end. After Cancelled it is on its way down."""
        self.thaw()
        if self._process is not None and self.is_running:
            self._process.send_signal(STOP_SIGNALS[mode])
            if not await poll(lambda: not self.is_running, STOP_TIMEOUT_S):
                raise self._failure(f"did not stop ({mode}) within {STOP_TIMEOUT_S:.0f} s")

    async def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start it."""
        await self.stop(mode)
        await self.start()

    async def kill(self) -> None:
        """Crash it: SIGKILL to the postmaster and all its children. Returns, or raises Cancelled, once that is done;
        when it returns they are gone, so that it can be started again.
        """
        if self.pid is not None:
            killed = set(guard.kill_tree(self.pid))
            self.is_frozen = False
            if not await poll(lambda: not self.is_running and killed.isdisjoint(guard.parents()), STOP_TIMEOUT_S):
                raise self._failure("has processes that outlive SIGKILL")

    def freeze(self) -> None:
        """Stop all its processes in their tracks. The kernel still accepts connections, which then hang."""
        if self.pid is not None:
            self.is_frozen = True
            guard.stop_tree(self.pid)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        if self.pid is not None:
            guard.send(guard.tree(self.pid), signal.SIGCONT)
        self.is_frozen = False

    async def limit_files(self, size_bytes: int | None) -> None:
        """Let none of its files grow beyond a size, as on a full disk; None: let them again.

        A server that cannot write its WAL panics, and cannot come up before it can. What it starts inherits the limit.
        """
        for pid in guard.tree(self.pid) if self.pid is not None else ():
            limit = "unlimited" if size_bytes is None else str(size_bytes)
            with contextlib.suppress(EmbeddedError):  # it may have ended
                await self._install.run(["prlimit", f"--pid={pid}", f"--fsize={limit}:"], server=True)

    # -- its part in the cluster -----------------------------------------------------------------------------------

    async def promote(self) -> None:
        """Make a replica a primary. The other replicas go on following the old one: see `rebuild`."""
        if await self.psql(f"select pg_promote(true, {REPLAY_TIMEOUT_S:.0f})") != "t":
            raise self._failure("was not promoted in time")
        self.role = "primary"

    async def hold_replay(self) -> None:
        """Let a replica receive changes but not show them. Returns when it has come to a halt."""
        await self.psql("select pg_wal_replay_pause()")
        halted = (
            "pg_get_wal_replay_pause_state() = 'paused'" if self._install.major >= 14 else "pg_is_wal_replay_paused()"
        )
        await self.wait_for(f"select {halted}", REPLAY_TIMEOUT_S)

    async def resume_replay(self) -> None:
        """End `hold_replay`; does nothing where replay is not held."""
        await self.psql("select pg_wal_replay_resume()")

    async def wait_for(self, question: str, timeout_s: float) -> None:
        """Ask a question in SQL again and again until the answer is true."""
        with trio.move_on_after(timeout_s):
            while await self.psql(question) != "t":  # noqa: ASYNC110 (see `poll`)
                await trio.sleep(POLL_S)
            return
        raise self._failure(f"did not come to agree within {timeout_s:.0f} s to: {question}")

    async def rebuild(self, source: EmbeddedServer) -> None:
        """Throw its data away and make it a replica of ``source``, whatever it was before. Its port stays.

        After Cancelled it is down and without usable data, until it is rebuilt.
        """
        await self.stop("immediate")
        await trio.to_thread.run_sync(self._throw_data_away)
        program, target = self._install.program("pg_basebackup"), str(self.data_dir)
        options = ["--checkpoint=fast", "--wal-method=stream", "--no-sync", "--no-manifest", "--no-password"]
        await self._install.run([program, "-D", target, "-d", source.conninfo(self.name), *options], server=True)
        self.follow(source)
        await self.start()

    def follow(self, source: EmbeddedServer) -> None:
        """Write into its data directory that it is a replica of ``source``. Takes effect at its next start."""
        setting = settings_text({"primary_conninfo": source.conninfo(self.name)})
        self._install.write(self.data_dir / "postgresql.auto.conf", setting)
        self._install.write(self.data_dir / "standby.signal", "")
        self.role = "replica"

    def conninfo(self, application_name: str) -> str:
        """How a replica reaches this server, in libpq's keywords; its password comes from the password file."""
        place = f"host={self.socket_dir} port={self.port} user='{self._superuser}'"
        return f"{place} application_name={application_name} connect_timeout=5"

    def _throw_data_away(self) -> None:
        killed = self.data_dir / "postmaster.pid"
        if killed.exists():  # it names a segment, which the watchdog removes at the end
            killed.rename(Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=self._install.directory), killed.name))
        shutil.rmtree(self.data_dir)
        self._install.make_directory(self.data_dir)

    def _spawn(self) -> None:
        self._log_start = len(self.log_text())
        with open(self.log_path, "ab") as log:
            self._process = self._install.spawn(self._command(), log)

    def _command(self) -> list[str]:
        return [self._install.program("postgres"), "-D", str(self.data_dir), "-p", str(self.port)]

    def _says_ready(self) -> bool:
        """Whether line 8 of ``postmaster.pid`` says so, as ``pg_ctl --wait`` reads it. The file may be an old one."""
        try:
            lines = (self.data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _failure(self, what: str) -> EmbeddedError:
        tail = self.log_text()[self._log_start :].splitlines()[-LOG_TAIL_LINES:]
        return EmbeddedError("\n".join([f"{self.name} {what}: {' '.join(self._command())}", *tail]))

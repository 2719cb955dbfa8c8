"""The ways to the server that are compared: straight, through pgcat-trio and through PgBouncer, set up alike."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import trio

from pgcat_trio._embedded_install import server_account
from pgcat_trio._embedded_server import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pgcat_trio.embedded import EmbeddedCluster

Login = Literal["trust", "scram-sha-256"]
"""How clients log in to a pooler. Both poolers log in to the server by SCRAM, whatever their clients do."""

DIRECT: Final = "direct"
PROXY: Final = "pgcat-trio"
SPLITTING: Final = "pgcat-trio, splitting"
PGBOUNCER: Final = "PgBouncer"

POOL_SIZE: Final = 20
"""Backends of each pooler: PgBouncer's own default, and less than the most clients, so that clients take turns."""

START_TIMEOUT_S: Final = 20.0
LOG_TAIL_LINES: Final = 15


class BenchError(RuntimeError):
    """The benchmark cannot go on: which program failed, and what it said."""


@attrs.frozen
class Endpoint:
    """Where clients connect. ``pid`` is the pooler's process; None for the server itself."""

    name: str
    host: str
    port: int
    pid: int | None = None


@attrs.frozen
class Site:
    """What the poolers stand in front of, and ``directory``, for their files."""

    cluster: EmbeddedCluster
    directory: Path

    @classmethod
    def prepare(cls, cluster: EmbeddedCluster) -> Site:
        """Make the directory inside the cluster's, with which it goes, whatever happens."""
        directory = cluster.directory / "bench"
        directory.mkdir()
        directory.chmod(0o711)  # PgBouncer, as another user, must get at its own files
        return cls(cluster, directory)


@asynccontextmanager
async def running(name: str, site: Site, login: Login = "trust") -> AsyncIterator[Endpoint]:
    """Start a pooler, with the direct way for company, and end it on leaving.

    Raises `BenchError`, as a group of one, if it does not start, and in the middle of the block if it ends by itself.
    """
    if name == DIRECT:
        yield Endpoint(name, site.cluster.primary.host, site.cluster.primary.port)
        return
    port = free_port()
    command, options = _pgbouncer(site, port, login) if name == PGBOUNCER else _proxy(name, site, port, login)
    log_path = trio.Path(site.directory / f"{name}-{port}.log")
    async with await log_path.open("wb") as log, trio.open_nursery() as nursery:
        # A session of its own: a terminal's Ctrl-C is for us to pass on, in order.
        where_to = {"stdout": log.wrapped, "stderr": subprocess.STDOUT, "start_new_session": True}
        process = await nursery.start(partial(trio.run_process, command, check=False, **where_to, **options))
        nursery.start_soon(_mourn, name, process, log_path)
        await _wait_listening(name, port)
        yield Endpoint(name, HOST, port, process.pid)
        nursery.cancel_scope.cancel()


def available() -> list[str]:
    """The ways that there are on this machine, in the order of a round."""
    return [DIRECT, PROXY, *([PGBOUNCER] if shutil.which("pgbouncer") else []), SPLITTING]


def pgbouncer_version() -> str:
    """The first line of what it says about itself."""
    said = subprocess.run(["pgbouncer", "--version"], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0]


def pgbouncer_prepares() -> bool:
    """True if it is here and can do prepared statements in transaction mode: from 1.21 on."""
    if not shutil.which("pgbouncer"):
        return False
    numbers = [int(digits) for digits in re.findall(r"\d+", pgbouncer_version())]
    return numbers[:2] >= [1, 21]


async def _mourn(name: str, process: trio.Process, log_path: trio.Path) -> None:
    """Raise `BenchError` when the process ends."""
    status = await process.wait()
    tail = (await log_path.read_text(encoding="utf-8", errors="replace")).splitlines()[-LOG_TAIL_LINES:]
    raise BenchError("\n".join([f"{name} ended by itself with status {status}:", *tail]))


async def _wait_listening(name: str, port: int) -> None:
    with trio.move_on_after(START_TIMEOUT_S):
        while True:
            try:
                await (await trio.open_tcp_stream(HOST, port)).aclose()
                return
            except OSError:
                await trio.sleep(0.05)
    raise BenchError(f"{name} does not listen on port {port} after {START_TIMEOUT_S:.0f} s")


# -- the configurations: the same pool, the same logins, everything else as it comes ---------------------------------


def _proxy(name: str, site: Site, port: int, login: Login) -> tuple[list[str], dict[str, Any]]:
    cluster, splitting = site.cluster, name == SPLITTING
    wanted = cluster.servers if splitting else [cluster.primary]
    servers = [[server.host, server.port, server.role] for server in wanted]
    path = site.directory / f"proxy-{port}.toml"
    text = f"""
[general]
host = "{HOST}"
port = {port}
admin_username = "admin"
admin_password = "{cluster.password}"

[pools.{cluster.database}]
pool_mode = "transaction"
query_parser_enabled = {str(splitting).lower()}
query_parser_read_write_splitting = {str(splitting).lower()}

[pools.{cluster.database}.users.0]
username = "{cluster.superuser}"
password = "{cluster.password}"
auth_type = "{login}"
pool_size = {POOL_SIZE}

[pools.{cluster.database}.shards.0]
database = "{cluster.database}"
servers = {servers}
"""
    _write_private(path, text)
    return [sys.executable, "-m", "pgcat_trio", str(path)], {}


def _pgbouncer(site: Site, port: int, login: Login) -> tuple[list[str], dict[str, Any]]:
    cluster, account = site.cluster, server_account()
    users, path = site.directory / f"users-{port}.txt", site.directory / f"pgbouncer-{port}.ini"
    text = f"""
[databases]
{cluster.database} = host={cluster.primary.host} port={cluster.primary.port}

[pgbouncer]
listen_addr = {HOST}
listen_port = {port}
unix_socket_dir =
auth_type = {login}
auth_file = {users}
pool_mode = transaction
default_pool_size = {POOL_SIZE}
max_client_conn = 10000
ignore_startup_parameters = extra_float_digits
{"max_prepared_statements = 500" if pgbouncer_prepares() else ""}
log_connections = 0
log_disconnections = 0
"""
    for file, content in {users: f'"{cluster.superuser}" "{cluster.password}"\n', path: text}.items():
        _write_private(file, content)
        os.chown(file, account.uid, account.gid)
    is_self = account.uid == os.geteuid()
    user = {} if is_self else {"user": account.uid, "group": account.gid, "extra_groups": []}
    return [str(shutil.which("pgbouncer")), str(path)], user


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")

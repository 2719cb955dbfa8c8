"""A proxy for a test: in the test's own Trio run (`running_proxy`), or in a thread of its own (`ProxyThread`)."""

from __future__ import annotations

import contextlib
import functools
import json
import queue
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import quote

import attrs
import outcome
import trio

from pgcat_trio import load_config, parse_config
from pgcat_trio.server.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from pgcat_trio.embedded import EmbeddedCluster

P = ParamSpec("P")
T = TypeVar("T")

APP_USER = "app_user"
APP_PASSWORD = "app-secret"
ADMIN_USER = "admin"
ADMIN_PASSWORD = "admin-secret"


def proxy_config(
    cluster: EmbeddedCluster,
    *,
    port: int = 0,
    pool_mode: str = "transaction",
    pool_size: int = 5,
    splitting: bool = False,
    general: str = "",
    pool: str = "",
    user: str = "",
    users: Mapping[str, str] | None = None,
    auth_type: str = "scram-sha-256",
) -> str:
    """A TOML file for a proxy in front of ``cluster``: one pool, named as its database, over all its servers.

    Without ``splitting`` everything goes to the primary. ``general``, ``pool`` and ``user`` are lines for those tables;
    they replace lines of the same key. ``users`` are names and passwords in place of `APP_USER`; all of them are the
    superuser on the servers.
    """
    servers = [[server.host, server.port, server.role] for server in cluster.servers]
    tables = [
        _table(
            "general",
            general,
            host="127.0.0.1",
            port=port,
            admin_username=ADMIN_USER,
            admin_password=ADMIN_PASSWORD,
            shutdown_timeout=5000,
            connect_timeout=5000,
        ),
        _table(
            f"pools.{json.dumps(cluster.database)}",
            pool,
            pool_mode=pool_mode,
            default_role="any" if splitting else "primary",
            query_parser_enabled=splitting,
            query_parser_read_write_splitting=splitting,
        ),
    ]
    for number, (name, password) in enumerate((users or {APP_USER: APP_PASSWORD}).items()):
        tables.append(
            _table(
                f"pools.{json.dumps(cluster.database)}.users.{number}",
                user,
                username=name,
                password=password,
                auth_type=auth_type,
                server_username=cluster.superuser,
                server_password=cluster.password,
                pool_size=pool_size,
            )
        )
    tables.append(
        _table(f"pools.{json.dumps(cluster.database)}.shards.0", "", database=cluster.database, servers=servers)
    )
    return "\n".join(tables)


def _table(header: str, lines: str, **values: Any) -> str:
    """One table; JSON's strings, numbers, booleans and arrays are TOML, too."""
    kept = {line.split("=")[0].strip() for line in lines.splitlines()}
    defaults = [f"{key} = {json.dumps(value)}" for key, value in values.items() if key not in kept]
    return "\n".join([f"[{header}]", *defaults, lines, ""])


@attrs.frozen
class RunningProxy:
    """A proxy that accepts clients. Its ``supervisor`` must only be touched from its own Trio run."""

    supervisor: Supervisor
    host: str
    port: int

    def dsn(self, user: str = APP_USER, password: str = APP_PASSWORD, database: str | None = None) -> str:
        """A ``postgresql://`` URL; the database is the first pool's where none is named."""
        name = database or next(iter(self.supervisor.config.pools))
        return f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@{self.host}:{self.port}/{quote(name)}"

    @property
    def admin_dsn(self) -> str:
        """The admin console's URL."""
        return self.dsn(ADMIN_USER, ADMIN_PASSWORD, "pgcat")


@contextlib.asynccontextmanager
async def running_proxy(config: str | Path) -> AsyncIterator[RunningProxy]:
    """Run a proxy in the current Trio run; ``config`` is a file's text, or its path where a test wants to reload it.

    What the proxy or the body raises comes out as it is, without an exception group. Leaving cuts all sessions.
    """
    supervisor = Supervisor(load_config(config) if isinstance(config, Path) else parse_config(config))
    try:
        async with trio.open_nursery() as nursery:
            [(host, port), *_] = await nursery.start(supervisor.run)
            try:
                yield RunningProxy(supervisor, host, port)
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _only_member(group) from None


def _only_member(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


class ProxyThread:
    """A proxy in a Trio run of its own thread, for synchronous tests: ``with ProxyThread(text) as proxy: ...``.

    Entering returns the `RunningProxy`, or raises what kept it from running. Leaving cuts all sessions; it is no error
    if the proxy has shut down by then.
    """

    def __init__(self, config: str | Path) -> None:
        self._config = config
        self._ready: queue.SimpleQueue[RunningProxy | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._fault: BaseException | None = None

    def __enter__(self) -> ProxyThread:
        self._thread.start()
        result = self._ready.get()
        if isinstance(result, BaseException):
            self._thread.join()
            raise result
        self.proxy = result
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._leave.set)
        self._thread.join()
        if self._fault is not None:
            raise self._fault

    @property
    def host(self) -> str:
        return self.proxy.host

    @property
    def port(self) -> int:
        return self.proxy.port

    @property
    def admin_dsn(self) -> str:
        return self.proxy.admin_dsn

    def dsn(self, user: str = APP_USER, password: str = APP_PASSWORD, database: str | None = None) -> str:
        """See `RunningProxy.dsn`."""
        return self.proxy.dsn(user, password, database)

    def call(self, async_fn: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an async function in the proxy's Trio run, to its end."""
        return trio.from_thread.run(functools.partial(async_fn, *args, **kwargs), trio_token=self._token)

    def call_sync(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a plain function in the proxy's Trio run: to look at, or do something to, its ``supervisor``."""
        return trio.from_thread.run_sync(functools.partial(fn, *args, **kwargs), trio_token=self._token)

    def _run(self) -> None:
        end = outcome.capture(trio.run, self._main)
        if isinstance(end, outcome.Error):
            if hasattr(self, "_leave"):
                self._fault = end.error
            self._ready.put(end.error)

    async def _main(self) -> None:
        async with running_proxy(self._config) as proxy:
            self._token, self._leave = trio.lowlevel.current_trio_token(), trio.Event()
            self._ready.put(proxy)
            await self._leave.wait()

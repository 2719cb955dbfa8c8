"""Keeping a router's `Catalog` true: asking a server, on a connection of its own, from time to time.

Only for clusters whose router splits reads from writes. As long as nothing has been learned, or if nothing can be, the
router knows no user's functions: they go to the primary.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import structlog
import trio

from ..config.model import Role
from ..errors import ProxyError
from ..routing.learning import CATALOG_SQL, VERSION_SQL, learned
from ..wire import encode
from ..wire.upstream import Upstream
from .asking import ask
from .connect import open_connection

if TYPE_CHECKING:
    from ..routing.route import Router
    from .pool import Pool

log = structlog.get_logger("pgcat_trio.pool")

_STARTUP: Final = {"application_name": "pgcat-trio catalog", "client_encoding": "UTF8"}

_TIMEOUT_S: Final = 30.0
"""For a whole conversation. Ten thousand functions take a second; whatever takes this long is out of order."""

_BIG_BYTES: Final = 64 * 1024
"""Bodies of more than this are read in a thread: meanwhile others are served."""


class CatalogKeeper:
    """Keeps the catalog of one cluster's router, from its first connection until `retire`; ``refresh_s``: 0 for not."""

    def __init__(self, name: str, router: Router, pools: list[Pool], refresh_s: float) -> None:
        self._name = name
        self._router = router
        self._pools = pools
        self._refresh_s = refresh_s
        self._started = not (router.splitting and refresh_s)
        self._scope = trio.CancelScope()
        self._version: object = None
        self._failed = False

    def greeted(self, pool: Pool) -> None:
        """There is a connection to a server, so it can be asked."""
        if not self._started:
            self._started = True
            pool.start_soon(self._run)

    def retire(self) -> None:
        """Ask no more."""
        self._started = True
        self._scope.cancel()

    async def _run(self) -> None:
        with self._scope:
            while True:
                await self._refresh(self._pool())
                await trio.sleep(self._refresh_s)

    def _pool(self) -> Pool:
        """Whom to ask: the primary if it can be reached, for it knows first."""
        return min(self._pools, key=lambda pool: (not pool.backends, pool.role is not Role.PRIMARY))

    async def _refresh(self, pool: Pool) -> None:
        problem = f"no answer within {_TIMEOUT_S:g} s"
        try:
            with trio.move_on_after(_TIMEOUT_S):
                await self._ask(pool)
                self._failed = False
                return
        except ProxyError as error:
            problem = error.message
        except ConnectionResetError as error:
            problem = str(error)
        if not self._failed:
            self._failed = True
            log.warning("catalog.failed", cluster=self._name, server=pool.server.address, reason=problem)

    async def _ask(self, pool: Pool) -> None:
        """Ask what has changed, and put it in force. Nothing is left open."""
        greeting = await open_connection(pool.target, None, pool.options, _STARTUP)
        transport, upstream = greeting.transport, Upstream()
        try:
            transport.unread(greeting.rest)
            version = await ask(transport, upstream, VERSION_SQL)
            if version == self._version:
                return
            rows = [tuple(row) for row in await ask(transport, upstream, CATALOG_SQL)]
        finally:
            with contextlib.suppress(trio.BrokenResourceError):
                transport.send_nowait(encode.TERMINATE)
            transport.close()
        if sum(len(row[-1] or "") for row in rows) > _BIG_BYTES:
            catalog = await trio.to_thread.run_sync(learned, rows)
        else:
            catalog = learned(rows)
        self._version = version
        if self._router.use(catalog):
            log.info(
                "catalog.loaded",
                cluster=self._name,
                server=pool.server.address,
                read_functions=len(catalog.reads),
                unsafe_relations=len(catalog.relations),
            )

"""From a client that has proved who it is to what it is given: all that has to be waited for before its welcome."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import trio

from ..config.model import PoolMode
from ..errors import AuthenticationFailed, PoolDisabled, ProxyError
from ..pool.settings import intern
from ..pool.waiting import ClusterRetired
from ..session.dedicated import settle_on, take_backend
from ..session.parameters import requested_settings, settle
from ..session.replication import Replication
from ..session.session import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ..pool.cluster import Cluster
    from ..session.handshake import ClientGone, Handshake, Login
    from .supervisor import Supervisor


class Admission:
    """Bounded in time by ``scope``, whose deadline is the client's: it is put off while others are waited for."""

    def __init__(self, supervisor: Supervisor, handshake: Handshake, scope: trio.CancelScope) -> None:
        self._supervisor = supervisor
        self._handshake = handshake
        self._scope = scope

    async def open_session(self, login: Login) -> Session:
        """The client's session; in session mode it has its backend, which the caller has to see given back.

        Raises `ProxyError` with what to tell the client, `ClientGone` as soon as there is nobody to tell. After any
        error and after `Cancelled` nothing is held.
        """
        wanted = requested_settings(login.parameters)
        while (cluster := self._supervisor.find_cluster(login.database, login.user)) is not None:
            _refuse_if_disabled(cluster)
            session = Session(login.transport, self._supervisor, cluster, login.user, login.database, intern({}))
            try:
                if session.mode is PoolMode.SESSION:
                    await self._with_the_client(partial(self._dedicate, session, wanted))
                else:
                    # Nearly always there is nothing to wait for: not worth a nursery.
                    session.begin_with(await settle(cluster, wanted))
                return session
            except ClusterRetired:
                continue  # a reload came in between
            except BaseException:
                session.release()
                raise
        raise _no_such_pool(login)

    async def open_replication(self, login: Login) -> Replication:
        """The client's walsender, which the caller has to see closed. Raises as `open_session`."""
        cluster = self._supervisor.find_cluster(login.database, login.user)
        if cluster is None:
            raise _no_such_pool(login)
        _refuse_if_disabled(cluster)
        replication = Replication(login.transport, self._supervisor, cluster, login.user, login.database)
        self._scope.deadline = math.inf  # it has a deadline of its own
        try:
            await self._with_the_client(partial(replication.connect, login.parameters))
        except BaseException:
            replication.release()
            raise
        return replication

    async def _dedicate(self, session: Session, wanted: Mapping[str, str]) -> None:
        self._scope.deadline = math.inf  # the cluster keeps the time of those who wait
        backend = await take_backend(session)
        self._scope.deadline = trio.current_time() + self._supervisor.general.client_login_timeout_s
        await settle_on(backend, session, wanted)

    async def _with_the_client(self, work: Callable[[], Awaitable[None]]) -> None:
        """Wait for ``work`` as long as the client is there; raises `ClientGone` if it was not to the end."""
        gone: ClientGone | None = None
        failure: ProxyError | None = None
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                nonlocal gone
                gone = await self._handshake.departure()
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            try:
                await work()
            except ProxyError as error:
                failure = error
            nursery.cancel_scope.cancel()
        if gone is not None:
            raise gone
        if failure is not None:
            raise failure


def _refuse_if_disabled(cluster: Cluster) -> None:
    if cluster.disabled:
        raise PoolDisabled(f'database "{cluster.config.name}" takes no new connections')


def _no_such_pool(login: Login) -> AuthenticationFailed:
    return AuthenticationFailed(f'password authentication failed for user "{login.user}"')

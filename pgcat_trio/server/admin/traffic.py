"""Commands that stop traffic and let it go on: PAUSE, RESUME, RECONNECT, WAIT_CLOSE, DISABLE, ENABLE, KILL.

Their meanings are PgBouncer's (its manual, "Process controlling commands"). Each is carried out as a whole or not at
all: a PAUSE that was cancelled, or whose administrator has left before it was complete, is undone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from ...errors import QueryCanceled, ShuttingDown
from ...pool.pausing import until_replaced, until_stopped
from .answers import Answer, refusal
from .selection import Selection, select

if TYPE_CHECKING:
    from ...session.replication import Replication
    from ...session.session import Session
    from ..supervisor import Supervisor

log = structlog.get_logger("pgcat_trio.admin")


async def pause(supervisor: Supervisor, arguments: list[str], peer: str) -> Answer:
    """PAUSE [what]: returns when no connection to a server is left. Those who want one wait for RESUME.

    Raises `QueryCanceled` if all of it is resumed in the meantime. After `Cancelled` it is as before.
    """
    selection = _selected(supervisor, "PAUSE", arguments, peer)
    newcomers = supervisor.directory.pauses.newcomers
    undo = _stop(supervisor, selection)
    stopped = False
    try:
        stopped = await until_stopped(selection.pools(supervisor.directory))
    finally:
        if not stopped:
            _go_on(supervisor, undo, newcomers=newcomers)
    if not stopped:
        raise QueryCanceled("the traffic goes on: somebody has said RESUME", hint="Say PAUSE again.")
    return _done("PAUSE", selection)


def resume(supervisor: Supervisor, arguments: list[str], peer: str) -> Answer:
    """RESUME [what]: those who waited go on, in the order in which they came."""
    selection = _selected(supervisor, "RESUME", arguments, peer)
    if selection.words:
        _go_on(supervisor, selection)
    else:
        pauses = supervisor.directory.pauses
        _go_on(supervisor, Selection("", frozenset(pauses.pools), frozenset(pauses.servers)), newcomers=False)
    return _done("RESUME", selection)


def reconnect(supervisor: Supervisor, arguments: list[str], peer: str) -> Answer:
    """RECONNECT [what]: connections are replaced, idle ones now and the others when they are given back."""
    selection = _selected(supervisor, "RECONNECT", arguments, peer)
    for pool in selection.pools(supervisor.directory):
        pool.replace_backends("RECONNECT")
    return _done("RECONNECT", selection)


async def wait_close(supervisor: Supervisor, arguments: list[str], peer: str) -> Answer:
    """WAIT_CLOSE [what]: returns when what RECONNECT or RELOAD has replaced is gone."""
    selection = _selected(supervisor, "WAIT_CLOSE", arguments, peer)
    await until_replaced(selection.pools(supervisor.directory))
    return _done("WAIT_CLOSE", selection)


async def kill(supervisor: Supervisor, arguments: list[str], peer: str) -> Answer:
    """KILL [what]: ends the clients, and what they run, and returns when that is done; new ones wait for RESUME.

    Of a server only the clients are meant that use it at the moment.
    """
    selection = _selected(supervisor, "KILL", arguments, peer)
    _stop(supervisor, selection)
    for connection in tuple(supervisor.connections):
        client = connection.session or connection.replication
        if client is not None and _concerns(selection, client):
            _end(client)
    await until_stopped(selection.pools(supervisor.directory))
    return _done("KILL", selection)


def kill_client(supervisor: Supervisor, arguments: list[str], peer: str) -> Answer:
    """KILL_CLIENT id: ends one client; SHOW CLIENTS has the ids."""
    if len(arguments) != 1:
        raise refusal("42601", "usage: KILL_CLIENT client_id")
    for connection in supervisor.connections:
        client = connection.session or connection.replication
        if client is not None and connection.peer == arguments[0]:
            log.info("admin.command", client=peer, command="KILL_CLIENT", about=arguments[0])
            _end(client)
            return Answer("KILL_CLIENT")
    raise refusal("42704", f'no client has the id "{arguments[0]}"', hint="SHOW CLIENTS lists them.")


def disable(supervisor: Supervisor, arguments: list[str], peer: str) -> Answer:
    """DISABLE database [user]: no new clients; those who are there stay."""
    directory = supervisor.directory
    directory.pauses.disabled.add(_account(supervisor, "DISABLE", arguments, peer))
    directory.pauses.apply(directory.clusters)
    return Answer("DISABLE")


def enable(supervisor: Supervisor, arguments: list[str], peer: str) -> Answer:
    """ENABLE database [user]: new clients are welcome again; with a database alone, all of its users."""
    database, user = _account(supervisor, "ENABLE", arguments, peer)
    directory = supervisor.directory
    disabled = directory.pauses.disabled
    if user is not None and (database, None) in disabled:
        raise refusal("55000", f'database "{database}" is disabled as a whole', hint=f"Say ENABLE {database} first.")
    gone = {each for each in disabled if each[0] == database and user in (None, each[1])}
    disabled.difference_update(gone)
    directory.pauses.apply(directory.clusters)
    return Answer("ENABLE")


def _selected(supervisor: Supervisor, command: str, arguments: list[str], peer: str) -> Selection:
    selection = select(supervisor.directory, command, arguments)
    log.info("admin.command", client=peer, command=command, about=selection.words or "everything")
    return selection


def _done(command: str, selection: Selection) -> Answer:
    return Answer(f"{command} {selection.words}".rstrip())


def _stop(supervisor: Supervisor, selection: Selection) -> Selection:
    """Pause what is selected; what of it was not paused before, for `_go_on`."""
    pauses = supervisor.directory.pauses
    new = Selection(selection.words, selection.keys - pauses.pools, selection.addresses - pauses.servers)
    pauses.pools |= selection.keys
    pauses.servers |= selection.addresses
    pauses.newcomers |= not selection.words
    pauses.apply(supervisor.directory.clusters)
    return new


def _go_on(supervisor: Supervisor, selection: Selection, *, newcomers: bool = True) -> None:
    """``newcomers``: pools that a reload adds are treated as before."""
    pauses = supervisor.directory.pauses
    pauses.pools -= selection.keys
    pauses.servers -= selection.addresses
    pauses.newcomers &= newcomers
    pauses.apply(supervisor.directory.clusters)


def _concerns(selection: Selection, client: Session | Replication) -> bool:
    if selection.addresses:
        return client.backend is not None and client.backend.pool.server.address in selection.addresses
    return (client.database, client.user) in selection.keys


def _end(client: Session | Replication) -> None:
    client.finish(ShuttingDown("terminating connection due to administrator command"))


def _account(supervisor: Supervisor, command: str, arguments: list[str], peer: str) -> tuple[str, str | None]:
    selection = select(supervisor.directory, command, arguments)
    if not selection.keys or not arguments:
        raise refusal("42601", f"usage: {command} database [, user]", hint="BAN takes a replica out of the reads.")
    log.info("admin.command", client=peer, command=command, about=selection.words)
    words = [word for word in arguments if word != ","]
    return (words[0], words[1] if len(words) > 1 else None)

"""Commands that change something: RELOAD, SHUTDOWN, BAN and UNBAN (those for traffic are in `traffic`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
import trio

from ...config.model import Role
from ...errors import ConfigError
from ...wire import encode
from ..ending import Manner
from . import census
from .answers import TEXT, Answer, columns, refusal, rowset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...config import Config, ReloadPlan
    from ...pool.server import Server
    from ..supervisor import Supervisor
    from .answers import Column

log = structlog.get_logger("pgcat_trio.admin")

BANNED: Final = columns(TEXT, "db user role host")
SHUTDOWN: Final = columns(TEXT, "success")
PLAN: Final = columns(TEXT, "action database user what")

_LONGEST_BAN_S: Final = 2**31 - 1


def reload(supervisor: Supervisor, arguments: list[str], peer: str) -> Answer:
    """RELOAD: notices for what the operator should know; or an error with every problem as its detail.

    RELOAD DRY RUN: what would be done, row by row.
    """
    dry = _is_dry(arguments)
    log.info("admin.reload", client=peer, dry_run=dry)
    try:
        config, plan = supervisor.plan() if dry else _reload(supervisor)
    except ConfigError as error:
        error.detail = error.detail or "\n".join(error.problems)
        error.hint = error.hint or "The configuration in force has not changed."
        raise
    notices = list(config.warnings)
    notices += [f"{changed.key} has changed, which needs a restart to take effect" for changed in plan.boot_only]
    said = b"".join(map(encode.notice_response, notices))
    return Answer("RELOAD", PLAN if dry else (), list(plan.rows()) if dry else (), said)


def _reload(supervisor: Supervisor) -> tuple[Config, ReloadPlan]:
    plan = supervisor.reload()
    return supervisor.config, plan


def reload_header(arguments: list[str]) -> Sequence[Column]:
    """The columns of what RELOAD answers."""
    return PLAN if _is_dry(arguments) else ()


def _is_dry(arguments: list[str]) -> bool:
    match [word.upper() for word in arguments]:
        case []:
            return False
        case ["DRY", "RUN"]:
            return True
        case _:
            raise refusal("42601", "usage: RELOAD [DRY RUN]")


MANNERS: Final = {
    (): Manner.DRAIN,
    ("WAIT_FOR_SERVERS",): Manner.WAIT_FOR_SERVERS,
    ("WAIT_FOR_CLIENTS",): Manner.WAIT_FOR_CLIENTS,
}
"""What SHUTDOWN does, by its arguments."""


def shut_down(supervisor: Supervisor, arguments: list[str], peer: str) -> Answer:
    """SHUTDOWN: begin to end. Repeating it cuts nobody off: only a signal does."""
    manner = MANNERS.get(tuple(each.upper() for each in arguments))
    if manner is None:
        raise refusal("42601", "usage: SHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]")
    log.info("admin.shutdown", client=peer, manner=manner.name)
    supervisor.ending.begin(manner)
    return rowset(SHUTDOWN, [("t",)], "SHUTDOWN")


def ban(supervisor: Supervisor, arguments: list[str], peer: str) -> Answer:
    """BAN host seconds: in place of any ban that runs. Answers with the pools that lose the host."""
    match arguments:
        case [host, seconds]:
            duration_s = _duration_s(seconds)
        case _:
            raise refusal("42601", "usage: BAN hostname duration_seconds")
    now = trio.current_time()
    return _change_ban(supervisor, "BAN", host, peer, lambda server: server.ban_by_hand(duration_s, now))


def unban(supervisor: Supervisor, arguments: list[str], peer: str) -> Answer:
    """UNBAN host: ends bans of either kind. Answers with the pools that get the host back."""
    match arguments:
        case [host]:
            return _change_ban(supervisor, "UNBAN", host, peer, lambda server: server.unban())
        case []:
            raise refusal("42601", "UNBAN command requires a hostname to unban")
        case _:
            raise refusal("42601", "usage: UNBAN hostname")


def _change_ban(supervisor: Supervisor, tag: str, host: str, peer: str, change: Callable[[Server], None]) -> Answer:
    """Change the bans of all servers on a host, given with or without its port, wherever it is a replica."""
    log.info(f"admin.{tag.lower()}", client=peer, host=host)
    known = [
        (database, user, pool)
        for database, user, cluster in census.clusters(supervisor)
        for pool in cluster.pools
        if host in (pool.target.host, pool.target.address)
    ]
    if not known:
        raise refusal("42704", f'no server on host "{host}" is configured', hint="SHOW DATABASES lists the servers.")
    replicas = [each for each in known if each[2].role is Role.REPLICA]
    if not replicas:
        raise refusal("55000", f'"{host}" is a primary: writes have nowhere else to go', hint="Ban replicas only.")
    affected = replicas if tag == "BAN" else [each for each in replicas if each[2].server.banned]
    for server in {pool.server for _, _, pool in affected}:
        change(server)
    return rowset(BANNED, [(db, user, pool.role, pool.target.host) for db, user, pool in affected], tag)


def _duration_s(text: str) -> int:
    if not text.removeprefix("-").isdecimal():
        raise refusal("22023", "duration_seconds must be an integer")
    if text.startswith("-") or not text.strip("0"):
        raise refusal("22023", "duration_seconds must be >= 1")
    if len(text) > len(str(_LONGEST_BAN_S)) or int(text) > _LONGEST_BAN_S:
        raise refusal("22023", f"duration_seconds must be <= {_LONGEST_BAN_S}")
    return int(text)

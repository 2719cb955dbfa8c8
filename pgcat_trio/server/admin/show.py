"""SHOW: which table a word is for, and the tables that are about the proxy itself."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import trio

from ..._version import __version__
from ...config.model import Role
from ...errors import FeatureNotSupported
from ...wire import encode
from . import census, show_config, show_routes, show_stats, show_traffic
from .answers import INT4, TEXT, Answer, columns, refusal, rowset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..supervisor import Supervisor
    from .answers import Column, Value

    Rows = Callable[[Supervisor], Iterable[Sequence[Value]]]

HELP: Final = (
    "",
    "SHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION",
    "SHOW LISTS",
    "SHOW STATS",
    "SHOW BANS",
    "SHOW DNS_HOSTS",
    "SHOW ROUTES",
    "SET key = arg",
    "RELOAD [DRY RUN]",
    "PAUSE|RESUME|RECONNECT|WAIT_CLOSE|KILL [<db>[, <user>] | <host>:<port>]",
    "DISABLE|ENABLE <db>[, <user>]",
    "KILL_CLIENT <client_id>",
    "BAN <host> <seconds>",
    "UNBAN <host>",
    "SHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]",
)


SETTINGS: Final = {
    "server_version": __version__,
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "TimeZone": "Etc/UTC",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
}
"""What the console says of itself at the login, and when it is asked by SHOW, as many a tool does."""


def version(supervisor: Supervisor) -> Iterator[tuple[Value, ...]]:
    """One row."""
    yield (f"pgcat-trio {__version__}",)


def lists(supervisor: Supervisor) -> Iterator[tuple[Value, ...]]:
    """How many there are of everything; the console itself counts as a database with a user."""
    clusters = census.clusters(supervisor)
    databases = 1 + sum(len(cluster.pools) for _, _, cluster in clusters)
    clients = Counter(map(census.client_state, census.sessions(supervisor)))
    consoles = sum(connection.console is not None for connection in supervisor.connections)
    replications = len(census.replications(supervisor))
    backends = Counter(census.backend_states(supervisor).values())
    yield "databases", databases
    yield "users", 1 + len(census.pools(supervisor))
    yield "pools", databases
    yield "free_clients", clients["idle"] + consoles
    yield "used_clients", clients["active"] + clients["waiting"] + replications
    yield "login_clients", len(supervisor.connections) - clients.total() - replications - consoles
    yield "free_servers", backends["idle"]
    yield "used_servers", backends.total() - backends["idle"]
    resolver = supervisor.directory.resolver
    yield "dns_names", len(resolver.remembered())
    yield "dns_zones", 0
    yield "dns_queries", 0
    yield "dns_pending", resolver.pending


def dns_hosts(supervisor: Supervisor) -> Iterator[tuple[Value, ...]]:
    """One row for each name of a server that is remembered; ``ttl`` is PgBouncer's: seconds to the next lookup."""
    for host, seconds, addresses in sorted(supervisor.directory.resolver.remembered()):
        yield host, int(seconds), ",".join(addresses)


def bans(supervisor: Supervisor) -> Iterator[tuple[Value, ...]]:
    """One row for each database and user that goes without a banned replica."""
    now, clock = trio.current_time(), datetime.now(UTC)
    for database, user, cluster in census.clusters(supervisor):
        for pool in cluster.pools:
            server = pool.server
            if pool.role is Role.REPLICA and server.banned_until > now:
                began = clock - timedelta(seconds=now - server.banned_at)
                who = (database, user, pool.role, pool.target.host, server.ban_reason)
                duration_s, left_s = server.banned_until - server.banned_at, server.banned_until - now
                yield (*who, f"{began:%Y-%m-%d %H:%M:%S.%f}", f"{duration_s:.0f}", f"{left_s:.0f}")


TABLES: Final[dict[str, tuple[Sequence[Column], Rows]]] = {
    "VERSION": (columns(TEXT, "version"), version),
    "LISTS": ((*columns(TEXT, "list"), *columns(INT4, "items")), lists),
    "BANS": (columns(TEXT, "db user role host reason ban_time ban_duration_seconds ban_remaining_seconds"), bans),
    "CONFIG": (show_config.CONFIG, show_config.config),
    "DATABASES": (show_config.DATABASES, show_config.databases),
    "USERS": (show_config.USERS, show_config.users),
    "POOLS": (show_traffic.POOLS, show_traffic.pools),
    "CLIENTS": (show_traffic.CLIENTS, show_traffic.clients),
    "SERVERS": (show_traffic.SERVERS, show_traffic.servers),
    "STATS": (show_stats.STATS, show_stats.stats),
    "DNS_HOSTS": ((*columns(TEXT, "hostname"), *columns(INT4, "ttl"), *columns(TEXT, "addrs")), dns_hosts),
    "ROUTES": (show_routes.ROUTES, show_routes.routes),
}
"""Columns and rows by the word after SHOW."""

TAGS: Final = {"BANS": "SHOW BANS"}
"""PgCat's tags, where they are not just SHOW."""

NOT_BUILT: Final = frozenset(
    (
        *("STATS_TOTALS", "STATS_AVERAGES", "TOTALS", "STATE", "MEM", "FDS", "SOCKETS", "ACTIVE_SOCKETS"),
        *("DNS_ZONES", "PEERS"),
    )
)
"""Commands of PgCat's and PgBouncer's whose facts are not measured: rows of zeros would be taken for facts."""


def show(supervisor: Supervisor, arguments: list[str], peer: str) -> Answer:
    """SHOW and a word."""
    name = _name(arguments)
    if name in SETTINGS:
        return rowset(columns(TEXT, name), [(SETTINGS[name],)], "SHOW")
    if name == "HELP":
        return Answer("SHOW", notices=encode.notice_response("Console usage", detail="\n\t".join(HELP)))
    found, rows = TABLES[name]
    return rowset(found, rows(supervisor), TAGS.get(name, "SHOW"))


def header(arguments: list[str]) -> Sequence[Column]:
    """The columns of the table that is meant."""
    name = _name(arguments)
    if name in SETTINGS:
        return columns(TEXT, name)
    return () if name == "HELP" else TABLES[name][0]


def _name(arguments: list[str]) -> str:
    words = "".join(arguments).lower()  # SHOW TIME ZONE is TimeZone
    setting = next((name for name in SETTINGS if name.lower() == words), None)
    if setting is not None:
        return setting
    name = arguments[0].upper() if len(arguments) == 1 else ""
    hint = "SHOW HELP lists the commands that there are."
    if name in NOT_BUILT:
        raise FeatureNotSupported(f"SHOW {name} is not built yet", hint=hint)
    if name not in TABLES and name != "HELP":
        raise refusal("42601", "Unsupported SHOW query against the admin database", hint=hint)
    return name

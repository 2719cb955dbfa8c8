"""Rules that no single key can break: each compares fields, and names the key to change.

PgCat's own words are used where it has some. A check reads fields as if all were right; see `reader.Values`.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final

from .values import AuthType, DefaultShard, Role, SslMode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .compat import Remark
    from .reader import Values

_AUTH_QUERY_NEEDS: Final = (
    "If auth_query is specified, you need to provide a value for `auth_query_user`, `auth_query_password`"
)


# -- [general] -----------------------------------------------------------------------------------------------------


def client_tls_is_complete(general: Values) -> Iterator[Remark]:
    """A certificate needs its key, and the other way round."""
    certificate, key = general.tls_certificate, general.tls_private_key
    if certificate and not key:
        yield (*general.at, "tls_certificate"), "tls_certificate is set, but the tls_private_key is not"
    if key and not certificate:
        yield (*general.at, "tls_private_key"), "tls_private_key is set, but the tls_certificate is not"


def tls_can_be_required(general: Values) -> Iterator[Remark]:
    """Without a certificate nobody could connect."""
    if general.tls_required and not general.tls_certificate:
        yield (*general.at, "tls_required"), "needs tls_certificate and tls_private_key"


def admin_can_bind_channel(general: Values) -> Iterator[Remark]:
    """SCRAM-SHA-256-PLUS proves the password over a certain TLS connection (RFC 5929, tls-server-end-point)."""
    if general.admin_auth_type is AuthType.SCRAM_PLUS and not general.tls_certificate:
        yield (*general.at, "admin_auth_type"), "scram-sha-256-plus needs tls_certificate and tls_private_key"


def server_tls_is_complete(general: Values) -> Iterator[Remark]:
    """A client certificate for the servers needs its key, and the other way round."""
    certificate, key = general.server_tls_certificate, general.server_tls_private_key
    if bool(certificate) != bool(key):
        there, missing = ("certificate", "private_key") if certificate else ("private_key", "certificate")
        yield (*general.at, f"server_tls_{there}"), f"is set, but server_tls_{missing} is not"


def server_tls_is_on(general: Values) -> Iterator[Remark]:
    """Files for TLS that is switched off would only look like security."""
    if general.server_tls is SslMode.DISABLE:
        for name in ("server_tls_ca_file", "server_tls_certificate"):
            if getattr(general, name):
                yield (*general.at, name), 'has no effect while server_tls is off; set server_tls = "verify-full"'


def auth_query_is_complete(general: Values) -> Iterator[Remark]:
    """The query runs under a login of its own."""
    if general.auth_query is not None and not (general.auth_query_user and general.auth_query_password):
        yield (*general.at, "auth_query"), _AUTH_QUERY_NEEDS


def health_login_is_complete(general: Values) -> Iterator[Remark]:
    """A password belongs to a name; without either it is the login of the pools."""
    if general.healthcheck_password is not None and general.healthcheck_username is None:
        yield (*general.at, "healthcheck_password"), "is set, but healthcheck_username is not"


GENERAL: Final = (
    client_tls_is_complete,
    tls_can_be_required,
    admin_can_bind_channel,
    server_tls_is_complete,
    server_tls_is_on,
    auth_query_is_complete,
    health_login_is_complete,
)


# -- [pools.NAME] --------------------------------------------------------------------------------------------------


def name_is_free(pool: Values) -> Iterator[Remark]:
    """It is what clients ask for; two names are the admin console's."""
    if pool.name in ("pgcat", "pgbouncer"):
        yield pool.at, "this name is reserved for the admin console; choose another one"
    if not pool.name or "\0" in pool.name:
        yield pool.at, "no client can ask for a database of this name; choose another one"


def splitting_has_a_parser(pool: Values) -> Iterator[Remark]:
    """Reads cannot be told from writes without reading them."""
    if pool.query_parser_read_write_splitting and not pool.query_parser_enabled:
        text = "query_parser_read_write_splitting is only valid when query_parser_enabled is true"
        yield (*pool.at, "query_parser_read_write_splitting"), text


def plugins_have_a_parser(pool: Values) -> Iterator[Remark]:
    """As in PgCat, this is asked of the pool's own plugins only."""
    if pool.own_plugins is not None and not pool.query_parser_enabled:
        yield (*pool.at, "plugins"), "plugins are only valid when query_parser_enabled is true"


def pool_auth_query_is_complete(pool: Values) -> Iterator[Remark]:
    """As in ``[general]``, with what is inherited from there."""
    # A pool that inherits an incomplete auth_query is not to blame: [general] has been.
    own = pool.auth_query is not None and pool.auth_query != pool.general.auth_query
    if own and not (pool.auth_query_user and pool.auth_query_password):
        yield (*pool.at, "auth_query"), f"Error in pool {{ {pool.name} }}. {_AUTH_QUERY_NEEDS}"


def activity_routing_has_times(pool: Values) -> Iterator[Remark]:
    """The three times of routing by activity, once it is on."""
    times = {
        "db_activity_init_delay": "db_activity_init_delay_s",
        "db_activity_ttl": "db_activity_ttl_s",
        "table_mutation_cache_ms_ttl": "table_mutation_cache_ttl_s",
    }
    for key, field in times.items():
        if pool.db_activity_based_routing and getattr(pool, field) == 0:
            yield (*pool.at, key), f"{key} must be greater than 0"


def default_shard_exists(pool: Values) -> Iterator[Remark]:
    """``shard_<n>`` must be one of the pool's."""
    if not isinstance(pool.default_shard, DefaultShard) and pool.default_shard >= len(pool.shard_values) > 0:
        yield (*pool.at, "default_shard"), f"Invalid shard {pool.default_shard}; the pool has {len(pool.shard_values)}"


def shards_are_numbered(pool: Values) -> Iterator[Remark]:
    """0 to N-1 without gaps: hashing counts on it."""
    names = [str(shard.at[-1]) for shard in pool.shard_values]
    bad = [name for name in names if not re.fullmatch(r"0|[1-9][0-9]{0,8}", name)]
    for name in bad:
        text = f"Shard '{name}' is not a valid number, shards must be numbered starting at 0"
        yield (*pool.at, "shards", name), text
    missing = [n for n in range(len(names)) if str(n) not in names]
    if missing and not bad:
        yield (
            (*pool.at, "shards"),
            f"shards must be numbered from 0 without gaps; {missing[0]} is missing",
        )


def usernames_are_unique(pool: Values) -> Iterator[Remark]:
    """A login names its pool by database and user."""
    seen: set[str] = set()
    for user in pool.user_values:
        username = user.known.get("username")
        if username in seen:
            yield (
                (*user.at, "username"),
                f"another user of this pool is called {username} already; rename or remove one",
            )
        elif username is not None:
            seen.add(username)


def roles_can_be_found(pool: Values) -> Iterator[Remark]:
    """The role of a server is found by looking."""
    if pool.general.healthcheck_interval_s:
        return
    for shard in pool.shard_values:
        for server in shard.known.get("server_values", ()):
            if server.known.get("role") is Role.AUTO:
                yield (*server.at, "role"), 'the role "auto" needs a healthcheck_interval that is not 0'


POOL: Final = (
    name_is_free,
    splitting_has_a_parser,
    plugins_have_a_parser,
    pool_auth_query_is_complete,
    activity_routing_has_times,
    default_shard_exists,
    shards_are_numbered,
    usernames_are_unique,
    roles_can_be_found,
)


# -- [pools.NAME.users.K] ------------------------------------------------------------------------------------------


def min_pool_size_fits(user: Values) -> Iterator[Remark]:
    """The part that is kept open cannot be more than the whole."""
    if user.min_pool_size > user.pool_size:
        text = f"min_pool_size of {user.min_pool_size} cannot be larger than pool_size of {user.pool_size}"
        yield (*user.at, "min_pool_size"), text


def password_is_known(user: Values) -> Iterator[Remark]:
    """PgCat asks one of trusted users too; here they may do without."""
    pool = user.pool
    found_by_query = pool.auth_query and pool.auth_query_user and pool.auth_query_password
    if user.password is None and user.auth_type is not AuthType.TRUST and not found_by_query:
        text = "You have to specify a user password for every pool if auth_query is not specified"
        yield (*user.at, "password"), f"Error in pool {{ {pool.name} }}. {text}"


def user_can_bind_channel(user: Values) -> Iterator[Remark]:
    """As for the admin console."""
    if user.auth_type is AuthType.SCRAM_PLUS and not user.pool.general.tls_certificate:
        yield (*user.at, "auth_type"), "scram-sha-256-plus needs general.tls_certificate and general.tls_private_key"


USER: Final = (min_pool_size_fits, password_is_known, user_can_bind_channel)


# -- [pools.NAME.shards.N] -----------------------------------------------------------------------------------------


def shard_has_servers(shard: Values) -> Iterator[Remark]:
    """One at least that can answer."""
    if not any(server.known.get("role") is not Role.MIRROR for server in shard.server_values):
        yield (*shard.at, "servers"), f"Shard {shard.database} has no servers configured"


def shard_has_one_primary(shard: Values) -> Iterator[Remark]:
    """At most one."""
    if sum(server.known.get("role") is Role.PRIMARY for server in shard.server_values) > 1:
        yield (*shard.at, "servers"), f"Shard {shard.database} has more than one primary configured"


def roles_are_found_or_given(shard: Values) -> Iterator[Remark]:
    """Where one server is the primary by decree, no other one could ever be found to be it."""
    roles = [server.known.get("role") for server in shard.server_values]
    if Role.PRIMARY in roles and Role.AUTO in roles:
        at = shard.server_values[roles.index(Role.AUTO)].at
        yield at, 'the role "auto" needs a shard without a "primary"; make that "auto", too'


def servers_are_unique(shard: Values) -> Iterator[Remark]:
    """The same address may be primary and replica, but nothing twice."""
    for first, second in itertools.combinations(shard.server_values, 2):
        if first.known and all(first.known.get(name) == second.known.get(name) for name in ("host", "port", "role")):
            yield second.at, f"Shard {shard.database} contains duplicate server configs"


def mirrors_have_targets(shard: Values) -> Iterator[Remark]:
    """PgCat leaves a mirror of no server silently unused."""
    for mirror in shard.mirror_values:
        index = mirror.known.get("mirroring_target_index", 0)
        if index >= len(shard.server_values):
            yield mirror.at, f"mirrors server {index}, but the shard has {len(shard.server_values)}, counted from 0"


SHARD: Final = (
    shard_has_servers,
    shard_has_one_primary,
    roles_are_found_or_given,
    servers_are_unique,
    mirrors_have_targets,
)

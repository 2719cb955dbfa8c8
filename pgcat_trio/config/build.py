"""From a TOML document to the model: which table is read as what, and who inherits from whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from . import checks, plugins
from .model import Config, General, Mirror, Pool, Server, Shard, User
from .parse import kind
from .reader import Reader, Values
from .values import Role, SslMode

if TYPE_CHECKING:
    from .lines import Path

Table = dict[str, Any]

_PLUGINS: Final[dict[str, type]] = {
    "intercept": plugins.Intercept,
    "table_access": plugins.TableAccess,
    "query_logger": plugins.QueryLogger,
    "prewarmer": plugins.Prewarmer,
}
# How an entry of `servers` and `mirrors` is written as an array.
_SERVER_ORDER: Final = ("host", "port", "role")
_MIRROR_ORDER: Final = ("host", "port", "mirroring_target_index")


def build_config(reader: Reader, document: Table) -> Config | None:
    """The model, or None with the reasons in ``reader.problems``."""
    root = reader.fields(Config, document, (), subtables=("general", "pools", "plugins"))
    general = _general(reader, document.get("general", {}))
    global_plugins = _plugins(reader, document.get("plugins"), ("plugins",))
    tables = reader.subtables(document, "pools", (), "NAME")
    pools = (_pool(reader, name, table, general, global_plugins) for name, table in tables.items())
    root.known |= {
        "general": reader.build(General, general),
        "plugins": global_plugins,
        "pools": {pool.name: pool for pool in pools if pool is not None},
    }
    return None if reader.problems else reader.build(Config, root)


def _general(reader: Reader, table: object) -> Values:
    general = reader.fields(General, table, ("general",))
    reader.check(general, checks.GENERAL)
    if general.known.get("verify_server_certificate") and general.known.get("server_tls") is not SslMode.DISABLE:
        general.known["server_tls"] = SslMode.VERIFY_FULL
    elif general.known.get("verify_server_certificate"):
        reader.remarks.append(((*general.at, "verify_server_certificate"), "has no effect while server_tls is off"))
    return general


def _pool(
    reader: Reader, name: str, table: object, general: Values, global_plugins: plugins.Plugins | None
) -> Pool | None:
    at = ("pools", name)
    pool = reader.fields(Pool, table, at, subtables=("users", "shards", "plugins"), above=general)
    if not isinstance(table, dict):
        return None
    own_plugins = _plugins(reader, table.get("plugins"), (*at, "plugins"))
    # What the checks of this pool and of its users look at, besides the pool's own fields.
    pool.known |= {"name": name, "general": general, "own_plugins": own_plugins}
    user_tables = reader.subtables(table, "users", at)
    shard_tables = reader.subtables(table, "shards", at)
    pool.known["user_values"] = [_user(reader, user_tables[k], (*at, "users", k), pool) for k in sorted(user_tables)]
    numbers = sorted(shard_tables, key=lambda number: (len(number), number))
    pool.known["shard_values"] = [_shard(reader, shard_tables[n], (*at, "shards", n)) for n in numbers]
    if table.get("shards") == {}:
        reader.problem((*at, "shards"), "the pool needs one shard at least")
    reader.check(pool, checks.POOL)
    pool.known |= {
        "plugins": own_plugins or global_plugins,
        "users": tuple(reader.build(User, user) for user in pool.user_values),
        "shards": tuple(reader.build(Shard, shard) for shard in pool.shard_values),
    }
    return reader.build(Pool, pool)


def _user(reader: Reader, table: object, at: Path, pool: Values) -> Values:
    user = reader.fields(User, table, at, above=pool)
    user.known["pool"] = pool
    reader.check(user, checks.USER)
    for field, own in (("server_username", "username"), ("server_password", "password")):
        if user.known.get(field, "") is None and own in user.known:
            user.known[field] = user.known[own]
    return user


def _shard(reader: Reader, table: object, at: Path) -> Values:
    shard = reader.fields(Shard, table, at, subtables=("servers", "mirrors"))
    if not isinstance(table, dict):
        return shard
    servers = _rows(reader, Server, table, "servers", _SERVER_ORDER, at)
    mirrors = _rows(reader, Mirror, {"mirrors": [], **table}, "mirrors", _MIRROR_ORDER, at)
    if servers is None or mirrors is None:
        return shard
    shard.known |= {"server_values": servers, "mirror_values": mirrors}
    reader.check(shard, checks.SHARD)
    shard.known |= {
        # Nobody may be sent to a mirror, so it is no server of the shard (and mirrors are not built yet).
        "servers": tuple(reader.build(Server, server) for server in servers if server.known.get("role") != Role.MIRROR),
        "mirrors": tuple(reader.build(Mirror, mirror) for mirror in mirrors),
    }
    return shard


def _rows(reader: Reader, cls: type, table: Table, name: str, order: tuple[str, ...], at: Path) -> list[Values] | None:
    """The entries of ``servers`` or ``mirrors``, each an array in the given order or a table; None if it is no list."""
    at = (*at, name)
    rows = table.get(name)
    if not isinstance(rows, list):
        shape = f"[[{', '.join(order)}], ...]"
        reader.problem(at, f"must be an array: {shape}" if name in table else f"is missing; add {name} = {shape}")
        return None
    values = []
    for index, row in enumerate(rows):
        if not isinstance(row, list | dict):
            reader.problem((*at, index), f"must be [{', '.join(order)}], got {kind(row)}")
            values.append(Values((*at, index), {}))
        elif isinstance(row, list) and len(row) != len(order):
            reader.problem((*at, index), f"must have {len(order)} items, [{', '.join(order)}], got {len(row)}")
            values.append(Values((*at, index), {}))
        else:
            named = dict(zip(order, row, strict=True)) if isinstance(row, list) else row
            values.append(reader.fields(cls, named, (*at, index)))
    return values


def _plugins(reader: Reader, tables: object, at: Path) -> plugins.Plugins | None:
    if tables is None:
        return None
    found = reader.fields(plugins.Plugins, tables, at, subtables=tuple(_PLUGINS))
    for name, cls in _PLUGINS.items():
        table = tables.get(name) if isinstance(tables, dict) else None
        found.known[name] = None if table is None else _plugin(reader, cls, table, (*at, name))
    return reader.build(plugins.Plugins, found)


def _plugin(reader: Reader, cls: type, table: object, at: Path) -> object | None:
    is_intercept = cls is plugins.Intercept
    plugin = reader.fields(cls, table, at, subtables=("queries",) if is_intercept else ())
    if is_intercept and isinstance(table, dict):
        tables = reader.subtables(table, "queries", at)
        queries = [reader.fields(plugins.InterceptQuery, tables[k], (*at, "queries", k)) for k in sorted(tables)]
        plugin.known["queries"] = tuple(reader.build(plugins.InterceptQuery, query) for query in queries)
    return reader.build(cls, plugin)

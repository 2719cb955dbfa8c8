"""What PgCat's world writes into its files and this proxy treats specially.

Three tables: names that PgCat's documentation and charts use for another key, keys that its samples carry in vain, and
keys whose feature is not built here yet. All of them load with a warning that says what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from .lines import Path, dotted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Pattern = tuple[str, ...]  # "*" stands for any key
Remark = tuple[Path, str]  # a place, and what is to be said of it
Document = dict[str, Any]

# The documented name -> the real one: in the same table, or in every table that the pattern matches.
ALIASES: Final[dict[Pattern, str | Pattern]] = {
    ("general", "verify_config"): "validate_config",
    ("general", "prepared_statements_cache_size"): ("pools", "*", "prepared_statements_cache_size"),
    ("pools", "*", "db_activity_based_ms_init_delay"): "db_activity_init_delay",
    ("pools", "*", "table_mutation_cache_ttl"): "table_mutation_cache_ms_ttl",
}

_NEVER_RELEASED: Final = "has no effect: no release of PgCat reads it; remove it"
INERT: Final[dict[Pattern, str]] = {
    ("path",): "has no effect: the path is the one given at start; remove it",
    ("pool", "*", "plugins"): "has no effect: the plugins of a pool stand in [pools.NAME.plugins]",
    ("pools", "*", "dns_cache_enabled"): "has no effect here: it belongs in [general]",
    ("pools", "*", "dns_max_ttl"): "has no effect here: it belongs in [general]",
    ("general", "log_level"): "has no effect: the log level is set by -l or LOG_LEVEL",
    ("general", "unban_replicas_when_all_banned"): _NEVER_RELEASED,
    ("pools", "*", "unban_replicas_when_all_banned"): _NEVER_RELEASED,
    ("pools", "*", "query_result_capacity"): _NEVER_RELEASED,
    ("pools", "*", "query_result_stats_enabled"): _NEVER_RELEASED,
    ("pools", "*", "proxy"): _NEVER_RELEASED,
    ("query_cache",): _NEVER_RELEASED,
}


@attrs.frozen
class Feature:
    """A feature to come: the keys that would turn it on (with the values that do), and those that only tune it."""

    name: str
    switches: dict[Pattern, Callable[[Any], bool]]
    tuning: tuple[Pattern, ...] = ()


def _is_set(_: Any) -> bool:
    return True


def _any_plugin_enabled(plugins: Document) -> bool:
    return any(plugin["enabled"] for plugin in plugins.values())


def _has_mirror_role(servers: list[Any]) -> bool:
    return any("mirror" in str(s["role"] if isinstance(s, dict) else s[2]).lower() for s in servers)


NOT_BUILT: Final = (
    Feature("worker processes are", {("general", "worker_threads"): lambda n: n > 1}),
    Feature(
        "the Prometheus exporter is",
        {("general", "enable_prometheus_exporter"): bool},
        (("general", "prometheus_exporter_port"),),
    ),
    Feature(
        "auth_query is",
        {("general", "auth_query"): _is_set, ("pools", "*", "auth_query"): _is_set},
        (
            ("general", "auth_query_user"),
            ("general", "auth_query_password"),
            ("pools", "*", "auth_query_user"),
            ("pools", "*", "auth_query_password"),
        ),
    ),
    Feature(
        "finding the shard by a key in statements (SET SHARDING KEY, SET SHARD and hints choose it) is",
        {("pools", "*", "automatic_sharding_key"): _is_set},
    ),
    Feature("plugins are", {("plugins",): _any_plugin_enabled, ("pools", "*", "plugins"): _any_plugin_enabled}),
    Feature(
        "mirrors are",
        {("pools", "*", "shards", "*", "mirrors"): bool, ("pools", "*", "shards", "*", "servers"): _has_mirror_role},
    ),
)


def tidy(document: Document) -> tuple[list[Remark], dict[Path, Path]]:
    """Rename aliases and remove inert keys, in place.

    Returns the warnings, and for each value that was moved the place where the file has it.
    """
    remarks: list[Remark] = []
    moved: dict[Path, Path] = {}
    for pattern, remark in INERT.items():
        for path, _ in list(find(document, pattern)):
            _remove(document, path)
            remarks.append((path, remark))
    for pattern, target in ALIASES.items():
        for path, value in list(find(document, pattern)):
            _remove(document, path)
            if isinstance(target, str):
                homes: list[Path] = [(*path[:-1], target)]
            else:
                homes = [(*table, target[-1]) for table, _ in find(document, target[:-1])]
            for home in homes:
                table = _at(document, home[:-1])
                if isinstance(table, dict) and home[-1] not in table:
                    table[str(home[-1])] = value
                    moved[home] = path
            real = (
                dotted(path[:-1]) + "." + target if isinstance(target, str) else ".".join(target).replace("*", "NAME")
            )
            remarks.append(
                (path, f"PgCat ignores this name; taken for {real} where that is not set: write that instead")
            )
    return remarks, moved


def not_built(document: Document, moved: dict[Path, Path]) -> Iterator[Remark]:
    """One warning for each feature that a valid document turns on and that does not exist yet."""
    for feature in NOT_BUILT:
        on = [p for pattern, is_on in feature.switches.items() for p, value in find(document, pattern) if is_on(value)]
        if on:
            tables = {path[:-1] for path in on}
            tuning = (p for pattern in feature.tuning for p, _ in find(document, pattern) if p[:-1] in tables)
            first, *others = dict.fromkeys(moved.get(path, path) for path in (*on, *tuning))
            also = f" (also ignored: {', '.join(map(dotted, others))})" if others else ""
            yield first, f"ignored: {feature.name} not built yet{also}"


def find(document: Any, pattern: Pattern, at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every place that ``pattern`` matches, with the value there."""
    if len(at) == len(pattern):
        yield at, document
    elif isinstance(document, dict):
        wanted = pattern[len(at)]
        for key in document if wanted == "*" else document.keys() & {wanted}:
            yield from find(document[key], pattern, (*at, key))


def _at(document: Document, path: Path) -> Document:
    for key in path:
        document = document[str(key)]
    return document


def _remove(document: Document, path: Path) -> None:
    """Take a value out; a table of an unknown name that becomes empty goes with it."""
    del _at(document, path[:-1])[str(path[-1])]
    if path[0] == "pool" and len(path) > 1 and not _at(document, path[:-1]):
        _remove(document, path[:-1])

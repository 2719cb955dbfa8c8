"""The settings of the plugins: ``[plugins.*]`` for every pool, ``[pools.NAME.plugins.*]`` instead of them for one."""

from __future__ import annotations

import attrs

from .keys import setting


@attrs.frozen(kw_only=True)
class InterceptQuery:
    """One statement that is answered without a server: columns as (name, type), rows as tuples of texts."""

    query: str = setting()
    schema: tuple[tuple[str, ...], ...] = setting()
    result: tuple[tuple[str, ...], ...] = setting()


@attrs.frozen(kw_only=True)
class Intercept:
    """``plugins.intercept``: made-up answers."""

    enabled: bool = setting()
    queries: tuple[InterceptQuery, ...]


@attrs.frozen(kw_only=True)
class TableAccess:
    """``plugins.table_access``: tables that clients may not touch."""

    enabled: bool = setting()
    tables: tuple[str, ...] = setting()


@attrs.frozen(kw_only=True)
class QueryLogger:
    """``plugins.query_logger``: every statement into the log."""

    enabled: bool = setting()


@attrs.frozen(kw_only=True)
class Prewarmer:
    """``plugins.prewarmer``: statements that run once on each new backend."""

    enabled: bool = setting()
    queries: tuple[str, ...] = setting()


@attrs.frozen(kw_only=True)
class Plugins:
    """The plugin tables that the file has; None where it has none."""

    intercept: Intercept | None = None
    table_access: TableAccess | None = None
    query_logger: QueryLogger | None = None
    prewarmer: Prewarmer | None = None

"""What the scenarios with asyncpg share. ``--no-cache`` turns off its cache of prepared statements."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg
from scenarios import PATIENCE_S, SETTINGS, Scenarios, has_flag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

scenario = Scenarios()

FIELDS = (
    *("severity", "sqlstate", "message", "detail", "hint", "position", "context"),
    *("schema_name", "table_name", "column_name", "data_type_name", "constraint_name"),
)


@contextlib.asynccontextmanager
async def connect(**options: Any) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection, set up as the command line says."""
    cache = {"statement_cache_size": 0} if has_flag("no-cache") else {}
    connection = await asyncpg.connect(**{"timeout": PATIENCE_S, **cache, **options})
    try:
        yield connection
    finally:
        await connection.close(timeout=PATIENCE_S)


def failure(error: BaseException) -> dict[str, object]:
    """What an error says: its fields, or its text where the driver made it."""
    found = {name: getattr(error, name, None) for name in FIELDS}
    if not isinstance(error, asyncpg.PostgresError):
        found = {"message": str(error)}
    return {"type": type(error).__name__, **{name: value for name, value in found.items() if value is not None}}


async def attempt(request: Awaitable[Any]) -> object:
    """What comes of a request, or how it failed."""
    try:
        return await request
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError) as error:
        return failure(error)


async def settings(connection: asyncpg.Connection[Any]) -> list[Any]:
    """What the server says that the settings are, one transaction for each."""
    return [await connection.fetchval(f"show {name}") for name in SETTINGS]

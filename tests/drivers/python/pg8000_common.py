"""What the scenarios with pg8000 share: its native interface and its DB-API."""

from __future__ import annotations

import os
from typing import Any

import pg8000.dbapi
import pg8000.native
from scenarios import SETTINGS

FIELDS = {
    **{"S": "severity", "C": "sqlstate", "M": "message", "D": "detail", "H": "hint", "P": "position", "W": "where"},
    **{"s": "schema", "t": "table", "c": "column", "n": "constraint"},
}


def login() -> dict[str, Any]:
    """The arguments of a connection, from the environment."""
    where = {"host": os.environ["PGHOST"], "port": int(os.environ["PGPORT"]), "database": os.environ["PGDATABASE"]}
    return {**where, "user": os.environ["PGUSER"], "password": os.environ["PGPASSWORD"]}


def connect(**options: Any) -> pg8000.native.Connection:
    """A connection of the native interface."""
    return pg8000.native.Connection(**login(), **options)


def failure(error: BaseException) -> dict[str, object]:
    """What an error says: its fields, or its text where the driver made it."""
    said = error.args[0] if error.args else ""
    if not isinstance(said, dict):
        return {"type": type(error).__name__, "message": str(said)}
    return {"type": type(error).__name__, **{FIELDS[key]: value for key, value in said.items() if key in FIELDS}}


def attempt(run: Any, *args: Any, **options: Any) -> object:
    """What comes of a call, or how it failed."""
    try:
        return run(*args, **options)
    except (pg8000.native.Error, pg8000.dbapi.Error) as error:
        return failure(error)


def settings(connection: pg8000.native.Connection) -> list[Any]:
    """What the server says that the settings are, one transaction for each."""
    return [connection.run(f"show {name}")[0][0] for name in SETTINGS]

"""What the scenarios with psycopg 3 share.

``--binary`` asks for values in binary, ``--threshold-0`` prepares each statement at its first execution, and
``--client`` puts parameters into the text and sends simple queries.
"""

from __future__ import annotations

from typing import Any

import psycopg
from scenarios import SETTINGS, Scenarios, has_flag

scenario = Scenarios()

BINARY, CLIENT, THRESHOLD_0 = has_flag("binary"), has_flag("client"), has_flag("threshold-0")
FIELDS = (
    *("severity", "sqlstate", "message_primary", "message_detail", "message_hint", "statement_position", "context"),
    *("schema_name", "table_name", "column_name", "datatype_name", "constraint_name"),
)


class BinaryCursor(psycopg.Cursor[Any]):
    """A cursor that asks for values in binary unless it is told otherwise."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.format = psycopg.pq.Format.BINARY


def connect(**options: Any) -> psycopg.Connection[Any]:
    """A connection in autocommit mode, set up as the command line says."""
    cursors = BinaryCursor if BINARY else psycopg.ClientCursor if CLIENT else psycopg.Cursor
    threshold = {"prepare_threshold": 0} if THRESHOLD_0 else {}
    return psycopg.connect("", autocommit=True, **{"cursor_factory": cursors, **threshold, **options})


def failure(error: psycopg.Error) -> dict[str, object]:
    """What an error says: its fields, or its text where the driver made it."""
    if error.sqlstate is None:
        return {"type": type(error).__name__, "message": str(error).rpartition("failed: ")[2]}
    fields = {name: getattr(error.diag, name) for name in FIELDS}
    return {"type": type(error).__name__, **{name: value for name, value in fields.items() if value is not None}}


def attempt(run: Any, *args: Any, **options: Any) -> object:
    """The rows of a query, or how it failed."""
    try:
        cursor = run(*args, **options)
        return cursor.fetchall() if cursor.description is not None else cursor.statusmessage
    except psycopg.Error as error:
        return failure(error)


def script(connection: psycopg.Connection[Any], statements: str) -> psycopg.Cursor[Any]:
    """Run several statements, as one simple query."""
    return psycopg.Cursor(connection).execute(statements, prepare=False)


def rows(connection: psycopg.Connection[Any], query: Any, *args: Any, **options: Any) -> list[Any]:
    return connection.execute(query, *args, **options).fetchall()


def settings(connection: psycopg.Connection[Any]) -> list[Any]:
    """What the server says that the settings are, one transaction for each."""
    return [rows(connection, f"show {name}")[0][0] for name in SETTINGS]

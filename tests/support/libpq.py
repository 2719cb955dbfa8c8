"""What several tests do with psycopg."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from psycopg import Connection


def cancel_long_query(connection: Connection[Any]) -> None:
    """Run a long query in a thread of its own and cancel it; raises what it raises: `psycopg.errors.QueryCanceled`.

    Only calls that wait without the GIL will do here: the proxy is a thread of this process.
    """
    raised: list[psycopg.Error] = []

    def query() -> None:
        try:
            connection.execute("select pg_sleep(30)")
        except psycopg.Error as error:
            raised.append(error)

    thread = threading.Thread(target=query)
    thread.start()
    while thread.is_alive():
        # A request that comes before the query is under way is for nothing.
        connection.cancel_safe(timeout=10)
        thread.join(0.02)
    if raised:
        raise raised[0]

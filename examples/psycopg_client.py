"""psycopg through the proxy: reads answered by replicas, writes and transactions by the primary."""

from __future__ import annotations

import psycopg
from support import run_with_dsn

WHO = "select inet_server_port(), pg_is_in_recovery()"


def main(dsn: str) -> None:
    # In transaction mode the next transaction may be on another server connection, where a statement that was prepared
    # on this one is unknown: hence no prepared statements.
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("create table notes (id int primary key, text text)")

        with connection.transaction():
            connection.execute("insert into notes values (%s, %s)", (1, "first"))
            port, in_recovery = connection.execute(WHO).fetchone()
        print(f"transaction: port {port}, {'replica' if in_recovery else 'primary'}")

        for _ in range(4):
            port, in_recovery = connection.execute(WHO).fetchone()
            print(f"read: port {port}, {'replica' if in_recovery else 'primary'}")

        with connection.cursor() as cursor, cursor.copy("copy notes from stdin") as copy:
            copy.write_row((2, "second"))
            copy.write_row((3, "third"))
        with connection.transaction():
            count = connection.execute("select count(*) from notes").fetchone()[0]
        print(f"rows: {count}")


if __name__ == "__main__":
    run_with_dsn(main)

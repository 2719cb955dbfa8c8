"""Scenarios with psycopg 3."""

from __future__ import annotations

import psycopg
from scenarios import Scenarios

scenario = Scenarios()


@scenario
def types_text() -> object:
    with psycopg.connect() as connection:
        return connection.execute("select * from item order by id").fetchall()


if __name__ == "__main__":
    scenario.main()

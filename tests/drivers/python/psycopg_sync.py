"""Scenarios with psycopg 3: see `psycopg_common` for what the command line may say."""

from __future__ import annotations

import psycopg_sessions  # noqa: F401
import psycopg_statements  # noqa: F401
import psycopg_streams  # noqa: F401
from psycopg_common import scenario

if __name__ == "__main__":
    scenario.main()

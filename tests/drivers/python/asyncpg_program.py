"""Scenarios with asyncpg: see `asyncpg_common` for what the command line may say."""

from __future__ import annotations

import asyncpg_sessions  # noqa: F401
import asyncpg_statements  # noqa: F401
from asyncpg_common import scenario

if __name__ == "__main__":
    scenario.main()

"""What the tests of the configuration share: one small valid file, and ways to change it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgcat_trio.config import parse_config
from pgcat_trio.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

VALID = """\
[general]
admin_username = "admin"
admin_password = "admin-secret"

[pools.app]
query_parser_enabled = true

[pools.app.users.0]
username = "alice"
password = "alice-secret"
pool_size = 5

[pools.app.shards.0]
database = "app"
servers = [["db1", 5432, "primary"], ["db2", 5432, "replica"]]
"""

TABLES = {"general": "[general]", "pool": "[pools.app]", "user": "[pools.app.users.0]", "shard": "[pools.app.shards.0]"}


@pytest.fixture
def valid() -> str:
    return VALID


@pytest.fixture
def with_lines() -> Callable[..., str]:
    """The valid file with lines in its tables; a key that the file has already is replaced."""

    def add(**lines: str) -> str:
        text = VALID
        for table, more in lines.items():
            for line in more.splitlines():
                key = line.split("=")[0].strip()
                start = text.index(TABLES[table])
                end = text.find("\n\n", start) % (len(text) + 1)
                kept = [old for old in text[start:end].splitlines() if old.split("=")[0].strip() != key]
                text = text[:start] + "\n".join([kept[0], line, *kept[1:]]) + text[end:]
        return text

    return add


@pytest.fixture
def problems_of() -> Callable[[str], tuple[str, ...]]:
    """The problems of a file that must not load."""

    def problems(text: str) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            parse_config(text)
        return caught.value.problems

    return problems

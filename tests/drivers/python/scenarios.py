"""What the Python programs share: how scenarios are run, what they are run on, and how values become JSON."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import inspect
import json
import sys
import traceback
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

Scenario = Callable[[], Any]

PATIENCE_S: Final = 5.0
"""How long a program waits for what must come at once."""

VALUES: Final = (
    *(("int2", -32768), ("int4", 2147483647), ("int8", -(2**63))),
    *(("float4", 0.5), ("float8", -1.25e300), ("numeric", Decimal("-12345678901234567890.0012"))),
    *(("text", "naïve ✓ 🐘 \\ ' \" %"), ("text", ""), ("varchar(5)", "abc"), ("bytea", b"\x00\xff'\\\r\n")),
    *(("bool", True), ("bool", False), ("uuid", uuid.UUID("12345678-9abc-def0-1234-56789abcdef0"))),
    *(("date", datetime.date(1999, 12, 31)), ("time", datetime.time(23, 59, 59, 999999))),
    ("timestamp", datetime.datetime(2026, 2, 3, 4, 5, 6, 789)),
    ("timestamptz", datetime.datetime(2026, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)),
    ("interval", datetime.timedelta(days=3, seconds=4, microseconds=5)),
    *(("int4[]", [1, None, 3]), ("text[]", ["a,b", '"', "", None, "NULL"]), ("bool[]", []), ("int8[]", [[1], [2]])),
    *(("int4", None), ("text", None), ("bytea", None), ("timestamptz", None), ("text[]", None)),
)
"""Types of SQL, and values of Python that all drivers know how to send and to return."""

SETTINGS: Final = ("TimeZone", "DateStyle", "IntervalStyle", "application_name", "search_path", "statement_timeout")


class Scenarios:
    """The scenarios of one program, in the order in which they were added: functions, or coroutine functions."""

    def __init__(self) -> None:
        self._all: dict[str, Scenario] = {}

    def __call__(self, scenario: Scenario) -> Scenario:
        """Add one, under its own name."""
        self._all[scenario.__name__] = scenario
        return scenario

    def main(self) -> None:
        """Run those that the command line names, or all, and print what comes out of each.

        One that raises has no outcome: its traceback goes to the standard error, and the exit code is 1 in the end.
        """
        failed = False
        for name in [word for word in sys.argv[1:] if not word.startswith("--")] or self._all:
            try:
                outcome = self._all[name]()
                if inspect.iscoroutine(outcome):
                    outcome = asyncio.run(outcome)
            except Exception:
                failed = True
                print(f"\n{name}:", file=sys.stderr)
                traceback.print_exc()
            else:
                print(json.dumps({"scenario": name, "outcome": plain(outcome)}), flush=True)
        sys.exit(failed)


def has_flag(name: str) -> bool:
    """Whether the command line has ``--name``."""
    return f"--{name}" in sys.argv


def plain(value: Any) -> Any:
    """A value as JSON can hold it. What JSON does not know becomes its type's name and its text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{type(value).__name__} {bytes(value).hex()}"
    if isinstance(value, list | tuple | set) or hasattr(value, "__iter__"):
        return [plain(each) for each in value]
    return f"{type(value).__name__} {value}"


def summary(value: str | bytes) -> list[Any]:
    """The length of a large value and a hash of it."""
    content = value.encode() if isinstance(value, str) else bytes(value)
    return [type(value).__name__, len(value), hashlib.sha256(content).hexdigest()]


def large_text(length: int) -> str:
    """Text of that length with a character of three bytes here and there."""
    return ("0123456789✓abcdef\\'\n" * (length // 20 + 1))[:length]


def large_bytes(length: int) -> bytes:
    """All values of a byte, again and again."""
    return (bytes(range(256)) * (length // 256 + 1))[:length]

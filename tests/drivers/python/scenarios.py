"""What the Python programs share: a list of scenarios, how they are run, and how values and errors become JSON."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
from collections.abc import Callable
from typing import Any

Scenario = Callable[[], Any]


class Scenarios:
    """The scenarios of one program, in the order in which they were added: functions, or coroutine functions."""

    def __init__(self) -> None:
        self._all: dict[str, Scenario] = {}

    def __call__(self, scenario: Scenario) -> Scenario:
        """Add one, under its own name."""
        self._all[scenario.__name__] = scenario
        return scenario

    def main(self) -> None:
        """Run those that the command line names, or all, and print what comes out of each."""
        for name in [word for word in sys.argv[1:] if not word.startswith("--")] or self._all:
            outcome = self._all[name]()
            if inspect.iscoroutine(outcome):
                outcome = asyncio.run(outcome)
            print(json.dumps({"scenario": name, "outcome": plain(outcome)}), flush=True)


def has_flag(name: str) -> bool:
    """Whether the command line has ``--name``."""
    return f"--{name}" in sys.argv


def login(name: str) -> str:
    """What the environment says about where and as whom to connect: ``HOST``, ``PORT`` and so on."""
    return os.environ[f"PG{name}"]


def plain(value: Any) -> Any:
    """A value as JSON can hold it. What JSON does not know becomes its type's name and its text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return f"bytes {bytes(value).hex()}"
    if isinstance(value, tuple) or (hasattr(value, "keys") and hasattr(value, "__iter__")):
        return [plain(each) for each in value]
    return f"{type(value).__name__} {value}"

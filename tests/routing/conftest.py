"""The oracle's table of misses, in pytest's summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

REPORT = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> list[str]:
    """Lines that stand in the summary."""
    return pytestconfig.stash.setdefault(REPORT, [])


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """What the tests left in `report`."""
    lines = config.stash.get(REPORT, [])
    if lines:
        terminalreporter.section("oracle")
        for line in lines:
            terminalreporter.write_line(line)

"""Fixtures that run the command line in a directory of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.program import Program, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """``start(*arguments, **environment)``: a program in the test's own directory, ended with the test."""
    started: list[Program] = []

    def start_one(*arguments: str, **env: str) -> Program:
        program = Program(arguments, tmp_path, environment(**env))
        started.append(program)
        return program

    yield start_one
    for program in started:
        program.__exit__()


@pytest.fixture
def run(start: Callable[..., Program]) -> Callable[..., tuple[int, str, str]]:
    """``run(*arguments, **environment)``: exit code, standard output, standard error."""
    return lambda *arguments, **env: start(*arguments, **env).finish()

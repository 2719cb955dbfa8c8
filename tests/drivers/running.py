"""Building and running the programs: what comes out is their outcomes, or the reason why there are none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from programs import Program

HERE = Path(__file__).parent
BUILD_ROOT = HERE.parents[1] / "build" / "drivers"
BUILD_TIMEOUT_S = 1200
RUN_TIMEOUT_S = 180
SHOWN_CHARS = 3000
"""So much of a failed program's output is shown: its end."""


class Unavailable(Exception):
    """A program cannot run on this machine; the text says why."""


@attrs.frozen
class Run:
    """One run of a program: the outcomes by scenario, and ``fault``, what was wrong with the run itself, or empty."""

    outcomes: Mapping[str, Any]
    fault: str


@attrs.define
class Workshop:
    """Builds each program at most once."""

    _built: dict[tuple[str, tuple[str, ...]], str] = attrs.field(factory=dict)

    def prepare(self, program: Program) -> None:
        """Install and build a program. Raises `Unavailable`, or `AssertionError` where it does not compile."""
        for tool in program.tools:
            if shutil.which(tool) is None:
                raise Unavailable(f"{program.name}: {tool} is not installed")
        if fault := self._once(program, program.install):
            raise Unavailable(f"{program.name}: its dependencies cannot be installed: {fault}")
        fault = self._once(program, program.build)
        assert not fault, f"{program.name} cannot be built: {fault}"

    def _once(self, program: Program, command: tuple[str, ...]) -> str:
        key = (program.directory, command)
        if command and key not in self._built:
            self._built[key] = self._fault_of(program, command)
        return self._built.get(key, "")

    @staticmethod
    def _fault_of(program: Program, command: tuple[str, ...]) -> str:
        try:
            done = _call(program, command, {}, BUILD_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"{command[0]} took longer than {BUILD_TIMEOUT_S} s"
        return (done.stderr + done.stdout)[-SHOWN_CHARS:] or f"exit code {done.returncode}" if done.returncode else ""


def run(program: Program, environ: Mapping[str, str]) -> Run:
    """Run all scenarios of a program that is built; ``environ`` says where to connect."""
    try:
        done = _call(program, program.run, environ, RUN_TIMEOUT_S)
    except subprocess.TimeoutExpired as late:
        out, err = ((text or b"").decode(errors="replace") for text in (late.stdout, late.stderr))
        return Run(_parse(out)[0], f"took longer than {RUN_TIMEOUT_S} s\n{err[-SHOWN_CHARS:]}")
    outcomes, strangers = _parse(done.stdout)
    faults = [f"not an outcome: {line}" for line in strangers]
    if done.returncode:
        faults.append(f"exit code {done.returncode}\n{done.stderr[-SHOWN_CHARS:]}")
    return Run(outcomes, "\n".join(faults))


def _call(
    program: Program, command: tuple[str, ...], environ: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    build_dir = BUILD_ROOT / program.directory
    build_dir.mkdir(parents=True, exist_ok=True)
    words = [sys.executable if word == "python" else word.replace("$BUILD_DIR", str(build_dir)) for word in command]
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return subprocess.run(
        words,
        cwd=HERE / program.directory,
        env={**ours, "BUILD_DIR": str(build_dir), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def _parse(output: str) -> tuple[dict[str, Any], list[str]]:
    """The outcomes by scenario, and the lines that hold none, or one for the second time."""
    outcomes: dict[str, Any] = {}
    strangers = []
    for line in output.splitlines():
        try:
            found = json.loads(line)
            name, outcome = found["scenario"], found["outcome"]
        except (ValueError, TypeError, KeyError):
            strangers.append(line)
            continue
        if name in outcomes:
            strangers.append(line)
        outcomes[name] = outcome
    return outcomes, strangers

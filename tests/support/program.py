"""Running the command line as its users do: as a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping
    from pathlib import Path

COMMAND = (sys.executable, "-m", "pgcat_trio")
PATIENCE_S = 60
OURS = ("CONFIG_FILE", "LOG_LEVEL", "LOG_FORMAT", "NO_COLOR")


def environment(**more: str) -> dict[str, str]:
    """The process's environment without what the command line listens to."""
    return {name: value for name, value in os.environ.items() if name not in OURS} | more


class Program:
    """The command line at work. It is killed when it takes longer than `PATIENCE_S`: then its output ends."""

    def __init__(self, arguments: tuple[str, ...], cwd: Path, env: Mapping[str, str]) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], cwd=cwd, env=env, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL, text=True
        )
        self._timer = threading.Timer(PATIENCE_S, self.process.kill)
        self._timer.start()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self._timer.cancel()

    def line(self, with_text: str) -> str:
        """Read on to the next line of the standard output that holds a text."""
        assert self.process.stdout is not None
        read = []
        for line in self.process.stdout:
            read.append(line)
            if with_text in line:
                return line.rstrip("\n")
        raise AssertionError(f"no line with {with_text!r} in:\n{''.join(read)}\n{self.process.communicate()[1]}")

    def event(self, name: str) -> dict[str, Any]:
        """Read on to the next event of that name; for a program that logs in JSON."""
        event: dict[str, Any] = json.loads(self.line(f'"event": "{name}"'))
        return event

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def finish(self) -> tuple[int, str, str]:
        """Wait for its end: exit code and the rest of both outputs."""
        out, err = self.process.communicate()
        return self.process.returncode, out, err

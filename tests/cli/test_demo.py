"""``pgcat-trio demo``, as somebody would who tries it out."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgcat_trio import load_config
from tests.support.program import COMMAND, environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.program import Program


def after(label: str, line: str) -> str:
    return line.removeprefix(f"{label}:").strip()


@pytest.mark.slow
def test_without_a_terminal_it_prints_lines_and_ends_by_itself(start: Callable[..., Program]) -> None:
    program = start("demo", "--replicas", "1", "--seconds", "2.5")
    config = Path(after("configuration", program.line("configuration:")))
    code, out, err = program.finish()
    assert (code, err) == (0, ""), out
    assert re.search(r"primary: 0 reads/s, [1-9]\d* writes/s.* replica-1: [1-9]\d* reads/s, 0 writes/s", out)
    summary = {row[0]: row[1:3] for row in (line.split() for line in out.splitlines()) if len(row) == 5}
    assert summary["primary"][0] == "0"
    assert int(summary["primary"][1]) > 10
    assert int(summary["replica-1"][0]) > 10
    assert summary["replica-1"][1] == "0"
    assert "Every write that was acknowledged is there." in out
    assert not config.parent.exists()


@pytest.mark.slow
def test_a_killed_replica_is_seen_and_reads_go_on(start: Callable[..., Program]) -> None:
    program = start("demo")
    config = Path(after("configuration", program.line("configuration:")))
    dsn = after("application", program.line("application:"))
    pid = int(after("kill a replica", program.line("kill a replica:")).removeprefix("kill -9 "))
    assert load_config(config).warnings == ()
    with psycopg.connect(dsn, autocommit=True) as client:
        assert client.execute("select count(*) >= 1000 from visits").fetchone() == (True,)
    program.line("replica-2: ")
    os.kill(pid, signal.SIGKILL)
    program.line("server.banned")
    line = program.line("replica-1: banned, 0 reads/s")
    assert re.search(r"replica-2: [1-9]\d* reads/s", line)
    program.send(signal.SIGINT)
    code, out, err = program.finish()
    assert err == ""
    # A read that was under way when the server was killed may have failed, and then it must not say that all went well.
    assert (code == 0) is ("All went well" in out) is ("client errors: 0" in out)
    assert not config.parent.exists()


@pytest.mark.slow
def test_on_a_terminal_it_shows_a_table(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [*COMMAND, "demo", "--replicas", "1", "--no-workload"]
    env = environment(TERM="xterm", COLUMNS="120", LINES="40")
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        with open(ours, "rb") as terminal:
            shown = b""
            while b"p50 / p99 ms" not in shown or b"replica-1" not in shown:
                shown += terminal.readline()
            process.send_signal(signal.SIGTERM)
            with pytest.raises(OSError, match="Input/output"):  # how a terminal says that its program has ended
                terminal.read()
    assert process.returncode == 0


def test_what_it_needs_is_named_where_it_is_missing(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("raise ImportError(\"No module named 'rich'\")")
    code, out, err = run("demo", PYTHONPATH=str(tmp_path))
    assert (code, out) == (1, "")
    needed = "pip install 'pgcat-trio[demo]'"
    assert err == f"pgcat-trio demo: No module named 'rich'; install what it needs: {needed}\n"


def test_no_programs_for_the_cluster(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, _, err = run("demo", PGCAT_TRIO_PG_BIN=str(tmp_path))
    assert code == 1
    assert err.startswith("pgcat-trio demo: no PostgreSQL programs")
    assert "Traceback" not in err

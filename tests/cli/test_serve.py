"""The server as a process: signals, reloads, logs, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.program import COMMAND, environment
from tests.support.proxy import APP_PASSWORD, APP_USER, proxy_config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgcat_trio.embedded import EmbeddedCluster
    from tests.support.program import Program

CONFIG = """
[general]
host = "127.0.0.1"
port = 0
admin_username = "admin"
admin_password = "admin-secret"
shutdown_timeout = 30000

[pools.app.users.0]
username = "app"
password = "app-secret"
pool_size = 1

[pools.app.shards.0]
database = "app"
servers = [["127.0.0.1", 1, "primary"]]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "pgcat.toml"
    path.write_text(CONFIG)
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(start: Callable[..., Program], config: Path, number: signal.Signals) -> None:
    program = start("-F", "structured")
    assert program.event("server.starting")["config"] == "pgcat.toml"
    assert program.event("server.listening")["port"] > 0
    program.send(number)
    assert program.event("signal.received")["signal"] == number.name
    program.event("server.draining")
    program.event("server.stopped")
    assert program.finish() == (0, "", "")


def test_sigquit_waits_for_nobody(start: Callable[..., Program], config: Path, cluster: EmbeddedCluster) -> None:
    config.write_text(proxy_config(cluster))
    program = start("-F", "structured")
    port = program.event("server.listening")["port"]
    where = {"host": "127.0.0.1", "port": port, "dbname": cluster.database}
    with psycopg.connect(**where, user=APP_USER, password=APP_PASSWORD, autocommit=True) as client:
        client.execute("select 1")
        program.send(signal.SIGQUIT)
        assert program.event("server.cutting")["clients"] == 1
        assert program.finish()[0] == 0


def test_sighup_reloads(start: Callable[..., Program], config: Path) -> None:
    program = start("-F", "structured")
    program.event("server.listening")
    config.write_text(CONFIG + '\n[pools.app.users.1]\nusername = "second"\npassword = "x"\npool_size = 1\n')
    program.send(signal.SIGHUP)
    assert program.event("pool.created")["user"] == "second"
    program.event("config.reloaded")

    config.write_text(CONFIG.replace("pool_size = 1", 'pool_size = "1"\npool_sise = 1'))
    program.send(signal.SIGHUP)
    problems = [program.event("config.problem")["problem"] for _ in range(2)]
    assert [problem.split(" ")[0] for problem in problems] == ["pgcat.toml:12:", "pgcat.toml:13:"]
    assert program.event("config.not_reloaded")["reason"] == "the old configuration stays in force"

    program.send(signal.SIGTERM)
    code, _, err = program.finish()
    assert (code, err) == (0, "")


def test_autoreload(start: Callable[..., Program], config: Path) -> None:
    text = CONFIG.replace("[general]", "[general]\nautoreload = 20")
    config.write_text(text)
    program = start("-F", "structured")
    program.event("server.listening")
    config.rename(config.with_suffix(".away"))
    assert program.event("config.problem")["problem"] == "Could not open 'pgcat.toml': No such file or directory"
    config.write_text(text.replace('"app-secret"', '"other-secret"'))
    assert program.event("pool.created")["user"] == "app"
    # Switched off by a reload, and on again by another.
    config.write_text(CONFIG)
    program.event("config.reloaded")
    config.write_text(text)
    program.send(signal.SIGHUP)
    program.event("config.reloaded")
    config.write_text(text.replace('"app-secret"', '"third-secret"'))
    program.event("pool.created")


def test_a_transaction_may_end_unless_the_signal_comes_twice(
    start: Callable[..., Program], config: Path, cluster: EmbeddedCluster
) -> None:
    config.write_text(proxy_config(cluster))
    program = start("-F", "structured")
    port = program.event("server.listening")["port"]
    where = {"host": "127.0.0.1", "port": port, "dbname": cluster.database}
    with psycopg.connect(**where, user=APP_USER, password=APP_PASSWORD) as patient:
        patient.execute("select 1")
        program.send(signal.SIGTERM)
        assert program.event("server.draining")["clients"] == 1
        assert patient.execute("select 2").fetchone() == (2,)
        program.send(signal.SIGTERM)
        program.event("server.cutting")
        assert program.finish()[0] == 0
        with pytest.raises(psycopg.OperationalError):
            patient.execute("select 3")


def test_warnings_of_the_file_are_logged_at_the_start(start: Callable[..., Program], config: Path) -> None:
    config.write_text(CONFIG.replace("[general]", "[general]\nenable_prometheus_exporter = true"))
    program = start(LOG_FORMAT="structured", LOG_LEVEL="warn")
    assert program.event("config.warning")["problem"].startswith("pgcat.toml:")


def test_each_line_of_the_structured_log_is_json(start: Callable[..., Program], config: Path) -> None:
    program = start("-F", "structured", "-l", "debug")
    first = json.loads(program.line("server.starting"))
    assert list(first)[:4] == ["timestamp", "level", "logger", "event"]
    program.line("server.listening")
    program.send(signal.SIGTERM)
    _, out, _ = program.finish()
    assert [json.loads(line)["event"] for line in out.splitlines()][-1] == "server.stopped"


def test_a_log_that_nobody_reads_does_not_end_it(config: Path, tmp_path: Path) -> None:
    with subprocess.Popen(COMMAND, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while b"server.listening" not in process.stdout.readline():
            pass
        process.stdout.close()
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "env", "colorful"), [((), {}, True), (("-n",), {}, False), ((), {"NO_COLOR": "1"}, False)]
)
def test_colors_are_for_terminals(
    tmp_path: Path, arguments: tuple[str, ...], env: dict[str, str], *, colorful: bool, config: Path
) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen([*COMMAND, *arguments], cwd=tmp_path, env=environment(**env), stdout=theirs) as process:
        os.close(theirs)
        with open(ours, "rb") as terminal:
            line = terminal.readline()
            process.send_signal(signal.SIGTERM)
            with pytest.raises(OSError, match="Input/output"):  # how a terminal says that its program has ended
                terminal.read()
    assert b"server.starting" in line
    assert (b"\x1b[" in line) is colorful

"""``pgcat-trio check`` and everything that a start can refuse, with the exit codes."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgcat_trio import __version__
from pgcat_trio.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., tuple[int, str, str]]

SAMPLES = Path(__file__).parents[2] / "config"
GOOD = (SAMPLES / "minimal.toml").read_text()
WRONG_TWICE = GOOD.replace("port = 6432", 'port = "6432"').replace("pool_size", "pool_sise")


def test_version(run: Run) -> None:
    assert run("-V") == (0, f"pgcat-trio {__version__}\n", "")


@pytest.mark.parametrize("name", ["minimal.toml", "pgcat.toml", "docker/pgcat.toml"])
def test_the_samples_can_be_used(run: Run, name: str) -> None:
    path = SAMPLES / name
    assert run("check", str(path)) == (0, f"{path} can be used: pools: 1, users: 1, warnings: 0\n", "")


def test_warnings_are_said_and_do_no_harm(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pgcat.toml").write_text(GOOD.replace("[general]", "[general]\nenable_prometheus_exporter = true"))
    code, out, err = run("check", "pgcat.toml")
    assert code == 0
    assert "warnings: 0" not in out
    assert all(line.startswith("warning: pgcat.toml:") for line in err.splitlines())


@pytest.mark.parametrize("arguments", [("check", "pgcat.toml"), (), ("pgcat.toml",)])
def test_every_problem_is_said_at_once(run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "pgcat.toml").write_text(WRONG_TWICE)
    code, out, err = run(*arguments)
    assert (code, out) == (78, "")
    assert [line.split(" ")[0] for line in err.splitlines()] == ["pgcat.toml:4:", "pgcat.toml:8:", "pgcat.toml:11:"]


def test_a_certificate_that_is_none_is_a_problem_of_the_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "server.crt").write_text("no certificate")
    (tmp_path / "server.key").write_text("no key")
    keys = 'port = 6432\ntls_certificate = "server.crt"\ntls_private_key = "server.key"'
    (tmp_path / "pgcat.toml").write_text(GOOD.replace("port = 6432", keys))
    for arguments in (("check", "pgcat.toml"), ("pgcat.toml",)):
        code, _, err = run(*arguments)
        assert (code, err.count("\n")) == (78, 1), err
        assert err.startswith("pgcat.toml: tls_certificate is incorrectly configured")


def test_without_arguments_the_file_is_pgcat_toml(run: Run) -> None:
    assert run() == (78, "", "Could not open 'pgcat.toml': No such file or directory\n")


def test_the_file_can_be_named_by_the_environment(run: Run) -> None:
    assert run(CONFIG_FILE="other.toml") == (78, "", "Could not open 'other.toml': No such file or directory\n")
    assert run("mine.toml", CONFIG_FILE="other.toml")[2] == "Could not open 'mine.toml': No such file or directory\n"


@pytest.mark.parametrize("name", ["check", "demo"])
def test_a_file_with_the_name_of_a_command(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(WRONG_TWICE)
    code, _, err = run(f"./{name}")
    assert code == 78
    assert err.startswith(f"./{name}:4:")


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (("-l", "DEBUG", "check", "x"), {}, "the command 'check' comes first; a file of that name is ./check"),
        (("-l", "DEBUG", "demo"), {}, "the command 'demo' comes first; a file of that name is ./demo"),
        (("-l", "loud"), {}, "'loud' is not a log level"),
        ((), {"LOG_LEVEL": "loud"}, "'loud' is not a log level"),
        (("-F", "xml"), {}, "'xml' is not a log format"),
        ((), {"LOG_FORMAT": "xml"}, "'xml' is not a log format"),
        (("check",), {}, "required: FILE"),
        (("demo", "--replicas", "99"), {}, "--replicas: from 0 to 8"),
        (("demo", "--seconds", "0"), {}, "--seconds: more than 0"),
    ],
)
def test_wrong_command_lines(
    arguments: tuple[str, ...],
    env: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    out, err = capsys.readouterr()
    assert (leaving.value.code, out) == (2, "")
    assert said in err


def test_a_port_that_is_taken(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "pgcat.toml").write_text(GOOD.replace("port = 6432", f'port = {port}\nhost = "127.0.0.1"'))
        code, _, err = run()
    assert (code, err) == (78, f"cannot listen on 127.0.0.1:{port}: Address already in use\n")

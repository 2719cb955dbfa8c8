"""``pgcat-trio plan``: no server runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgcat_trio.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLE = Path(__file__).parents[2] / "config" / "minimal.toml"

WITH_ANOTHER = """
[pools.app.users.1]
username = "another"
password = "secret-of-another"
pool_size = 3
"""


@pytest.fixture
def new(tmp_path: Path) -> Callable[..., str]:
    """The sample with some texts replaced and another at its end, as a file."""

    def write(*changes: tuple[str, str], more: str = "") -> str:
        text = SAMPLE.read_text()
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        path = tmp_path / "new.toml"
        path.write_text(text + more)
        return str(path)

    return write


def test_a_plan(new: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    changes = (("port = 6432", "port = 6000\nban_time = 5"), ("pool_size = 10", "pool_size = 11"))
    path = new(*changes, more=WITH_ANOTHER)
    assert main(["plan", str(SAMPLE), path]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["needs", "restart", "[general]", "port", "6432", "->", "6000"],
        ["change", "[general]", "ban_time", "60", "->", "5"],
        ["add", "app/another", "not", "in", "the", "old", "configuration"],
        ["change", "app/app", "pool_size", "10", "->", "11"],
    ]
    assert len({line.index(each) for line, each in zip(lines, ("[", "[", "app/", "app/"), strict=True)}) == 1


def test_nothing_changes(
    new: Callable[..., str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFIG_FILE", str(SAMPLE))
    assert main(["plan", new(more="# a comment\n")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing changes"


def test_secrets_are_not_shown(new: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(SAMPLE), new(("change-me", "a-new-secret"))]) == 0
    out = capsys.readouterr().out
    assert "password has changed" in out
    assert "secret" not in out


def test_what_cannot_be_used_has_no_plan(new: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    path = new(("pool_size = 10", 'pool_size = "many"'))
    assert main(["plan", str(SAMPLE), path]) == 78
    assert main(["plan", path, str(SAMPLE)]) == 78
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count(f"{path}:") == 2

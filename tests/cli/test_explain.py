"""``pgcat-trio explain``: no server runs."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgcat_trio.cli import main
from tests.support.program import COMMAND, environment

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., tuple[int, str, str]]

SAMPLE = Path(__file__).parents[2] / "config" / "pgcat.toml"

READ = """\
role              replica
reason            a read-only query
shard             0
candidate 1       127.0.0.1:5433 (replica)
candidate 2       127.0.0.1:5434 (replica)
choice            load_balancing_mode = random
without replicas  the primary takes it
kind              select
proven to read    yes
tables            item
shard keys        item.id = literal 1
fingerprint       select name from item where id = ?
"""
WRITE = """\
role         primary
reason       UPDATE is not known to be a read
shard        0
candidate 1  127.0.0.1:5432 (primary)
kind         update
writes       yes
tables       item
fingerprint  update item set name = ?
"""


def test_statements_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    sql = ("select name from item where id = 7", "UPDATE item SET name = 'x'")
    assert main(["explain", str(SAMPLE), *sql]) == 0
    assert capsys.readouterr().out == f"{READ}\n{WRITE}"


def test_standard_input_has_statements_of_their_own() -> None:
    command = [*COMMAND, "explain", str(SAMPLE), "-"]
    sql = "select name from item where id = 7;\n;\n/* pgcat: role=primary */ UPDATE item SET name = ';';\n"
    done = subprocess.run(command, input=sql, env=environment(), capture_output=True, text=True, timeout=30, check=True)
    by_hint = WRITE.replace("UPDATE is not known to be a read", "a hint")
    assert (done.stdout, done.stderr) == (f"{READ}\n{by_hint}", "")


def test_what_is_sent_together_goes_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(SAMPLE), "select 1; update item set name = 'x'"]) == 0
    assert capsys.readouterr().out.startswith("role         primary\n")


@pytest.mark.parametrize(
    ("sql", "role", "reason"),
    [
        ("/* pgcat: role=any */ update item set name = 'x'", "any", "a hint"),
        ("/* pgcat: shard=1 */ select 1", "none", "it would be refused: there is no shard 1"),
        ("/* pgcat: rule=any */ select 1", "none", 'it would be refused: the hint "rule=any" cannot be understood'),
        ("SET SHARD TO 1", "none", "the proxy answers it itself"),
    ],
)
def test_hints_and_commands(sql: str, role: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(SAMPLE), sql]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (rows["role"], rows["reason"]) == (role, reason)


def test_reads_go_to_the_primary_where_there_is_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lone = [line for line in SAMPLE.read_text().splitlines(True) if '"replica"]' not in line]
    (tmp_path / "lone.toml").write_text("".join(lone))
    assert main(["explain", str(tmp_path / "lone.toml"), "select 1"]) == 0
    assert "candidate 1       127.0.0.1:5432 (primary)\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("-d", "other", "select 1"), "there is no pool 'other': --database takes one of: app"),
        (("-u", "other", "select 1"), "there is no user 'other': --user takes one of: app"),
        (("",), "there is no statement"),
        (("select 1", " ; "), "there is no statement"),
        ((), "the following arguments are required: SQL"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explain", str(SAMPLE), *arguments])
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert not out
    assert complaint in err


def test_empty_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"-- nothing\n")))
    with pytest.raises(SystemExit) as ended:
        main(["explain", str(SAMPLE), "-"])
    assert ended.value.code == 2


def test_a_pool_must_be_named_where_there_are_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = SAMPLE.read_text()
    pools = text[text.index("[pools.app]") :]
    (tmp_path / "two.toml").write_text(text + "\n" + pools.replace("pools.app", "pools.b"))
    with pytest.raises(SystemExit):
        main(["explain", str(tmp_path / "two.toml"), "select 1"])
    assert "which pool? --database takes one of: app, b" in capsys.readouterr().err
    assert main(["explain", str(tmp_path / "two.toml"), "select 1", "--database", "b"]) == 0


def test_a_configuration_that_cannot_be_used(run: Run) -> None:
    assert run("explain", "nowhere.toml", "select 1")[0] == 78


def test_on_a_terminal_it_is_a_table(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [*COMMAND, "explain", str(SAMPLE), "select [1]"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(TERM="xterm"), stdout=theirs) as process:
        os.close(theirs)
        shown = b""
        with open(ours, "rb", buffering=0) as terminal, contextlib.suppress(OSError):  # a terminal's end
            while data := terminal.read(4096):
                shown += data
        assert process.wait(30) == 0
    assert b"\x1b[" in shown
    assert b"fingerprint" in shown
    assert b"select[?]" in shown

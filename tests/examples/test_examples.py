"""Each example runs as it stands, and says what it shall show."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

SHOWS = {
    "embedding.py": r"the proxy listens on 127\.0\.0\.1:\d+\nPostgreSQL .*\nall gone\n",
    "psycopg_client.py": r"transaction: port \d+, primary\n(read: port \d+, replica\n){4}rows: 3\n",
    "sqlalchemy_client.py": r"notes: 10\nreads by replicas: 4 of 4\n",
    "failover_to_watch.py": (
        r"before: +\{'replica-\d': 50, 'replica-\d': 50\}\n"
        r"replica-1 killed: +\{'replica-2': 100\}\n"
        r"replica-1 is back: +\{'replica-\d': 50, 'replica-\d': 50\}\n"
    ),
}


def test_no_example_is_forgotten() -> None:
    assert {file.name for file in EXAMPLES.glob("*.py")} == SHOWS.keys() | {"support.py"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWS)
def test_example(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(SHOWS[name], result.stdout), result.stdout + result.stderr

"""The project's chores: ``nox -s demo`` and so on. Arguments after ``--`` are passed on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True

CODE = ("pgcat_trio", "tests", "examples", "noxfile.py")
NOT_OURS = (
    *("ASYNC114", "ASYNC128"),  # they do not see a task_status that is passed on
    *("ASYNC900", "ASYNC910", "ASYNC911", "ASYNC912", "ASYNC913"),  # off by default: each await a checkpoint
)


@nox.session
def demo(session: nox.Session) -> None:
    """A throw-away cluster, the proxy and a workload to look at."""
    session.install(".[demo]")
    session.run("pgcat-trio", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, against a real PostgreSQL of their own."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def drivers(session: nox.Session) -> None:
    """The scenarios of all drivers, at the server and through the proxy; names those that cannot run here."""
    session.install("-e", ".[dev]")
    env = {"PGCAT_TRIO_DRIVERS": "all"}
    session.run("python", "-m", "pytest", "tests/drivers", "-rs", *session.posargs, env=env)


@nox.session
def chaos(session: nox.Session) -> None:
    """What can happen to each server in turn, promotions, reloads and full pools, under the load of 100 clients."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "pytest", "tests/chaos", "-s", *session.posargs, env={"PGCAT_TRIO_CHAOS": "full"})


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, and the mistakes of structured concurrency."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check", *CODE)
    session.run("ruff", "format", "--check", *CODE)
    # ruff knows most of these rules, and applies them to all CODE.
    package = map(str, Path("pgcat_trio").rglob("*.py"))
    session.run("flake8-async", "--enable=ASYNC", f"--disable={','.join(NOT_OURS)}", *package)
    session.run("mypy", "--strict", "-p", "pgcat_trio")


@nox.session
def bench(session: nox.Session) -> None:
    """The proxy against PgBouncer (where it is installed) and against no proxy at all."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "tests.bench", *session.posargs)


@nox.session(venv_backend="none")
def docker(session: nox.Session) -> None:
    """A primary, two streaming replicas and the proxy in containers."""
    engine = shutil.which("docker")
    if engine is None or subprocess.run([engine, "info"], capture_output=True, check=False).returncode != 0:
        session.error("no Docker engine answers: install Docker, or start it")
    session.run(
        "docker",
        "compose",
        "--file",
        "config/docker/compose.yaml",
        *(session.posargs or ("up", "--build")),
        external=True,
    )

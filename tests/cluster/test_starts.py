"""Starts that fail say why: which line of which file, or which server refused and with what words."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import psycopg
import pytest
from structlog.testing import capture_logs
from support.proxy import ProxyThread, proxy_config

from pgcat_trio import BindError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgcat_trio.embedded import EmbeddedCluster


@pytest.fixture
def file(cluster: EmbeddedCluster, tmp_path: Path) -> Callable[[str, str], Path]:
    """A configuration that works, with one part of it replaced."""

    def write(old: str, new: str) -> Path:
        text = proxy_config(cluster, pool_size=2)
        assert old in text
        path = tmp_path / "pgcat.toml"
        path.write_text(text.replace(old, new))
        return path

    return write


def problems_of(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as refused, ProxyThread(path):
        pass
    return list(refused.value.problems)


def test_each_mistake_in_the_file_is_reported_with_its_line(file: Callable[[str, str], Path]) -> None:
    path = file("shutdown_timeout = 5000", 'shutdown_timeout = "soon"\nadmin_passwort = "x"')
    lines = path.read_text().splitlines()
    problems = problems_of(path)
    for key in ("shutdown_timeout", "admin_passwort"):
        number = next(number for number, line in enumerate(lines, 1) if line.startswith(key))
        assert any(f"{path}:{number}" in problem and key in problem for problem in problems), problems


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"), ProxyThread(tmp_path / "nowhere.toml"):
        pass


def test_a_taken_port_is_named(cluster: EmbeddedCluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        expected = rf"cannot listen on 127\.0\.0\.1:{port}: .*in use"
        with pytest.raises(BindError, match=expected), ProxyThread(proxy_config(cluster, port=port)):
            pass


def test_a_server_that_refuses_the_password_is_named_with_its_words(
    cluster: EmbeddedCluster, file: Callable[[str, str], Path]
) -> None:
    path = file(f'server_password = "{cluster.password}"', 'server_password = "not-this-one"')
    problems = problems_of(path)
    assert len(problems) == len(cluster.servers)
    for server, problem in zip(cluster.servers, sorted(problems, key=_port_order(cluster)), strict=True):
        assert problem.startswith(f"{path}: ")
        assert f"{server.host}:{server.port}" in problem
        assert f'password authentication failed for user "{cluster.superuser}"' in problem
        assert "not-this-one" not in problem


def _port_order(cluster: EmbeddedCluster) -> Callable[[str], int]:
    ports = [str(server.port) for server in cluster.servers]
    return lambda problem: next(index for index, port in enumerate(ports) if f":{port}" in problem)


def test_a_database_that_is_not_there_is_named(cluster: EmbeddedCluster, file: Callable[[str, str], Path]) -> None:
    problems = problems_of(file(f'database = "{cluster.database}"', 'database = "missing"'))
    assert problems
    assert all('database "missing" does not exist' in problem for problem in problems)


def test_wrong_credentials_do_not_keep_a_proxy_from_running_without_validation(
    cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    config = proxy_config(cluster, pool_size=2, general="validate_config = false").replace(cluster.password, "wrong")
    refused = pytest.raises(psycopg.OperationalError, match="password authentication failed for user")
    with ProxyThread(config) as proxy, refused:
        psycopg.connect(proxy.dsn())


def test_a_server_that_cannot_be_reached_is_a_warning(
    cluster: EmbeddedCluster, file: Callable[[str, str], Path]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    replica = cluster.replicas[0]
    path = file(f" {replica.port},", f" {port},")
    with capture_logs() as events, ProxyThread(path) as proxy, psycopg.connect(proxy.dsn()) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    [warning] = [event for event in events if event["event"] == "backend.unreachable"]
    assert warning["log_level"] == "warning"
    assert f"127.0.0.1:{port}" in warning["reason"]
    assert "Connection refused" in warning["reason"]


def test_a_certificate_that_is_none_is_named(
    cluster: EmbeddedCluster, file: Callable[[str, str], Path], tmp_path: Path
) -> None:
    (tmp_path / "bad.crt").write_text("not a certificate")
    lines = f'tls_certificate = "{tmp_path}/bad.crt"\ntls_private_key = "{tmp_path}/bad.crt"\nshutdown_timeout = 5000'
    path = file("shutdown_timeout = 5000", lines)
    with pytest.raises(ConfigError, match=r"bad\.crt") as refused, ProxyThread(path):
        pass
    assert "tls_certificate" in str([refused.value.message, *refused.value.problems])

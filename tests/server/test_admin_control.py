"""RELOAD, SHUTDOWN, BAN and UNBAN, asked with psycopg of a proxy in front of the embedded cluster."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.proxy import ADMIN_PASSWORD, APP_USER, ProxyThread, proxy_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pgcat_trio.embedded import EmbeddedCluster


@pytest.fixture
def config_file(tmp_path: Path, cluster: EmbeddedCluster) -> Path:
    path = tmp_path / "pgcat.toml"
    path.write_text(proxy_config(cluster, splitting=True))
    return path


@pytest.fixture
def proxy(config_file: Path) -> Iterator[ProxyThread]:
    with ProxyThread(config_file) as proxy:
        yield proxy


@pytest.fixture
def console(proxy: ProxyThread) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(proxy.admin_dsn, autocommit=True, prepare_threshold=None) as connection:
        yield connection


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def tell(console: psycopg.Connection[Any], command: str) -> tuple[str | None, list[tuple[Any, ...]]]:
    """The command's tag and rows."""
    cursor = console.execute(command.encode())
    return cursor.statusmessage, cursor.fetchall() if cursor.description else []


# -- RELOAD --------------------------------------------------------------------------------------------------------


def test_reload_applies_the_file(
    config_file: Path, proxy: ProxyThread, console: psycopg.Connection[Any], cluster: EmbeddedCluster
) -> None:
    text = proxy_config(cluster, splitting=True, users={"newcomer": "new-secret"}, pool_size=7)
    config_file.write_text(text)
    assert tell(console, "RELOAD") == ("RELOAD", [])
    _, databases = tell(console, "SHOW DATABASES")
    assert {row[4:6] for row in databases} == {("newcomer", 7)}
    with psycopg.connect(proxy.dsn("newcomer", "new-secret")) as client:
        assert client.execute("select 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(proxy.dsn())


def test_reload_of_a_bad_file_tells_every_problem_and_changes_nothing(
    config_file: Path, proxy: ProxyThread, console: psycopg.Connection[Any]
) -> None:
    edit(config_file, "pool_size = 5", 'pool_size = "5"\nauth_typ = "trust"')
    with pytest.raises(psycopg.Error, match="cannot be used: 2 problems") as caught:
        console.execute("RELOAD")
    detail = caught.value.diag.message_detail or ""
    assert [line.split(": ")[1].split(".")[-1] for line in detail.splitlines()] == ["pool_size", "auth_typ"]
    assert caught.value.diag.severity == "ERROR"
    assert ADMIN_PASSWORD not in str(vars(caught.value.diag)) + detail
    assert {row[5] for row in tell(console, "SHOW DATABASES")[1]} == {5}
    with psycopg.connect(proxy.dsn()) as client:
        assert client.execute("select 1").fetchone() == (1,)


def test_reload_of_a_missing_file(config_file: Path, console: psycopg.Connection[Any]) -> None:
    config_file.unlink()
    with pytest.raises(psycopg.Error, match="cannot be read") as caught:
        console.execute("RELOAD")
    assert "No such file or directory" in (caught.value.diag.message_detail or "")
    assert tell(console, "SHOW USERS")[1] == [(APP_USER, "transaction")]


def test_a_dry_run_says_what_a_reload_would_do_and_does_nothing(
    config_file: Path, console: psycopg.Connection[Any]
) -> None:
    keep = ("keep", "app", APP_USER, "")
    assert tell(console, "RELOAD DRY RUN") == ("RELOAD", [keep])
    edit(config_file, "pool_size = 5", "pool_size = 6")
    change = ("change", "app", APP_USER, "pool_size 5 -> 6")
    assert tell(console, "reload dry run") == ("RELOAD", [change])
    assert {row[5] for row in tell(console, "SHOW DATABASES")[1]} == {5}
    tell(console, "RELOAD")
    assert tell(console, "RELOAD DRY RUN") == ("RELOAD", [keep])
    edit(config_file, "[general]", "[general]\nserver_tls_ca_file = '/nowhere'")
    for command in ("RELOAD DRY RUN", "RELOAD"):
        with pytest.raises(psycopg.Error, match="cannot be used"):
            console.execute(command.encode())


def test_reload_says_what_needs_a_restart(config_file: Path, console: psycopg.Connection[Any]) -> None:
    notices: list[str | None] = []
    console.add_notice_handler(lambda diag: notices.append(diag.message_primary))
    edit(config_file, "port = 0", "port = 1\nworker_threads = 2")
    assert tell(console, "RELOAD") == ("RELOAD", [])
    restart = [notice for notice in notices if notice and "restart" in notice]
    assert [notice.split()[0] for notice in restart] == ["port", "worker_threads"]


# -- BAN and UNBAN -------------------------------------------------------------------------------------------------


def test_ban_and_unban(proxy: ProxyThread, console: psycopg.Connection[Any], cluster: EmbeddedCluster) -> None:
    host = f"127.0.0.1:{cluster.replicas[0].port}"
    affected = [("app", APP_USER, "replica", "127.0.0.1")]
    assert tell(console, f"BAN {host} 600") == ("BAN", affected)
    _, [(db, user, role, banned, reason, ban_time, duration_s, left_s)] = tell(console, "SHOW BANS")
    assert (db, user, role, banned, reason, duration_s) == (*affected[0], "AdminBan(600)", "600")
    assert 590 <= int(left_s) <= 600
    began = datetime.fromisoformat(ban_time).replace(tzinfo=UTC)
    assert timedelta() <= datetime.now(UTC) - began < timedelta(seconds=10)
    assert [row[12] for row in tell(console, "SHOW DATABASES")[1]] == [0, 1, 0]
    with psycopg.connect(proxy.dsn(), autocommit=True, prepare_threshold=None) as client:
        ports = {client.execute("select inet_server_port()").fetchone()[0] for _ in range(8)}
    assert ports == {cluster.replicas[1].port}

    assert tell(console, f"UNBAN {host}") == ("UNBAN", affected)
    assert tell(console, f"UNBAN {host}") == ("UNBAN", [])
    assert tell(console, "SHOW BANS") == ("SHOW BANS", [])
    assert [row[12] for row in tell(console, "SHOW DATABASES")[1]] == [0, 0, 0]


def test_ban_of_a_host_bans_all_replicas_on_it(console: psycopg.Connection[Any]) -> None:
    tag, rows = tell(console, "ban '127.0.0.1' 5;")
    assert (tag, len(rows)) == ("BAN", 2)
    assert len(tell(console, "SHOW BANS")[1]) == 2


def test_a_ban_takes_the_place_of_another(console: psycopg.Connection[Any], cluster: EmbeddedCluster) -> None:
    host = f"127.0.0.1:{cluster.replicas[0].port}"
    for seconds in (600, 60):
        tell(console, f"BAN {host} {seconds}")
        assert [row[6] for row in tell(console, "SHOW BANS")[1]] == [str(seconds)]


def test_a_ban_ends_by_itself(console: psycopg.Connection[Any], cluster: EmbeddedCluster) -> None:
    tell(console, f"BAN 127.0.0.1:{cluster.replicas[0].port} 1")
    began = time.monotonic()
    while tell(console, "SHOW BANS")[1]:
        pass
    assert 0.9 < time.monotonic() - began < 5


def test_bans_outlive_a_reload(config_file: Path, console: psycopg.Connection[Any]) -> None:
    tell(console, "BAN 127.0.0.1 600")
    edit(config_file, "pool_size = 5", "pool_size = 6")
    tell(console, "RELOAD")
    assert [row[6] for row in tell(console, "SHOW BANS")[1]] == ["600", "600"]


@pytest.mark.parametrize(
    ("command", "sqlstate", "message"),
    [
        ("BAN", "42601", "usage: BAN hostname duration_seconds"),
        ("BAN 127.0.0.1", "42601", "usage: BAN hostname duration_seconds"),
        ("BAN 127.0.0.1 1 2", "42601", "usage: BAN hostname duration_seconds"),
        ("BAN 127.0.0.1 soon", "22023", "must be an integer"),
        ("BAN 127.0.0.1 1.5", "22023", "must be an integer"),
        ("BAN 127.0.0.1 ''", "22023", "must be an integer"),
        ("BAN 127.0.0.1 0", "22023", "must be >= 1"),
        ("BAN 127.0.0.1 -1", "22023", "must be >= 1"),
        ("BAN 127.0.0.1 2147483648", "22023", "must be <= 2147483647"),
        ("BAN 127.0.0.1 " + "9" * 5000, "22023", "must be <= 2147483647"),
        ("BAN nowhere 60", "42704", 'no server on host "nowhere"'),
        ("UNBAN", "42601", "UNBAN command requires a hostname"),
        ("UNBAN a b", "42601", "usage: UNBAN hostname"),
        ("UNBAN nowhere", "42704", 'no server on host "nowhere"'),
        ("RELOAD now", "42601", "usage: RELOAD"),
        ("SHUTDOWN IMMEDIATE", "42601", "usage: SHUTDOWN .WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS"),
        ("SUSPEND", "0A000", "SUSPEND is not built yet"),
    ],
)
def test_refused_commands(console: psycopg.Connection[Any], command: str, sqlstate: str, message: str) -> None:
    with pytest.raises(psycopg.Error, match=message) as caught:
        console.execute(command.encode())
    assert (caught.value.sqlstate, caught.value.diag.severity) == (sqlstate, "ERROR")
    assert tell(console, "SHOW BANS") == ("SHOW BANS", [])


def test_a_primary_cannot_be_banned(console: psycopg.Connection[Any], cluster: EmbeddedCluster) -> None:
    with pytest.raises(psycopg.Error, match="is a primary") as caught:
        console.execute(f"BAN 127.0.0.1:{cluster.primary.port} 60".encode())
    assert caught.value.sqlstate == "55000"
    assert tell(console, "SHOW BANS") == ("SHOW BANS", [])


# -- SHUTDOWN ------------------------------------------------------------------------------------------------------


def test_shutdown_lets_transactions_end_and_waits_for_no_administrator(
    proxy: ProxyThread, console: psycopg.Connection[Any], ended: Callable[[], bool]
) -> None:
    busy, idle = (psycopg.connect(proxy.dsn(), autocommit=True) for _ in range(2))
    with busy, idle:
        busy.execute("begin")
        began = time.monotonic()
        assert tell(console, "SHUTDOWN") == ("SHUTDOWN", [("t",)])
        execute_until_refused(idle, "select 1")
        # The console goes on, and saying it again cuts nobody off.
        assert tell(console, "SHUTDOWN") == ("SHUTDOWN", [("t",)])
        assert [row[4] for row in tell(console, "SHOW CLIENTS")[1]] == ["active", "idle"]
        assert busy.execute("select 1").fetchone() == (1,)
        busy.execute("commit")
    execute_until_refused(console, "SHOW VERSION")
    while not ended():
        pass
    assert time.monotonic() - began < 4  # shutdown_timeout is 5 s


def execute_until_refused(connection: psycopg.Connection[Any], command: str) -> None:
    """Until the connection ends; libpq shows the last words or, if the end is right behind them, only that."""
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            connection.execute(command.encode())
    assert connection.closed


@pytest.fixture
def ended(proxy: ProxyThread) -> Callable[[], bool]:
    """Whether nobody listens any more."""

    def ended() -> bool:
        try:
            psycopg.connect(proxy.dsn(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return True
        return False

    return ended


def test_console_works_while_every_server_is_down(cluster: EmbeddedCluster) -> None:
    text = proxy_config(cluster)
    for nobody, server in enumerate(cluster.servers, start=1):  # the ports 1, 2 and 3 are nobody's
        text = text.replace(f" {server.port},", f" {nobody},")
    with ProxyThread(text) as proxy, psycopg.connect(proxy.admin_dsn, autocommit=True) as console:
        assert tell(console, "SHOW SERVERS") == ("SHOW", [])
        assert [row[3] for row in tell(console, "SHOW POOLS")[1]] == [0]

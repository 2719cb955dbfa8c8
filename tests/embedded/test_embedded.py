from __future__ import annotations

import functools
import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import trio

from pgcat_trio.embedded import EmbeddedCluster, EmbeddedError, EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow


def command_lines() -> Iterator[tuple[int, str]]:
    """The process ids and command lines of all processes."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield int(path.parent.name), path.read_text(errors="replace").replace("\0", " ")
        except OSError:
            continue  # it ended meanwhile


def segment_of(server: EmbeddedServer) -> str:
    """The id of the System V segment of a server that is up."""
    return (server.data_dir / "postmaster.pid").read_text().splitlines()[6].split()[1]


def segments() -> set[str]:
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def is_gone(directory: Path) -> bool:
    return not directory.exists() and not any(str(directory) in line for _, line in command_lines())


async def wait_gone(directory: Path) -> None:
    with trio.fail_after(10):
        while not is_gone(directory):  # noqa: ASYNC110 (facts of other processes)
            await trio.sleep(0.02)


def accepts(cluster: EmbeddedCluster, server: EmbeddedServer) -> bool:
    """Whether a login over TCP succeeds within a second (libpq takes no shorter time than two)."""
    try:
        with psycopg.connect(cluster.dsn(server), connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


# -- what a cluster is ---------------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_replicas_show_what_the_primary_wrote(cluster: EmbeddedCluster) -> None:
    await cluster.psql("drop table if exists seen; create table seen (a int); insert into seen values (1), (2)")
    await cluster.wait_caught_up()
    for server in cluster.servers:
        assert await cluster.psql("select a from seen order by a", server) == "1\n2"


@pytest.mark.trio
async def test_each_server_has_its_role_name_and_port(cluster: EmbeddedCluster) -> None:
    roles = {server.name: server.role for server in cluster.servers}
    assert roles == {"primary": "primary", "replica-1": "replica", "replica-2": "replica"}
    assert len({server.port for server in cluster.servers}) == 3
    for server in cluster.servers:
        recovering = await cluster.psql("select pg_is_in_recovery()", server)
        assert recovering == ("f" if server is cluster.primary else "t")
        assert await cluster.psql("show port", server) == str(server.port)


@pytest.mark.parametrize("place", ["tcp", "unix"])
def test_a_login_needs_the_password(cluster: EmbeddedCluster, place: str) -> None:
    server = cluster.primary
    host = server.host if place == "tcp" else str(server.socket_dir)
    login: dict[str, Any] = {"host": host, "port": server.port, "user": cluster.superuser, "dbname": cluster.database}
    with psycopg.connect(**login, password=cluster.password) as connection:
        assert connection.execute("select current_database()").fetchone() == (cluster.database,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(**login, password="not it")


def test_nothing_shows_the_password(cluster: EmbeddedCluster) -> None:
    shown = [repr(cluster), repr(cluster.servers), *(server.log_text() for server in cluster.servers)]
    shown += [line for _, line in command_lines()]
    assert not [text for text in shown if cluster.password in text]


@pytest.mark.trio
async def test_psql_says_what_failed(cluster: EmbeddedCluster) -> None:
    with pytest.raises(EmbeddedError, match='relation "nowhere" does not exist'):
        await cluster.psql("select * from nowhere")


def test_programs_run_with_the_environment(cluster: EmbeddedCluster) -> None:
    command = [
        str(cluster.bin_dir / "psql"),
        "-h",
        "127.0.0.1",
        "-p",
        str(cluster.primary.port),
        "-U",
        cluster.superuser,
    ]
    command += ["-d", cluster.database, "-Atc", "select 1"]
    assert subprocess.run(command, env=cluster.environ, check=True, capture_output=True, text=True).stdout == "1\n"


# -- what can be done to a server ----------------------------------------------------------------------------------


def test_stop_and_start_keep_port_and_data(fresh_cluster_after: EmbeddedCluster, cluster_call: Any) -> None:
    cluster, primary = fresh_cluster_after, fresh_cluster_after.primary
    cluster_call(cluster.psql, "drop table if exists kept; create table kept as select 7 as a")
    port = primary.port
    cluster_call(primary.stop)
    assert (primary.is_running, primary.pid, accepts(cluster, primary)) == (False, None, False)
    cluster_call(primary.start)
    assert primary.port == port
    assert cluster_call(cluster.psql, "select a from kept") == "7"
    cluster_call(cluster.wait_caught_up)


@pytest.mark.trio
async def test_restart_is_another_process(fresh_cluster_after: EmbeddedCluster) -> None:
    server = fresh_cluster_after.replicas[0]
    before = server.pid
    await server.restart()
    assert before != server.pid
    assert "database system is ready to accept read-only connections" in server.log_text()


@pytest.mark.trio
async def test_kill_is_a_crash_that_a_start_recovers_from(fresh_cluster_after: EmbeddedCluster) -> None:
    cluster, primary = fresh_cluster_after, fresh_cluster_after.primary
    await cluster.psql("drop table if exists survives; create table survives as select 8 as a")
    children = (await cluster.psql("select pid from pg_stat_activity where pid <> pg_backend_pid()")).split()
    await primary.kill()
    assert not primary.is_running
    assert children
    assert not [pid for pid in children if is_alive(int(pid))]
    await primary.start()
    assert await cluster.psql("select a from survives") == "8"
    assert "database system was not properly shut down" in primary.log_text()
    await cluster.wait_caught_up()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_frozen_server_hangs_until_thawed(fresh_cluster_after: EmbeddedCluster) -> None:
    server = fresh_cluster_after.replicas[0]
    with psycopg.connect(fresh_cluster_after.dsn(server), autocommit=True) as connection:
        server.freeze()
        assert "frozen" in repr(server)
        assert not accepts(fresh_cluster_after, server)
        server.thaw()
        assert connection.execute("select 1").fetchone() == (1,)
    assert accepts(fresh_cluster_after, server)


@pytest.mark.trio
@pytest.mark.parametrize("end", [EmbeddedServer.stop, EmbeddedServer.kill])
async def test_a_frozen_server_can_be_ended(fresh_cluster_after: EmbeddedCluster, end: Callable[..., Any]) -> None:
    server = fresh_cluster_after.replicas[1]
    server.freeze()
    with trio.fail_after(10):
        await end(server)
    assert not server.is_running


@pytest.mark.trio
async def test_held_replay_shows_the_past(fresh_cluster_after: EmbeddedCluster) -> None:
    cluster, (held, other) = fresh_cluster_after, fresh_cluster_after.replicas
    await cluster.psql("drop table if exists later; create table later (a int)")
    await cluster.wait_caught_up()
    await held.hold_replay()
    await cluster.psql("insert into later values (1)")
    position = await cluster.psql("select pg_current_wal_lsn()")
    await other.wait_for(f"select pg_last_wal_replay_lsn() >= '{position}'", 10)
    counts = [await cluster.psql("select count(*) from later", server) for server in (held, other)]
    assert counts == ["0", "1"]
    with pytest.raises(EmbeddedError, match="replica-1"):
        await cluster.wait_caught_up(timeout_s=0.3)
    await held.resume_replay()
    await cluster.wait_caught_up()
    assert await cluster.psql("select count(*) from later", held) == "1"


@pytest.mark.trio
async def test_failover_and_back(cluster: EmbeddedCluster) -> None:
    first, (second, third) = cluster.primary, cluster.replicas
    await first.kill()
    await second.promote()
    assert second.role == "primary"
    await cluster.psql("drop table if exists other_line; create table other_line (a int)", second)
    await first.rebuild(second)
    assert (first.role, await cluster.psql("select pg_is_in_recovery()", first)) == ("replica", "t")
    await cluster.restore()
    assert [server.role for server in cluster.servers] == ["primary", "replica", "replica"]
    await cluster.psql("drop table other_line; create table one_line as select 9 as a")
    await cluster.wait_caught_up()
    assert await cluster.psql("select a from one_line", second) == "9"
    assert await cluster.psql("select a from one_line", third) == "9"
    await cluster.psql("drop table one_line")


# -- how it begins and ends ----------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_choices_at_the_start_and_nothing_left_at_the_end() -> None:
    names: dict[str, Any] = {"superuser": "a: b%/@", "password": "p'w:\\%/@ \"", "database": 'a "b" \\c'}
    async with EmbeddedCluster(replicas=1, **names, settings={"work_mem": "5MB"}, max_connections=30) as cluster:
        (replica,) = cluster.replicas
        settings = "current_setting('work_mem'), current_setting('max_connections')"
        with psycopg.connect(cluster.dsn(replica)) as connection:
            row = connection.execute(f"select current_user, current_database(), {settings}".encode()).fetchone()
        assert row == (names["superuser"], names["database"], "5MB", "30")
        left = {segment_of(replica)}  # by the crash; the replica's next life may find and remove it, or not
        await replica.kill()
        await replica.rebuild(cluster.primary)
        await cluster.primary.kill()
        await cluster.primary.start()
        replica.freeze()
        up = {segment_of(server) for server in cluster.servers}
        assert up <= segments()
    assert is_gone(cluster.directory)
    assert not (left | up) & segments()


DISTRIBUTION_BINS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@pytest.mark.trio
@pytest.mark.skipif(not DISTRIBUTION_BINS, reason="needs a distribution's PostgreSQL; the package's has no TLS")
async def test_servers_of_a_distribution_speak_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCAT_TRIO_PG_BIN", str(DISTRIBUTION_BINS[-1]))
    async with EmbeddedCluster(replicas=1, tls=make_certificate(tmp_path)) as cluster:
        assert cluster.bin_dir == DISTRIBUTION_BINS[-1]
        for server in cluster.servers:
            with psycopg.connect(cluster.dsn(server), sslmode="require") as connection:
                assert connection.pgconn.ssl_in_use


@pytest.mark.trio
async def test_tls_without_support_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGCAT_TRIO_PG_BIN", raising=False)
    cluster = EmbeddedCluster(replicas=0, tls=make_certificate(tmp_path))
    with pytest.raises(EmbeddedError, match="built without TLS; set PGCAT_TRIO_PG_BIN"):
        await cluster.__aenter__()


def make_certificate(directory: Path) -> tuple[Path, Path]:
    certificate, key = directory / "server.crt", directory / "server.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    return certificate, key


@pytest.mark.trio
async def test_cancellation_leaves_nothing() -> None:
    cluster = EmbeddedCluster(replicas=0)
    with trio.CancelScope() as scope:
        async with cluster:
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert is_gone(cluster.directory)


@pytest.mark.trio
async def test_cancellation_on_entry_leaves_nothing() -> None:
    cluster = EmbeddedCluster(replicas=0)
    with trio.move_on_after(0.2) as scope:  # in initdb
        await cluster.__aenter__()
    assert scope.cancelled_caught
    assert is_gone(cluster.directory)


@pytest.mark.trio
async def test_a_killed_watchdog_has_a_successor() -> None:
    async with EmbeddedCluster(replicas=0) as cluster:
        (watchdog,) = (pid for pid, line in command_lines() if f"_embedded_guard.py {cluster.directory}" in line)
        os.kill(watchdog, signal.SIGKILL)
        segment = segment_of(cluster.primary)
    assert is_gone(cluster.directory)
    assert segment not in segments()


CHILD = """
import trio
from pgcat_trio.embedded import EmbeddedCluster

async def main():
    async with EmbeddedCluster(replicas=1) as cluster:
        cluster.replicas[0].freeze()
        print(f"{cluster.directory} {cluster.primary.pid}", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.trio
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
async def test_the_death_of_the_owner_leaves_nothing(number: signal.Signals) -> None:
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "check": False}
    async with trio.open_nursery() as nursery:
        start = functools.partial(trio.run_process, [sys.executable, "-c", CHILD], **options)
        owner: trio.Process = await nursery.start(start)
        assert owner.stdout is not None
        directory, postmaster = (await owner.stdout.receive_some()).decode().split()
        assert is_alive(int(postmaster))
        owner.send_signal(number)
    await wait_gone(Path(directory))
    assert not is_alive(int(postmaster))


@pytest.mark.trio
async def test_a_server_that_does_not_start_says_why_and_leaves_nothing() -> None:
    cluster = EmbeddedCluster(replicas=0, settings={"no_such_setting": "1"})
    with pytest.raises(EmbeddedError, match="primary did not start") as caught:
        await cluster.__aenter__()
    assert 'unrecognized configuration parameter "no_such_setting"' in str(caught.value)
    assert is_gone(cluster.directory)


@pytest.mark.trio
async def test_missing_programs_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCAT_TRIO_PG_BIN", os.fspath(tmp_path))
    with pytest.raises(EmbeddedError, match=r"no PostgreSQL programs .* set PGCAT_TRIO_PG_BIN"):
        await EmbeddedCluster().__aenter__()


@pytest.mark.parametrize("choice", [{"superuser": "o'brien"}, {"password": ""}, {"password": "a\nb"}])
def test_names_that_cannot_work_are_refused(choice: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(choice))):
        EmbeddedCluster(**choice)  # type: ignore[arg-type]

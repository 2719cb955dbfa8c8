"""PostgreSQL's own programs through the proxy: psql and pgbench."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.proxy import APP_USER, ProxyThread, proxy_config

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conftest import Door

    from pgcat_trio.embedded import EmbeddedCluster

    Command = Callable[[Sequence[str]], dict[str, Any]]
    Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(cluster: EmbeddedCluster, door: Door) -> Command:
    """``subprocess.run(**command(["psql", ...]))``: the program, set up to use the door."""

    def build(arguments: Sequence[str]) -> dict[str, Any]:
        if door.ca_file is None:
            bin_dir, environ = cluster.bin_dir, {**cluster.environ, "PGSSLMODE": "disable"}
        else:
            # The packaged programs have no TLS; those of a distribution do.
            found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
            if not found:
                pytest.skip("no PostgreSQL programs with TLS on this machine (/usr/lib/postgresql)")
            bin_dir, environ = found[-1], {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(door.ca_file)}
        return {"args": [str(bin_dir / arguments[0]), *arguments[1:]], "env": environ | door.environ}

    return build


@pytest.fixture
def run(command: Command) -> Run:
    def runner(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(**command(arguments), input=text, capture_output=True, text=True, timeout=60, check=False)

    return runner


def psql_output(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


PSQL = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")


def test_psql_runs_a_script(run: Run) -> None:
    script = """
        begin;
        insert into item (name, amount) values ('a', 1), ('b', 2);
        savepoint s;
        delete from item;
        rollback to s;
        commit;
        \\copy copied (id, name) from stdin
1\tone
2\ttwo
\\.
        select sum(amount) from item;
        \\copy (select id, name from copied order by id) to stdout
        select 'x', $$it's$$ \\g
        select 1 as one, 'two' as two \\gset
        \\echo :one :two
    """
    assert psql_output(run(*PSQL, text=script)).split("\n") == ["3", "1\tone", "2\ttwo", "x|it's", "1 two"]


def test_psql_describes_a_table(run: Run) -> None:
    assert "nextval('item_id_seq'::regclass)" in psql_output(run(*PSQL, "-c", "\\d item"))


def test_psql_shows_an_error_with_its_place(run: Run) -> None:
    done = run(*PSQL, "-c", "select nonsense from item")
    assert done.returncode == 1
    assert 'ERROR:  column "nonsense" does not exist\nLINE 1: select nonsense from item' in done.stderr


def test_ctrl_c_in_psql_cancels_the_query_and_nothing_else(
    command: Command, cluster: EmbeddedCluster, cluster_call: Callable[..., Any]
) -> None:
    with subprocess.Popen(
        **command(PSQL[:-2]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as psql:
        assert psql.stdin is not None
        psql.stdin.write("select pg_sleep(30);\n")
        psql.stdin.flush()
        sleeping = (
            "select exists (select from pg_stat_activity where query like 'select pg_sleep(30)%' and state = 'active')"
        )
        cluster_call(cluster.primary.wait_for, sleeping, 10)
        psql.send_signal(signal.SIGINT)
        output, _ = psql.communicate(timeout=10)
    # As a script, psql ends with it.
    assert output.splitlines() == ["Cancel request sent", "ERROR:  canceling statement due to user request"]


def check_pgbench(run: Run, protocol: str) -> None:
    initialized = run("pgbench", "-i", "-I", "dtgvp", "-s", "1", "--quiet")
    assert initialized.returncode == 0, initialized.stderr
    done = run("pgbench", "-n", "-M", protocol, "-c", "8", "-j", "2", "-t", "50")
    assert done.returncode == 0, done.stderr
    assert "number of transactions actually processed: 400/400" in done.stdout
    sums = "select (select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history), count(*)"
    assert psql_output(run(*PSQL, "-c", sums + " from pgbench_history")) == "t|400"


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_pgbench(run: Run, protocol: str) -> None:
    check_pgbench(run, protocol)


@pytest.mark.parametrize("door", ["session-plain"], indirect=True)
def test_pgbench_prepared_in_session_mode(run: Run) -> None:
    check_pgbench(run, "prepared")


def test_pgbench_with_more_clients_than_backends(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    script = tmp_path / "script.sql"
    script.write_text("select 1;\nbegin;\nselect txid_current();\nselect pg_sleep(0.001);\ncommit;\n")
    with ProxyThread(proxy_config(cluster, pool_size=2, auth_type="trust")) as proxy:
        where = ["-h", proxy.host, "-p", str(proxy.port), "-U", APP_USER, cluster.database]
        bench = [str(cluster.bin_dir / "pgbench"), "-n", "-M", "extended", "-c", "40", "-t", "10", "-f", str(script)]
        done = subprocess.run(
            [*bench, *where], env=dict(cluster.environ), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "number of transactions actually processed: 400/400" in done.stdout
        pool = next(iter(proxy.proxy.supervisor.directory.pools()))
        assert proxy.call_sync(lambda: len(pool.backends) <= 2)

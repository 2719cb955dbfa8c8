"""Session mode: a connection is a server's process, from the login on."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from psycopg.rows import dict_row
from support.libpq import cancel_long_query
from support.proxy import ProxyThread, proxy_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgcat_trio.embedded import EmbeddedCluster


@pytest.fixture(scope="module")
def proxy(cluster_thread: Any, client_tls: str) -> Iterator[ProxyThread]:
    general = f"{client_tls}\nconnect_timeout = 500"
    with ProxyThread(proxy_config(cluster_thread.cluster, pool_mode="session", pool_size=2, general=general)) as proxy:
        yield proxy


@pytest.mark.parametrize("sslmode", ["disable", "require"])
@pytest.mark.parametrize("version", ["3.0", "3.2"])
def test_the_drivers_pid_is_the_servers(proxy: ProxyThread, sslmode: str, version: str) -> None:
    how: dict[str, Any] = {"min_protocol_version": version, "max_protocol_version": version, "sslmode": sslmode}
    with psycopg.connect(proxy.dsn(), autocommit=True, **how) as connection:
        for _ in range(2):
            assert connection.execute("select pg_backend_pid()").fetchone() == (connection.info.backend_pid,)
            with pytest.raises(psycopg.errors.QueryCanceled):
                cancel_long_query(connection)


def test_asyncpg_has_the_servers_pid_too(proxy: ProxyThread) -> None:
    async def main() -> None:
        connection = await asyncpg.connect(proxy.dsn(), ssl=False)
        assert await connection.fetchval("select pg_backend_pid()") == connection.get_server_pid()
        await connection.close()

    asyncio.run(main())


def test_one_client_too_many_is_refused_until_a_place_is_free(proxy: ProxyThread) -> None:
    with psycopg.connect(proxy.dsn()) as first, psycopg.connect(proxy.dsn()):
        with pytest.raises(psycopg.OperationalError, match=r"FATAL:  no backend of pool .* became free"):
            psycopg.connect(proxy.dsn())
        pid = first.info.backend_pid
        first.close()
        with psycopg.connect(proxy.dsn()) as third:
            assert third.info.backend_pid == pid


def test_who_waits_at_the_login_is_shown(proxy: ProxyThread) -> None:
    def ask(console: psycopg.Connection[Any]) -> dict[str, Any]:
        with console.cursor(row_factory=dict_row) as cursor:
            [row] = cursor.execute("show pools").fetchall()
        return row

    with psycopg.connect(proxy.admin_dsn, autocommit=True, prepare_threshold=None) as console:
        with ThreadPoolExecutor() as pool, psycopg.connect(proxy.dsn()), psycopg.connect(proxy.dsn()):
            login = pool.submit(psycopg.connect, proxy.dsn())
            while not (row := ask(console))["cl_waiting"]:
                pass
            assert (row["cl_active"], row["cl_waiting"], row["maxwait"]) == (2, 1, 0)
            assert row["maxwait_us"] > 0
            with pytest.raises(psycopg.OperationalError):
                login.result()
        assert ask(console)["cl_waiting"] == 0


def test_settings_of_the_login_are_on_that_very_process(proxy: ProxyThread) -> None:
    options = "-c statement_timeout=54321 -c search_path=pg_catalog -c client_encoding=latin1"
    with psycopg.connect(proxy.dsn(), options=options) as connection:
        assert connection.info.parameter_status("client_encoding") == "LATIN1"
        assert connection.execute("show statement_timeout").fetchone() == ("54321ms",)
        assert connection.execute("show search_path").fetchone() == ("pg_catalog",)
    for options, words in {
        "-c nonsense=1": 'unrecognized configuration parameter "nonsense"',
        "-c statement_timeout=soon": 'invalid value for parameter "statement_timeout": "soon"',
    }.items():
        with pytest.raises(psycopg.OperationalError, match=f"FATAL:  {words}"):
            psycopg.connect(proxy.dsn(), options=options)
    for _ in range(2):
        with psycopg.connect(proxy.dsn()) as connection:
            assert connection.execute("show statement_timeout").fetchone() == ("0",)
            assert connection.info.parameter_status("client_encoding") == "UTF8"


def test_the_parameters_are_those_that_the_server_itself_reports(proxy: ProxyThread, cluster: EmbeddedCluster) -> None:
    with psycopg.connect(proxy.dsn()) as through, psycopg.connect(cluster.dsn()) as direct:
        names = ("server_version", "in_hot_standby", "TimeZone", "DateStyle", "integer_datetimes", "is_superuser")
        assert [through.info.parameter_status(name) for name in names] == [
            direct.info.parameter_status(name) for name in names
        ]

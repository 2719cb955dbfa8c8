"""What a client is told when the servers do not let the proxy in: at its login, and in the middle of its session."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
from support.proxy import ProxyThread, proxy_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgcat_trio.embedded import EmbeddedCluster

ROLES: Final = """
drop role if exists porter, idler;
create role porter login password 'open-sesame' in role pg_signal_backend;
create role idler nologin password 'open-sesame'
"""


@pytest.fixture
def roles(cluster: EmbeddedCluster, cluster_call: Callable[..., object]) -> None:
    """``porter`` may log in, ``idler`` may not; both with the password ``open-sesame``."""
    cluster_call(cluster.psql, ROLES)
    cluster_call(cluster.wait_caught_up)


def config_as(cluster: EmbeddedCluster, user: str, password: str, general: str = "") -> str:
    """A proxy that logs in as somebody else, and does not ask the servers before it starts."""
    lines = f'server_username = "{user}"\nserver_password = "{password}"'
    return proxy_config(cluster, pool_size=2, general=f"validate_config = false\n{general}", user=lines)


def refusal_of(proxy: object) -> tuple[str, str]:
    """SQLSTATE and text of a login that fails."""
    with pytest.raises(psycopg.OperationalError) as refused:
        psycopg.connect(proxy.dsn())  # type: ignore[attr-defined]
    assert refused.value.pgconn is not None
    text = str(refused.value)
    assert "FATAL:  " in text
    return text.partition("FATAL:  ")[2].strip(), text


@pytest.mark.parametrize(
    ("user", "password", "words", "hint"),
    [
        ("porter", "wrong", 'password authentication failed for user "porter"', "server_password"),
        ("nobody", "wrong", 'password authentication failed for user "nobody"', "server_password"),
        ("idler", "open-sesame", 'role "idler" is not permitted to log in', "pg_hba.conf"),
    ],
    ids=["wrong password", "unknown role", "not permitted"],
)
def test_login_that_the_server_refuses_to_the_proxy(
    cluster: EmbeddedCluster, roles: None, user: str, password: str, words: str, hint: str
) -> None:
    """It is plain that not the client's own password is wrong, and no password is shown."""
    with ProxyThread(config_as(cluster, user, password)) as proxy:
        said, text = refusal_of(proxy)
    addresses = "|".join(f"{server.host}:{server.port}" for server in cluster.servers)
    refused = rf"server ({addresses}) refused the proxy's login: {re.escape(words)}\nHINT:  Check server_username"
    assert re.match(refused, said)
    assert hint in said
    assert "wrong" not in text
    assert "sesame" not in text


def test_database_that_the_server_does_not_have(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, general="validate_config = false")
    config = config.replace(f'database = "{cluster.database}"', 'database = "missing"')
    with ProxyThread(config) as proxy:
        said, _ = refusal_of(proxy)
    assert 'refused the proxy\'s login: database "missing" does not exist\nHINT:  Check the database of' in said


def test_no_server_is_there(cluster: EmbeddedCluster) -> None:
    """The answer comes as soon as that is clear, not when the time is over."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    config = proxy_config(cluster, general="validate_config = false\nconnect_timeout = 60000")
    config = re.sub("^servers = .*$", f'servers = [["127.0.0.1", {port}, "primary"]]', config, flags=re.MULTILINE)
    with ProxyThread(config) as proxy:
        said, _ = refusal_of(proxy)
    assert said.startswith(f"cannot connect to server 127.0.0.1:{port}: Connection refused\nHINT:  ")


def test_server_that_lets_the_proxy_in_no_more(
    cluster: EmbeddedCluster, cluster_call: Callable[..., object], roles: None
) -> None:
    """A password is changed on the server only: sessions are told so, each time, and go on once it is mended."""
    with ProxyThread(config_as(cluster, "porter", "open-sesame")) as proxy:
        connection = psycopg.connect(proxy.dsn(), autocommit=True)
        assert connection.execute("select current_user").fetchone() == ("porter",)
        cluster_call(cluster.psql, "alter role porter password 'another'")
        cluster_call(
            cluster.psql, "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'porter'"
        )
        for _ in range(2):
            with pytest.raises(psycopg.errors.InvalidPassword) as refused:
                connection.execute("select 1")
            assert refused.value.diag.severity == "ERROR"
            assert "refused the proxy's login: password authentication failed" in str(refused.value)
        cluster_call(cluster.psql, "alter role porter password 'open-sesame'")
        assert connection.execute("select 1").fetchone() == (1,)
        connection.close()


def test_login_needs_no_server_once_one_was_there(
    fresh_cluster_after: EmbeddedCluster, cluster_call: Callable[..., object]
) -> None:
    """What servers say of themselves is remembered: a client may come in and wait for them, as it could stay."""
    cluster = fresh_cluster_after
    with ProxyThread(proxy_config(cluster, general="connect_timeout = 1000")) as proxy:
        psycopg.connect(proxy.dsn()).close()
        for server in cluster.servers:
            cluster_call(server.kill)
        with psycopg.connect(proxy.dsn(), autocommit=True) as connection:
            with pytest.raises(psycopg.OperationalError, match="Connection refused") as refused:
                connection.execute("select 1")
            assert refused.value.diag.severity == "ERROR"
            assert refused.value.sqlstate == "08001"

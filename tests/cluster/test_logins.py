"""Ways to log in: authentication methods, TLS, channel binding, direct TLS. libpq is the judge."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from support.certificates import Authority
from support.libpq import cancel_long_query
from support.proxy import APP_PASSWORD, APP_USER, ProxyThread, proxy_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.certificates import KeyKind

    from pgcat_trio.embedded import EmbeddedCluster

METHODS = {"md5": "md5", "scram-sha-256": "scram-sha-256", "trust": "none"}
"""``auth_type`` of the proxy, and what libpq calls it in ``require_auth``."""


@pytest.fixture(params=METHODS)
def method_proxy(request: pytest.FixtureRequest, cluster: EmbeddedCluster, client_tls: str) -> Iterator[ProxyThread]:
    with ProxyThread(proxy_config(cluster, pool_size=2, auth_type=request.param, general=client_tls)) as proxy:
        proxy.method = request.param  # type: ignore[attr-defined]
        yield proxy


@pytest.mark.parametrize("sslmode", ["disable", "require"])
def test_each_method_is_used_as_configured(method_proxy: ProxyThread, sslmode: str) -> None:
    method = METHODS[method_proxy.method]  # type: ignore[attr-defined]
    with psycopg.connect(method_proxy.dsn(), sslmode=sslmode, require_auth=method) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        assert connection.pgconn.ssl_in_use == (sslmode == "require")


def test_a_wrong_password_an_unknown_user_and_an_unknown_database_look_alike(cluster: EmbeddedCluster) -> None:
    with ProxyThread(proxy_config(cluster, pool_size=2)) as proxy:
        logins = [
            proxy.dsn(password="wrong"),
            proxy.dsn(user="nobody"),
            proxy.dsn(database="nowhere"),
        ]
        for dsn in logins:
            with pytest.raises(psycopg.OperationalError, match="FATAL:  password authentication failed for user"):
                psycopg.connect(dsn)
        # Nothing of it reached a server, and the proxy goes on.
        with psycopg.connect(proxy.dsn()) as connection:
            assert connection.execute("select 1").fetchone() == (1,)


def test_md5_refuses_a_wrong_password(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, pool_size=2, auth_type="md5")
    refused = pytest.raises(psycopg.OperationalError, match="password authentication failed")
    with ProxyThread(config) as proxy, refused:
        psycopg.connect(proxy.dsn(password="wrong"))


@pytest.mark.parametrize("password", ["with spaces  and 'quotes'", "pässwörd", "☃", "a" * 500])
@pytest.mark.parametrize("method", ["md5", "scram-sha-256"])
def test_passwords_of_all_kinds(cluster: EmbeddedCluster, password: str, method: str) -> None:
    config = proxy_config(cluster, pool_size=2, users={APP_USER: password}, auth_type=method)
    with ProxyThread(config) as proxy, psycopg.connect(proxy.dsn(password=password)) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


# -- TLS -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls_proxy(cluster_thread: object, client_tls: str) -> Iterator[ProxyThread]:
    cluster = cluster_thread.cluster  # type: ignore[attr-defined]
    with ProxyThread(proxy_config(cluster, pool_size=2, general=client_tls)) as proxy:
        yield proxy


def test_channel_binding_is_offered_on_tls(tls_proxy: ProxyThread, authority: Authority) -> None:
    how: dict[str, Any] = {
        "sslmode": "verify-full",
        "sslrootcert": str(authority.certificate),
        "channel_binding": "require",
    }
    with psycopg.connect(tls_proxy.dsn(), **how) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_channel_binding_cannot_be_had_without_tls(tls_proxy: ProxyThread) -> None:
    with pytest.raises(psycopg.OperationalError, match="channel binding"):
        psycopg.connect(tls_proxy.dsn(), sslmode="disable", channel_binding="require")


@pytest.mark.parametrize("kind", ["rsa", "ec", "ed25519"])
def test_certificates_of_each_kind(cluster: EmbeddedCluster, tmp_path: Path, kind: KeyKind) -> None:
    """What signs a certificate decides the hash of the channel binding; Ed25519 has none: libpq cannot bind to it."""
    authority = Authority(tmp_path, kind=kind)
    pair = authority.issue(kind=kind, hosts=("127.0.0.1",))
    general = f'tls_certificate = "{pair.certificate}"\ntls_private_key = "{pair.private_key}"'
    how: dict[str, Any] = {"sslmode": "verify-full", "sslrootcert": str(authority.certificate)}
    with ProxyThread(proxy_config(cluster, pool_size=2, general=general)) as proxy:
        with psycopg.connect(proxy.dsn(), **how) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        if kind != "ed25519":
            psycopg.connect(proxy.dsn(), **how, channel_binding="require").close()


def test_scram_plus_is_demanded_where_it_is_configured(cluster: EmbeddedCluster, client_tls: str) -> None:
    config = proxy_config(cluster, pool_size=2, general=client_tls, auth_type="scram-sha-256-plus")
    with ProxyThread(config) as proxy:
        psycopg.connect(proxy.dsn(), sslmode="require", channel_binding="require").close()
        with pytest.raises(psycopg.OperationalError, match="scram-sha-256-plus, which needs TLS"):
            psycopg.connect(proxy.dsn(), sslmode="disable")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(proxy.dsn(), sslmode="require", channel_binding="disable")


def test_direct_tls(tls_proxy: ProxyThread, authority: Authority) -> None:
    how: dict[str, Any] = {
        "sslmode": "verify-full",
        "sslrootcert": str(authority.certificate),
        "sslnegotiation": "direct",
    }
    with psycopg.connect(tls_proxy.dsn(), **how) as connection:
        assert connection.pgconn.ssl_in_use
        assert connection.execute("select 1").fetchone() == (1,)


def test_a_certificate_for_another_name_is_refused_by_the_client(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue(hosts=("elsewhere.example",))
    general = f'tls_certificate = "{pair.certificate}"\ntls_private_key = "{pair.private_key}"'
    with ProxyThread(proxy_config(cluster, pool_size=2, general=general)) as proxy:
        root: dict[str, Any] = {"sslrootcert": str(authority.certificate)}
        with pytest.raises(psycopg.OperationalError, match="does not match host name"):
            psycopg.connect(proxy.dsn(), sslmode="verify-full", **root)
        psycopg.connect(proxy.dsn(), sslmode="verify-ca", **root).close()


def test_tls_required_refuses_clear_text(cluster: EmbeddedCluster, client_tls: str) -> None:
    with ProxyThread(proxy_config(cluster, pool_size=2, general=f"{client_tls}\ntls_required = true")) as proxy:
        with pytest.raises(psycopg.OperationalError, match="this proxy requires TLS"):
            psycopg.connect(proxy.dsn(), sslmode="disable")
        psycopg.connect(proxy.dsn(), sslmode="require").close()


def test_without_a_certificate_tls_is_declined(cluster: EmbeddedCluster) -> None:
    with ProxyThread(proxy_config(cluster, pool_size=2)) as proxy:
        psycopg.connect(proxy.dsn(), sslmode="prefer").close()
        with pytest.raises(psycopg.OperationalError, match="server does not support SSL, but SSL was required"):
            psycopg.connect(proxy.dsn(), sslmode="require")
        with pytest.raises(psycopg.OperationalError, match="SSL"):
            psycopg.connect(proxy.dsn(), sslmode="require", sslnegotiation="direct")


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_tls_versions(tls_proxy: ProxyThread, authority: Authority, version: str) -> None:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]

    async def main() -> None:
        connection = await asyncpg.connect(tls_proxy.dsn(), ssl=context, statement_cache_size=0)
        assert await connection.fetchval("select repeat('x', 3_000_000)") == "x" * 3_000_000
        await connection.close()

    asyncio.run(main())


def test_old_tls_is_refused(tls_proxy: ProxyThread) -> None:
    with pytest.raises(psycopg.OperationalError, match="SSL error"):
        psycopg.connect(
            tls_proxy.dsn(), sslmode="require", ssl_min_protocol_version="TLSv1", ssl_max_protocol_version="TLSv1.1"
        )


# -- limits --------------------------------------------------------------------------------------------------------


def test_max_client_conn(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster, pool_size=2, general="max_client_conn = 2")
    with ProxyThread(config) as proxy:
        refused = pytest.raises(psycopg.OperationalError, match="no more connections allowed")
        with psycopg.connect(proxy.dsn()), psycopg.connect(proxy.dsn()), refused:
            psycopg.connect(proxy.dsn())
        psycopg.connect(proxy.dsn()).close()


@pytest.mark.parametrize("version", ["3.0", "3.2", "latest"])
def test_protocol_versions(tls_proxy: ProxyThread, version: str) -> None:
    how: dict[str, Any] = {"min_protocol_version": version, "max_protocol_version": version, "sslmode": "disable"}
    with psycopg.connect(tls_proxy.dsn(), autocommit=True, **how) as connection:
        with pytest.raises(psycopg.errors.QueryCanceled):
            cancel_long_query(connection)  # the key is longer from 3.2 on
        assert connection.execute("select 1").fetchone() == (1,)


def test_the_password_shows_nowhere(cluster: EmbeddedCluster, capsys: pytest.CaptureFixture[str]) -> None:
    with ProxyThread(proxy_config(cluster, pool_size=2)) as proxy:
        psycopg.connect(proxy.dsn()).close()
        with pytest.raises(psycopg.OperationalError) as refused:
            psycopg.connect(proxy.dsn(password="another-secret"))
        text = repr(proxy.proxy.supervisor.config) + str(refused.value)
    text += "".join(capsys.readouterr())
    assert not [secret for secret in (APP_PASSWORD, cluster.password, "another-secret") if secret in text]

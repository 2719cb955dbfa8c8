"""Proxies in front of the session's cluster, shared by the tests that do not change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
from support.certificates import Authority
from support.proxy import APP_PASSWORD, APP_USER, ProxyThread, proxy_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SCHEMA = """
drop table if exists item, copied;
create table item (id serial primary key, name text not null, amount integer);
create table copied (id integer, name text, payload bytea);
"""


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def client_tls(authority: Authority) -> str:
    """Lines for ``[general]`` that let clients use TLS."""
    pair = authority.issue("proxy", hosts=("localhost", "127.0.0.1"))
    return f'tls_certificate = "{pair.certificate}"\ntls_private_key = "{pair.private_key}"'


@attrs.frozen
class Door:
    """One way into the proxy: a pool mode, with or without TLS."""

    proxy: ProxyThread
    pool_mode: str
    ca_file: Path | None

    @property
    def dsn(self) -> str:
        """A URL for libpq and what is built on it."""
        if self.ca_file is None:
            return f"{self.proxy.dsn()}?sslmode=disable"
        return f"{self.proxy.dsn()}?sslmode=verify-full&sslrootcert={self.ca_file}"

    @property
    def environ(self) -> dict[str, str]:
        """The same for programs."""
        database = self.proxy.dsn().rpartition("/")[2]
        environ = {"PGHOST": self.proxy.host, "PGPORT": str(self.proxy.port), "PGDATABASE": database}
        return environ | {"PGUSER": APP_USER, "PGPASSWORD": APP_PASSWORD}


@pytest.fixture(scope="session")
def proxies(cluster_thread: object, client_tls: str) -> Iterator[dict[str, ProxyThread]]:
    """A proxy for each pool mode."""
    cluster = cluster_thread.cluster  # type: ignore[attr-defined]
    modes = ("transaction", "session")
    configs = {mode: proxy_config(cluster, pool_mode=mode, pool_size=10, general=client_tls) for mode in modes}
    with ProxyThread(configs["transaction"]) as transaction, ProxyThread(configs["session"]) as session:
        yield {"transaction": transaction, "session": session}


@pytest.fixture(params=["transaction-plain", "session-plain", "transaction-tls"])
def door(request: pytest.FixtureRequest, proxies: dict[str, ProxyThread], authority: Authority, schema: None) -> Door:
    """Each way into the proxy, for tests that must pass on all of them."""
    mode, _, link = request.param.partition("-")
    return Door(proxies[mode], mode, authority.certificate if link == "tls" else None)


@pytest.fixture
def schema(cluster: object, cluster_call: Callable[..., object]) -> None:
    """Empty tables ``item`` (id, name, amount) and ``copied`` (id, name, payload)."""
    cluster_call(cluster.psql, SCHEMA)  # type: ignore[attr-defined]

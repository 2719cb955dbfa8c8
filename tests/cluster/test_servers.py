"""The proxy's own way to its servers: UNIX sockets, TLS in every mode, servers that decline it."""

from __future__ import annotations

import re
import ssl
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from support import client as pg
from support.certificates import Authority
from support.proxy import proxy_config, running_proxy
from support.relay import Relay, running_relay

from pgcat_trio.embedded import EmbeddedCluster
from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.certificates import KeyKind

pytestmark = pytest.mark.trio

STARTUP = struct.pack("!I", 3 << 16)


def config_for(cluster: EmbeddedCluster, host: str, port: int, general: str = "") -> str:
    """The usual configuration with one server only, wherever it is."""
    servers = f'servers = [["{host}", {port}, "primary"]]'
    config = proxy_config(cluster, pool_size=2, general=f"validate_config = false\n{general}")
    return re.sub("^servers = .*$", lambda _: servers, config, flags=re.MULTILINE)


async def test_a_unix_socket(cluster: EmbeddedCluster) -> None:
    config = config_for(cluster, str(cluster.primary.socket_dir), cluster.primary.port)
    async with running_proxy(config) as proxy, await pg.connect(proxy) as client:
        where = "select client_addr is null from pg_stat_activity where pid = pg_backend_pid()"
        assert await client.query(where) == [["t"]]
        await client.send(encode.query("select pg_sleep(30)"))
        with trio.fail_after(10):
            while not await cancelled(client):
                pass


async def cancelled(client: pg.Client) -> bool:
    await client.cancel()
    with trio.move_on_after(0.2):
        reply = await client.reply()
        return [error.sqlstate for error in reply.errors] == ["57014"]
    return False


async def test_a_unix_socket_that_is_not_there(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    async with running_proxy(config_for(cluster, str(tmp_path), 5432)) as proxy:
        with pytest.raises(pg.PostgresError, match=re.escape(f"{tmp_path}/.s.PGSQL.5432")):
            await pg.connect(proxy)


# -- TLS -----------------------------------------------------------------------------------------------------------


def server_context(authority: Authority, hosts: tuple[str, ...] = ("127.0.0.1",)) -> ssl.SSLContext:
    pair = authority.issue("upstream", hosts=hosts)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.private_key)
    return context


@pytest.fixture
async def tls_relay(cluster: EmbeddedCluster, authority: Authority) -> AsyncIterator[Relay]:
    context = server_context(authority)
    async with running_relay(cluster.primary.host, cluster.primary.port, tls=context) as relay:
        yield relay


@pytest.fixture
async def plain_relay(cluster: EmbeddedCluster) -> AsyncIterator[Relay]:
    async with running_relay(cluster.primary.host, cluster.primary.port) as relay:
        yield relay


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
async def test_tls_is_used_where_the_server_has_it(
    cluster: EmbeddedCluster, tls_relay: Relay, authority: Authority, mode: str
) -> None:
    general = f'server_tls = "{mode}"\nserver_tls_ca_file = "{authority.certificate}"'
    config = config_for(cluster, "127.0.0.1", tls_relay.port, general)
    async with running_proxy(config) as proxy, await pg.connect(proxy) as client:
        assert await client.query("select repeat('x', 3000000)") == [["x" * 3_000_000]]
        await client.send(encode.query("select pg_sleep(30)"))
        with trio.fail_after(10):
            while not await cancelled(client):
                pass
    assert tls_relay.encrypted > 1  # the requests to cancel are encrypted, too
    assert {packet[4:8] for packet in tls_relay.packets} == {struct.pack("!I", 80877103)}


@pytest.mark.parametrize("mode", ["disable", "allow"])
async def test_tls_is_not_asked_for_where_it_is_not_wanted(
    cluster: EmbeddedCluster, tls_relay: Relay, mode: str
) -> None:
    config = config_for(cluster, "127.0.0.1", tls_relay.port, f'server_tls = "{mode}"')
    async with running_proxy(config) as proxy, await pg.connect(proxy) as client:
        assert await client.query("select 1") == [["1"]]
    assert tls_relay.encrypted == 0


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_nothing_is_said_in_clear_to_a_server_that_declines_tls(
    cluster: EmbeddedCluster, plain_relay: Relay, authority: Authority, mode: str
) -> None:
    general = f'server_tls = "{mode}"\nserver_tls_ca_file = "{authority.certificate}"'
    async with running_proxy(config_for(cluster, "127.0.0.1", plain_relay.port, general)) as proxy:
        with pytest.raises(pg.PostgresError, match=f"does not support TLS, but server_tls = '{mode}' requires it"):
            await pg.connect(proxy)
    assert plain_relay.packets
    assert all(len(packet) == 8 for packet in plain_relay.packets)


async def test_prefer_goes_on_in_clear_where_tls_is_declined(cluster: EmbeddedCluster, plain_relay: Relay) -> None:
    config = config_for(cluster, "127.0.0.1", plain_relay.port, "server_tls = true")
    async with running_proxy(config) as proxy, await pg.connect(proxy) as client:
        assert await client.query("select 1") == [["1"]]
    assert [packet[4:8] for packet in plain_relay.packets][-1] == STARTUP


@pytest.mark.parametrize(
    ("mode", "hosts", "trusted", "accepted"),
    [
        ("require", ("elsewhere.example",), False, True),
        ("verify-ca", ("elsewhere.example",), True, True),
        ("verify-ca", ("127.0.0.1",), False, False),
        ("verify-full", ("127.0.0.1",), True, True),
        ("verify-full", ("elsewhere.example",), True, False),
        ("verify-full", ("127.0.0.1",), False, False),
    ],
)
async def test_certificates_are_checked_as_far_as_the_mode_says(
    cluster: EmbeddedCluster, tmp_path: Path, mode: str, hosts: tuple[str, ...], trusted: bool, accepted: bool
) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, name="stranger")
    general = f'server_tls = "{mode}"'
    if mode != "require":  # with a CA file, require verifies, as in libpq
        general += f'\nserver_tls_ca_file = "{(authority if trusted else stranger).certificate}"'
    context = server_context(authority, hosts=hosts)
    async with running_relay(cluster.primary.host, cluster.primary.port, tls=context) as relay:
        config = config_for(cluster, "127.0.0.1", relay.port, general)
        async with running_proxy(config) as proxy:
            if accepted:
                async with await pg.connect(proxy) as client:
                    assert await client.query("select 1") == [["1"]]
            else:
                with pytest.raises(pg.PostgresError, match=f"127.0.0.1:{relay.port}.*certificate verify failed"):
                    await pg.connect(proxy)


# -- a server of a distribution, which has TLS itself --------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rsa", "ec"])
async def test_a_real_server_with_tls(tmp_path: Path, kind: KeyKind, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # noqa: ASYNC240
    if not found:
        pytest.skip("no PostgreSQL server with TLS on this machine (/usr/lib/postgresql)")
    monkeypatch.setenv("PGCAT_TRIO_PG_BIN", str(found[-1]))
    authority = Authority(tmp_path, kind=kind)
    pair = authority.issue("postgres", kind=kind, hosts=("127.0.0.1",))
    general = f'server_tls = "verify-full"\nserver_tls_ca_file = "{authority.certificate}"'
    async with EmbeddedCluster(replicas=0, tls=(pair.certificate, pair.private_key)) as cluster:
        config = config_for(cluster, cluster.primary.host, cluster.primary.port, general)
        async with running_proxy(config) as proxy, await pg.connect(proxy) as client:
            encrypted = "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()"
            assert await client.query(encrypted) == [["t", "TLSv1.3"]]
            await client.query("begin")
            await client.send(encode.query("select pg_sleep(30)"))
            with trio.fail_after(10):
                while not await cancelled(client):
                    pass
            await client.query("rollback")

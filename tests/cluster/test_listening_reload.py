"""Clients that listen, while the configuration changes under them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.client import connect
from support.proxy import proxy_config, running_proxy

from pgcat_trio.wire import codes, messages

if TYPE_CHECKING:
    from pathlib import Path

    from support.client import Client

    from pgcat_trio.embedded import EmbeddedCluster


async def next_payload(client: Client) -> bytes:
    with trio.fail_after(10):
        kind, body = await client.message()
    assert kind == codes.NOTIFICATION_RESPONSE
    return messages.notification(body)[1]


@pytest.mark.trio
async def test_a_reload_that_replaces_the_pool_loses_no_notification_and_tells_none_twice(
    cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    path = tmp_path / "pgcat.toml"
    path.write_text(proxy_config(cluster, pool_size=2))
    async with running_proxy(path) as proxy, await connect(proxy) as listener, await connect(proxy) as other:
        await listener.query("listen news")
        for size in (3, 4):
            path.write_text(proxy_config(cluster, pool_size=size))
            proxy.supervisor.reload()
            # Whether the old connection listens or the new one, or for a moment both.
            for number in range(20):
                await other.query(f"notify news, '{size}-{number}'")
                assert await next_payload(listener) == f"{size}-{number}".encode()
        await listener.query("unlisten news")
        await other.query("notify news, 'unheard'")
        assert await listener.query("select 1") == [["1"]]


@pytest.mark.trio
async def test_a_reload_that_removes_the_pool_ends_it(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    path = tmp_path / "pgcat.toml"
    path.write_text(proxy_config(cluster))
    async with running_proxy(path) as proxy, await connect(proxy) as listener:
        await listener.query("listen news")
        path.write_text(proxy_config(cluster, users={"somebody_else": "x"}))
        proxy.supervisor.reload()
        with trio.fail_after(10):
            kind, body = await listener.message()
        assert kind == codes.ERROR_RESPONSE
        fields = messages.error_fields(body)
        assert (fields["S"], fields["C"]) == ("FATAL", "08006")

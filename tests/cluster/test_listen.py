"""LISTEN over shared server connections: each client hears what it would hear at the server alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from support import client as pg
from support.proxy import RunningProxy, proxy_config, running_proxy

from pgcat_trio.wire import codes, encode, messages

if TYPE_CHECKING:
    from pgcat_trio.embedded import EmbeddedCluster

PATIENCE_S: Final = 30.0
POOL_SIZE: Final = 2
LISTENERS: Final = "select pid from pg_stat_activity where application_name = 'pgcat-trio listener' and state = 'idle'"

pytestmark = pytest.mark.trio


def config(cluster: EmbeddedCluster, **keys: Any) -> str:
    return proxy_config(cluster, **{"pool_size": POOL_SIZE, "auth_type": "trust", **keys})


async def notification(client: pg.Client) -> tuple[str, str]:
    """The channel and the payload of the next notification; nothing else may come."""
    kind, body = await client.message()
    assert kind == codes.NOTIFICATION_RESPONSE, (chr(kind), body)
    return tuple(part.decode() for part in messages.notification(body))  # type: ignore[return-value]


def notified(reply: pg.Reply) -> list[str]:
    """The payloads of the notifications in an answer."""
    found = [messages.notification(body) for kind, body in reply.messages if kind == codes.NOTIFICATION_RESPONSE]
    return [payload.decode() for _, payload in found]


async def hears_nothing(client: pg.Client) -> None:
    """No notification has come so far."""
    assert notified(await client.ask(encode.query("select 1"))) == []


async def notify(cluster: EmbeddedCluster, *payloads: str, channel: str = "news") -> None:
    await cluster.psql("; ".join(f"notify {channel}, '{payload}'" for payload in payloads))


async def all_given_back(proxy: RunningProxy) -> None:
    """No client has a server connection, and none is being cleaned."""
    while any(pool.busy for pool in proxy.supervisor.directory.pools()):  # noqa: ASYNC110
        await trio.sleep(0.01)


async def test_many_listeners_on_one_server_connection(cluster: EmbeddedCluster) -> None:
    number = 300
    async with running_proxy(config(cluster)) as proxy:
        clients = [await pg.connect(proxy) for _ in range(number)]
        with trio.fail_after(PATIENCE_S):
            for client in clients:
                await client.query("listen news")
            assert len((await cluster.psql(LISTENERS)).split()) == 1
            await all_given_back(proxy)
            payloads = [str(each) for each in range(20)]
            await notify(cluster, *payloads)
            for client in clients:
                assert [await notification(client) for _ in payloads] == [("news", each) for each in payloads]
            for client in clients:
                await hears_nothing(client)
                client.leave()


async def test_own_notifications_and_those_of_other_clients(cluster: EmbeddedCluster) -> None:
    async with running_proxy(config(cluster)) as proxy, await pg.connect(proxy) as one, await pg.connect(proxy) as two:
        with trio.fail_after(PATIENCE_S):
            for client in (one, two):
                await client.query("listen news")
            await one.query("notify news, 'from one'")
            for client in (one, two):
                assert await notification(client) == ("news", "from one")
            await two.query("begin; notify news, 'a'; notify news, 'a'; notify news, 'b'; commit")
            for client in (one, two):
                assert [await notification(client) for _ in range(2)] == [("news", "a"), ("news", "b")]


async def test_within_a_transaction_they_wait_for_its_end(cluster: EmbeddedCluster) -> None:
    async with running_proxy(config(cluster)) as proxy, await pg.connect(proxy) as client:
        with trio.fail_after(PATIENCE_S):
            await client.query("listen news")
            await client.query("begin")
            await notify(cluster, "meanwhile")
            async with await pg.connect(proxy) as other:
                await other.query("listen news")
                await notify(cluster, "now")
                assert await notification(other) == ("news", "now")
            assert notified(await client.ask(encode.query("select 1"))) == []
            found = notified(await client.ask(encode.query("commit")))
            while len(found) < 2:
                found.append((await notification(client))[1])
            assert found == ["meanwhile", "now"]


@pytest.mark.parametrize(
    ("statements", "listens"),
    [
        (["listen news"], True),
        (["begin", "listen news", "commit"], True),
        (["begin", "listen news", "rollback"], False),
        (["begin; listen news; commit"], True),
        (["begin; savepoint s; listen news; rollback to s; commit"], False),
        (["listen news", "unlisten news"], False),
        (["listen news", "UNLISTEN *"], False),
        (["listen news", "unlisten elsewhere"], True),
        (["listen news", "listen elsewhere", "unlisten elsewhere"], True),
        (["listen news", "begin", "unlisten news", "rollback"], True),
        (["listen news", "begin", "unlisten news", "commit"], False),
        (["listen news", "begin; unlisten *; rollback"], True),
        (["listen news", "begin; unlisten *; rollback; select 1"], True),
        (["listen news", "begin; unlisten *; commit"], False),
        (["listen news", "begin", "savepoint s", "unlisten *", "rollback to s", "commit"], True),
        (["listen news", "begin", "unlisten *", "select 1/0", "commit"], True),
        (["listen news", "discard all"], False),
        (["listen news", "unlisten *; listen news"], True),
        (["listen news", "listen news; unlisten news"], False),
        (["listen news; unlisten news; listen news"], True),
        (["LISTEN NEWS"], True),
        (['listen "NEWS"'], False),
        (["do $$ begin execute 'listen news'; end $$"], True),
        (["listen news", "/* application:x */ unlisten news -- why"], False),
        (["listen news", "select 'unlisten news'"], True),
    ],
)
@pytest.mark.parametrize("how", ["simple", "extended"])
async def test_who_listens(cluster: EmbeddedCluster, statements: list[str], listens: bool, how: str) -> None:
    async with (
        running_proxy(config(cluster)) as proxy,
        await pg.connect(proxy) as client,
        await pg.connect(proxy) as sure,
    ):
        with trio.fail_after(PATIENCE_S):
            await sure.query("listen news")
            for sql in statements:
                request = encode.query(sql) if how == "simple" or ";" in sql else pg.extended(sql) + encode.SYNC
                await client.ask(request)
            await all_given_back(proxy)
            await notify(cluster, "hello")
            assert await notification(sure) == ("news", "hello")
            if listens:
                assert await notification(client) == ("news", "hello")
            await hears_nothing(client)


@pytest.mark.parametrize(
    "channel", ["\"Grüße 'und' mehr\"", '"with ""quotes"""', '"CamelCase"', "news_1$", '"a;b"', "n" * 63]
)
async def test_names_of_channels(cluster: EmbeddedCluster, channel: str) -> None:
    async with running_proxy(config(cluster)) as proxy, await pg.connect(proxy) as client:
        with trio.fail_after(PATIENCE_S):
            await client.query(f"listen {channel}")
            payload = "x" * 7999
            await notify(cluster, payload, channel=channel)
            name = channel[1:-1].replace('""', '"') if channel.startswith('"') else channel
            assert await notification(client) == (name, payload)
            await client.query(f"unlisten {channel}")
            await notify(cluster, "more", channel=channel)
            await hears_nothing(client)


async def test_in_another_encoding(cluster: EmbeddedCluster) -> None:
    async with running_proxy(config(cluster)) as proxy, await pg.connect(proxy, client_encoding="LATIN1") as client:
        with trio.fail_after(PATIENCE_S):
            await client.query("listen news")
            await cluster.psql("notify news, 'grün'")
            kind, body = await client.message()
            assert (chr(kind), body[4:]) == ("A", "news\0grün\0".encode("latin1"))


async def test_the_listener_is_lost(cluster: EmbeddedCluster) -> None:
    async with (
        running_proxy(config(cluster)) as proxy,
        await pg.connect(proxy) as client,
        await pg.connect(proxy) as other,
    ):
        with trio.fail_after(PATIENCE_S):
            await client.query("listen news")
            await other.query("begin")
            await cluster.psql(f"select pg_terminate_backend(pid, 5000) from ({LISTENERS}) as listener")
            with pytest.raises(pg.PostgresError) as caught:
                await client.reply()
            assert (caught.value.sqlstate, caught.value.fields["S"]) == ("08006", "FATAL")
            await other.query("commit")
            await other.query("listen news")
            await notify(cluster, "again")
            assert await notification(other) == ("news", "again")


async def test_who_reads_slowly_is_sent_away(cluster: EmbeddedCluster) -> None:
    async with (
        running_proxy(config(cluster)) as proxy,
        await pg.connect(proxy) as slow,
        await pg.connect(proxy) as other,
    ):
        with trio.fail_after(PATIENCE_S):
            for client in (slow, other):
                await client.query("listen news")
            total = 0
            for _ in range(40):
                await cluster.psql("select pg_notify('news', n || repeat('x', 7900)) from generate_series(1, 100) n")
                for _ in range(100):
                    await notification(other)
                    total += 1
            assert total == 4000
            with pytest.raises((pg.PostgresError, pg.Disconnected)):
                await slow.reply()  # there is none
            await hears_nothing(other)


async def test_in_session_mode_the_connection_itself_listens(cluster: EmbeddedCluster) -> None:
    async with running_proxy(config(cluster, pool_mode="session")) as proxy, await pg.connect(proxy) as client:
        with trio.fail_after(PATIENCE_S):
            await client.query("listen news")
            await notify(cluster, "hello")
            assert await notification(client) == ("news", "hello")
            assert await cluster.psql(LISTENERS) == ""


async def test_nobody_listens_any_more(cluster: EmbeddedCluster) -> None:
    """The next client of the server connection hears nothing, and the listener goes by itself."""
    async with running_proxy(config(cluster, pool_size=1)) as proxy:
        with trio.fail_after(PATIENCE_S):
            async with await pg.connect(proxy) as client:
                await client.query("listen news")
            async with await pg.connect(proxy) as other:
                assert await other.query("select count(*) from pg_listening_channels()") == [["0"]]
                await notify(cluster, "hello")
                await hears_nothing(other)

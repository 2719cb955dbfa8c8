"""What is sent behind a RESET, without waiting for its answer, finds what the client began with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.client import bind, connect, execute, extended, parse
from support.proxy import proxy_config, running_proxy

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from pgcat_trio.embedded import EmbeddedCluster

SHOW = "select current_setting('TimeZone'), current_setting('work_mem')"
BEGUN = [["Asia/Tokyo", "9MB"]]


@pytest.mark.trio
@pytest.mark.parametrize("mode", ["session", "transaction"])
@pytest.mark.parametrize("before", [[], ["begin"], ["set work_mem = '5MB'; set TimeZone = 'UTC'"]])
@pytest.mark.parametrize("reset", ["reset all", "discard all", "reset TimeZone; reset work_mem"])
async def test_what_is_sent_behind_a_reset(cluster: EmbeddedCluster, mode: str, before: list[str], reset: str) -> None:
    if before == ["begin"] and reset == "discard all":
        pytest.skip("not possible in a transaction")
    config = proxy_config(cluster, pool_mode=mode, pool_size=1)
    async with (
        running_proxy(config) as proxy,
        await connect(proxy, TimeZone="Asia/Tokyo", work_mem="9MB") as client,
    ):
        simple = [*before, reset, SHOW, "select 1", reset, SHOW]
        await client.send(b"".join(map(encode.query, simple)))
        answers = [(await client.reply()).rows_or_raise() for _ in simple]
        assert [answers[-4], answers[-1]] == [BEGUN, BEGUN]
        assert client.parameters["TimeZone"] == "Asia/Tokyo"


@pytest.mark.trio
@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_what_is_sent_behind_an_unnamed_reset(cluster: EmbeddedCluster, mode: str) -> None:
    config = proxy_config(cluster, pool_mode=mode, pool_size=1)
    show = extended(SHOW) + encode.SYNC
    async with (
        running_proxy(config) as proxy,
        await connect(proxy, TimeZone="Asia/Tokyo", work_mem="9MB") as client,
    ):
        await client.send(show + extended("reset all") + encode.SYNC + show + show)
        answers = [(await client.reply()).rows_or_raise() for _ in range(4)]
        assert answers == [BEGUN, [], BEGUN, BEGUN]


@pytest.mark.trio
@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_what_is_sent_behind_a_prepared_reset(cluster: EmbeddedCluster, mode: str) -> None:
    config = proxy_config(cluster, pool_mode=mode, pool_size=1)
    show = extended(SHOW) + encode.SYNC
    async with (
        running_proxy(config) as proxy,
        await connect(proxy, TimeZone="Asia/Tokyo", work_mem="9MB") as client,
    ):
        await client.ask(parse("reset all", "r") + encode.SYNC)
        for _ in range(2):
            await client.send(show + bind(name="r") + execute() + encode.SYNC + show + show)
            answers = [(await client.reply()).rows_or_raise() for _ in range(4)]
            assert answers == [BEGUN, [], BEGUN, BEGUN]


@pytest.mark.trio
@pytest.mark.parametrize("settings", [{"TimeZone": "Asia/Tokyo", "work_mem": "9MB"}, {"search_path": 'a, ";"'}])
async def test_the_unnamed_statement_is_still_there(cluster: EmbeddedCluster, settings: dict[str, str]) -> None:
    """In session mode, where no statement of the proxy's own may take it away."""
    shows = [f"show {name}" for name in settings]
    config = proxy_config(cluster, pool_mode="session")
    async with running_proxy(config) as proxy, await connect(proxy, **settings) as client:
        begun = [await client.query(show) for show in shows]
        for before in ("select 1", "set search_path = b; set work_mem = '7MB'", "begin"):
            await client.query(before)
            await client.ask(parse("reset all") + encode.SYNC)
            for _ in range(2):
                (await client.ask(bind() + execute() + encode.SYNC)).rows_or_raise()
        await client.query("commit")
        assert [await client.query(show) for show in shows] == begun

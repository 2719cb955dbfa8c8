"""Names of servers and their addresses, by a resolver of the test's own."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from support.dns import FakeResolver, fake_dns

from pgcat_trio.config.model import General, Secret
from pgcat_trio.errors import ServerUnavailable
from pgcat_trio.pool.connect import Target, dial
from pgcat_trio.pool.resolver import LOOKUP_TIMEOUT_S, Resolver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator

    from trio.testing import MockClock


GENERAL = General(admin_username="admin", admin_password=Secret("x"), dns_cache_enabled=True, dns_max_ttl_s=30.0)


@pytest.fixture
async def dns() -> AsyncIterator[FakeResolver]:
    with fake_dns() as resolver:
        yield resolver


class World:
    """A resolver at work, and what it has told."""

    def __init__(self) -> None:
        self.options = GENERAL
        self.used = {"db"}
        self.moves: list[tuple[str, set[str]]] = []
        self.resolver = Resolver(lambda: self.options, lambda: self.used, self._moved)

    def _moved(self, host: str, addresses: Collection[str]) -> None:
        self.moves.append((host, set(addresses)))


@pytest.fixture
async def world(dns: FakeResolver) -> AsyncIterator[World]:
    world = World()
    dns.answers["db"] = ["10.0.0.1"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.resolver.run)
        yield world
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_name_is_looked_up_once_in_a_while(autojump_clock: MockClock, world: World, dns: FakeResolver) -> None:
    for _ in range(3):
        assert await world.resolver.addresses("db") == ("10.0.0.1",)
    await trio.sleep(29)
    assert dns.asked == ["db"]
    dns.answers["db"] = ["10.0.0.1", "10.0.0.2", "10.0.0.1"]
    await trio.sleep(2.5)
    assert await world.resolver.addresses("db") == ("10.0.0.1", "10.0.0.2")
    assert dns.asked == ["db"] * 2
    [(host, seconds, addresses)] = world.resolver.remembered()
    assert (host, addresses) == ("db", ("10.0.0.1", "10.0.0.2"))
    assert 27 < seconds < 30
    assert world.moves == []


@pytest.mark.trio
@pytest.mark.parametrize("host", ["10.0.0.1", "::1", "fe80::1"])
async def test_addresses_are_no_names(autojump_clock: MockClock, world: World, dns: FakeResolver, host: str) -> None:
    assert await world.resolver.addresses(host) == (host,)
    assert dns.asked == []


@pytest.mark.trio
async def test_without_the_cache_the_system_is_asked_each_time(
    autojump_clock: MockClock, world: World, dns: FakeResolver
) -> None:
    await world.resolver.addresses("db")
    world.options = attrs.evolve(GENERAL, dns_cache_enabled=False)
    assert await world.resolver.addresses("db") == ("db",)
    await trio.sleep(40)
    assert world.resolver.remembered() == []
    assert dns.asked == ["db"]


@pytest.mark.trio
async def test_what_is_not_used_any_more_is_forgotten(
    autojump_clock: MockClock, world: World, dns: FakeResolver
) -> None:
    await world.resolver.addresses("db")
    world.used = set()
    await trio.sleep(40)
    assert (world.resolver.remembered(), dns.asked) == ([], ["db"])


@pytest.mark.trio
async def test_another_address_is_a_move(autojump_clock: MockClock, world: World, dns: FakeResolver) -> None:
    await world.resolver.addresses("db")
    dns.answers["db"] = ["10.0.0.7"]
    with capture_logs() as events:
        await trio.sleep(32)
    assert world.moves == [("db", {"10.0.0.7"})]
    assert await world.resolver.addresses("db") == ("10.0.0.7",)
    assert [(event["event"], event["addresses"], event["gone"]) for event in events] == [
        ("dns.changed", "10.0.0.7", "10.0.0.1")
    ]


@pytest.mark.trio
async def test_round_robin_is_none(autojump_clock: MockClock, world: World, dns: FakeResolver) -> None:
    dns.answers["db"] = ["10.0.0.1", "10.0.0.2"]
    await world.resolver.addresses("db")
    for answer in (["10.0.0.2", "10.0.0.3"], ["10.0.0.3", "10.0.0.2"], ["10.0.0.1", "10.0.0.2"]):
        dns.answers["db"] = answer
        await trio.sleep(31)
        assert await world.resolver.addresses("db") == tuple(answer)
    assert world.moves == []
    dns.answers["db"] = ["10.0.0.1", "10.0.0.2"]  # without the third for the third time in a row
    await trio.sleep(62)
    assert world.moves == [("db", {"10.0.0.1", "10.0.0.2"})]


@pytest.mark.trio
@pytest.mark.parametrize("silent", [True, False])
async def test_while_there_is_no_answer_the_last_one_stays(
    autojump_clock: MockClock, world: World, dns: FakeResolver, *, silent: bool
) -> None:
    await world.resolver.addresses("db")
    if silent:
        dns.silent = True
    else:
        dns.answers.clear()
    with capture_logs() as events:
        await trio.sleep(100 + LOOKUP_TIMEOUT_S)
    assert [event["event"] for event in events] == ["dns.failed"]
    assert await world.resolver.addresses("db") == ("10.0.0.1",)
    assert world.moves == []
    assert world.resolver.pending == 0


@pytest.mark.trio
async def test_a_name_that_nobody_knows(autojump_clock: MockClock, world: World) -> None:
    with pytest.raises(socket.gaierror):
        await world.resolver.addresses("nowhere")
    target = Target("nowhere", 5432, "app", "app", None, resolver=world.resolver)
    with pytest.raises(ServerUnavailable, match="nowhere:5432: Name or service not known"):
        await dial(target, None, GENERAL)
    assert world.resolver.remembered() == []


# -- real sockets --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def listening(host: str, port: int = 0, backlog: int = 5) -> Iterator[int]:
    with socket.create_server((host, port), backlog=backlog) as server:
        yield server.getsockname()[1]


@pytest.mark.trio
async def test_the_next_address_is_dialed_when_one_refuses(dns: FakeResolver) -> None:
    world = World()
    dns.answers["db"] = ["127.0.0.3", "127.0.0.2"]
    with listening("127.0.0.2") as port:
        transport = await dial(Target("db", port, "app", "app", None, resolver=world.resolver), None, GENERAL)
        assert transport.peer == f"127.0.0.2:{port}"
        transport.close()
    with pytest.raises(ServerUnavailable, match="Connection refused"):
        await dial(Target("db", port, "app", "app", None, resolver=world.resolver), None, GENERAL)


@pytest.mark.trio
async def test_the_next_address_is_dialed_when_one_is_silent(dns: FakeResolver) -> None:
    """A full backlog is a black hole: the kernel answers nobody any more."""
    world = World()
    dns.answers["db"] = ["127.0.0.3", "127.0.0.2"]
    with listening("127.0.0.2") as port, listening("127.0.0.3", port, backlog=0):
        async with await trio.open_tcp_stream("127.0.0.3", port):
            with trio.fail_after(2):
                transport = await dial(Target("db", port, "app", "app", None, resolver=world.resolver), None, GENERAL)
            assert transport.peer == f"127.0.0.2:{port}"
            transport.close()

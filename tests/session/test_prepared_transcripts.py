"""What a client sees through the proxy is what the server alone would have sent it, byte for byte."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.client import ERROR, READY, Client, bind, connect, describe_portal, execute, parse
from support.proxy import proxy_config, running_proxy

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from support.client import Message

    from pgcat_trio.embedded import EmbeddedCluster

BACKENDS = 2
SYNC, FLUSH = encode.SYNC, encode.FLUSH


def describe(name: str) -> bytes:
    return encode.message(b"D", b"S" + encode.cstring(name))


def close(name: str, kind: bytes = b"S") -> bytes:
    return encode.message(b"C", kind + encode.cstring(name))


def use(name: str) -> bytes:
    return bind(name=name) + describe_portal() + execute()


async def replies(client: Client, chunks: Sequence[bytes], count: int) -> list[Message]:
    """All that is said up to the last of so many ReadyForQuery, while the chunks are sent one by one."""
    found: list[Message] = []

    async def read() -> None:
        missing = count
        while missing:
            found.append(without_place(await client.message()))
            missing -= found[-1][0] == READY

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for chunk in chunks:
                await client.send(chunk)
                await trio.lowlevel.checkpoint()
    return found


def without_place(message: Message) -> Message:
    """An error without the line of PostgreSQL's source that it comes from."""
    kind, body = message
    if kind != ERROR:
        return message
    return kind, b"\0".join(part for part in body.split(b"\0") if part[:1] not in b"FLR")


def requests_in(script: bytes) -> int:
    """How many ReadyForQuery a script of whole messages leads to."""
    count = position = 0
    while position < len(script):
        count += script[position] in b"QSF"
        position += 1 + int.from_bytes(script[position + 1 : position + 5], "big")
    return count


class Both:
    """A client of the server, and several of a proxy that takes its backends in turn."""

    def __init__(self, direct: Client, proxied: list[Client]) -> None:
        self.direct = direct
        self.proxied = proxied

    async def compare(self, *chunks: bytes) -> None:
        count = requests_in(b"".join(chunks))
        wanted = await replies(self.direct, chunks, count)
        for client in self.proxied:
            assert await replies(client, chunks, count) == wanted

    async def compare_requests(self, *requests: bytes) -> None:
        """Each request when the one before it has been answered; all clients take turns at each."""
        for request in requests:
            await self.compare(request)

    async def reset(self) -> None:
        for client in (self.direct, *self.proxied):
            await client.query("rollback")
            await client.query("discard all")


@asynccontextmanager
async def both(cluster: EmbeddedCluster, clients: int, cache_size: int = 3) -> AsyncIterator[Both]:
    config = proxy_config(
        cluster,
        pool_size=BACKENDS,
        general="server_round_robin = true",
        pool=f"prepared_statements_cache_size = {cache_size}",
    )
    server = cluster.primary
    async with running_proxy(config) as proxy, AsyncExitStack() as stack:
        address = server.host, server.port, cluster.superuser, cluster.password, cluster.database
        direct = await stack.enter_async_context(await Client.connect(*address))
        proxied = [await stack.enter_async_context(await connect(proxy)) for _ in range(clients)]
        # Both backends are open from now on.
        async with trio.open_nursery() as nursery:
            for client in proxied[:BACKENDS]:
                nursery.start_soon(client.query, "select pg_sleep(0.02)")
        yield Both(direct, proxied)


A, B, BAD = "select 1 as one", "select 'b' as b, 2 as two", "selec"
DIVISION = "select 1 / n from generate_series(0, 1) n"
BEGIN, ROLLBACK, FAIL = encode.query("begin"), encode.query("rollback"), encode.query("select 1/0")

SCRIPTS: dict[str, list[bytes]] = {
    "prepare and use": [parse(A, "a") + describe("a") + SYNC, use("a") + SYNC, use("a") + use("a") + SYNC],
    "at once": [parse(A, "a") + use("a") + SYNC + use("a") + SYNC + close("a") + SYNC + use("a") + SYNC],
    "two names, one text": [parse(A, "a") + parse(A, "b") + SYNC, close("a") + use("b") + SYNC, use("a") + SYNC],
    "a name twice": [parse(A, "a") + SYNC, parse(B, "a") + use("a") + SYNC, use("a") + SYNC],
    "a name twice at once": [parse(A, "a") + parse(B, "a") + use("a") + SYNC, use("a") + SYNC],
    "a name again": [parse(A, "a") + SYNC, close("a") + parse(B, "a") + use("a") + SYNC],
    "a faulty text": [parse(BAD, "a") + use("a") + SYNC, use("a") + SYNC, parse(A, "a") + use("a") + SYNC],
    "a faulty text at once": [parse(BAD, "a") + SYNC + use("a") + SYNC + parse(A, "a") + SYNC + use("a") + SYNC],
    "an error before a parse": [use("x") + parse(A, "a") + SYNC, use("a") + SYNC],
    "an error before a parse, at once": [use("x") + parse(A, "a") + SYNC + use("a") + SYNC],
    "an error before a close": [parse(A, "a") + SYNC, use("x") + close("a") + SYNC, use("a") + SYNC],
    "an error before a close, at once": [parse(A, "a") + SYNC, use("x") + close("a") + SYNC + use("a") + SYNC],
    "an error in the middle": [parse(A, "a") + use("a") + parse(DIVISION, "d") + use("d") + use("a") + SYNC],
    "after an error": [parse(DIVISION, "d") + parse(A, "a") + SYNC, use("d") + use("a") + SYNC, use("a") + SYNC],
    "unknown names": [use("x") + SYNC, describe("x") + SYNC, close("x") + SYNC, encode.query("select 3")],
    "unnamed, in two requests": [
        parse(A) + describe("") + SYNC,
        use("") + SYNC,
        use("") + SYNC + describe("") + SYNC,
        parse(B) + SYNC,
        use("") + SYNC,
        use("") + use("") + SYNC,
    ],
    "unnamed and flushed": [
        parse(A) + describe("") + FLUSH + use("") + SYNC,
        use("") + FLUSH + use("") + SYNC,
        use("x") + FLUSH + parse(B) + FLUSH + SYNC,
        use("") + SYNC,
    ],
    "unnamed and gone": [
        use("") + SYNC,
        parse(A) + SYNC,
        parse(BAD) + SYNC,
        use("") + SYNC,
        parse(A) + SYNC,
        encode.query("select 3"),
        use("") + SYNC,
        parse(A) + SYNC,
        close("") + SYNC,
        describe("") + SYNC,
        parse(A) + SYNC,
        encode.query("selec"),
        use("") + SYNC,
        parse(A) + close("") + use("") + SYNC,
    ],
    "unnamed and kept": [
        parse(A) + parse(B, "b") + SYNC,
        close("b") + close("", b"P") + parse(BAD, "c") + SYNC,
        use("") + SYNC,
        use("x") + parse(B) + close("") + SYNC,
        use("") + SYNC,
        parse(DIVISION) + SYNC,
        use("") + SYNC,
        use("") + SYNC,
        encode.message(b"F", bytes(10)),
        use("") + SYNC,
    ],
    "unnamed and failing": [
        parse(A) + SYNC,
        use("x") + parse(BAD) + SYNC,
        use("") + SYNC,
        use("") + parse(BAD) + SYNC,
        use("") + SYNC,
        parse(A) + use("") + parse(B) + use("x") + SYNC,
        use("") + SYNC,
        parse(A) + parse(BAD) + parse(B) + SYNC,
        use("") + SYNC,
        parse(DIVISION) + use("") + parse(B) + use("") + SYNC,
        use("") + SYNC,
    ],
    "unnamed in a failed transaction": [
        parse(A) + SYNC,
        BEGIN + FAIL + use("") + SYNC,
        parse(A) + SYNC,
        ROLLBACK + use("") + SYNC,
        parse("rollback") + SYNC,
        parse("begin", "begin") + parse(BAD, "bad") + SYNC,
    ],
    "unnamed in a transaction that a name began": [
        BEGIN + ROLLBACK,
        parse("begin", "begin") + SYNC,
        parse(A) + SYNC,
        use("begin") + SYNC,
        use("") + SYNC,
        use("x") + SYNC,
        use("") + SYNC,
        ROLLBACK,
    ],
    "one row at a time": [
        parse(DIVISION) + SYNC,
        bind() + execute(max_rows=7) + SYNC,
        parse(A) + bind() + execute(max_rows=7) + SYNC,
        bind() + execute(max_rows=7) + SYNC,
    ],
    "names like ours": [
        parse(A, "a") + SYNC,
        *(use(f"pgcat_{n}") + SYNC + describe(f"pgcat_{n}") + SYNC + close(f"pgcat_{n}") + SYNC for n in range(1, 9)),
        use("a") + SYNC,
    ],
    "unnamed among named": [parse(A) + parse(B, "b") + use("") + use("b") + use("") + SYNC, use("b") + SYNC],
    "more than the cache": [
        b"".join(parse(f"select {n}", f"s{n}") for n in range(7)) + SYNC,
        *(use(f"s{n}") + SYNC for n in range(7)),
        b"".join(use(f"s{n}") for n in range(7)) + SYNC,
        b"".join(use(f"s{n}") + SYNC for n in range(7)),
    ],
    "flush": [
        parse(A, "a") + FLUSH + use("a") + FLUSH + parse(B) + use("") + FLUSH + close("a") + SYNC,
        use("a") + SYNC,
    ],
    "flush and an error": [use("x") + FLUSH + parse(A, "a") + FLUSH + use("a") + SYNC, use("a") + SYNC],
    "in a transaction": [
        BEGIN + parse(A, "a") + use("a") + SYNC + ROLLBACK + use("a") + SYNC,
        BEGIN,
        use("a") + use("x") + SYNC,
        use("a") + SYNC,
        ROLLBACK,
        use("a") + SYNC,
    ],
    "in a failed transaction": [
        parse(A, "known") + parse("rollback", "back") + SYNC,
        BEGIN + FAIL + parse(A, "a") + use("a") + SYNC,
        parse(B, "b") + SYNC,
        parse(A, "known") + SYNC,
        parse(BAD, "known") + SYNC,
        use("known") + SYNC,
        close("known") + SYNC,
        describe("back") + SYNC,
        use("back") + SYNC,
        use("known") + SYNC,
    ],
    "deallocate": [
        parse(A, "a") + parse(B, 'B "b"') + parse(A, "c") + SYNC,
        encode.query("deallocate A"),
        use("a") + SYNC,
        encode.query('DEALLOCATE PREPARE "B ""b"""; '),
        use('B "b"') + SYNC,
        parse("deallocate c") + bind() + execute() + SYNC,
        use("c") + SYNC,
        encode.query("deallocate c"),
    ],
    "a request in two pieces": [
        BEGIN + ROLLBACK + use("x") + FLUSH + parse(A, "a") + FLUSH,
        SYNC + close("a") + SYNC,
        use("x") + FLUSH + parse(A) + FLUSH,
        SYNC + use("") + SYNC,
    ],
    "a way out by a second name": [
        parse("rollback", "back") + parse("", "nothing") + SYNC,
        BEGIN + parse("rollback", "begun") + use("begun") + SYNC,
        BEGIN,
        FAIL,
        parse("rollback", "failed") + describe("failed") + use("failed") + SYNC,
        BEGIN
        + FAIL
        + parse("", "empty")
        + use("empty")
        + SYNC
        + parse("rollback", "pipelined")
        + use("pipelined")
        + SYNC,
    ],
    "a skipped eviction": [
        b"".join(parse(f"select {n}", f"s{n}") for n in range(4)) + SYNC,
        use("x") + use("s0") + SYNC + use("s1") + use("s2") + use("s3") + use("s0") + SYNC,
        BEGIN + b"".join(use(f"s{n}") + SYNC for n in (1, 3, 2, 1, 0)) + ROLLBACK,
    ],
    "too few values, twice": [
        parse("select $1::int", "a") + parse("select $1::int, $2::int", "b") + SYNC,
        use("a") + SYNC + use("b") + SYNC + use("a") + SYNC,
    ],
    "deallocate twice": [
        parse(A, "a") + parse("deallocate a") + use("") + use("") + SYNC + parse(A, "a") + use("a") + SYNC,
        parse("deallocate all", "all") + use("all") + use("x") + SYNC + parse(A, "a") + use("a") + SYNC,
    ],
    "a skipped deallocate": [
        parse(A, "a") + SYNC,
        use("x") + FLUSH + parse("deallocate a") + use("") + FLUSH + SYNC,
        use("a") + SYNC,
    ],
    "described in a failed transaction": [
        BEGIN + parse("deallocate all", "all") + SYNC + FAIL,
        describe("all") + SYNC,
        ROLLBACK,
    ],
    "deallocate by a statement": [
        parse(A, "a") + parse(B, "b") + parse("deallocate a", "d") + SYNC,
        describe("d") + SYNC,
        use("a") + SYNC,
        use("d") + SYNC,
        use("a") + SYNC,
        use("d") + SYNC,
        parse("deallocate b") + describe("") + SYNC,
        use("b") + SYNC,
        use("") + SYNC,
        use("b") + SYNC,
        parse("deallocate all") + SYNC,
        use("d") + SYNC,
        use("") + SYNC,
        use("d") + SYNC,
    ],
    "deallocate with comments": [
        parse(A, "a") + parse(B, "b") + parse(A, "c") + parse(A, "d") + SYNC,
        encode.query("/* first /* of */ all */ deallocate a"),
        use("a") + SYNC,
        encode.query("deallocate -- why\n prepare b -- because"),
        use("b") + SYNC,
        parse("/**/ deallocate c") + use("") + SYNC,
        use("c") + SYNC,
        encode.query("select 1; discard all"),
        encode.query("/* all */ deallocate /* of */ all;"),
        use("d") + SYNC,
    ],
    "deallocate in a transaction": [
        parse(A, "a") + SYNC,
        BEGIN + use("a") + SYNC + encode.query("deallocate a") + use("a") + SYNC,
        parse(A, "a") + SYNC + encode.query("deallocate a"),
        ROLLBACK,
        use("a") + SYNC,
    ],
    "deallocate all": [
        parse(A, "a") + parse(B, "b") + SYNC,
        encode.query("deallocate all"),
        use("a") + SYNC,
        parse(B, "a") + use("a") + SYNC + encode.query("discard all") + use("a") + SYNC,
        parse(A, "a") + parse("deallocate all") + bind() + execute() + parse(A, "b") + SYNC,
        use("a") + SYNC,
        use("b") + SYNC,
        encode.query("discard plans") + use("b") + SYNC,
        parse("deallocate all", "all") + SYNC,
        bind(name="all") + execute() + SYNC,
        use("b") + SYNC,
    ],
    "deallocate all that fails": [
        parse(A, "a") + SYNC,
        BEGIN + FAIL + encode.query("deallocate all"),
        ROLLBACK,
        use("a") + SYNC,
    ],
    "prepared by SQL": [
        BEGIN + encode.query("prepare s as select 5"),
        use("s") + SYNC,
        encode.query("deallocate s"),
        ROLLBACK,
    ],
    "parameters": [
        parse("select $1::int + 1", "p") + describe("p") + SYNC,
        bind("41", name="p") + execute() + bind("x", name="p") + execute() + SYNC,
        bind("1" * 200_000, name="p") + execute() + SYNC,
        parse("select length($1)", "l") + bind("é" * 200_000, name="l") + execute() + SYNC,
        bind("x" * 100_000, name="l") + execute() + SYNC + bind("x" * 70_000, name="none") + execute() + SYNC,
    ],
    "a long text": [
        parse(f"select length('{'x' * 1_500_000}')", "long") + use("long") + SYNC,
        use("long") + SYNC + close("long") + SYNC + use("long") + SYNC,
    ],
    "portals": [
        BEGIN + parse(A, "a") + bind(name="a", portal="p") + execute("p") + close("p", b"P") + execute("p") + SYNC,
        ROLLBACK,
        BEGIN + bind(name="a", portal="p") + close("a") + execute("p") + SYNC + ROLLBACK,
        parse(A, "a") + SYNC,
    ],
}


@pytest.mark.trio
@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("pace", ["in turn", "at once", "in bits"])
async def test_a_script_is_answered_as_by_the_server(cluster: EmbeddedCluster, name: str, pace: str) -> None:
    script = SCRIPTS[name]
    # Transactions hold their backends, so there are no more clients than backends then.
    async with both(cluster, clients=2 if BEGIN in b"".join(script) else 3) as clients:
        if pace == "in turn":
            await clients.compare_requests(*script)
        elif pace == "at once":
            await clients.compare(b"".join(script))
        else:
            data = b"".join(script)
            step = max(7, len(data) // 200)
            await clients.compare(*(data[at : at + step] for at in range(0, len(data), step)), b"")


@pytest.mark.trio
@pytest.mark.parametrize("name", SCRIPTS)
async def test_all_scripts_after_each_other_on_the_same_backends(cluster: EmbeddedCluster, name: str) -> None:
    """What one script leaves behind, the next one does not see: in two orders."""
    names = list(SCRIPTS)
    at = names.index(name)
    async with both(cluster, clients=2) as clients:
        for other in names[at : at + 2]:
            await clients.compare_requests(*SCRIPTS[other])
            await clients.reset()


@pytest.mark.trio
async def test_an_error_tells_the_name_that_the_client_has_used(cluster: EmbeddedCluster) -> None:
    """Also where it is the one that servers know another statement of the client's by."""
    async with both(cluster, clients=1) as clients:
        await clients.compare(parse(A, "a") + SYNC)
        [[ours]] = await clients.proxied[0].query("select name from pg_prepared_statements")
        await clients.compare_requests(use(str(ours)) + SYNC, use("a") + SYNC)


NAMES = st.sampled_from(["a", "b", "c", "pgcat_2"])
TEXTS = st.sampled_from(
    [A, B, BAD, DIVISION, "", "begin", "rollback", "deallocate all", "deallocate b", "select $1::int"]
)
MESSAGES = st.one_of(
    st.builds(parse, TEXTS, NAMES),
    TEXTS.map(parse),
    TEXTS.map(lambda text: parse(text) + use("")),
    st.just(parse("deallocate a") + use("")),
    st.just(use("")),
    st.just(describe("")),
    st.just(close("")),
    NAMES.map(use),
    NAMES.map(lambda name: bind(name=name) + execute() + execute()),
    NAMES.map(describe),
    NAMES.map(close),
    st.just(close("", b"P")),
    # Not of the unnamed portal: after a failed Query in a transaction that crashes PostgreSQL 18.
    st.just(execute("x")),
    st.just(FLUSH),
)
REQUESTS = st.one_of(
    st.lists(MESSAGES, max_size=6).map(lambda messages: b"".join(messages) + SYNC),
    st.sampled_from([BEGIN, ROLLBACK, FAIL, *map(encode.query, ["select 7", "deallocate b", "deallocate all"])]),
)


@given(st.lists(st.lists(REQUESTS, min_size=1, max_size=4).map(b"".join), min_size=1, max_size=6))
@settings(max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_messages_is_answered_as_by_the_server(cluster: EmbeddedCluster, script: list[bytes]) -> None:
    async def main() -> None:
        async with both(cluster, clients=2) as clients:
            await clients.compare_requests(*script)

    trio.run(main)

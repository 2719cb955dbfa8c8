"""Tables change under prepared statements: a client is told so exactly where the server alone would tell it.

All say the same at the same time: one to the server, the others to a proxy whose backends take turns. So a request
meets a backend that has the statement, one that has it from before the change, or one that does not have it.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
from support.client import bind, describe_portal, execute, parse
from support.extended import (
    BEGIN,
    FLUSH,
    INT4,
    ONE,
    ROLLBACK,
    SYNC,
    TEXT,
    TWO,
    bind_as,
    close,
    describe,
    query,
    run,
    typed,
    use,
)
from support.scripts import dsn_of, turning_proxy, without_place
from support.wire import Dialogue, Wire, messages_of

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import ClusterThread

    from pgcat_trio.embedded import EmbeddedCluster

SCHEMA: Final = """
drop table if exists changing;
create table changing (n int4, t text);
insert into changing values (7, 'seven');
"""
MORE = "alter table changing add column more int4 default 3"
LESS = "alter table changing drop column more"
RENAMED = "alter table changing rename column t to u"
FLOAT = "alter table changing alter column n type float4"
ANEW = "drop table changing; create table changing (n int4, t text)"
GONE = "drop table changing"
ALL, TEXTS = "select * from changing", "select t from changing where n = $1"
UPDATE = "update changing set t = t where n = $1"
SEVEN = b"\0\0\0\7"
READY: Final = encode.ready_for_query()
CLEAN: Final = query("rollback") + b"".join(map(close, "abc")) + SYNC

Step = bytes | str

CONVERSATIONS: Final[dict[str, list[Step]]] = {
    "a column more": [
        parse(ALL, "a") + describe("a") + SYNC,
        use("a") + SYNC,
        MORE,
        use("a") + SYNC,
        use("a") + SYNC,
        describe("a") + SYNC,
        bind(name="a") + execute() + SYNC,
        close("a") + parse(ALL, "a") + use("a") + SYNC,
        use("a") + SYNC,
        use("a") + SYNC,
    ],
    "a column less": [MORE, parse(ALL, "a") + SYNC, use("a") + SYNC, LESS, use("a") + SYNC, use("a") + SYNC],
    "another name": [parse(ALL, "a") + use("a") + SYNC, RENAMED, use("a") + SYNC, use("a") + SYNC],
    "another type": [parse(ALL, "a") + use("a") + SYNC, FLOAT, use("a") + SYNC, describe("a") + SYNC],
    "there and back": [
        parse(ALL, "a") + use("a") + SYNC,
        MORE,
        use("a") + SYNC,
        use("a") + SYNC,
        LESS,
        use("a") + SYNC,
        use("a") + SYNC,
        use("a") + SYNC,
    ],
    "before and after": [
        parse(ALL, "a") + SYNC,
        MORE,
        parse(ALL, "b") + SYNC,
        use("b") + SYNC,
        use("a") + SYNC,
        use("b") + SYNC,
        use("b") + use("a") + use("b") + SYNC + use("b") + SYNC,
        LESS,
        use("b") + SYNC,
        use("a") + SYNC,
        close("b") + parse(ALL, "b") + use("a") + use("b") + SYNC,
        use("a") + SYNC,
    ],
    "in the middle of a batch": [
        parse(ALL, "a") + parse(ONE, "b") + parse(TWO, "c") + SYNC,
        MORE,
        use("b") + run(ONE) + use("a") + use("c") + run(TWO) + SYNC + use("c") + SYNC,
        use("c") + SYNC + use("b") + use("c") + use("a") + SYNC + query(ONE) + use("b") + SYNC,
        parse(ONE) + SYNC,
        use("a") + use("") + SYNC,
        use("") + SYNC,
    ],
    "in a transaction": [
        parse(ALL, "a") + parse(ONE, "b") + SYNC,
        MORE,
        BEGIN + use("b") + SYNC,
        use("a") + SYNC,
        use("b") + SYNC,
        ROLLBACK + use("b") + SYNC,
        BEGIN + use("b") + SYNC + use("a") + SYNC + use("a") + SYNC + ROLLBACK,
        BEGIN + query("savepoint s"),
        use("b") + use("a") + SYNC,
        query("rollback to s") + use("b") + SYNC + ROLLBACK,
    ],
    "message by message": [
        parse(ALL, "a") + FLUSH,
        describe("a") + FLUSH,
        SYNC,
        MORE,
        bind(name="a") + FLUSH,
        describe_portal() + execute() + FLUSH,
        SYNC,
        run(ONE) + FLUSH,
        bind(name="a") + FLUSH,
        execute() + SYNC,
        use("a") + FLUSH,
        use("a") + FLUSH,
        SYNC,
    ],
    "values keep their type": [
        parse(TEXTS, "a") + parse(UPDATE, "b") + describe("a") + describe("b") + SYNC,
        FLOAT,
        bind_as([1], [SEVEN], [], "a") + execute() + SYNC,
        bind_as([1], [SEVEN], [], "a") + execute() + SYNC,
        bind_as([1], [SEVEN], [], "b") + execute() + SYNC,
        bind_as([1], [SEVEN], [], "b") + execute() + SYNC,
        describe("a") + describe("b") + SYNC,
        describe("a") + describe("b") + SYNC,
        close("a") + parse(TEXTS, "a") + describe("a") + SYNC,
        describe("a") + describe("b") + SYNC,
        bind_as([1], [SEVEN], [], "a") + execute() + SYNC,
        bind_as([1], [SEVEN], [], "b") + execute() + SYNC,
    ],
    "a table made anew": [
        parse(ALL, "a") + SYNC,
        ANEW,
        bind(name="a") + execute() + SYNC,
        bind(name="a") + execute() + SYNC,
    ],
    "a table that is gone": [
        parse(ALL, "a") + parse(ONE, "b") + SYNC,
        GONE,
        use("a") + SYNC,
        use("b") + use("a") + use("b") + SYNC,
        BEGIN + use("b") + use("a") + use("b") + SYNC + use("b") + SYNC + ROLLBACK,
        use("a") + SYNC,
    ],
    "what may return anything": [
        BEGIN + query("declare c cursor for select 1 as one"),
        parse("fetch c", "a") + describe("a") + use("a") + SYNC,
        ROLLBACK + BEGIN + query("declare c cursor for select 'x' as x, 2 as y"),
        use("a") + SYNC,
        ROLLBACK + use("a") + SYNC,
    ],
    "large values": [
        typed("select length($1), c.* from changing c", TEXT, name="a") + describe("a") + SYNC,
        bind("x" * 200_000, name="a") + execute() + SYNC,
        bind("x" * 200_000, name="a") + execute() + SYNC + use("x") + SYNC,
        MORE,
        bind("x" * 200_000, name="a") + execute() + SYNC + run(ONE) + SYNC,
        bind("x" * 200_000, name="a") + execute() + SYNC,
    ],
    "types that are given": [
        typed("select $1, t from changing", INT4, name="a") + typed("select $1, t from changing", name="b") + SYNC,
        RENAMED,
        bind("7", name="a") + execute() + SYNC,
        bind("7", name="b") + execute() + SYNC,
        close("b") + typed("select $1, u from changing", 0, name="b") + describe("b") + SYNC,
    ],
}


def without_line(message: bytes) -> bytes:
    """An error without the line of PostgreSQL's source that it comes from; as in `scripts.without_place`."""
    if message[:1] != b"E" or b"\0C25P02\0" in message:
        return without_place(message)
    return b"\0".join(field for field in message[5:].split(b"\0") if field[:1] != b"L")


@pytest.fixture(scope="module")
def proxied(cluster_thread: ClusterThread) -> Iterator[list[str]]:
    """Proxies that prepare one statement on each backend, and all."""
    with ExitStack() as stack:
        proxies = [stack.enter_context(turning_proxy(cluster_thread.cluster, size)) for size in (1, 100)]
        yield [dsn_of(proxy) for proxy in proxies]


@pytest.fixture
def other(cluster: EmbeddedCluster) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(cluster.dsn(), autocommit=True, options="-c lock_timeout=5s") as connection:
        connection.execute(SCHEMA)
        yield connection


@pytest.mark.parametrize("size", [0, 1], ids=["one", "all"])
@pytest.mark.parametrize("turns", range(3))
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_change_is_told_as_by_the_server(
    cluster: EmbeddedCluster,
    proxied: list[str],
    other: psycopg.Connection[tuple[object, ...]],
    name: str,
    turns: int,
    size: int,
) -> None:
    with Wire(cluster.dsn()) as server, Wire(proxied[size]) as client, Wire(proxied[size]) as shifting:
        dialogue = Dialogue(server.message)
        got = [READY]
        for number, step in enumerate([*CONVERSATIONS[name], CLEAN]):
            if isinstance(step, str):
                other.execute(step)
                continue
            if got[-1:] == [READY] and turns > min(number, 1):
                shifting.send(query(""))  # it is the other backend's turn
                shifting.replies(2)
            messages = messages_of(step)
            server.send(step)
            wanted = [reply for found in dialogue.answers(messages) for reply in found]
            client.send(step)
            got = client.answer_like(wanted)
            assert [*map(without_line, got)] == [*map(without_line, wanted)], messages

"""``lazy_begin``, byte for byte: a client is answered what the server alone answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from dialogues import DIALOGUES
from support.client import bind, describe_portal, execute, parse
from support.extended import SYNC, query
from support.scripts import Script, answers_of, dsn_of, run_at_once, run_in_turn, turning_proxy
from support.wire import Wire
from test_dialogues import OPEN, schema, script_of, server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import ClusterThread
    from support.proxy import ProxyThread

__all__ = ["schema", "server"]  # fixtures

BEGIN, COMMIT, ROLLBACK = query("begin"), query("commit"), query("rollback")
ONE: Final = query("select 1")
EXTENDED: Final = parse("select 1") + bind() + describe_portal() + execute() + SYNC
FAULT: Final = query("select 1/0")


def extended(sql: str) -> bytes:
    return parse(sql) + bind() + execute() + SYNC


TRANSACTIONS: Final[dict[str, list[bytes]]] = {
    "empty": [BEGIN, COMMIT, query("start transaction"), ROLLBACK, query("begin work;"), query("abort")],
    "one statement": [BEGIN, ONE, COMMIT, ONE],
    "twice": [BEGIN, BEGIN, ONE, COMMIT, COMMIT],
    "end without beginning": [COMMIT, ROLLBACK, ONE],
    "error": [BEGIN, FAULT, ONE, BEGIN, COMMIT, ONE],
    "syntax": [BEGIN, query("selekt"), ROLLBACK],
    "nothing": [BEGIN, query(""), query(" ; "), ONE, query(""), COMMIT],
    "options": [
        *(query("begin isolation level repeatable read, read only, deferrable"), query("show transaction_read_only")),
        *(query("show transaction_isolation"), query("show transaction_deferrable"), COMMIT),
    ],
    "wrong options": [query("begin isolation level snapshot"), query("begin read only,"), query("begin read"), ONE],
    "set transaction": [
        *(BEGIN, query("set transaction isolation level serializable, read only"), query("show transaction_isolation")),
        *(query("create table pg_temp.t (n int)"), ROLLBACK, query("show transaction_isolation")),
    ],
    "local settings": [BEGIN, query("set local work_mem to '1MB'"), query("show work_mem"), COMMIT, ONE],
    "savepoints": [
        *(BEGIN, query("savepoint a"), FAULT, query("rollback to a"), ONE, query("release a"), COMMIT),
        *(BEGIN, query("rollback to a"), ROLLBACK, BEGIN, query("release a"), ROLLBACK),
    ],
    "chains": [
        *(BEGIN, query("commit and chain"), ONE, query("rollback and chain"), FAULT, query("commit and chain"), COMMIT),
        *(BEGIN, query("commit and no chain"), query("begin read only"), query("commit and chain")),
        *(query("show transaction_read_only"), ROLLBACK),
    ],
    "what no transaction may do": [BEGIN, query("vacuum"), ROLLBACK, BEGIN, query("discard all"), ROLLBACK],
    "two phases": [BEGIN, query("prepare transaction 'lazy'"), COMMIT, ONE],
    "cursors": [
        *(BEGIN, query("declare c cursor for select 1"), query("fetch c"), COMMIT, query("fetch c")),
        *(query("declare c cursor for select 1"), ROLLBACK),
    ],
    "extended": [BEGIN, EXTENDED, COMMIT, extended("begin"), EXTENDED, extended("commit"), EXTENDED],
    "extended after it": [BEGIN, extended("commit"), BEGIN, extended("rollback"), BEGIN, extended("begin"), COMMIT],
    "named": [
        *(parse("select $1::int", "a") + SYNC, BEGIN, bind("1", name="a") + execute() + SYNC, COMMIT),
        *(BEGIN, parse("select 2", "b") + SYNC, ROLLBACK, bind(name="b") + execute() + SYNC),
    ],
    "unnamed statement before it": [parse("select 1") + SYNC, BEGIN, bind() + execute() + SYNC, ROLLBACK],
    "unnamed statement before an end": [parse("select 1") + SYNC, BEGIN, COMMIT, bind() + execute() + SYNC],
    "sync alone": [BEGIN, SYNC, SYNC, ONE, SYNC, COMMIT, SYNC],
    "statements around it": [
        query("select 1; begin"),
        COMMIT,
        query("begin; select 1"),
        COMMIT,
        query("begin;;"),
        COMMIT,
    ],
    "comments": [query("/* a */ begin -- b"), ONE, query("-- c\ncommit /* d */")],
    "copy": [BEGIN, query("copy (select 1) to stdout"), COMMIT],
}
CLEAN: Final = query("rollback; deallocate all")


@pytest.fixture(scope="module")
def lazy_proxy(cluster_thread: ClusterThread) -> Iterator[ProxyThread]:
    with turning_proxy(cluster_thread.cluster, 3, pool="lazy_begin = true") as proxy:
        yield proxy


@pytest.mark.parametrize("name", TRANSACTIONS)
def test_transactions(lazy_proxy: ProxyThread, server: Wire, name: str) -> None:
    script = Script(name, (*TRANSACTIONS[name], CLEAN))
    with Wire(dsn_of(lazy_proxy)) as client:
        wanted = answers_of(server, [script])
        run_in_turn([client], [script], wanted)
        run_at_once([client], [script] * 3, wanted * 3)


@pytest.mark.parametrize("name", [name for name in DIALOGUES if name not in OPEN])
def test_dialogues_after_a_begin(lazy_proxy: ProxyThread, server: Wire, name: str) -> None:
    """Those that have nothing to do with transactions are inside of one then."""
    dialogue = script_of(name)
    script = Script(name, (*dialogue.requests[:-1], SYNC, ROLLBACK, BEGIN, *dialogue.requests))
    script = Script(name, (*script.requests, SYNC, ROLLBACK, *dialogue.requests[-1:]))
    with Wire(dsn_of(lazy_proxy)) as client:
        run_in_turn([client], [script], answers_of(server, [script]))

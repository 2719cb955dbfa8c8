"""Every ordering of extended-protocol messages is answered as by the server alone, byte for byte.

All sequences up to some length are tried, from several starts, with messages among them that fail at each place. After
each one the client looks, on both backends, what has become of its statements: what was assumed about a message must
not outlive its failure.

``PGCAT_TRIO_ORDERINGS`` makes all sequences longer by so many messages, each of which takes some ten times longer.
"""

from __future__ import annotations

import itertools
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import attrs
import pytest
from support.client import bind, describe_portal, execute, parse
from support.extended import DIVISION, FAULTY, FLUSH, ONE, SYNC, TWO, TWO_FORMATS, close, describe, use
from support.scripts import (
    BACKENDS,
    Script,
    answers_of,
    dsn_of,
    run_at_once,
    run_in_turn,
    turning_proxy,
)
from support.wire import Wire

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pgcat_trio.embedded import EmbeddedCluster

MORE: Final = int(os.environ.get("PGCAT_TRIO_ORDERINGS", "0"))
CHUNK: Final = 2000  # scripts whose answers are kept at a time

NAMED: Final = {
    "P(a)": parse(ONE, "a"),
    "P(a) division": parse(DIVISION, "a"),  # fails when it is executed
    "P(a) faulty": parse(FAULTY, "a"),
    "B(a)": bind(name="a"),
    "B(a) faulty": TWO_FORMATS,
    "D(a)": describe("a"),
    "C(a)": close("a"),
    "E": execute(),
}
FLOW: Final = {"H": FLUSH, "S": SYNC}
UNNAMED: Final = {
    "P()": parse(TWO),
    "P() division": parse(DIVISION),
    "P() faulty": parse(FAULTY),
    "B()": bind(),
    "D()": describe(),
    "C()": close(),
}
PORTALS: Final = {
    "B(a, p)": bind(name="a", portal="p"),
    "D(P p)": describe_portal("p"),
    "E(p)": execute("p"),
    "E(p) 1": execute("p", 1),
    "C(P p)": close("p", b"P"),
    "D(P)": describe_portal(),
    "C(P)": close("", b"P"),
}
PAIR: Final = {
    "P(a)": parse(ONE, "a"),
    "U(a)": use("a"),
    "U(b)": use("b"),
    "U(x)": use("x"),  # there is no such statement
    "S": SYNC,
}
EVERYTHING: Final = {**NAMED, "P(a) two": parse(TWO, "a"), **FLOW, **UNNAMED, **PORTALS}
CACHELESS: Final = {**UNNAMED, **FLOW, "D(P)": PORTALS["D(P)"], "E": execute(), "E 1": execute("", 1)}
BRIEF: Final = {name: message for name, message in {**NAMED, "S": SYNC}.items() if name != "B(a) faulty"}
SURE: Final = {name: message for name, message in EVERYTHING.items() if name != "B(a) faulty"}
"""In a failed transaction a Bind may be refused as the Parse that it needs: with another reason, if it has two."""

# -- starts and ends: a script is the one, a sequence with a Sync, the other -------------------------------------------

BEGIN, ROLLBACK, FAIL = encode.query("begin"), encode.query("rollback"), encode.query("select 1/0")
KNOWN: Final = (NAMED["P(a)"] + SYNC,)
LOOK: Final = use("a") + SYNC
CLEAN: Final = close("a") + close("b") + SYNC + encode.query("")  # a Query ends the unnamed statement, too

OUTSIDE: Final = {"nothing": (), "known": KNOWN}
LOOK_OUTSIDE: Final = (LOOK, LOOK, CLEAN)
PAIRS: Final = {"both known": (PAIR["P(a)"] + parse(TWO, "b") + SYNC,)}
LOOK_AT_PAIR: Final = (use("b") + SYNC + LOOK + use("b") + SYNC, LOOK, CLEAN)
LOOK_UNNAMED: Final = (use() + SYNC, use() + SYNC, CLEAN)
INSIDE: Final = {
    "in a transaction": (*KNOWN, BEGIN),
    "in a failed transaction": (*KNOWN, BEGIN + FAIL),
    "known nowhere, failed": (BEGIN + FAIL,),
}
LOOK_INSIDE: Final = (LOOK, ROLLBACK, LOOK, CLEAN)


Sequence = tuple[str, ...]


def requests_of(names: Sequence) -> Iterator[Sequence]:
    """Split at each Sync."""
    for is_sync, part in itertools.groupby((*names, "S"), "S".__eq__):
        if not is_sync:
            yield tuple(part)


def reaches_back(names: Sequence) -> bool:
    """True if a request uses the unnamed statement of the one before it."""
    first = (next((name for name in part if name.endswith(("P()", "B()", "D()"))), "") for part in requests_of(names))
    return not {"B()", "D()"}.isdisjoint(first)


def finds_a_portal(names: Sequence) -> bool:
    """False if the unnamed portal may be used without a Bind before it.

    After a Query that has failed in a transaction, PostgreSQL 18 looks at what that has left behind, and may crash.
    """
    first = (
        next((name for name in part if name in ("E", "D(P)") or name.startswith("B(")), "")
        for part in requests_of(names)
    )
    return {"E", "D(P)"}.isdisjoint(first)


@attrs.frozen
class Case:
    """Sequences, and who runs them."""

    symbols: Mapping[str, bytes]
    longest: int
    starts: Mapping[str, tuple[bytes, ...]]
    end: tuple[bytes, ...]
    size: int
    run: Callable[[list[Wire], list[Script], list[list[list[bytes]]]], None]
    clients: int = BACKENDS + 1

    def scripts(self, chosen: Callable[[Sequence], bool]) -> Iterator[Script]:
        for length in range(1, self.longest + MORE + 1):
            for names in filter(chosen, itertools.product(self.symbols, repeat=length)):
                requests = [b"".join(map(self.symbols.__getitem__, part)) + SYNC for part in requests_of(names)]
                for start, before in self.starts.items():
                    yield Script(f"{start}: {' '.join(names)}", (*before, *requests, *self.end))

    def check(self, cluster: EmbeddedCluster, chosen: Callable[[Sequence], bool]) -> None:
        scripts = self.scripts(chosen)
        with ExitStack() as stack:
            server = stack.enter_context(Wire(cluster.dsn()))
            proxy = stack.enter_context(turning_proxy(cluster, self.size))
            clients = [stack.enter_context(Wire(dsn_of(proxy))) for _ in range(self.clients)]
            while some := list(itertools.islice(scripts, CHUNK)):
                self.run(clients, some, answers_of(server, some))


CASES: Final = {
    "named, in turn": Case({**NAMED, **FLOW}, 3, OUTSIDE, LOOK_OUTSIDE, 1, run_in_turn),
    "named, at once": Case(BRIEF, 4, {"known": KNOWN}, LOOK_OUTSIDE, 3, run_at_once),
    "everything, in turn": Case(EVERYTHING, 2, OUTSIDE, LOOK_OUTSIDE, 3, run_in_turn),
    "everything, at once": Case(EVERYTHING, 3, {"nothing": ()}, LOOK_OUTSIDE, 1, run_at_once),
    "without the cache, in turn": Case(CACHELESS, 3, {"nothing": ()}, (CLEAN,), 0, run_in_turn),
    "without the cache, at once": Case(CACHELESS, 3, {"nothing": ()}, (CLEAN,), 0, run_at_once),
}


@pytest.mark.parametrize("name", CASES)
def test_all_orderings(cluster: EmbeddedCluster, name: str) -> None:
    CASES[name].check(cluster, lambda names: not reaches_back(names))


def test_all_orderings_in_transactions(cluster: EmbeddedCluster) -> None:
    Case(SURE, 2, INSIDE, LOOK_INSIDE, 1, run_in_turn, clients=1).check(cluster, finds_a_portal)


def test_all_orderings_in_transactions_at_once(cluster: EmbeddedCluster) -> None:
    Case(SURE, 2, INSIDE, LOOK_INSIDE, 3, run_at_once).check(cluster, finds_a_portal)


def test_all_orderings_of_two_statements_where_one_has_room(cluster: EmbeddedCluster) -> None:
    Case(PAIR, 5, PAIRS, LOOK_AT_PAIR, 1, run_at_once).check(cluster, lambda _: True)


@pytest.mark.parametrize("run", [run_in_turn, run_at_once])
def test_all_orderings_that_reach_for_the_unnamed_statement_of_an_earlier_request(
    cluster: EmbeddedCluster, run: Callable[[list[Wire], list[Script], list[list[list[bytes]]]], None]
) -> None:
    Case(
        {**UNNAMED, "E": execute(), "S": SYNC, "S Q": SYNC + encode.query(ONE)}, 3, OUTSIDE, LOOK_UNNAMED, 3, run
    ).check(cluster, reaches_back)

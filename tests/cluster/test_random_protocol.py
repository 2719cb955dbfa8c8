"""Random conversations of several clients at a time: each is answered as by a server of its own, byte for byte.

What clients send is cut anywhere, and they take turns between the pieces. There are fewer backends than clients: one
that has a backend goes on until it has given it back, as far as the others need it.

``PGCAT_TRIO_EXAMPLES`` is how many examples are tried, other ones each time; without it they are few, and the same.
"""

from __future__ import annotations

import itertools
import os
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.chatter import APPLICATION, SCHEMA, conversation, ordinary, pair, unnamed
from support.scripts import BACKENDS, Mismatch, Script, dsn_of, same, turning_proxy
from support.wire import Dialogue, Wire, asked_for, messages_of

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import ClusterThread
    from hypothesis.strategies import SearchStrategy

    from pgcat_trio.embedded import EmbeddedCluster

EXAMPLES: Final = int(os.environ.get("PGCAT_TRIO_EXAMPLES", "0"))
_NAME_IN_ERROR: Final = re.compile(rb'prepared statement "[^"]*"')
CLIENTS: Final = BACKENDS + 1

# -- taking turns ------------------------------------------------------------------------------------------------------


@attrs.define
class Turns:
    """One client, and what it is going to say and hear."""

    client: Wire
    pieces: list[bytes]
    messages: list[bytes]
    answers: list[list[bytes]]
    said: bytes = b""
    heard: int = 0

    @property
    def done(self) -> bool:
        return not self.pieces

    @property
    def holds(self) -> bool:
        """True if it may have a backend."""
        whole = whole_messages(self.said)
        replies = [reply for found in self.answers[:whole] for reply in found]
        idle = not replies or replies[-1] == encode.ready_for_query()
        return not (idle and len(b"".join(self.messages[:whole])) == len(self.said))

    def take(self) -> None:
        """Say the next piece, and hear all that must be answered by then. Raises `Mismatch`."""
        piece = self.pieces.pop(0)
        self.said += piece
        self.client.send(piece)
        due = asked_for(self.messages[: whole_messages(self.said)], self.answers)
        wanted = [reply for found in self.answers for reply in found][self.heard : due]
        got = self.client.answer_like(wanted)
        self.heard = due
        if not alike(got, wanted):
            said = b"".join(self.messages[: whole_messages(self.said)])
            raise Mismatch(Script("after all of this", (said,)), 0, wanted, got)


def whole_messages(data: bytes) -> int:
    """How many whole messages the data begin with."""
    count = position = 0
    while len(data) - position >= 5:
        position += 1 + int.from_bytes(data[position + 1 : position + 5])
        count += position <= len(data)
    return count


def alike(got: list[bytes], wanted: list[bytes]) -> bool:
    """True if these are the same, but for two things about a Bind that does not suit its statement.

    Of two names for one text the server's error may tell the other one. In a failed transaction a backend that lacks
    the statement refuses that first, and what is wrong with the Bind is not looked at.
    """
    return len(got) == len(wanted) and all(map(_alike, got, wanted))


def _alike(got: bytes, wanted: bytes) -> bool:
    if b"\0C08P01\0" in wanted and wanted[:1] == b"E":
        if got[:1] == b"E" and b"\0C25P02\0" in got:
            return True
        got, wanted = (_NAME_IN_ERROR.sub(b"", without_length(message)) for message in (got, wanted))
    return same([got], [wanted])


def without_length(message: bytes) -> bytes:
    return message[:1] + message[5:]


def without_strays(pieces: list[bytes], server: Wire) -> list[bytes]:
    """The same without data for a COPY that does not begin: clients wait to be asked for it."""
    messages = messages_of(b"".join(pieces))
    server.send(b"".join(messages))
    answers = Dialogue(server.message).answers(messages)
    asked = False
    kept = bytearray()
    for message, found in zip(messages, answers, strict=True):
        if message[:1] in b"QES":
            asked = any(reply[:1] == b"G" for reply in found) or (asked and message[:1] == b"S" and not found)
        kept += bytes([asked or message[:1] not in b"dcf"]) * len(message)
    flags = iter(kept)
    return [bytes(itertools.compress(piece, itertools.islice(flags, len(piece)))) for piece in pieces]


def play(cluster: EmbeddedCluster, size: int, server: Wire, conversations: list[list[bytes]], order: list[int]) -> None:
    """All conversations at a time through a proxy of their own."""
    with ExitStack() as stack:
        proxy = stack.enter_context(turning_proxy(cluster, size))
        turns = []
        for pieces in (without_strays(each, server) for each in conversations):
            messages = messages_of(b"".join(pieces))
            server.send(b"".join(messages))
            answers = Dialogue(server.message).answers(messages)
            turns.append(
                Turns(
                    stack.enter_context(Wire(f"{dsn_of(proxy)}&application_name={APPLICATION}")),
                    pieces,
                    messages,
                    answers,
                )
            )
        while waiting := [turn for turn in turns if not turn.done]:
            holders = [turn for turn in waiting if turn.holds]
            able = waiting if len(holders) < BACKENDS else holders
            able[order.pop() % len(able) if order else 0].take()


def conversations(messages: SearchStrategy[bytes]) -> SearchStrategy[list[list[bytes]]]:
    return st.lists(conversation(messages), min_size=CLIENTS, max_size=CLIENTS)


orders = st.lists(st.integers(0, CLIENTS - 1), max_size=40)
tries = settings(
    max_examples=EXAMPLES or 25,
    derandomize=not EXAMPLES,
    phases=tuple(Phase) if EXAMPLES else (Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def server(cluster_thread: ClusterThread) -> Iterator[Wire]:
    """Its clients leave nothing behind."""
    cluster_thread.call(cluster_thread.cluster.psql, SCHEMA)
    with Wire(f"{cluster_thread.cluster.dsn()}?application_name={APPLICATION}") as wire:
        yield wire


@tries
@given(said=conversations(ordinary), order=orders)
def test_each_client_is_answered_as_by_a_server_of_its_own(
    cluster: EmbeddedCluster, server: Wire, said: list[list[bytes]], order: list[int]
) -> None:
    play(cluster, 50, server, said, order)


@tries
@given(said=conversations(st.one_of(pair, ordinary)), order=orders)
def test_with_room_for_one_statement(
    cluster: EmbeddedCluster, server: Wire, said: list[list[bytes]], order: list[int]
) -> None:
    play(cluster, 1, server, said, order)


@tries
@given(said=conversations(st.one_of(unnamed, ordinary)), order=orders)
def test_with_the_unnamed_statement_of_earlier_requests(
    cluster: EmbeddedCluster, server: Wire, said: list[list[bytes]], order: list[int]
) -> None:
    play(cluster, 50, server, said, order)

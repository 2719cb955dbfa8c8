"""What one client says in whatever pieces, and what it is answered: byte for byte what the server alone answers.

The pool has two backends, which take turns, and few statements may be prepared on each. So most requests of a dialogue
meet a backend that knows nothing of the one before.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pytest
from dialogues import DIALOGUES, NAMES
from dialogues_copy import SCHEMA
from support.client import parse
from support.extended import FLUSH, ONE, SYNC, close, is_named, use
from support.scripts import (
    Mismatch,
    Script,
    answers_of,
    check,
    dsn_of,
    run_at_once,
    run_in_turn,
    turning_proxy,
)
from support.wire import Dialogue, Wire, asked_for, messages_of

from pgcat_trio.wire import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conftest import ClusterThread
    from support.proxy import ProxyThread

    from pgcat_trio.embedded import EmbeddedCluster

CLEAN: Final = b"".join(map(close, NAMES)) + SYNC
SHIFT: Final = encode.query("")
OTHER: Final = Script("another client", (parse(ONE, "a") + SYNC, use("a") + SYNC, CLEAN))

OPEN: Final = {
    "deallocate among others": "a DEALLOCATE is found only where it is all of a Query, or of a Parse",
    "two names for one text": "an error may tell the other one",
    "deallocate all before an error": "a DEALLOCATE ALL is taken back if the rest of its Query fails",
}
"""Dialogues in which a client can tell, and why."""

SAME: Final = [name for name in DIALOGUES if name not in OPEN]


def script_of(name: str) -> Script:
    return Script(name, (*DIALOGUES[name], CLEAN))


def names_statements(script: Script) -> bool:
    """True if the script has anything to do with named statements."""
    return any(is_named(message) for request in script.requests[:-1] for message in messages_of(request))


@pytest.fixture(scope="module", autouse=True)
def schema(cluster_thread: ClusterThread) -> None:
    cluster_thread.call(cluster_thread.cluster.psql, SCHEMA)


@pytest.fixture(scope="module")
def proxies(cluster_thread: ClusterThread) -> Iterator[dict[int, ProxyThread]]:
    """Proxies that prepare so many statements on each backend."""
    with ExitStack() as stack:
        yield {size: stack.enter_context(turning_proxy(cluster_thread.cluster, size)) for size in (0, 1, 3)}


@pytest.fixture
def server(cluster: EmbeddedCluster) -> Iterator[Wire]:
    with Wire(cluster.dsn()) as wire:
        yield wire


@pytest.fixture(scope="module")
def proxy(proxies: dict[int, ProxyThread]) -> ProxyThread:
    return proxies[3]


@pytest.fixture
def client(proxy: ProxyThread) -> Iterator[Wire]:
    with Wire(dsn_of(proxy)) as wire:
        yield wire


# -- paces -------------------------------------------------------------------------------------------------------------


def in_turn(client: Wire, server: Wire, script: Script) -> None:
    """Twice, so that each request meets the other backend, too, if it was the first one's turn."""
    wanted = answers_of(server, [script])
    for number in range(2):
        client.send(SHIFT * number)
        client.replies(2 * number)
        run_in_turn([client], [script], wanted)


def at_once(client: Wire, server: Wire, script: Script) -> None:
    """All requests of three rounds in one write."""
    run_at_once([client], [script] * 3, answers_of(server, [script]) * 3)


def message_by_message(client: Wire, server: Wire, script: Script) -> None:
    """Each answer is waited for before the next message is sent, behind a Flush where one is needed."""
    messages = [message for request in script.requests for message in messages_of(request)]
    server.send(b"".join(messages))
    answers = Dialogue(server.message).answers(messages)
    for message, wanted in zip(messages, answers, strict=True):
        step = Script(script.name, (message + FLUSH * (message[:1] in b"PBDECcf"),))
        client.send(step.requests[0])
        check(client, step, 0, wanted)


PACES: Final = {pace.__name__: pace for pace in (in_turn, at_once, message_by_message)}


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("name", SAME)
def test_a_dialogue(proxies: dict[int, ProxyThread], server: Wire, name: str, pace: str, size: int) -> None:
    with Wire(dsn_of(proxies[size])) as client:
        PACES[pace](client, server, script_of(name))


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("name", [name for name in SAME if not names_statements(script_of(name))])
def test_without_the_cache(proxies: dict[int, ProxyThread], server: Wire, name: str, pace: str) -> None:
    with Wire(dsn_of(proxies[0])) as client:
        PACES[pace](client, server, script_of(name))


@pytest.mark.xfail(raises=Mismatch, strict=True)
@pytest.mark.parametrize("name", OPEN)
def test_what_a_client_can_tell(proxies: dict[int, ProxyThread], server: Wire, name: str) -> None:
    """For the reason given in `OPEN`."""
    for size in (1, 3):
        with Wire(dsn_of(proxies[size])) as client:
            for pace in PACES.values():
                pace(client, server, script_of(name))


# -- pieces ------------------------------------------------------------------------------------------------------------


def in_pieces(proxy: ProxyThread, client: Wire, pieces: Iterable[bytes]) -> None:
    """Send so that the proxy receives each piece by itself."""
    for piece in pieces:
        client.send(piece)
        for _ in range(2):  # what is readable before the first call has been read before the second
            proxy.call_sync(int)


SMALL: Final = [name for name in SAME if len(b"".join(DIALOGUES[name])) < 10_000]


@pytest.mark.parametrize("name", SMALL)
def test_byte_by_byte(proxy: ProxyThread, client: Wire, server: Wire, name: str) -> None:
    script = script_of(name)
    data = b"".join(script.requests)
    in_pieces(proxy, client, (bytes([byte]) for byte in data))
    for number, wanted in enumerate(answers_of(server, [script])[0]):
        check(client, script, number, wanted)


@pytest.mark.parametrize(
    "name", ["copy in as libpq does", "copy in by name", "parts in one request", "deallocate in one batch"]
)
def test_in_two_pieces(proxy: ProxyThread, client: Wire, server: Wire, name: str) -> None:
    """Cut at every byte."""
    script = script_of(name)
    data = b"".join(script.requests)
    [answers] = answers_of(server, [script])
    for cut in range(1, len(data)):
        in_pieces(proxy, client, (data[:cut], data[cut:]))
        for number, wanted in enumerate(answers):
            check(client, script, number, wanted)


TERMINATED: Final = [
    *("copy in as libpq does", "copy in by name", "copy out by name", "a portal in parts", "by names"),
    *("several requests at once", "deallocate in one batch", "flush and flush", "copy in that cannot begin"),
]


@pytest.mark.parametrize("names", [TERMINATED], ids=["all"])
def test_terminate_at_each_place(cluster: EmbeddedCluster, server: Wire, names: list[str]) -> None:
    """What was asked for before is answered, then the connection ends, and the next client finds nothing of it.

    What follows the last Sync, Query or Flush need not be answered: a server that has not sent it yet forgets it, and
    the proxy does not even begin before it knows that somebody will wait. What the server says to a Terminate among
    copy data is for nobody.
    """
    [others] = answers_of(server, [OTHER])
    with turning_proxy(cluster, 3) as proxy, Wire(dsn_of(proxy)) as client:
        for name in names:
            messages = [message for request in script_of(name).requests for message in messages_of(request)]
            server.send(b"".join(messages))
            answers = Dialogue(server.message).answers(messages)
            full = [answer for found in answers for answer in found]
            for count in range(len(messages)):
                with Wire(dsn_of(proxy)) as leaving:
                    leaving.send(b"".join(messages[:count]) + encode.TERMINATE)
                    got = leaving.rest()
                least = asked_for(messages[:count], answers)
                assert got[:least] == full[:least], messages[:count]
                run_in_turn([client], [OTHER], [others])

"""Scripts for a server alone and for clients of a proxy, and what becomes of them.

A script is a list of requests, each sent when the one before it has been answered, or all at once. What the server
answers to a script depends on nothing else: scripts clean up after themselves.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import attrs

from .proxy import ProxyThread, proxy_config
from .wire import Dialogue, messages_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgcat_trio.embedded import EmbeddedCluster

    from .wire import Wire

_PIPELINE: Final = 12  # scripts in one write
BACKENDS: Final = 2


def turning_proxy(cluster: EmbeddedCluster, size: int, backends: int = BACKENDS, pool: str = "") -> ProxyThread:
    """A proxy whose backends take turns, and prepare so many statements each. ``pool`` are more lines for its pool."""
    return ProxyThread(
        proxy_config(
            cluster,
            pool_size=backends,
            auth_type="trust",
            general="server_round_robin = true",
            pool=f"prepared_statements_cache_size = {size}\n{pool}",
        )
    )


def dsn_of(proxy: ProxyThread) -> str:
    """For `Wire`."""
    return f"{proxy.dsn()}?sslmode=disable"


@attrs.frozen
class Script:
    name: str
    requests: tuple[bytes, ...]


@attrs.frozen
class Mismatch(Exception):
    """A client saw something else than the server alone would have sent it."""

    script: Script
    request: int
    wanted: list[bytes]
    got: list[bytes]

    def __str__(self) -> str:
        lines = [f"{self.script.name}, request {self.request}:"]
        lines += [f"  sent   {message!r}" for message in messages_of(self.script.requests[self.request])]
        lines += [f"  wanted {message!r}" for message in self.wanted]
        lines += [f"  got    {message!r}" for message in self.got]
        return "\n".join(lines)


def answers_one_by_one(server: Wire, scripts: Sequence[Script]) -> Iterator[list[list[bytes]]]:
    """What the server alone answers to each request of each script."""
    dialogue = Dialogue(server.message)
    for at in range(0, len(scripts), _PIPELINE):
        part = scripts[at : at + _PIPELINE]
        server.send(b"".join(request for script in part for request in script.requests))
        for script in part:
            answers = [dialogue.answers(messages_of(request)) for request in script.requests]
            yield [[*itertools.chain.from_iterable(answer)] for answer in answers]


def answers_of(server: Wire, scripts: Sequence[Script]) -> list[list[list[bytes]]]:
    return list(answers_one_by_one(server, scripts))


def run_in_turn(clients: Sequence[Wire], scripts: Sequence[Script], answers: Sequence[list[list[bytes]]]) -> None:
    """Each client runs a script of its own, request by request, all at the same time. Raises `Mismatch`."""
    for at in range(0, len(scripts), len(clients)):
        group = list(zip(clients, scripts[at : at + len(clients)], answers[at : at + len(clients)], strict=False))
        if at // len(clients) % 2:
            group.reverse()
        for number in range(max(len(script.requests) for _, script, _ in group)):
            under_way = [each for each in group if number < len(each[1].requests)]
            for client, script, _ in under_way:
                client.send(script.requests[number])
            for client, script, wanted in under_way:
                check(client, script, number, wanted[number])


def run_at_once(clients: Sequence[Wire], scripts: Sequence[Script], answers: Sequence[list[list[bytes]]]) -> None:
    """Each client sends scripts of its own, a number of them in one write. Raises `Mismatch`."""
    step = _PIPELINE * len(clients)
    for at in range(0, len(scripts), step):
        parts = [slice(first, first + _PIPELINE) for first in range(at, at + step, _PIPELINE)]
        for client, part in zip(clients, parts, strict=True):
            client.send(b"".join(request for script in scripts[part] for request in script.requests))
        for client, part in zip(clients, parts, strict=True):
            for script, wanted in zip(scripts[part], answers[part], strict=True):
                for number, answer in enumerate(wanted):
                    check(client, script, number, answer)


def check(client: Wire, script: Script, number: int, wanted: list[bytes]) -> None:
    """Raises `Mismatch` unless these messages arrive."""
    got = client.answer_like(wanted)
    if not same(got, wanted):
        raise Mismatch(script, number, wanted, got)


def same(got: list[bytes], wanted: list[bytes]) -> bool:
    return got == wanted or [*map(without_place, got)] == [*map(without_place, wanted)]


def without_place(message: bytes) -> bytes:
    """A refusal in a failed transaction, without the function of PostgreSQL that says it.

    In a failed transaction nothing can be prepared. So where the server alone refuses to bind what it has, in the same
    words it refuses to parse, once more, what another server has.
    """
    if message[:1] != b"E" or b"\0C25P02\0" not in message:
        return message
    return b"\0".join(field for field in message[5:].split(b"\0") if field[:1] not in b"FLR")

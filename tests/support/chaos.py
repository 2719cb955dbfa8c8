"""The chaos suite's ground: a workload over the proxy, faults, and the reckoning at the end.

async with chaos_load(proxy, clients=100) as load:
    await load.steady()
    load.mark("killed")
    ...
await load.check_rows(cluster.primary, cluster.database)
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

import attrs
import trio

from .chaos_client import HANGS, ChaosClient, Door, Event
from .proxy import proxy_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from pgcat_trio.embedded import EmbeddedCluster, EmbeddedServer
    from pgcat_trio.pool.server import Server

    from .proxy import RunningProxy

STEADY_S: Final = 0.5
LAST_TURN_S: Final = 70.0
"""How long clients get for their last answers: longer than their patience."""


def chaos_config(
    cluster: EmbeddedCluster, ports: Sequence[int] = (), *, pool_size: int = 20, general: str = "", pool: str = ""
) -> str:
    """A proxy that splits reads off and finds out roles; ``ports``: of other ways to the servers than their own."""
    text = proxy_config(cluster, splitting=True, pool_size=pool_size, auth_type="trust", general=general, pool=pool)
    servers = [["127.0.0.1", port, "auto"] for port in ports or [server.port for server in cluster.servers]]
    return re.sub("^servers = .*$", f"servers = {json.dumps(servers)}", text, flags=re.MULTILINE)


@attrs.define
class Watch:
    """What the proxy has found out about a server, and when: from the moment that this is made."""

    server: Server
    changes: list[tuple[float, str]] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.server.watchers[self._changed] = None

    def _changed(self) -> None:
        self.changes.append((trio.current_time(), str(self.server.state.status)))

    async def seen(self, *statuses: str, since: float, within_s: float) -> float:
        """When the server was found to be so for the first time since then. Raises `trio.TooSlowError`."""
        with trio.fail_after(max(0.0, since + within_s - trio.current_time())):
            while True:
                for at, status in self.changes:
                    if at >= since and status in statuses:
                        return at
                await trio.sleep(0.005)


@attrs.define
class Load:
    """Clients at work. ``marks`` are the moments that a scenario has named, by Trio's clock."""

    clients: list[ChaosClient]
    events: list[Event]
    marks: dict[str, float] = attrs.field(factory=dict)

    def mark(self, name: str) -> float:
        """Something has just happened."""
        self.marks[name] = trio.current_time()
        return self.marks[name]

    async def steady(self, seconds: float = STEADY_S) -> None:
        """Wait until every client has been served, and ``seconds`` more."""
        with trio.fail_after(30):
            while len({event.client for event in self.events if not event.error}) < len(self.clients):  # noqa: ASYNC110
                await trio.sleep(0.02)
        await trio.sleep(seconds)

    async def served_since(
        self, moment: float, kinds: Iterable[str] = ("read", "write"), within_s: float = 30
    ) -> float:
        """Wait until requests of these kinds that began later have been served; returns when the first of the last was.

        Raises `trio.TooSlowError`.
        """
        missing = set(kinds)
        with trio.fail_after(within_s):
            while True:
                for event in self.since(moment):
                    if not event.error:
                        missing.discard(event.kind)
                    if not missing:
                        return event.ended
                await trio.sleep(0.01)

    # -- what happened ---------------------------------------------------------------------------------------------

    def since(self, began: float) -> list[Event]:
        """What clients began after that moment and have finished, in the order of its end."""
        return [event for event in self.events if event.began >= began]

    def errors(self, began: float = 0.0, *kinds: str) -> list[Event]:
        """What went wrong of what was begun after that moment."""
        return [event for event in self.since(began) if event.error and (not kinds or event.kind in kinds)]

    def longest_s(self, kind: str) -> float:
        """The longest that something of a kind took that went well."""
        return max(
            (event.ended - event.began for event in self.events if event.kind == kind and not event.error), default=0
        )

    def report(self, title: str, **figures: float) -> str:
        """What happened, in a few lines; also printed."""
        served = Counter(event.kind for event in self.events if not event.error)
        errors = Counter((event.kind, event.error) for event in self.events if event.error)
        longest = {kind: round(self.longest_s(kind), 3) for kind in ("read", "write", "transaction")}
        lines = [f"chaos: {title}: served {dict(served)}, longest {longest}"]
        lines += [f"  {name}: {value:.3f}" for name, value in figures.items()]
        for (kind, error), count in sorted(errors.items()):
            first = next(event for event in self.events if (event.kind, event.error) == (kind, error))
            lines.append(f"  {count} x {kind} {error}, for example: {first.message}")
        text = "\n".join(lines)
        print(text)
        return text

    # -- the reckoning ---------------------------------------------------------------------------------------------

    async def check_rows(self, primary: EmbeddedServer, database: str) -> None:
        """Every acknowledged row is on the primary, once; none is there that cannot be; nobody has hung."""
        assert not [event for event in self.events if event.error == HANGS], "somebody got no answer at all"
        rows = defaultdict[int, list[int]](list)
        for line in (await primary.psql("select client, serial from chaos_row", database)).splitlines():
            number, serial = map(int, line.split("|"))
            rows[number].append(serial)
        acknowledged = doubtful = 0
        for client in self.clients:
            found = set(rows[client.number])
            name = f"client {client.number}"
            assert len(found) == len(rows[client.number]), f"{name}: rows were written twice"
            assert client.acknowledged <= found, f"{name}: acknowledged and lost: {client.acknowledged - found}"
            assert not found & client.lost, f"{name}: there, though it cannot be: {found & client.lost}"
            unknown = found - client.acknowledged - client.doubtful
            assert not unknown, f"{name}: nobody has written {unknown}"
            acknowledged += len(client.acknowledged)
            doubtful += len(client.doubtful)
        print(f"  rows: {acknowledged} acknowledged, all there; {doubtful} in doubt")
        assert acknowledged


@contextlib.asynccontextmanager
async def chaos_load(
    proxy: RunningProxy | Door, clients: int, *, pause_s: float = 0.1, leaves: float = 0.0
) -> AsyncIterator[Load]:
    """So many clients at work while the body runs; each gives its last answer before this is left."""
    events: list[Event] = []
    if not isinstance(proxy, Door):
        proxy = Door(proxy.host, proxy.port, next(iter(proxy.supervisor.config.pools)))
    load = Load([ChaosClient(n, proxy, events, pause_s=pause_s, leaves=leaves) for n in range(clients)], events)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        for client in load.clients:
            nursery.start_soon(client.live, stop)
        yield load
        stop.set()
        nursery.cancel_scope.deadline = trio.current_time() + LAST_TURN_S

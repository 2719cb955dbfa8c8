"""Drivers cannot tell: the scenarios of each program end as they do at the server itself, whatever the way.

The Python drivers are a part of the ordinary tests. ``PGCAT_TRIO_DRIVERS`` takes the names of others, separated by
commas, or ``all``; ``nox -s drivers`` does that.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest
from programs import PROGRAMS, PYTHON, SCENARIOS, Program
from running import HERE, Run, Unavailable, Workshop, run
from structlog.testing import capture_logs
from support.proxy import APP_PASSWORD, APP_USER, ProxyThread, proxy_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conftest import ClusterThread

    from pgcat_trio.embedded import EmbeddedCluster

WAYS = {
    # Fewer connections to the server than a scenario has clients.
    "transaction": {"pool_mode": "transaction", "pool_size": 2, "pool": "prepared_statements_cache_size = 100"},
    "session": {"pool_mode": "session", "pool_size": 20},
}
"""The ways through the proxy, by name, and how it is configured for them."""

RULED_OUT: Mapping[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("transaction", "connection_lost"): (
        "a client outlives its connection to the server, and is told so by an ERROR",
        tuple(program.name for program in PROGRAMS),
    ),
}
"""What is otherwise along a way, by its nature or on purpose: (way, scenario), the reason, and for which programs."""

CHOSEN = os.environ.get("PGCAT_TRIO_DRIVERS", "")


def chosen_programs() -> tuple[Program, ...]:
    """The Python programs if nothing else is asked for."""
    if CHOSEN in ("", "all"):
        return PROGRAMS if CHOSEN else PYTHON
    by_name = {program.name: program for program in PROGRAMS}
    return tuple(by_name[name] for name in CHOSEN.split(","))


def cases() -> Iterator[object]:
    for program in chosen_programs():
        for way in WAYS:
            for scenario in program.scenarios:
                if program.name not in RULED_OUT.get((way, scenario), ("", ()))[1]:
                    yield pytest.param(program, way, scenario, id=f"{program.name}-{way}-{scenario}")


@attrs.define
class Runs:
    """The runs of this session, each done when it is first asked for."""

    cluster: EmbeddedCluster
    proxies: Mapping[str, ProxyThread]
    workshop: Workshop = attrs.field(factory=Workshop)
    _done: dict[tuple[str, str], Run] = attrs.field(factory=dict)

    def of(self, program: Program, way: str) -> Run:
        """The run of a program along a way, or ``directly``. Skips the test where the program cannot run here."""
        try:
            self.workshop.prepare(program)
        except Unavailable as reason:
            pytest.skip(str(reason))
        if (program.name, way) not in self._done:
            # What a client left open must not stop the next one for ever.
            with psycopg.connect(self.cluster.dsn(), autocommit=True, options="-c lock_timeout=10s") as connection:
                connection.execute((HERE / "schema.sql").read_text())
            with capture_logs() as events:
                done = run(program, self._environ(way))
            bugs = [f"the proxy logged {event}" for event in events if event["event"].endswith(".bug")]
            self._done[program.name, way] = attrs.evolve(done, fault="\n".join(filter(None, [done.fault, *bugs])))
        return self._done[program.name, way]

    def _environ(self, way: str) -> dict[str, str]:
        if way == "directly":
            server = self.cluster.primary
            host, port, user, password = server.host, server.port, self.cluster.superuser, self.cluster.password
        else:
            host, port, user, password = self.proxies[way].host, self.proxies[way].port, APP_USER, APP_PASSWORD
        login = {"PGHOST": host, "PGPORT": str(port), "PGUSER": user, "PGPASSWORD": password}
        return {**login, "PGDATABASE": self.cluster.database, "PGSSLMODE": "disable"}


@pytest.fixture(scope="module")
def runs(cluster_thread: ClusterThread) -> Iterator[Runs]:
    cluster = cluster_thread.cluster
    transaction, session = (ProxyThread(proxy_config(cluster, **WAYS[way])) for way in ("transaction", "session"))
    with transaction, session:
        yield Runs(cluster, {"transaction": transaction, "session": session})


@pytest.mark.parametrize("way", ["directly", *WAYS])
@pytest.mark.parametrize("program", [pytest.param(each, id=each.name) for each in chosen_programs()])
def test_came_to_its_end(runs: Runs, program: Program, way: str) -> None:
    done = runs.of(program, way)
    assert not done.fault, f"{program.name} {way}: {done.fault}"
    assert sorted(done.outcomes) == sorted(program.scenarios)


@pytest.mark.parametrize(("program", "way", "scenario"), list(cases()))
def test_same(runs: Runs, program: Program, way: str, scenario: str) -> None:
    direct, proxied = runs.of(program, "directly"), runs.of(program, way)
    for name, done in (("directly", direct), (way, proxied)):
        assert scenario in done.outcomes, f"{name}: no outcome. {done.fault}"
    before, after = as_lines(direct.outcomes[scenario]), as_lines(proxied.outcomes[scenario])
    if before != after:
        pytest.fail("\n".join(difflib.unified_diff(before, after, "directly", way, lineterm="")), pytrace=False)


def as_lines(outcome: Any) -> list[str]:
    return json.dumps(outcome, indent=1, sort_keys=True, ensure_ascii=False).splitlines()


def test_the_table_of_programs() -> None:
    assert len({program.name for program in PROGRAMS}) == len(PROGRAMS)
    assert [name for program in PROGRAMS for name in program.without if name not in SCENARIOS] == []
    known = {scenario for program in PROGRAMS for scenario in program.scenarios}
    assert [key for key in RULED_OUT if key[0] not in WAYS or key[1] not in known] == []


def test_the_page_names_all_programs_and_no_other() -> None:
    page = (HERE.parents[1] / "docs" / "sessions.md").read_text()
    _, _, section = page.partition("\n## Drivers\n")
    rows = [line.split("|")[2] for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    named = [name for row in rows[2:] for name in re.findall("`([^`]+)`", row)]
    assert sorted(named) == sorted(program.name for program in PROGRAMS)

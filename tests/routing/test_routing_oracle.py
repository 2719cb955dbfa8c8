"""A primary and a hot standby as judges of what is a read: no opinions.

Thousands of statements are run once on each. What the standby refuses must never be taken for a read; nearly all of
what it answers as the primary does must be. The misses stand in pytest's summary, by reason; with ``ORACLE_REPORT=1``
in the environment they are written to ``oracle_misses.md``, too.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import psycopg
import pytest
from oracle_corpus import SHADOWED, Case, cases
from oracle_functions import function_cases
from oracle_judge import Verdict, judge
from oracle_schema import SCHEMA, SHADOWS
from routing_statements import SCHEMA as FIRST_SCHEMA

from pgcat_trio.routing.classify import TransactionControl, classify
from pgcat_trio.routing.functions import READ_ONLY_FUNCTIONS
from pgcat_trio.routing.learning import CATALOG_SQL, learned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgcat_trio.embedded import EmbeddedCluster
    from pgcat_trio.routing.catalog import Catalog

pytestmark = pytest.mark.slow

DATABASE: Final = "oracle"
SETTINGS: Final = "SET search_path TO public; SET statement_timeout TO '5s'; SET client_min_messages TO error"
SHARE_OF_READS: Final = 0.97
FEWEST_STATEMENTS: Final = 1500


@attrs.frozen
class Bench:
    """The two judges, and what the proxy would know about their database."""

    primary: psycopg.Connection
    standby: psycopg.Connection
    catalog: Catalog

    def reads(self, case: Case) -> tuple[bool, str]:
        """Whether the proxy takes a case for a read, and why."""
        traits = classify(case.sql.encode(), catalog=self.catalog)
        return traits.reads or traits.transaction_control is TransactionControl.BEGIN_READ_ONLY, traits.why


@pytest.fixture(scope="module")
def bench(cluster_thread: object) -> Iterator[Bench]:
    cluster: EmbeddedCluster = cluster_thread.cluster  # type: ignore[attr-defined]
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(cluster.dsn(database=DATABASE), autocommit=True) as primary:
        primary.execute(FIRST_SCHEMA)
        primary.execute(SCHEMA.encode())
        catalog = learned(_all_rows(primary, CATALOG_SQL))
        primary.execute(SETTINGS)
        _wait_for_replay(primary, cluster.dsn(cluster.replicas[0]))
        with psycopg.connect(cluster.dsn(cluster.replicas[0], database=DATABASE), autocommit=True) as standby:
            standby.execute(SETTINGS)
            yield Bench(primary, standby, catalog)
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")
        connection.execute("DROP ROLE oracle_reader")


def _all_rows(connection: psycopg.Connection, sql: str) -> list[tuple[str | None, ...]]:
    result = connection.pgconn.exec_(sql.encode())
    values = [[result.get_value(row, column) for column in range(result.nfields)] for row in range(result.ntuples)]
    return [tuple(None if value is None else value.decode() for value in row) for row in values]


def _wait_for_replay(primary: psycopg.Connection, replica: str) -> None:
    target = primary.execute("SELECT pg_current_wal_lsn()").fetchone()
    with psycopg.connect(replica, autocommit=True) as connection:
        while connection.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", target).fetchone() != (True,):
            connection.execute("SELECT pg_sleep(0.05)")


def test_the_judges_agree(bench: Bench, report: list[str]) -> None:
    verdicts = Counter[tuple[Verdict, bool]]()
    misses: defaultdict[str, list[str]] = defaultdict(list)
    mistakes = []
    corpus = {*cases(), *function_cases(bench.primary)}
    for case in sorted(corpus, key=lambda each: (each.sql, each.before)):
        verdict = judge(case, bench.primary, bench.standby)
        read, why = bench.reads(case)
        verdicts[verdict, read] += 1
        if verdict is Verdict.REFUSED and read:
            mistakes.append(case)
        if verdict is Verdict.EQUAL and not read:
            misses[why].append(case.sql)
    equal = verdicts[Verdict.EQUAL, True] + verdicts[Verdict.EQUAL, False]
    report += _table(verdicts, misses, len({case.sql for case in corpus}))
    if os.environ.get("ORACLE_REPORT"):
        lines = ["# What the oracle's standby answers as its primary does, and yet counts as no read", "", *report]
        Path(__file__).with_name("oracle_misses.md").write_text("\n".join(lines) + "\n")
    assert not mistakes
    assert verdicts[Verdict.REFUSED, False] > 500
    assert verdicts[Verdict.EQUAL, True] >= SHARE_OF_READS * equal
    assert (
        sum(verdicts.values()) - verdicts[Verdict.INVALID, True] - verdicts[Verdict.INVALID, False] > FEWEST_STATEMENTS
    )


def test_functions_with_postgresqls_own_names_are_not_taken_for_these(bench: Bench, cluster: EmbeddedCluster) -> None:
    settings = "RESET search_path; SET search_path TO public, shadows"
    bench.primary.execute(f"CREATE SCHEMA shadows; SET search_path TO shadows, public; {SHADOWS}".encode())
    try:
        shadowed = attrs.evolve(bench, catalog=learned(_all_rows(bench.primary, CATALOG_SQL)))
        _wait_for_replay(bench.primary, cluster.dsn(cluster.replicas[0]))
        for connection in (bench.primary, bench.standby):
            connection.execute(settings)
        for sql in SHADOWED.strip().splitlines():
            assert judge(Case(sql), bench.primary, bench.standby) is Verdict.REFUSED, sql
            assert not shadowed.reads(Case(sql))[0], sql
    finally:
        bench.primary.execute("DROP SCHEMA shadows CASCADE; SET search_path TO public")
        bench.standby.execute("SET search_path TO public")


def _table(verdicts: Counter[tuple[Verdict, bool]], misses: dict[str, list[str]], statements: int) -> list[str]:
    lines = [f"{statements} distinct statements", "", "| The standby | taken for reads | not |", "| --- | --- | --- |"]
    lines += [f"| {each.value} | {verdicts[each, True]} | {verdicts[each, False]} |" for each in Verdict]
    lines += ["", "| Misses | Reason | For example |", "| --- | --- | --- |"]
    for why, sqls in sorted(misses.items(), key=lambda item: (-len(item[1]), item[0])):
        lines.append(f"| {len(sqls)} | {why} | `{sqls[0][:100].replace('|', chr(92) + '|')}` |")
    return lines


def test_no_function_called_read_only_is_known_to_write(bench: Bench) -> None:
    """Volatile functions of pg_catalog are on the list only if they are on this one: each was looked at."""
    sql = "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'v'"
    assert READ_ONLY_FUNCTIONS & {name for (name,) in bench.primary.execute(sql)} <= HARMLESS_THOUGH_VOLATILE


VOLATILE = """
    array_sample array_shuffle clock_timestamp current_query gen_random_uuid pg_database_size pg_get_wait_events
    pg_indexes_size pg_is_in_recovery pg_is_wal_replay_paused pg_last_wal_receive_lsn pg_last_wal_replay_lsn
    pg_last_xact_replay_timestamp pg_partition_ancestors pg_partition_tree pg_relation_size pg_sleep pg_sleep_for
    pg_jit_available pg_sleep_until pg_table_size pg_tablespace_size pg_total_relation_size pg_xact_commit_timestamp
    pg_xact_commit_timestamp_origin pg_xact_status random random_normal timeofday txid_status uuidv4 uuidv7
"""
HARMLESS_THOUGH_VOLATILE = set(VOLATILE.split())

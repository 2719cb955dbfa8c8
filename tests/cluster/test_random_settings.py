"""Random statements about settings, by clients that share backends: each finds what it would at the server alone."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.client import bind, execute, parse, row_values
from support.proxy import ProxyThread, proxy_config
from support.wire import READY, Wire

from pgcat_trio.wire import encode, messages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgcat_trio.embedded import EmbeddedCluster

CLIENTS: Final = 4
BACKENDS: Final = 2

CHANGES: Final = (
    "set statement_timeout = 100000",
    "set session statement_timeout to '5min'",
    "set work_mem = '8MB'",
    "SET WORK_MEM TO '9MB'",
    'set "Work_Mem" = 7777',
    'set search_path to a, "B c", public',
    "set search_path to 'a, b'",
    "set search_path = ''",
    "set search_path to '$user', 'it''s'",
    "set schema 'elsewhere'",
    "set my.thing = 'it''s \\ a \"thing\"'",
    "set My.Thing to 'other'",
    "set my.thing to E'\\\\\\'two\\nlines'",
    "set my.thing to 'grün'",
    "set temp_tablespaces to ''",
    "set datestyle to german",
    "set datestyle to 'sql, dmy'",
    "set intervalstyle to iso_8601",
    "set time zone 'Asia/Tokyo'",
    "set timezone to 'UTC'",
    "set time zone interval '-08:00' hour to minute",
    "set time zone -3",
    "set names 'LATIN1'",
    "set client_encoding to 'UTF8'",
    "set application_name to 'it''s me'",
    "set role low_rights",
    "set role none",
    "set session authorization low_rights",
    "set session characteristics as transaction isolation level serializable, read only",
    "set session characteristics as transaction read write",
    "set standard_conforming_strings to off",
    "set backslash_quote to off",
    "set xml option document",
    "select set_config('work_mem', '10MB', false)",
    "select set_config('my.thing', 'by function', false), set_config('datestyle', 'german', false)",
    "select pg_catalog.set_config('work_' || 'mem', '11MB', false)",
    "select set_config('work_mem', '12MB', true)",
    "set local work_mem = '13MB'",
    "set local my.thing = 'local'",
    "do $$ begin perform set_config('work_mem', '14MB', false); end $$",
    "do $$ begin set my.thing = 'in DO'; end $$",
    "call changes_settings('15MB')",
)
RESETS: Final = (
    "reset statement_timeout",
    "reset work_mem",
    "set work_mem to default",
    "set session search_path = default",
    "reset search_path",
    "reset my.thing",
    "set my.thing to default",
    "reset datestyle",
    "reset timezone",
    "reset time zone",
    "set time zone default",
    "set time zone local",
    "reset client_encoding",
    "set names default",
    "reset application_name",
    "reset role",
    "reset session authorization",
    "set session authorization default",
    "reset default_transaction_isolation",
    "reset all",
    "discard all",
)
CONTROL: Final = ("begin", "commit", "rollback", "savepoint s", "rollback to s", "release s", "select 1/0", "select 1")
FAILING: Final = ("set nonsense = 1", "set statement_timeout = 'soon'", "set role nobody_at_all", "reset nonsense")
SEVERAL: Final = (
    "set work_mem = '20MB'; set statement_timeout = 200000",
    "set work_mem = '21MB'; select 1/0",
    "begin; set work_mem = '22MB'; rollback",
    "begin; set work_mem = '23MB'; commit",
    "begin; reset work_mem; rollback",
    "begin; reset all; rollback",
    "begin; reset timezone; reset statement_timeout; rollback; select 1",
    "reset work_mem; set work_mem = '24MB'",
    "set timezone to 'UTC'; reset timezone",
    "reset timezone; set timezone to 'Asia/Tokyo'",
    "reset all; set timezone to 'Europe/Paris'; set my.thing to 'again'",
    "set work_mem = '25MB'; begin",
    "commit; set work_mem = '26MB'",
    "begin; reset work_mem; savepoint s; set work_mem = '27MB'; rollback to s; commit",
)

SHOWN: Final = (
    *("statement_timeout", "work_mem", "search_path", "my.thing", "my.begin", "datestyle", "intervalstyle", "timezone"),
    *("client_encoding", "application_name", "default_transaction_isolation", "default_transaction_read_only"),
    *("standard_conforming_strings", "backslash_quote", "role", "temp_tablespaces", "xmloption", "extra_float_digits"),
)
PROBE: Final = "select session_user, current_user, " + ", ".join(
    f"coalesce(current_setting('{name}', true), '')" for name in SHOWN
)

OPTIONS: Final = (
    "",
    "-c statement_timeout=54321 -c work_mem=6MB -c application_name=mine",
    "-c TimeZone=Europe/Berlin -c search_path=x,public -c my.begin=it's -c my.thing=first",
    "-c DateStyle=SQL,DMY -c client_encoding=LATIN1 -c default_transaction_isolation=repeatable\\ read",
    "-c role=low_rights -c work_mem=5MB -c extra_float_digits=2",
)

SETUP: Final = """
drop procedure if exists changes_settings;
do $$ begin create role low_rights; exception when duplicate_object then null; end $$;
create procedure changes_settings(value text) language plpgsql as
    $$ begin perform set_config('work_mem', value, false); end $$;
"""

statements = st.one_of(*map(st.sampled_from, (CHANGES, RESETS, CONTROL, FAILING, SEVERAL, (PROBE,))))
steps = st.tuples(st.integers(0, CLIENTS - 1), statements, st.booleans())


def request(sql: str, *, extended: bool) -> bytes:
    if extended and ";" not in sql:
        return parse(sql) + bind() + execute() + encode.SYNC
    return encode.query(sql)


class Side:
    """One client's connection, there or here."""

    def __init__(self, dsn: str, options: str) -> None:
        self.wire = Wire(f"{dsn}?sslmode=disable&options={quote(options)}")
        self.told: dict[str, str] = {}

    def ask(self, request: bytes) -> list[object]:
        """The answer, and all that ParameterStatus has said since the login.

        Without where in its source the server complains, and without what has been said of a setting in between.
        """
        self.wire.send(request)
        found: list[object] = []
        while message := self.wire.message():
            if message[:1] == b"S":
                name, value = messages.parameter_status(message[5:])
                self.told[name] = value
            elif message[:1] == b"E":
                found.append(b"\0".join(field for field in message[5:].split(b"\0") if field[:1] not in b"FLR"))
            elif message[:1] == b"D":
                found += row_values(message[5:])
            else:
                found.append(message)
            if message[:1] == READY:
                break
        return found


def compare(proxy: ProxyThread, cluster: EmbeddedCluster, options: Sequence[str], script: Sequence[Any]) -> None:
    """Each client does its part of the script, here and there; in the end everything is looked at."""
    done: list[str] = []
    with contextlib.ExitStack() as stack:
        pairs = [[Side(dsn, each) for dsn in (proxy.dsn(), cluster.dsn())] for each in options]
        for side in itertools.chain.from_iterable(pairs):
            stack.enter_context(side.wire)
        ends = [(number, sql, False) for number in range(len(pairs)) for sql in ("rollback", PROBE)]
        for number, sql, extended in [*script, *ends]:
            done.append(f"{number}{'x' if extended else ''}: {sql}")
            through, direct = pairs[number]
            wanted, got = (side.ask(request(sql, extended=extended)) for side in (direct, through))
            assert got == wanted, "\n".join([*done, f"wanted {wanted}", f"got    {got}"])
            for name in {*direct.told, *through.told}:
                told = [side.told.get(name, side.wire.parameter(name)) for side in (direct, through)]
                assert told[0] == told[1], "\n".join([*done, f"{name}: wanted {told[0]}, told {told[1]}"])


@pytest.fixture(scope="module")
def proxy(cluster_thread: Any) -> Iterator[ProxyThread]:
    cluster_thread.call(cluster_thread.cluster.psql, SETUP)
    config = proxy_config(
        cluster_thread.cluster, pool_size=BACKENDS + CLIENTS, auth_type="trust", general="server_round_robin = true"
    )
    with ProxyThread(config) as proxy:
        yield proxy


@settings(
    max_examples=int(os.environ.get("PGCAT_TRIO_EXAMPLES", "40")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    options=st.lists(st.sampled_from(OPTIONS), min_size=CLIENTS, max_size=CLIENTS),
    script=st.lists(steps, min_size=1, max_size=40),
)
def test_random_statements(
    proxy: ProxyThread, cluster: EmbeddedCluster, options: list[str], script: list[tuple[int, str, bool]]
) -> None:
    compare(proxy, cluster, options, script)

from __future__ import annotations

import pytest
from routing_statements import PRIMARY, READS

from pgcat_trio.config.model import Role
from pgcat_trio.routing.explain import MAX_SHOWN, Candidate, explain, shown
from pgcat_trio.routing.route import Router, Tally

FIRST = Candidate("10.0.0.2:5432", Role.REPLICA, "up")
SECOND = Candidate("10.0.0.3:5432", Role.REPLICA, "banned", usable=False)
THIRD = Candidate("10.0.0.4:5432", Role.REPLICA)


def router(*, splitting: bool = True) -> Router:
    return Router(Role.ANY, splitting, splitting, primary_reads=False, max_length=None)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (b"SELECT Name FROM item WHERE id = 42", "select name from item where id = ?"),
        (b"select a.b, c::int, x[1] from f(1.5e3, .5, 0xFF)", "select a.b, c::int, x[?] from f(?, ?, ?)"),
        (b"values ('a', E'b\\'c', U&'d', $$e$$, $f$ $$ $f$, B'1', $1)", "values (?, ?, ?, ?, ?, ?, $1)"),
        (b'select "Quoted Name" -- secret\n/* secret */; commit', 'select "Quoted Name"; commit'),
        (b"", ""),
        # What is not certain to be read rightly.
        (b"select 'it\\'s secret', 1", "select ..."),
        (b"select a from 'secret", "select a from ..."),
        (b"begin; select $$ secret", "begin ...; select ..."),
    ],
)
def test_no_literal_is_in_a_shown(sql: bytes, expected: str) -> None:
    assert shown(sql) == expected


@pytest.mark.parametrize("splitting", [False, True])
def test_what_is_remembered_is_shown_as_its_text_is(*, splitting: bool) -> None:
    for sql in (b"select 'a', $1, -7 from t2 where x=3", b"SELECT $1", b'select "a" , $1', b"set role 'secret$'"):
        ours = router(splitting=splitting)
        ours.route(sql)
        assert [shown(text, exact=exact) for text, exact, _ in ours.routes() if text is not None] == [shown(sql)]


def test_counts_outlive_decisions() -> None:
    ours = router()
    ours.route(b"select 1").tally.calls += 1
    ours.forget()
    assert ours.route(b"select 2").tally == Tally(calls=1, misses=2)


def test_a_fingerprint_is_not_long() -> None:
    assert len(shown(b"select a" + b", a" * 1000)) <= MAX_SHOWN + len("...")
    assert shown(b"select '" + b"secret" * 10_000 + b"'") == "select ..."


def test_all_that_is_known_is_said() -> None:
    said = dict(explain(router(), b"SELECT 7").rows(2, [FIRST, SECOND, THIRD], "by lot"))
    assert said == {
        "role": "replica",
        "reason": "a read-only query",
        "shard": "2",
        "candidate 1": "10.0.0.2:5432 (replica): up",
        "candidate 2": "10.0.0.4:5432 (replica)",
        "choice": "by lot",
        "passed over": "10.0.0.3:5432 (replica): banned",
        "without replicas": "the primary takes it",
        "kind": "select",
        "proven to read": "yes",
        "cache": "miss",
        "fingerprint": "select ?",
    }


def test_what_it_leaves_behind_and_does_to_a_transaction_is_said() -> None:
    said = dict(explain(router(), b"LISTEN news").rows(0, [FIRST], "by lot"))
    assert said["may leave behind"] == "listen"
    assert "choice" not in said
    assert dict(explain(router(), b"BEGIN READ ONLY").rows(0, [], ""))["transaction control"] == "begin read only"


@pytest.mark.parametrize("splitting", [False, True])
def test_an_explanation_is_the_route_and_leaves_no_trace(*, splitting: bool) -> None:
    ours = router(splitting=splitting)
    for sql in [*READS, *PRIMARY]:
        text = sql.encode()
        explanation = explain(ours, text)
        assert explanation.route == router(splitting=splitting).route(text), sql
        if splitting:
            assert not explanation.remembered
    assert (len(ours.cache), ours.cache.hits, ours.cache.misses) == (0, 0, 0)
    ours.route(b"select 1")
    hits = ours.cache.hits
    assert explain(ours, b"select 2").remembered
    assert ours.cache.hits == hits


def test_a_session_has_one_server_for_all_that_it_says() -> None:
    assert explain(router(), b"SELECT 1", pooled_by_session=True).route.role is Role.PRIMARY


def test_routes_made_of_one_are_counted_together() -> None:
    ours = router()
    route = ours.route(b"select 1")
    ours.in_doubt(route).tally.calls += 1
    ours.route_batch([b"select 2", b"select 3"]).tally.calls += 1
    assert (route.tally.calls, route.tally.misses) == (2, 1)
    assert [each.tally.calls for text, _, each in ours.routes() if text is not None] == [2]

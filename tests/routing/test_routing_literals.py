"""Texts that differ in their literals only share a decision; nothing else does."""

from __future__ import annotations

import pytest

from pgcat_trio.config.model import Role
from pgcat_trio.routing.effects import Effect
from pgcat_trio.routing.fingerprint import without_literals
from pgcat_trio.routing.route import Router


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"select * from t where id = 1", b"select * from t where id = 22.5"),
        (b"select 'a'", b"select 'a much longer text; drop table t'"),
        (b"select 'it''s'", b"select 'it''is'"),
        (b"select $1, 1", b"select $1, 7"),
    ],
)
def test_literals_do_not_count(one: bytes, other: bytes) -> None:
    assert without_literals(one) == without_literals(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"select * from t1", b"select * from t2"),
        (b"select a ? 'b'", b"select a 1 'b'"),
        (b"select $$a$$", b"select $$b$$"),
        (b"select E'a\\' || nextval(''s'')'", b"select E'a' || nextval('s')"),
        (b'select "1"', b'select "2"'),
        (b"select 1 -- 'a'", b"select 1 -- 'b'"),
        (b"select 1 /* 'a'", b"select 1 /* 'b'"),
    ],
)
def test_everything_else_does(one: bytes, other: bytes) -> None:
    assert without_literals(one) != without_literals(other)


def test_a_thousand_texts_take_one_decision() -> None:
    router = Router(Role.ANY, parser_enabled=True, splitting=True, primary_reads=False, max_length=None)
    routes = {router.route(b"select name from t where id = %d" % number) for number in range(1000)}
    assert [route.role for route in routes] == [Role.REPLICA]
    assert router.cache.misses == 1


def test_the_length_limit_still_holds_for_a_text_that_looks_like_a_shorter_one() -> None:
    router = Router(Role.ANY, parser_enabled=True, splitting=True, primary_reads=False, max_length=40)
    assert router.route(b"select 'a'").role is Role.REPLICA
    assert router.route(b"select '" + b"a" * 100 + b"'").role is Role.PRIMARY


def test_effects_hidden_in_a_literal_stay_hidden_and_others_do_not() -> None:
    router = Router(Role.ANY, parser_enabled=False, splitting=False, primary_reads=False, max_length=None)
    assert router.route(b"select 'set_config'").effects is Effect.NONE
    assert router.route(b"select set_config('a', 'b', false)").effects is Effect.SETTINGS
    assert router.route(b"select set_config('c', 'd', false)").effects is Effect.SETTINGS

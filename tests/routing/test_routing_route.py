from __future__ import annotations

import pytest
from routing_statements import EFFECTS, PRIMARY, READ_ONLY_TRANSACTIONS, READS

from pgcat_trio.config.model import Role
from pgcat_trio.routing.effects import Effect
from pgcat_trio.routing.route import Router


def router(
    *,
    default_role: Role = Role.ANY,
    parser_enabled: bool = True,
    splitting: bool = True,
    primary_reads: bool = False,
    max_length: int | None = None,
    search_path_reported: bool = False,
) -> Router:
    return Router(default_role, parser_enabled, splitting, primary_reads, max_length, search_path_reported)


@pytest.mark.parametrize(("primary_reads", "role"), [(False, Role.REPLICA), (True, Role.ANY)])
def test_reads_go_to_the_replicas_and_fall_back(primary_reads: bool, role: Role) -> None:
    ours = router(primary_reads=primary_reads)
    for sql in READS + READ_ONLY_TRANSACTIONS:
        route = ours.route(sql.encode())
        assert (route.role, route.fallback_to_primary) == (role, True), sql


def test_all_else_goes_to_the_primary() -> None:
    ours = router()
    for sql in PRIMARY:
        route = ours.route(sql.encode())
        assert (route.role, route.fallback_to_primary) == (Role.PRIMARY, False), sql


@pytest.mark.parametrize(("parser_enabled", "splitting"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("role", [Role.ANY, Role.PRIMARY, Role.REPLICA])
def test_without_splitting_the_default_role_takes_everything(parser_enabled: bool, splitting: bool, role: Role) -> None:
    ours = router(default_role=role, parser_enabled=parser_enabled, splitting=splitting)
    for sql in [*READS, *PRIMARY]:
        assert ours.route(sql.encode()).role is role
    assert ours.route_batch([]).role is role


@pytest.mark.parametrize("splitting", [False, True])
def test_effects_are_found_with_and_without_splitting(splitting: bool) -> None:
    ours = router(splitting=splitting)
    for sql, expected in EFFECTS:
        assert ours.route(sql.encode()).effects == expected, sql


def test_settings_of_the_pool_reach_the_decision() -> None:
    assert router(max_length=5).route(b"SELECT 1").role is Role.PRIMARY
    assert router().route(b"SET search_path TO a").effects == Effect.SETTINGS
    assert router(search_path_reported=True).route(b"SET search_path TO a").effects == Effect.NONE


@pytest.mark.parametrize(
    ("texts", "role"),
    [
        ([b"SELECT 1"], Role.REPLICA),
        ([b"SELECT 1", b"SELECT 2"], Role.REPLICA),
        ([b"BEGIN READ ONLY", b"SELECT 1"], Role.REPLICA),
        ([b"SELECT 1", b"DELETE FROM t"], Role.PRIMARY),
        ([b"DELETE FROM t", b"SELECT 1"], Role.PRIMARY),
        ([b"BEGIN", b"SELECT 1"], Role.PRIMARY),
        ([], Role.PRIMARY),
    ],
)
def test_a_batch_is_a_read_if_all_of_it_is(texts: list[bytes], role: Role) -> None:
    route = router().route_batch(texts)
    assert route.role is role
    assert route.fallback_to_primary is (role is Role.REPLICA)


def test_a_batch_has_the_effects_of_all_its_texts() -> None:
    route = router().route_batch([b"LISTEN a", b"SELECT 1", b"LOAD 'x'"])
    assert route.effects == Effect.LISTEN | Effect.LOADED


def test_the_reason_is_that_of_the_text_which_decided() -> None:
    route = router().route_batch([b"SELECT 1", b"SELECT nextval('s')", b"SELECT 2"])
    assert "nextval" in route.why


def test_a_text_is_decided_once() -> None:
    ours = router()
    first = ours.route(b"SELECT 1")
    assert ours.route(bytes(bytearray(b"SELECT 1"))) is first
    assert (ours.cache.hits, ours.cache.misses) == (1, 1)

"""How transactions begin and end."""

from __future__ import annotations

import pytest

from pgcat_trio.routing.transactions import Begin, Defaults, begin_with, defaults_of, end_of, parse_begin


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        (b"BEGIN", Begin("BEGIN")),
        (b" begin ;", Begin("BEGIN")),
        (b"/* hello */ BEGIN WORK -- now", Begin("BEGIN")),
        (b"begin transaction", Begin("BEGIN")),
        (b"START TRANSACTION", Begin("START TRANSACTION")),
        (b"BEGIN READ ONLY", Begin("BEGIN", read_only=True)),
        (b"begin read write", Begin("BEGIN", read_only=False)),
        (
            b"start transaction isolation level serializable, read only, deferrable",
            Begin("START TRANSACTION", read_only=True, serializable=True, deferrable=True),
        ),
        (
            b"begin not deferrable read only isolation level repeatable read",
            Begin("BEGIN", read_only=True, serializable=False, deferrable=False),
        ),
        (b"BEGIN ISOLATION LEVEL READ COMMITTED", Begin("BEGIN", serializable=False)),
    ],
)
def test_beginnings(text: bytes, begin: Begin) -> None:
    assert parse_begin(text) == begin


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"BEGINS", b"COMMIT", b"SELECT 1", b"BEGIN; SELECT 1", b"BEGIN;;SELECT 1", b"START", b'"begin"'),
        *(b"BEGIN READ", b"BEGIN READ ONLY,", b"BEGIN , READ ONLY", b"BEGIN READ ONLY READ WRITE", b"BEGIN 1"),
        *(b"BEGIN ISOLATION LEVEL", b"BEGIN ISOLATION LEVEL SNAPSHOT", b"START WORK", b"BEGIN 'x", b"BEGIN /*"),
        b"BEGIN" + b" " * 1000,
    ],
)
def test_what_is_no_beginning(text: bytes) -> None:
    assert parse_begin(text) is None


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        *((text, "COMMIT") for text in (b"commit", b"END;", b"commit work", b"end transaction and no chain")),
        *((text, "ROLLBACK") for text in (b"ROLLBACK", b"abort work", b"rollback and no chain")),
        *((text, None) for text in (b"commit and chain", b"rollback to a", b"commit prepared 'a'", b"commit; begin")),
        *((text, None) for text in (b"", b"begin", b"release a", b"rollback transaction to savepoint a")),
    ],
)
def test_ends(text: bytes, tag: str | None) -> None:
    assert end_of(text) == tag


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        (b"set transaction read only", Begin("BEGIN", read_only=True)),
        (b"SET TRANSACTION READ WRITE, NOT DEFERRABLE;", Begin("BEGIN", read_only=False, deferrable=False)),
        (b"set transaction isolation level serializable", Begin("BEGIN", serializable=True)),
        *((text, Begin("BEGIN")) for text in (b"set transaction", b"set transaction snapshot '1'", b"select 1")),
        (b"set local transaction_read_only = on", Begin("BEGIN")),
        (b"set transaction read only; select 1", Begin("BEGIN")),
    ],
)
def test_first_statement_of_a_transaction(text: bytes, begin: Begin) -> None:
    assert begin_with(Begin("BEGIN"), text) == begin


@pytest.mark.parametrize(
    ("settings", "defaults"),
    [
        ({}, None),
        ({"default_transaction_read_only": "off", "default_transaction_isolation": "read committed"}, None),
        *(({"default_transaction_read_only": value}, Defaults(True)) for value in ("on", "ON", "t", "tru", "yes", "1")),
        *(({"default_transaction_read_only": value}, None) for value in ("", "o", "0", "no", "false", "truest")),
        ({"default_transaction_isolation": "SERIALIZABLE"}, Defaults(serializable=True)),
    ],
)
def test_defaults(settings: dict[str, str], defaults: Defaults | None) -> None:
    assert defaults_of(settings) == defaults


@pytest.mark.parametrize(
    ("defaults", "text", "suits"),
    [
        (Defaults(), b"begin", False),
        (Defaults(), b"begin read only", True),
        (Defaults(), b"begin read only isolation level serializable", False),
        (Defaults(read_only=True), b"begin", True),
        (Defaults(read_only=True), b"begin read write", False),
        (Defaults(read_only=True), b"begin isolation level serializable", False),
        (Defaults(serializable=True), b"begin read only", False),
        (Defaults(serializable=True), b"begin read only isolation level read committed", True),
    ],
)
def test_what_suits_a_standby(defaults: Defaults, text: bytes, suits: bool) -> None:
    begin = parse_begin(text)
    assert begin is not None
    assert defaults.suit_standby(begin) is suits

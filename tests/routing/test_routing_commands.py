"""PgCat's commands: what is one, what it means, and what is none."""

from __future__ import annotations

import pytest

from pgcat_trio.errors import FeatureNotSupported, InvalidCommand, ProxyError
from pgcat_trio.routing.commands import Command, Subject, is_command, parse_command

KEY, SHARD, ROLE, READS = Subject.SHARDING_KEY, Subject.SHARD, Subject.ROLE, Subject.PRIMARY_READS


@pytest.mark.parametrize(
    ("text", "command"),
    [
        # PgCat's own vectors.
        ("SET SHARDING KEY TO '1'", Command(KEY, "1")),
        ("SET SHARD TO '1'", Command(SHARD, "1")),
        ("SHOW SHARD", Command(SHARD)),
        ("SET SERVER ROLE TO 'replica'", Command(ROLE, "replica")),
        ("SET SERVER ROLE TO 'primary'", Command(ROLE, "primary")),
        ("SET SERVER ROLE TO 'any'", Command(ROLE, "any")),
        ("SET SERVER ROLE TO 'auto'", Command(ROLE, "auto")),
        ("SET SERVER ROLE TO 'default'", Command(ROLE, "default")),
        ("SHOW SERVER ROLE", Command(ROLE)),
        ("SET PRIMARY READS TO 'on'", Command(READS, "on")),
        ("SET PRIMARY READS TO 'off'", Command(READS, "off")),
        ("SET PRIMARY READS TO 'default'", Command(READS, "default")),
        ("SHOW PRIMARY READS", Command(READS)),
        ("set sharding key to '1'", Command(KEY, "1")),
        ("set server role to 'replica'", Command(ROLE, "replica")),
        ("show primary reads", Command(READS)),
        ("SET SHARDING KEY TO 11235", Command(KEY, "11235")),
        ("SET SHARD TO 1", Command(SHARD, "1")),
        ("set primary reads to on", Command(READS, "on")),
        ("  SET SHARDING KEY TO 11235  ; ", Command(KEY, "11235")),
        (" SET SERVER ROLE TO 'primary';   ", Command(ROLE, "primary")),
        ("  SHOW SHARD  ;  ", Command(SHARD)),
        # What PgCat does not read, or not rightly.
        ("SET PRIMARY READS TO 'OFF'", Command(READS, "off")),
        ("SET SERVER ROLE TO primary", Command(ROLE, "primary")),
        ("SET SHARD TO any", Command(SHARD, "any")),
        ("SET SHARD TO 'ANY'", Command(SHARD, "any")),
        ("SET SHARDING KEY TO -9223372036854775808", Command(KEY, "-9223372036854775808")),
        ("SET\n\tSHARD  TO\r\n2;;", Command(SHARD, "2")),
        ("/* why */ SET -- this\nSERVER/**/ROLE TO /* * */ 'replica' -- so", Command(ROLE, "replica")),
        ("SHOW/**/SHARD--", Command(SHARD)),
        ("SET SHARD TO'1'", Command(SHARD, "1")),
    ],
)
def test_commands(text: str, command: Command) -> None:
    assert is_command(text.encode())
    assert parse_command(text.encode()) == command


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("SET SERVER ROLE TO 'master'", InvalidCommand, "invalid value for SET SERVER ROLE: 'master'"),
        ("SET PRIMARY READS TO 'yes'", InvalidCommand, "invalid value for SET PRIMARY READS: 'yes'"),
        ("SET SHARD TO 'x'", InvalidCommand, "invalid value for SET SHARD: 'x'"),
        ("SET SHARD TO", InvalidCommand, "SET SHARD TO needs one value"),
        ("SET SHARD TO 1 2", InvalidCommand, "SET SHARD TO needs one value"),
        ("SET SHARD TO 1, 2", InvalidCommand, "SET SHARD TO needs one value"),
        ("SET SHARD TO 'a''b'", InvalidCommand, "SET SHARD TO needs one value"),
        ("SET SHARD TO $1", InvalidCommand, "invalid value for SET SHARD: '$1'"),
        ("SET SHARDING KEY TO 9223372036854775808", InvalidCommand, "invalid value for SET SHARDING KEY"),
        ("SET SHARDING KEY TO '" + "9" * 5000 + "'", InvalidCommand, "invalid value for SET SHARDING KEY"),
        ("SET SHARD TO 1; SELECT 1", FeatureNotSupported, "a command of the proxy's must be the only statement"),
        ("SELECT 1; SHOW SHARD", FeatureNotSupported, "a command of the proxy's must be the only statement"),
        ("SELECT ';'; /**/ set server role to 'any';", FeatureNotSupported, "must be the only statement"),
    ],
)
def test_faulty_commands_are_refused_with_a_remedy(text: str, error: type[ProxyError], message: str) -> None:
    assert is_command(text.encode())
    with pytest.raises(error) as caught:
        parse_command(text.encode())
    assert message in caught.value.message
    assert caught.value.hint
    assert len(caught.value.message) < 150


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        "SELECT 1",
        "SELECT 1;",
        "SET search_path TO app",
        "SET shard.number TO 1",
        "SET server_role TO x",
        "SET SHARD = 1",
        "SET LOCAL shard TO 1",
        "SHOW shards",
        "SHOW shard.number",
        "SHOW server_version",
        "SHOW SHARDING KEY",
        "SHOWSHARD",
        "SET SHARDTO 1",
        "SELECT * FROM t WHERE value = 'set sharding key to 5'",
        "SELECT * FROM t WHERE value = '; set shard to 5'",
        "SELECT $a$; set shard to 5$a$",
        'SELECT 1 AS "; show shard"',
        "SELECT 1 -- ; show shard",
        "/* ; show shard; */ SELECT 1;",
        "-- SET SHARD TO 1",
        "/* SET SHARD TO 1 */",
        "EXPLAIN SET SHARD TO 1",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC; show shard; END",
        "SELECT 1; SELECT 'open; set shard to 1",
    ],
)
def test_what_is_no_command(text: str) -> None:
    assert not is_command(text.encode())


def test_tags_are_pgcats() -> None:
    tags = {subject: Command(subject, "x").tag for subject in Subject}
    assert tags == {
        KEY: "SET SHARDING KEY",
        SHARD: "SET SHARD",
        ROLE: "SET SERVER ROLE",
        READS: "SET PRIMARY READS",
        Subject.POSITION: "SET",
    }
    assert Command(SHARD).tag == "SELECT 1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"SHOW pgcat.lsn", None),
        (b"show PGCAT.LSN ;", None),
        (b"SET pgcat.lsn = '0/16B3748'", "0/16b3748"),
        (b"set session pgcat.lsn to '16/B374D848'", "16/b374d848"),
        (b"SET pgcat.lsn TO DEFAULT", "default"),
    ],
)
def test_position(text: bytes, value: str | None) -> None:
    assert is_command(text)
    assert parse_command(text) == Command(Subject.POSITION, value)


@pytest.mark.parametrize("value", [b"'x'", b"''", b"0", b"'0/'", b"'123456789/0'", b""])
def test_position_that_is_none(value: bytes) -> None:
    with pytest.raises(InvalidCommand):
        parse_command(b"SET pgcat.lsn = " + value)


@pytest.mark.parametrize("text", [b"\xff" * 100, b"SET SHARD TO '\xff'", b"/*" * 50_000, b"; set " * 20_000])
def test_any_bytes_can_be_looked_at(text: bytes) -> None:
    if is_command(text):
        with pytest.raises(ProxyError):
            parse_command(text)

"""Hints in comments: what is one, what is none, and what cannot be understood."""

from __future__ import annotations

import pytest

from pgcat_trio import parse_config
from pgcat_trio.config.model import Role
from pgcat_trio.errors import InvalidCommand
from pgcat_trio.routing.hints import Hint, Hints
from pgcat_trio.routing.lexer import comments


def hints(pool: str = "", shards: int = 5) -> Hints:
    tables = "".join(
        f'[pools.app.shards.{n}]\ndatabase = "d{n}"\nservers = [["a", 1, "primary"]]\n' for n in range(shards)
    )
    config = parse_config(
        f"""
        [general]
        admin_username = "a"
        admin_password = "a"
        [pools.app]
        {pool}
        [pools.app.users.0]
        username = "u"
        password = "p"
        pool_size = 1
        {tables}
        """
    )
    return Hints(config.pools["app"])


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("/* pgcat: role=replica, shard=2 */ SELECT 1", Hint(Role.REPLICA, 2)),
        ("SELECT 1 /* pgcat: role=primary */", Hint(Role.PRIMARY)),
        ("SELECT /*PGCAT:ROLE=ANY*/ 1", Hint(Role.ANY)),
        ("SELECT 1 -- and\n/*\npgcat :\nshard=0\n*/", Hint(None, 0)),
        ("/* pgcat: role=replica */ /* pgcat: shard=1 */ SELECT 1", Hint(Role.REPLICA, 1)),
        ("/* pgcat: shard=1 shard=1 */ SELECT 1", Hint(None, 1)),
        ("SELECT '/*' /* pgcat: shard=1 */", Hint(None, 1)),
        ("SELECT 1 /* open string ' */ /* pgcat: shard=1 */", Hint(None, 1)),
        ("/* pgcat: shard=1 */ SELECT 'open", Hint(None, 1)),
        ("SELECT 1", None),
        ("SELECT 1 /* app: web */", None),
        ("SELECT '/* pgcat: shard=1 */'", None),
        ("SELECT $a$/* pgcat: shard=1 */$a$", None),
        ('SELECT 1 AS "/* pgcat: shard=1 */"', None),
        ("SELECT 1 -- /* pgcat: shard=1 */", None),
        ("SELECT 1 /* /* pgcat: shard=1 */ */", None),
        ("SELECT 1 /* pgcat: shard=1", None),
        ("SELECT 1 /* about pgcat: shard=1 */", None),
        (f"SELECT '{'x' * 1000}' /* pgcat: shard=1 */", None),
    ],
)
def test_ours(text: str, hint: Hint | None) -> None:
    assert hints().find(text.encode()) == hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/* pgcat: role=master */", 'the hint "role=master" names no role'),
        ("/* pgcat: shard=x */", 'the hint "shard=x" names no shard'),
        ("/* pgcat: shard=-1 */", 'the hint "shard=-1" names no shard'),
        ("/* pgcat: server=a */", 'the hint "server=a" cannot be understood'),
        ("/* pgcat: replica */", 'the hint "replica" cannot be understood'),
        ("/* pgcat: */", 'the hint "" cannot be understood'),
        ("/* pgcat: shard=1, shard=2 */", 'the hint "shard=2" cannot be understood'),
        ("/* pgcat: role=replica */ /* pgcat: role=primary */", 'the hint "role=primary" cannot be understood'),
    ],
)
def test_what_cannot_be_understood_is_an_error_with_the_remedy(text: str, message: str) -> None:
    with pytest.raises(InvalidCommand) as caught:
        hints().find(text.encode())
    assert caught.value.message == message
    assert "role=replica" in str(caught.value.hint)


SHARD_ID = r"shard_id_regex = '/\* shard_id: (\d+) \*/'"
KEY = r"sharding_key_regex = '/\* sharding_key: (\d+) \*/'"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        # PgCat's own vectors, of 5 shards.
        ("/* shard_id: 1 */ select 1 from foo", Hint(None, 1, sticky=True)),
        ("/* shard_id: 0 */ select 1 from foo", Hint(None, 0, sticky=True)),
        ("/* sharding_key: 6 */ select 1 from foo", Hint(None, 2, sticky=True)),
        (";", None),
        ("select 1 from foo", None),
        ("/* shard_id: 1 */ /* sharding_key: 6 */ select 1", Hint(None, 1, sticky=True)),
        ("/* shard_id: 1 */ /* pgcat: role=replica */ select 1", Hint(Role.REPLICA, 1, sticky=True)),
        ("/* shard_id: 1 */ /* pgcat: shard=3 */ select 1", Hint(None, 3)),
        ("/* shard_id: 9 */ select 1", Hint(None, 9, sticky=True)),  # who counts the shards says no
    ],
)
def test_pgcats(text: str, hint: Hint | None) -> None:
    assert hints(f"{SHARD_ID}\n{KEY}").find(text.encode()) == hint


def test_pgcats_window() -> None:
    narrow = hints(f"{SHARD_ID}\nregex_search_limit = 17")
    assert narrow.find(b"/* shard_id: 1 */ select 1") == Hint(None, 1, sticky=True)
    assert narrow.find(b" /* shard_id: 1 */ select 1") is None
    assert hints().find(b"/* shard_id: 1 */ select 1") is None


def test_a_pattern_that_finds_no_number() -> None:
    with pytest.raises(InvalidCommand, match="which is no number"):
        hints("shard_id_regex = 'shard=(\\S+)'").find(b"/* shard=one */")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"a /*b*/ c /* d /* e */ */", [b"b", b" d /* e */ "]),
        (b"/**/", [b""]),
        (b"'/*a*/' E'\\'/*b*/' $$/*c*/$$ /*d*/", [b"d"]),
        (b"-- /*a*/\n/*b*/", [b"b"]),
        (b"/*a*/ 'open", [b"a"]),
        (b"", []),
        (b"/*", []),
    ],
)
def test_comments(text: bytes, found: list[bytes]) -> None:
    assert list(comments(text, 1000)) == found


def test_a_long_text_is_not_read_to_its_end() -> None:
    text = b"/*pgcat: shard=1*/ SELECT " + b"1, " * 1_000_000 + b"1 /*pgcat: shard=2*/"
    assert hints().find(text) == Hint(None, 1)

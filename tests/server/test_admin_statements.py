"""From the text of a Query to commands: quotes, comments, semicolons."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgcat_trio.errors import ProxyError
from pgcat_trio.server.admin.statements import split_statements


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\r\n ", []),
        (";;;", []),
        ("-- nothing but this", []),
        ("/* nothing\nbut; this */", []),
        ("SHOW POOLS", [["SHOW", "POOLS"]]),
        ("show\tpools;", [["show", "pools"]]),
        ("SHOW POOLS ; ;", [["SHOW", "POOLS"]]),
        ("SHOW POOLS;SHOW LISTS", [["SHOW", "POOLS"], ["SHOW", "LISTS"]]),
        ("SHOW/* which? */POOLS -- all; of them\n;", [["SHOW", "POOLS"]]),
        ("BAN 10.0.0.1:5432 60", [["BAN", "10.0.0.1:5432", "60"]]),
        ("BAN db-1.internal 60", [["BAN", "db-1.internal", "60"]]),
        ("BAN /var/run/postgresql 60", [["BAN", "/var/run/postgresql", "60"]]),
        ("BAN 'db; 1' 60", [["BAN", "db; 1", "60"]]),
        ("PAUSE app, alice", [["PAUSE", "app", ",", "alice"]]),
        ('PAUSE "my ""db"""', [["PAUSE", 'my "db"']]),
        ("SET a='it''s'", [["SET", "a", "=", "it's"]]),
    ],
)
def test_split(text: str, expected: list[list[str]]) -> None:
    assert split_statements(text) == expected


@pytest.mark.parametrize("text", ["BAN 'db1 60", 'PAUSE "db', "SET a='it''s", "SHOW /* pools"])
def test_open_quote_or_comment_is_a_syntax_error(text: str) -> None:
    with pytest.raises(ProxyError, match="unterminated") as caught:
        split_statements(text)
    assert caught.value.sqlstate == "42601"


@given(st.text(alphabet="ab '\";,=-*/\n\x00é"))
def test_any_text_is_split_or_refused(text: str) -> None:
    try:
        statements = split_statements(text)
    except ProxyError as error:
        statements = [[error.sqlstate]]
    assert all(statements)


@given(st.lists(st.lists(st.text(), min_size=1)))
def test_quoted_words_come_back_as_they_were(statements: list[list[str]]) -> None:
    quoted = [" ".join("'" + word.replace("'", "''") + "'" for word in words) for words in statements]
    assert split_statements("; ".join(quoted)) == statements

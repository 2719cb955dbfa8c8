from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgcat_trio.routing.lexer import split


def texts(sql: bytes) -> list[bytes]:
    """The statements as they stand in the text."""
    return [sql[statement.start : statement.end] for statement in split(sql)]


def tokens(sql: bytes) -> list[str]:
    """The tokens of a text that is one statement beyond doubt."""
    (statement,) = split(sql)
    assert statement.doubt is None
    return list(statement.tokens)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (b"", []),
        (b" ;; ; -- x", []),
        (b"/* ; */", []),
        (b"a", [b"a"]),
        (b"a;b", [b"a", b"b"]),
        (b" a b ; c ;", [b"a b", b"c"]),
        (b"a ';' b; c", [b"a ';' b", b"c"]),
        (b"a 'x'';' b; c", [b"a 'x'';' b", b"c"]),
        (b"a E'\\';' b; c", [b"a E'\\';' b", b"c"]),
        (b"a e'\\\\'; c", [b"a e'\\\\'", b"c"]),
        (b"a U&'\\003b;'; c", [b"a U&'\\003b;'", b"c"]),
        (b"a B'1;', X'1;', N';'; c", [b"a B'1;', X'1;', N';'", b"c"]),
        (b"a 'x'\n  ';' b; c", [b"a 'x'\n  ';' b", b"c"]),
        # the second piece of a continued string keeps the rules of the first
        (b"a E'x'\n'\\';' b; c", [b"a E'x'\n'\\';' b", b"c"]),
        (b"a E'x' -- y\n'\\';' b; c", [b"a E'x' -- y\n'\\';' b", b"c"]),
        (b"a E'x' ';'; c", [b"a E'x' ';'", b"c"]),
        (b'a ";" ""; c', [b'a ";" ""', b"c"]),
        (b'a "x"";" b; c', [b'a "x"";" b', b"c"]),
        (b"a $$;$$; c", [b"a $$;$$", b"c"]),
        (b"a $t$ $$;$$ $tt$;$tt$ $t$; c", [b"a $t$ $$;$$ $tt$;$tt$ $t$", b"c"]),
        (b"a $\xc3\xa9$;$\xc3\xa9$; c", [b"a $\xc3\xa9$;$\xc3\xa9$", b"c"]),
        (b"a$t$; b$t$", [b"a$t$", b"b$t$"]),  # a dollar sign inside a word opens nothing
        (b"a $1; c $2", [b"a $1", b"c $2"]),
        (b"a -- ;\n b; c", [b"a -- ;\n b", b"c"]),
        (b"a -- ;\r b; c", [b"a -- ;\r b", b"c"]),
        (b"a /* ; /* ; */ ; */ b; c", [b"a /* ; /* ; */ ; */ b", b"c"]),
        (b"a /*/ ; */ b; c", [b"a /*/ ; */ b", b"c"]),
        (b"a +/* ; */ b; c", [b"a +/* ; */ b", b"c"]),
        (b"a *-- ;\n b; c", [b"a *-- ;\n b", b"c"]),
        (b"a (b; c); d", [b"a (b; c)", b"d"]),
        (b"a ); b", [b"a )", b"b"]),
        (b"CREATE RULE r AS ON INSERT TO t DO (a; b); c", [b"CREATE RULE r AS ON INSERT TO t DO (a; b)", b"c"]),
        (b"CREATE FUNCTION f() BEGIN ATOMIC a; b; END; c", [b"CREATE FUNCTION f() BEGIN ATOMIC a; b; END", b"c"]),
        (
            b"create procedure f() begin atomic select case when a then b end; c; end; d",
            [b"create procedure f() begin atomic select case when a then b end; c; end", b"d"],
        ),
        (b"CREATE FUNCTION begin() AS 'x'; c", [b"CREATE FUNCTION begin() AS 'x'", b"c"]),
        (b"BEGIN; CASE; END", [b"BEGIN", b"CASE", b"END"]),
    ],
)
def test_statement_boundaries(sql: bytes, expected: list[bytes]) -> None:
    assert texts(sql) == expected
    assert all(statement.doubt is None for statement in split(sql))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (b"select A_1, \xc3\xa9a$b", ["SELECT", "A_1", ",", "__A$B"]),
        (b'"Ab""c" "d"', ['"Ab""c"', '"d"']),
        (b"'a' E'b' B'1' X'f' N'c' U&'d' $$e$$ $f$g$f$", ["'x'"] * 8),
        (b"e 'b'", ["E", "'x'"]),
        (
            b"1 1.5 .5 1. 1e5 1.5E-3 1_000 0xFF 0o17 0b11",
            ["1", "1.5", ".5", "1.", "1e5", "1.5E-3", "1_000", "0xFF", "0o17", "0b11"],
        ),
        (b"1..2", ["1", ".", ".2"]),
        (b"$1+$23", ["$1", "+", "$23"]),
        (b"a::int,b:=c=>d", ["A", "::", "INT", ",", "B", ":=", "C", "=>", "D"]),
        (b"a->>'b' @> c[1:2]", ["A", "->>", "'x'", "@>", "C", "[", "1", ":", "2", "]"]),
        (b"a<=b--c\n!=/*d*/e", ["A", "<=", "B", "!=", "E"]),
        (b"(a.b.*)", ["(", "A", ".", "B", ".", "*", ")"]),
    ],
)
def test_tokens(sql: bytes, expected: list[str]) -> None:
    assert tokens(sql) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (b"select a from t", ("SELECT", "A", "FROM", "T")),
        (
            b"/* x */ Begin -- y\n isolation level serializable, read only",
            "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
        ),
        (b"set work_mem = 1", ("SET", "WORK_MEM")),
        (b'set "a" to b', ("SET",)),
        (b"(select 1)", ()),
        (b"a b c d e f g h i j", ("A", "B", "C", "D", "E", "F", "G", "H")),
    ],
)
def test_leading_words(sql: bytes, expected: tuple[str, ...] | str) -> None:
    (statement,) = split(sql)
    assert statement.words == (tuple(expected.split()) if isinstance(expected, str) else expected)


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        (b"a 'b", "unterminated"),
        (b"a E'b\\'", "unterminated"),
        (b'a "b', "unterminated"),
        (b"a $$b", "unterminated"),
        (b"a $x$b$y$", "unterminated"),
        (b"a /* b", "unterminated"),
        (b"a /* /* */ b", "unterminated"),
        (b"a \\b", "byte"),
        (b"a {b}", "byte"),
        (b"a \x00 b", "byte"),
        (b"a '\\' b", "standard_conforming_strings"),
        (b"a '\\'' b'", "standard_conforming_strings"),
        (b"a E'\x95\\' b'", "client encodings"),
        (b'a U&"b"', "Unicode"),
        (b"CREATE FUNCTION f() BEGIN ATOMIC a; b", "function body"),
    ],
)
def test_doubt(sql: bytes, word: str) -> None:
    assert word in (split(sql)[-1].doubt or "")


def test_doubt_belongs_to_its_statement() -> None:
    assert [bool(statement.doubt) for statement in split(b"a; b '\\'; c")] == [False, True, False]


@pytest.mark.parametrize(
    "sql",
    [
        b"(" * 100_000,
        b"/*" * 100_000,
        b"/*" * 50_000 + b"*/" * 50_000,
        b"'" * 100_001,
        b"'a'\n" * 25_000,
        b"'a'\n--" * 25_000,
        b"$a$b" * 25_001,
        b"U&" * 50_000,
        b"1." * 50_000,
        b"-/" * 50_000,
        b"\\" * 100_000,
        b"\x00" * 100_000,
    ],
)
def test_hostile_texts_end(sql: bytes) -> None:
    assert len(split(sql)) <= 1


@given(st.binary())
def test_any_bytes_give_statements_in_order(sql: bytes) -> None:
    end = 0
    for statement in split(sql):
        assert end <= statement.start < statement.end <= len(sql)
        assert statement.tokens
        end = statement.end


PIECES = st.sampled_from(
    [
        *(b"a", b"SELECT", b"'", b"''", b'"', b"$$", b"$a$", b"$1", b"--", b"/*", b"*/", b"\n", b" ", b";", b"(", b")"),
        *(
            b"\\",
            b"E'",
            b"U&'",
            b'U&"',
            b"1",
            b".",
            b"-",
            b"+",
            b"BEGIN ATOMIC",
            b"CREATE",
            b"CASE",
            b"END",
            b"\xe9",
            b"::",
        ),
        b"\x00",
    ]
)


@given(st.lists(PIECES).map(b"".join))
def test_splitting_a_statement_again_changes_nothing(sql: bytes) -> None:
    for statement in split(sql):
        if statement.doubt is None:
            (again,) = split(sql[statement.start : statement.end])
            assert again.tokens == statement.tokens


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_a_quoted_value_is_one_token(value: str) -> None:
    quoted = "E'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
    identifier = '"' + value.replace('"', '""') + '"'
    for token in (quoted, identifier, f"$tag_of_ours${value.replace('$', '')}$tag_of_ours$"):
        assert texts(f"a {token};b".encode()) == [f"a {token}".encode(), b"b"]

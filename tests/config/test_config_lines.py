"""Every key has its line, however TOML lets one write it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgcat_trio.config.lines import LineIndex, dotted

CASES = {
    "comments and blank lines": ('# one\n\n[a] # b = 1\n# c = 2\nd = "#" # e\n', {("a",): 3, ("a", "d"): 5}),
    "CRLF": ("[a]\r\nb = 1\r\n\r\n[c]\r\nd = 2\r\n", {("a", "b"): 2, ("c",): 4, ("c", "d"): 5}),
    "multi-line arrays": (
        'a = [\n  1,\n  [2,\n   3], # ]\n  "]",\n]\nb = 2\n',
        {("a",): 1, ("a", 0): 2, ("a", 1): 3, ("a", 1, 1): 4, ("a", 2): 5, ("b",): 7},
    ),
    "inline tables": ("a = { b = 1, c.d = 2 }\ne = [{f = 1},\n{f = 2}]\n", {("a", "c", "d"): 1, ("e", 1, "f"): 3}),
    "dotted keys": ("a.b.c = 1\na . d = 2\n", {("a",): 1, ("a", "b"): 1, ("a", "b", "c"): 1, ("a", "d"): 2}),
    "quoted keys": (
        '["a.b".\'c d\']\n"\\u0065" = 1\n\'f\\u\' = 2\n"" = 3\n',
        {("a.b", "c d"): 1, ("a.b", "c d", "e"): 2, ("a.b", "c d", "f\\u"): 3, ("a.b", "c d", ""): 4},
    ),
    "arrays of tables": (
        "[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\nd = 3\n[[a.e]]\nf = 4\n",
        {("a", 0, "b"): 2, ("a", 1): 3, ("a", 1, "b"): 4, ("a", 1, "c", "d"): 6, ("a", 1, "e", 0, "f"): 8},
    ),
    "an explicit header counts more than a mention": ("[a.b]\nc = 1\n[a]\nd = 2\n", {("a",): 3, ("a", "b"): 1}),
    "multi-line strings": (
        'a = """\n[b]\nc = 1 \\"""\n"""\nd = \'\'\'\n[e]"""\n\'\'\'\nf = """x"""""\ng = 1\n',
        {("a",): 1, ("d",): 5, ("f",): 8, ("g",): 9},
    ),
    "scalars of all kinds": ("a = 1979-05-27 07:32:00 # x\nb = +1_000\nc = inf\nd = ''\n", {("b",): 2, ("d",): 4}),
}


@pytest.mark.parametrize(("text", "lines"), CASES.values(), ids=CASES)
def test_line_of(text: str, lines: dict[tuple[str | int, ...], int]) -> None:
    index = LineIndex(text)
    assert {path: index.line_of(path) for path in lines} == lines
    assert index.paths() == _paths(tomllib.loads(text))


def test_a_key_that_is_not_there_has_the_line_of_its_table() -> None:
    index = LineIndex("a = 1\n\n[b.c]\nd = 2\n")
    assert [index.line_of(path) for path in (("b", "c", "x"), ("b", "x", "y"), ("x",), ())] == [3, 3, 1, 1]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (("pools", "app", "users", "0"), "pools.app.users.0"),
        (("pools", "my app", "shards", 0), 'pools."my app".shards.0'),
        (("a.b", 'c"d', "e\nf", ""), r'"a.b"."c\"d"."e\u000Af".""'),
    ],
)
def test_dotted(path: tuple[str | int, ...], shown: str) -> None:
    assert dotted(path) == shown


def _paths(value: Any, at: tuple[str | int, ...] = ()) -> frozenset[tuple[str | int, ...]]:
    """What a parser sees: the oracle for what the scanner sees."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return frozenset({at} - {()}).union(*(_paths(child, (*at, key)) for key, child in inner))


KEYS = st.sampled_from(["a", "b", "c-1", '"q.\\t"', "'l#'", '""', "0"])
STRINGS = st.sampled_from(
    ['"x # \\" ]"', "'y } ['", '"""m\n\\""" = ""x"""""', "'''l\n[t]\n''x'''''", '"""\n\\\n  z"""', "''", '""'],
)
SCALARS = STRINGS | st.sampled_from(
    ["1", "-0.5e3", "true", "1979-05-27T07:32:00Z", "1979-05-27 07:32:00", "nan", "0xF"]
)
GAPS = st.sampled_from(["", " ", "\n", ' # c ] } "\n', "\r\n\t"])


def _array(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def join(elements: list[str], gap: str, trailing: str) -> str:
        return "[" + gap + f"{gap},{gap}".join(elements) + (trailing if elements else "") + gap + "]"

    return st.builds(join, st.lists(items, max_size=3), GAPS, st.sampled_from(["", ","]))


def _inline(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.lists(st.tuples(KEYS, items), max_size=3, unique_by=lambda pair: pair[0])
    return pairs.map(lambda them: "{ " + ", ".join(f"{key} = {value}" for key, value in them) + " }")


VALUES = st.recursive(SCALARS, lambda items: _array(items) | _inline(items), max_leaves=6)
DOTTED = st.lists(KEYS, min_size=1, max_size=3).map(" . ".join)
STATEMENTS = (
    st.builds("{} = {}".format, DOTTED, VALUES)
    | DOTTED.map("[{}]".format)
    | DOTTED.map("[[ {} ]]  # c".format)
    | st.just("# comment [x] = ")
    | st.just("")
)


@given(st.lists(STATEMENTS, max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_the_scanner_sees_what_the_parser_sees(statements: list[str], newline: str) -> None:
    text = newline.join(statements)
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        LineIndex(text)  # never asked in earnest, but it must come to an end
        return
    assert LineIndex(text).paths() == _paths(parsed)


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "pgcat_style").glob("*.toml")), ids=lambda p: p.stem)
def test_the_line_of_a_key_contains_the_key(path: Path) -> None:
    text = path.read_text()
    index, lines = LineIndex(text), text.splitlines()
    for at in index.paths():
        if isinstance(at[-1], str):
            assert at[-1] in lines[index.line_of(at) - 1]

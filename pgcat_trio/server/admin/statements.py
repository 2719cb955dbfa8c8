"""From the text of a Query to the commands in it. Of SQL there are quotes, comments and semicolons, nothing else."""

from __future__ import annotations

import re
from typing import Final

from .answers import refusal

_TOKEN: Final = re.compile(
    r"""
      \s+ | --[^\r\n]* | /\*.*?\*/       # between words
    | (?P<quoted> "(?:[^"]|"")*" | '(?:[^']|'')*' )
    | (?P<mark>   [;,=] )
    | (?P<word>   (?:(?!--|/\*)[^\s;,='"])+ )
    | (?P<bad>    . )                    # a quote or a comment without an end
    """,
    re.VERBOSE | re.DOTALL,
)


def split_statements(text: str) -> list[list[str]]:
    """The words of each statement, quotes removed; commas and equal signs are words, empty statements are left out.

    Raises an error of SQLSTATE 42601 for a quote or a comment that does not end.
    """
    statements: list[list[str]] = [[]]
    for token in _TOKEN.finditer(text):
        found = token.group()
        match token.lastgroup:
            case "bad":
                raise refusal("42601", f"unterminated quote or comment at or near {text[token.start() :][:20]!r}")
            case "mark" if found == ";":
                statements.append([])
            case "quoted":
                statements[-1].append(found[1:-1].replace(found[0] * 2, found[0]))
            case "mark" | "word":
                statements[-1].append(found)
    return [words for words in statements if words]

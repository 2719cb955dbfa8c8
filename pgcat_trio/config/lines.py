"""Where in a TOML text each key stands.

No TOML library tells the line of a key, so this scanner walks a text that the parser has already accepted and
notes a line for every table, key and array element. It relies on the text being valid and therefore checks nothing; on
anything unexpected it goes on to the next line. Grammar: https://toml.io/en/v1.0.0.
"""

from __future__ import annotations

import bisect
import re
import tomllib
from typing import Final

Path = tuple[str | int, ...]
"""The way to a value: the keys of tables and the indices of arrays."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACES: Final = re.compile(r"[ \t]*")
_REST_OF_LINE: Final = re.compile(r"[^\n]*")
_KEY: Final = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*'""")
_VALUE: Final = re.compile(
    r""""{3}(?:\\.|[^\\])*?"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|[^,\]}#\r\n]*""",
    re.DOTALL,
)


class LineIndex:
    """Maps paths to line numbers, counted from 1."""

    def __init__(self, text: str) -> None:
        self._lines = _Scanner(text).scan()

    def paths(self) -> frozenset[Path]:
        """Every path that the text names."""
        return frozenset(self._lines)

    def line_of(self, path: Path) -> int:
        """The line of ``path``, or of the innermost table or array around it that the text names, or 1."""
        for length in range(len(path), 0, -1):
            if (line := self._lines.get(path[:length])) is not None:
                return line
        return 1


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self.headers: set[Path] = set()
        self.array_lengths: dict[Path, int] = {}
        self.newlines = [match.start() for match in re.finditer("\n", text)]

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        while self.skip(_BLANK) < len(self.text):
            start = self.at
            if self.text[start] == "[":
                table = self.header()
            else:
                self.key_value(table)
            if self.at == start:
                self.skip(_REST_OF_LINE)
        return self.lines

    def header(self) -> Path:
        """``[a.b]`` or ``[[a.b]]``; answers the path of the table that it opens."""
        line = self.line()
        is_array = self.text.startswith("[[", self.at)
        self.at += 1 + is_array
        *parents, last = self.dotted_key() or [""]
        path: Path = ()
        for key in parents:
            path = self.inside((*path, key))
            self.note(path, line)
        path = (*path, last)
        self.skip(_REST_OF_LINE)
        if not is_array:
            self.lines[path] = line  # an explicit header is a better place than the first mention of the table
            return path
        self.note(path, line)
        self.array_lengths[path] = self.array_lengths.get(path, 0) + 1
        path = self.inside(path)
        self.lines[path] = line
        return path

    def inside(self, path: Path) -> Path:
        """The newest element, where ``path`` is an array of tables."""
        length = self.array_lengths.get(path)
        return path if length is None else (*path, length - 1)

    def key_value(self, table: Path) -> None:
        line = self.line()
        path = table
        for key in self.dotted_key():
            path = (*path, key)
            self.note(path, line)
        self.skip(_SPACES)
        if self.text.startswith("=", self.at):
            self.at += 1
            self.skip(_SPACES)
            self.value(path)

    def value(self, path: Path) -> None:
        match self.text[self.at : self.at + 1]:
            case "[":
                self.elements(path, "]")
            case "{":
                self.elements(path, "}")
            case _:
                self.skip(_VALUE)

    def elements(self, path: Path, closing: str) -> None:
        """The inside of an array or of an inline table."""
        self.at += 1
        index = 0
        while self.skip(_BLANK) < len(self.text) and self.text[self.at] != closing:
            start = self.at
            if closing == "]":
                self.note((*path, index), self.line())
                self.value((*path, index))
            else:
                self.key_value(path)
            self.skip(_BLANK)
            if self.text.startswith(",", self.at):
                self.at += 1
                index += 1
            if self.at == start:
                return
        self.at += 1

    def dotted_key(self) -> list[str]:
        keys = []
        while self.skip(_SPACES) < len(self.text) and (match := _KEY.match(self.text, self.at)):
            self.at = match.end()
            keys.append(_unquote(match[0]))
            if self.text[self.skip(_SPACES) : self.at + 1] != ".":
                break
            self.at += 1
        return keys

    def note(self, path: Path, line: int) -> None:
        self.lines.setdefault(path, line)

    def line(self) -> int:
        return bisect.bisect_left(self.newlines, self.at) + 1

    def skip(self, pattern: re.Pattern[str]) -> int:
        if match := pattern.match(self.text, self.at):
            self.at = match.end()
        return self.at


def _unquote(key: str) -> str:
    if key[0] == "'":
        return key[1:-1]
    if key[0] == '"':
        return str(tomllib.loads(f"key = {key}")["key"])
    return key


def dotted(path: Path) -> str:
    """A path as one would write it in TOML, array indices as plain numbers."""
    bare = re.compile(r"[A-Za-z0-9_-]+")
    parts = (str(part) for part in path)
    return ".".join(part if bare.fullmatch(part) else _quoted(part) for part in parts)


def _quoted(part: str) -> str:
    shown = part.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04X}" for c in shown) + '"'

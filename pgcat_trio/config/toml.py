"""TOML text to plain dictionaries, every failure as a ConfigError with its line.

The standard library's parser is used because it is strict: tomlkit 0.15 lets a table that is declared twice pass where
its own tables are out of order, and places some errors on the line after.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

from ..errors import ConfigError

# What tomllib says -> what helps. Nothing here repeats the text of the file, which may be a password without quotes.
_REMEDIES: Final = {
    "Cannot overwrite a value": "this key is already set above; remove one of the two",
    "Cannot declare": "this table is already declared above; merge the two",
    "Cannot mutate immutable namespace": "this table is already closed above; move the key there",
    "Duplicate inline table key": "this key stands twice in the inline table; remove one of the two",
    "Invalid value": 'invalid value; a text needs quotes, as in key = "text"',
    "Unclosed array": "this array is never closed; add ]",
    "Expected newline or end of document after a statement": "nothing may follow here; is a quote missing?",
    "Invalid statement": "not a key, a [table] or a comment; write key = value",
    "Found invalid character": "a control character, which TOML does not allow here",
    "Illegal character": "a control character, which TOML does not allow here",
}
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)\Z")


def parse(text: str, path: str) -> dict[str, Any]:
    """The document as dicts, lists and scalars. Raises ConfigError for text that is not TOML."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise _syntax_error(path, 1, "arrays or tables are nested too deeply") from None
    except ValueError as error:
        said = str(error)
        place = _PLACE.search(said)
        # Without a place it is an integer with more digits than Python converts.
        line = _line(place, text) if place else 1
        what = _PLACE.sub("", said) if place else "an integer that is too long"
        remedy = next((remedy for begin, remedy in _REMEDIES.items() if what.startswith(begin)), what)
        raise _syntax_error(path, line, remedy) from None


def _line(place: re.Match[str], text: str) -> int:
    return int(place[1]) if place[1] else text.rstrip().count("\n") + 1


def _syntax_error(path: str, line: int, what: str) -> ConfigError:
    return ConfigError(f"{path} is not valid TOML", problems=(f"{path}:{line}: {what}",))

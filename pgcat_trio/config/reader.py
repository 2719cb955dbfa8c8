"""Tables of the file into fields of the model, collecting every problem instead of stopping at the first."""

from __future__ import annotations

import difflib
import functools
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from . import parse
from .keys import Key, key_of
from .lines import LineIndex, Path, dotted
from .model import General, Pool, Shard, User

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .compat import Remark

T = TypeVar("T")

# Where a key of the model belongs, for one that stands in the wrong table.
_HOMES: Final = {
    "[general]": General,
    "[pools.NAME]": Pool,
    "[pools.NAME.users.N]": User,
    "[pools.NAME.shards.N]": Shard,
}


class NotKnown(Exception):
    """Raised by reading a field of `Values` that the file has wrong."""


class Values:
    """The fields of one table, as far as they are right; reading another one raises `NotKnown`.

    So a check that compares fields is written as if all of them were right, and ends silently where one is not.
    """

    def __init__(self, at: Path, known: dict[str, Any]) -> None:
        self.at = at
        self.known = known

    def __getattr__(self, name: str) -> Any:
        try:
            return self.known[name]
        except KeyError:
            raise NotKnown(name) from None


class Reader:
    """Reads the tables of one file; ``moved`` tells where the file has values that stand elsewhere in the document."""

    def __init__(self, path: str, lines: LineIndex, moved: dict[Path, Path]) -> None:
        self.problems: set[tuple[int, str]] = set()
        self.remarks: list[Remark] = []
        self._path = path
        self._lines = lines
        self._moved = moved

    def place(self, at: Path, text: str) -> tuple[int, str]:
        """A remark with its line (to sort by) and as one line of text."""
        at = self._moved.get(at, at)
        line = self._lines.line_of(at)
        return line, ": ".join(filter(None, (f"{self._path}:{line}", dotted(at), text)))

    def problem(self, at: Path, text: str) -> None:
        """Note that something at this place is wrong."""
        self.problems.add(self.place(at, text))

    def is_table(self, value: object, at: Path) -> bool:
        """Whether this is a table; if not, that is noted."""
        if not isinstance(value, dict):
            self.problem(at, f"must be a table, got {parse.kind(value)}; write [{dotted(at)}]")
        return isinstance(value, dict)

    def fields(
        self, cls: type, table: object, at: Path, *, subtables: Iterable[str] = (), above: Values | None = None
    ) -> Values:
        """The fields of ``cls`` that come from keys of ``table``.

        ``above`` has what they inherit where a key is absent; ``subtables`` are further keys, which the caller reads.
        """
        values = Values(at, {})
        if not self.is_table(table, at):
            return values
        assert isinstance(table, dict)
        keys = _keys(cls)
        for name in table.keys() - keys.keys() - set(subtables):
            self.problem((*at, name), f"unknown key{_suggestion(name, [*keys, *subtables])}")
        for name, (field, key) in keys.items():
            if name in table:
                try:
                    values.known[field.name] = _read(table[name], field, key)
                except ValueError as error:
                    self.problem((*at, name), str(error))
            elif key.inherit and above is not None:
                if field.name in above.known:
                    values.known[field.name] = above.known[field.name]
            elif field.default is not attrs.NOTHING:
                values.known[field.name] = field.default
            else:
                self.problem((*at, name), f"is missing; add {name} = ...")
        return values

    def subtables(self, table: dict[str, Any], name: str, at: Path, example: str = "0") -> dict[str, Any]:
        """The required table of tables ``name``; empty if it is missing or no table, which is noted."""
        inner = (*at, name)
        if name not in table:
            self.problem(inner, f"is missing; add a table [{dotted((*inner, example))}]")
            return {}
        return table[name] if self.is_table(table[name], inner) else {}

    def check(self, values: Values, checks: Iterable[Callable[[Values], Iterator[Remark]]]) -> None:
        """Run those checks whose fields are right."""
        for check in checks:
            try:
                for at, text in check(values):
                    self.problem(at, text)
            except NotKnown:
                continue

    def build(self, cls: type[T], values: Values) -> T | None:
        """The object, if all of its fields are right."""
        fields = [field for field in attrs.fields(cls) if field.init]  # type: ignore[arg-type]
        if any(field.name not in values.known and field.default is attrs.NOTHING for field in fields):
            return None
        return cls(**{field.name: values.known[field.name] for field in fields if field.name in values.known})


@functools.cache
def _keys(cls: type) -> dict[str, tuple[attrs.Attribute[Any], Key]]:
    keyed = ((field, key_of(field)) for field in attrs.fields(attrs.resolve_types(cls)) if "key" in field.metadata)
    return {str(key.name): (field, key) for field, key in keyed}


def _read(value: object, field: attrs.Attribute[Any], key: Key) -> Any:
    if key.parse is not None and key.at_least is None:
        return key.parse(value)
    if key.at_least is None:
        return parse.by_type(value, field.type)
    number = parse.integer(value)
    if number < key.at_least:
        hint = f"; {key.zero_hint}" if key.zero_hint and number == 0 else ""
        raise ValueError(f"must be at least {key.at_least}, got {number}{hint}")
    if number > key.at_most:
        raise ValueError(f"must be at most {key.at_most}" + (f", got {number}" if number < 10**20 else ""))
    return number / key.units_per_second if key.units_per_second else number


def _suggestion(name: str, known: list[str]) -> str:
    if close := difflib.get_close_matches(name, known, n=1):
        return f"; did you mean {close[0]}?"
    homes = {home: _keys(cls) for home, cls in _HOMES.items()}
    if belongs := [home for home, keys in homes.items() if name in keys]:
        return f"; it belongs in {' or '.join(belongs)}"
    everywhere = [key for keys in homes.values() for key in keys]
    if close := difflib.get_close_matches(name, everywhere, n=1, cutoff=0.8):
        return (
            f"; did you mean {close[0]}, which belongs in {next(h for h, keys in homes.items() if close[0] in keys)}?"
        )
    return "; remove it"

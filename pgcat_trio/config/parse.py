"""Reading one TOML value: strictly by type, and without ever repeating a value that may be a secret.

TOML has types, so nothing is converted between them: ``"false"`` is no boolean, ``7.9`` and ``true`` are no integers, a
string is no array. Every refusal is a ValueError whose text is the end of the sentence "<key>: ...".
"""

from __future__ import annotations

import enum
import re
import types
import typing
import warnings
from pathlib import Path
from typing import Any, Final, TypeVar

import cattrs

from .values import (
    ALSO_SPELLED,
    AuthType,
    DefaultShard,
    LoadBalancing,
    Pinning,
    PoolMode,
    ReadAfterWrite,
    Role,
    Secret,
    ShardingFunction,
    SslMode,
)

E = TypeVar("E", bound=enum.StrEnum)

# Only texts that look like a number or a word of ours are repeated in an error: a URL or a passphrase never is.
_CHOICES: Final = (
    AuthType,
    DefaultShard,
    LoadBalancing,
    Pinning,
    PoolMode,
    ReadAfterWrite,
    Role,
    ShardingFunction,
    SslMode,
)
_HARMLESS: Final = re.compile(r"[A-Za-z0-9_.+-]{1,24}\Z")


_KINDS: Final = (
    (bool, "a boolean"),  # before int, of which it is a subclass
    (int, "an integer"),
    (float, "a float"),
    (str, "a string"),
    (dict, "a table"),
    (list, "an array"),
)


def describe(value: object) -> str:
    """What a TOML value is, for an error: its type, and the value itself where that is harmless."""
    match value:
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() if abs(value) < 10**20:
            return f"the integer {value}"
        case float():
            return f"the float {value}"
        case str() if _HARMLESS.match(value):
            return f'the string "{value}"'
    return kind(value)


def kind(value: object) -> str:
    """The type of a TOML value with its article."""
    return next((name for cls, name in _KINDS if isinstance(value, cls)), "a date or time")


# -- by type -------------------------------------------------------------------------------------------------------


def boolean(value: object) -> bool:
    """Exactly ``true`` or ``false``."""
    if isinstance(value, bool):
        return value
    hint = ""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        hint = f"; write {value.lower()} without quotes"
    raise ValueError(f"must be true or false, got {describe(value)}{hint}")


def integer(value: object) -> int:
    """A TOML integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    hint = ""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        hint = f"; write {value} without quotes"
    elif isinstance(value, float):
        hint = "; write a whole number"
    raise ValueError(f"must be an integer, got {describe(value)}{hint}")


def text(value: object) -> str:
    """A TOML string that PostgreSQL's protocol can carry, where a zero byte ends a text."""
    if not isinstance(value, str):
        raise ValueError(f"must be a string, got {describe(value)}; put it in quotes")
    if "\0" in value:
        raise ValueError("must not contain a zero byte")
    return value


def secret(value: object) -> Secret:
    """A string whose value no error repeats."""
    if not isinstance(value, str):
        raise ValueError(f"must be a string, got {kind(value)}; put it in quotes")
    return Secret(text(value))


def choice(value: object, of: type[E]) -> E:
    """A member of an enumeration, by its own value or by one of PgCat's other spellings."""
    options = [str(member) for member in of]
    wanted = f"must be one of {', '.join(options)}"
    if isinstance(value, str):
        other = ALSO_SPELLED.get(value)
        if isinstance(other, of):
            return other
        if value in options:
            return of(value)
    raise ValueError(f"{wanted}; got {describe(value)}")


def sequence(value: object, of: Any) -> tuple[Any, ...]:
    """An array of equal things; the error says which item is wrong (counted from 0)."""
    if not isinstance(value, list):
        raise ValueError(f"must be an array, got {describe(value)}; write [...]")
    (item_type, _) = typing.get_args(of)
    items = []
    for index, item in enumerate(value):
        try:
            items.append(STRICT.structure(item, item_type))
        except ValueError as error:
            raise ValueError(f"item {index} {error}") from None
    return tuple(items)


def _is_sequence(type_: Any) -> bool:
    return bool(typing.get_origin(type_) is tuple)


def _strict_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    # cattrs' own hooks for these types call bool(), int() and str(), which take nearly everything.
    converter.register_structure_hook(bool, lambda value, _: boolean(value))
    converter.register_structure_hook(int, lambda value, _: integer(value))
    converter.register_structure_hook(str, lambda value, _: text(value))
    converter.register_structure_hook(Secret, lambda value, _: secret(value))
    # Each by itself: they are subclasses of str, whose hook would have them otherwise.
    for enumeration in _CHOICES:
        converter.register_structure_hook(enumeration, choice)
    converter.register_structure_hook_func(_is_sequence, sequence)
    return converter


STRICT: Final = _strict_converter()
"""A cattrs converter which coerces nothing: bool, int, str, Secret, our enumerations, and tuples of these."""


def by_type(value: object, type_: Any) -> Any:
    """``value`` as a field of ``type_``; TOML has no null, so ``X | None`` reads like ``X``."""
    if isinstance(type_, types.UnionType):
        (type_,) = (arm for arm in typing.get_args(type_) if arm is not types.NoneType)
    return STRICT.structure(value, type_)


# -- by meaning ----------------------------------------------------------------------------------------------------


def name(value: object) -> str:
    """The name of a user or a database."""
    if not text(value):
        raise ValueError("must not be empty")
    return text(value)


def host(value: object) -> str:
    """A host name, an address, or the directory of a UNIX socket."""
    given = name(value)
    if "://" in given or "@" in given:
        raise ValueError("must be a host name or an address, not a URL")
    if any(c.isspace() or not c.isprintable() for c in given) and not given.startswith("/"):
        raise ValueError("must be a host name or an address, without spaces")
    return given


def file(value: object) -> Path:
    """The path of a file that exists and can be read; relative paths start at the working directory."""
    path = Path(name(value))
    if "-----BEGIN" in str(path) or "\n" in str(path):
        raise ValueError("must be the path of a PEM file, got its contents")
    try:
        if not path.is_file():
            raise ValueError(f"is incorrectly configured: there is no file {str(path.absolute())!r}")
        path.open("rb").close()
    except OSError as error:
        raise ValueError(f"is incorrectly configured: {error.strerror}: {str(path)!r}") from None
    return path


def ssl_mode(value: object) -> SslMode:
    """libpq's modes; PgCat's ``true`` means prefer and ``false`` means disable."""
    if isinstance(value, bool):
        return SslMode.PREFER if value else SslMode.DISABLE
    return choice(value, SslMode)


def server_role(value: object) -> Role:
    """The role of a server: any but ``any``."""
    role = ALSO_SPELLED.get(value, value) if isinstance(value, str) else value
    if role in (Role.PRIMARY, Role.REPLICA, Role.AUTO, Role.MIRROR):
        return Role(str(role))
    raise ValueError(f"must be one of primary, replica, auto, mirror; got {describe(value)}")


def default_role(value: object) -> Role:
    """PgCat takes these in lower case only."""
    if text(value) not in (Role.ANY, Role.PRIMARY, Role.REPLICA):
        got = f"'{value}'" if _HARMLESS.match(text(value)) else "another string"
        raise ValueError(f"Query router default_role must be 'primary', 'replica', or 'any', got: {got}")
    return Role(text(value))


def failure_limit(value: object) -> int | None:
    """PgCat's documentation promises that 0 means off (its code disconnects at the first failure instead)."""
    limit = integer(value)
    if limit < 0:
        raise ValueError(f"must be at least 0, got {limit}")
    return limit or None


def default_shard(value: object) -> int | DefaultShard:
    """``shard_<n>``, ``random`` or ``random_healthy``."""
    given = text(value)
    if given in (DefaultShard.RANDOM, DefaultShard.RANDOM_HEALTHY):
        return DefaultShard(given)
    if numbered := re.fullmatch(r"shard_([0-9]{1,9})", given):
        return int(numbered[1])
    raise ValueError(f"must be shard_<number>, random or random_healthy; got {describe(value)}")


def sharding_key(value: object) -> str:
    """``table.column`` or ``*.column``, without the quotes that PgCat strips."""
    key = text(value).replace('"', "")
    if len(key.split(".")) != 2:
        raise ValueError(f"automatic_sharding_key '{key}' must be fully qualified, e.g. t.{key}")
    return key


def parameter_names(value: object) -> tuple[str, ...]:
    """Names of run-time settings, as SHOW takes them."""
    names: tuple[str, ...] = sequence(value, tuple[str, ...])
    for each in names:
        if re.fullmatch(r"[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)*", each) is None:
            raise ValueError(f"{each!r} is no name of a run-time setting")
    return names


def sql_names(value: object) -> tuple[str, ...]:
    """Names of functions or tables, ``name`` or ``schema.name`` as in SQL; returned as a server has them."""
    part = r'(?:[^\W\d][\w$]*|"[^"]+")'
    names: tuple[str, ...] = sequence(value, tuple[str, ...])
    for each in names:
        if re.fullmatch(rf"{part}(?:\.{part})?", each) is None:
            raise ValueError(f"{each!r} is no name, e.g. lookup or public.lookup")
    return tuple(re.sub(part, lambda found: _stored_name(found[0]), each) for each in names)


def _stored_name(name: str) -> str:
    return name[1:-1] if name.startswith('"') else name.lower()


def regex(value: object) -> str:
    """A pattern that Python's ``re`` understands; Rust's syntax is close to it, without look-around."""
    pattern = text(value)
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is not a valid Regex: {error}") from None
    return pattern

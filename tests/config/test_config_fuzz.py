"""The invariant: any text either loads or raises ConfigError with problems, and never anything else."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from pgcat_trio.config import Config, General, Pool, Server, User, parse_config
from pgcat_trio.config.keys import key_of
from pgcat_trio.errors import ConfigError

KEYS = sorted(
    {str(key_of(f).name) for cls in (General, Pool, Server, User) for f in attrs.fields(cls) if f.metadata}
    | {"users", "shards", "servers", "mirrors", "plugins", "intercept", "queries", "enabled", "database", "pools"}
    | {"0", "1", "-1", "a", "general", "pool", "path", "query_cache", "verify_config", "prewarmer", "unknown key"}
    | {"prepared_statements_cache_size", "db_activity_based_ms_init_delay", "table_mutation_cache_ttl"}
)
SCALARS = (
    st.integers() | st.booleans() | st.floats() | st.text(max_size=8) | st.dates()
    | st.sampled_from(["md5", "primary", "shard_1", "random", "/", "t.id", "(", "[[a]", "disable", "scram-sha-256"])
)  # fmt: skip
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


def _toml(value: object) -> str:
    """A value as inline TOML."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(f"\\U{ord(c):08X}" for c in value if not 0xD800 <= ord(c) < 0xE000) + '"'
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return str(value)


def loads_or_explains(text: str) -> None:
    try:
        config = parse_config(text)
    except ConfigError as error:
        problems = error.problems
    else:
        assert isinstance(config, Config)
        return
    assert problems
    assert all(problem.startswith("pgcat.toml:") for problem in problems)


@given(st.text() | st.text(alphabet="[]{}=.,\"'\\#\n\r ab01", max_size=40))
def test_any_text(text: str) -> None:
    loads_or_explains(text)


@given(st.dictionaries(st.sampled_from(["general", "pools", "plugins", "pool", "path"]), TREES))
def test_any_tree_of_known_keys(document: dict[str, object]) -> None:
    loads_or_explains("\n".join(f"{key} = {_toml(value)}" for key, value in document.items()))


@given(
    st.sampled_from(
        [(), ("users",), ("users", "0"), ("shards",), ("shards", "0"), ("plugins",), ("plugins", "intercept")]
    ),
    st.sampled_from(KEYS),
    TREES,
)
def test_a_valid_pool_with_anything_in_it(where: tuple[str, ...], key: str, value: object) -> None:
    pool: dict[str, object] = {
        "users": {"0": {"username": "u", "password": "p", "pool_size": 1}},
        "shards": {"0": {"database": "d", "servers": [["h", 1, "primary"]]}},
    }
    table: dict[str, object] = pool
    for name in where:
        table = table.setdefault(name, {})  # type: ignore[assignment]
    table[key] = value
    general = '[general]\nadmin_username = "a"\nadmin_password = "b"\n'
    loads_or_explains(f"pools = {_toml({'app': pool})}\n{general}")

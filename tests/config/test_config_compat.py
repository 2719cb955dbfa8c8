"""Files as PgCat's users have them, and our own samples: each loads, and warns of exactly what it should."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from pgcat_trio.config import General, Pool, Role, User, load_config, parse_config
from pgcat_trio.config.compat import NOT_BUILT
from pgcat_trio.config.keys import key_of

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
OURS = HERE.parent.parent / "config"

_EXPORTER = (
    "general.enable_prometheus_exporter: ignored: the Prometheus exporter is not built yet "
    "(also ignored: general.prometheus_exporter_port)"
)
_NEVER_RELEASED = "has no effect: no release of PgCat reads it; remove it"

WARNINGS = {
    "minimal": (),
    "trust": (),
    "docker": (f"5: {_EXPORTER}",),
    "chart": (
        '36: pools."my-app.prod".table_mutation_cache_ttl: PgCat ignores this name; taken for '
        'pools."my-app.prod".table_mutation_cache_ms_ttl where that is not set: write that instead',
    ),
    "documented": (
        "5: general.verify_config: PgCat ignores this name; taken for general.validate_config where that is not set: "
        "write that instead",
        "6: general.prepared_statements_cache_size: PgCat ignores this name; taken for "
        "pools.NAME.prepared_statements_cache_size where that is not set: write that instead",
        "10: pools.sharded_db.db_activity_based_ms_init_delay: PgCat ignores this name; taken for "
        "pools.sharded_db.db_activity_init_delay where that is not set: write that instead",
    ),
    "auth_query": (
        "3: general.log_level: has no effect: the log level is set by -l or LOG_LEVEL",
        "10: pools.pgml.auth_query: ignored: auth_query is not built yet "
        "(also ignored: pools.pgml.auth_query_user, pools.pgml.auth_query_password)",
        f"13: pools.pgml.query_result_capacity: {_NEVER_RELEASED}",
        f"14: pools.pgml.proxy: {_NEVER_RELEASED}",
        f"29: query_cache: {_NEVER_RELEASED}",
    ),
    "full": (
        f"5: {_EXPORTER}",
        "18: general.worker_threads: ignored: worker processes are not built yet",
        "27: plugins: ignored: plugins are not built yet (also ignored: pools.sharded_db.plugins)",
        "70: pools.sharded_db.automatic_sharding_key: ignored: finding the shard by a key in statements "
        "(SET SHARDING KEY, SET SHARD and hints choose it) is not built yet",
        "73: pools.sharded_db.dns_cache_enabled: has no effect here: it belongs in [general]",
        "74: pools.sharded_db.dns_max_ttl: has no effect here: it belongs in [general]",
        "76: pool.sharded_db.plugins: has no effect: the plugins of a pool stand in [pools.NAME.plugins]",
        "100: pools.sharded_db.shards.0.mirrors: ignored: mirrors are not built yet",
    ),
}


@pytest.mark.parametrize("path", sorted((HERE / "pgcat_style").glob("*.toml")), ids=lambda path: path.stem)
def test_a_file_for_pgcat_loads_with_these_warnings(path: Path) -> None:
    assert load_config(path).warnings == tuple(f"{path}:{warning}" for warning in WARNINGS[path.stem])


def test_the_full_sample_means_what_it_meant() -> None:
    config = load_config(HERE / "pgcat_style" / "full.toml")
    sharded, simple = config.pools["sharded_db"], config.pools["simple_db"]
    assert [user.username for user in sharded.users] == ["sharding_user", "other_user"]
    assert [user.connect_timeout_s for user in (*sharded.users, *simple.users)] == [3.0, 3.0, 5.0]
    assert [shard.database for shard in sharded.shards] == ["shard0", "shard1", "shard2"]
    assert [server.role for server in sharded.shards[2].servers] == [Role.PRIMARY, Role.REPLICA]
    assert [mirror.mirroring_target_index for mirror in sharded.shards[0].mirrors] == [0, 1]
    assert config.plugins is not None
    assert config.plugins.intercept is not None
    assert config.plugins.intercept.queries[0].result == (("${DATABASE}", "{public}"),)
    # A pool's own plugins replace the global ones, all of them.
    assert sharded.plugins is not None
    assert (sharded.plugins.intercept, sharded.plugins.table_access) == (None, None)
    assert simple.plugins == config.plugins


def test_a_documented_name_sets_what_it_was_meant_for() -> None:
    config = load_config(HERE / "pgcat_style" / "documented.toml")
    pool = config.pools["sharded_db"]
    assert (config.general.validate_config, pool.prepared_statements_cache_size) == (False, 500)
    assert pool.db_activity_init_delay_s == 0.2


def test_the_real_name_beats_the_documented_one(with_lines: Callable[..., str]) -> None:
    config = parse_config(with_lines(general="verify_config = true\nvalidate_config = false"))
    assert config.general.validate_config is False
    assert "general.verify_config" in config.warnings[0]


def test_a_wrong_value_under_a_documented_name_is_reported_where_it_stands(
    with_lines: Callable[..., str], problems_of: Callable[[str], tuple[str, ...]]
) -> None:
    assert problems_of(with_lines(general="verify_config = 1")) == (
        "pgcat.toml:2: general.verify_config: must be true or false, got the integer 1",
    )


@pytest.mark.parametrize(
    ("table", "lines"),
    [
        ("general", "worker_threads = 1"),
        ("general", "enable_prometheus_exporter = false\nprometheus_exporter_port = 9999"),
        ("general", "dns_cache_enabled = false\ndns_max_ttl = 60"),
        ("pool", "prepared_statements_cache_size = 0"),
        ("pool", "sharding_function = 'sha1'\nregex_search_limit = 10"),
        ("pool", "db_activity_based_routing = false\ndb_activity_ttl = 1"),
        ("pool", "plugins.query_logger.enabled = false"),
        ("shard", "mirrors = []"),
    ],
)
def test_a_key_that_turns_nothing_on_is_silent(table: str, lines: str, with_lines: Callable[..., str]) -> None:
    assert parse_config(with_lines(**{table: lines})).warnings == ()


def test_verification_without_tls_is_pointed_out(with_lines: Callable[..., str]) -> None:
    assert parse_config(with_lines(general="verify_server_certificate = true")).warnings == (
        "pgcat.toml:2: general.verify_server_certificate: has no effect while server_tls is off",
    )


# -- our own files -------------------------------------------------------------------------------------------------

_PROSE_OR_KEY = re.compile(r"^#(?=[a-z_]+ = )", re.MULTILINE)


@pytest.mark.parametrize("name", ["pgcat.toml", "minimal.toml"])
def test_our_samples_load_without_a_warning(name: str) -> None:
    assert load_config(OURS / name).warnings == ()


def test_the_reference_shows_every_built_key_with_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (OURS / "pgcat.toml").read_text()
    everything = _PROSE_OR_KEY.sub("", text)
    for file in re.findall(r'"([a-z]+\.(?:crt|key))"', everything):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    shown = parse_config(everything.replace("server_tls = false", 'server_tls = "prefer"'))
    plain = parse_config(text)

    not_built = {pattern[-1] for feature in NOT_BUILT for pattern in (*feature.switches, *feature.tuning)}
    for cls, ours, default in (
        (General, shown.general, plain.general),
        (Pool, shown.pools["app"], plain.pools["app"]),
        (User, shown.pools["app"].users[0], plain.pools["app"].users[0]),
    ):
        section = text[text.index({General: "[general]", Pool: "[pools.app]", User: "[pools.app.users.0]"}[cls]) :]
        section = section[: section.index("\n[pools", 1)]
        for field in (field for field in attrs.fields(cls) if "key" in field.metadata):
            name = key_of(field).name
            if name not in not_built:
                assert re.search(rf"^#?{name} = ", section, re.MULTILINE), f"{cls.__name__}: {name} is not shown"
                example_only = field.default is None or name == "server_tls"
                assert example_only or getattr(ours, field.name) == getattr(default, field.name), name

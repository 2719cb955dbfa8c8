"""Keys to shards: PgCat's test vectors, which are PostgreSQL's."""

from __future__ import annotations

import pytest

from pgcat_trio.config.model import ShardingFunction
from pgcat_trio.routing.sharding import pg_bigint_hash, shard_of

BIGINT, SHA1 = ShardingFunction.PG_BIGINT_HASH, ShardingFunction.SHA1

OF_FIVE = {
    0: (1, 4, 5, 14, 19, 39, 40, 46, 47, 53),
    1: (2, 3, 11, 17, 21, 23, 30, 49, 51, 54),
    2: (6, 7, 15, 16, 18, 20, 25, 28, 34, 35),
    3: (8, 12, 13, 22, 29, 31, 33, 36, 41, 43),
    4: (9, 10, 24, 26, 27, 32, 37, 38, 42, 45),
}


def test_bigints_among_five() -> None:
    assert {shard: tuple(k for k in keys if shard_of(k, 5, BIGINT) == shard) for shard, keys in OF_FIVE.items()} == (
        OF_FIVE
    )


def test_bigints_among_three() -> None:
    expected = [2, 0, 1, 0, 2, 0, 1, 0, 2, 1, 2, 2, 1, 1, 0, 0, 2, 0, 0, 0]
    assert [shard_of(key, 3, BIGINT) for key in range(1, 21)] == expected


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (0, 0x0C8440B74FD699B0),
        (1, 0x9C7715E2970A8FB8),
        (5, 0x2235CEA2C364331D),
        (-1, 0x0400BC251F3BAFA5),
        (-5, 0x957F17603E2F55FF),
        (2**31, 0x8E2A2EEC347A3A76),
        (2**63 - 1, 0x8E2A2EEC347A3A76),
        (-(2**63), 0xF5AA185B5E7FA17F),
    ],
)
def test_raw_values(key: int, hashed: int) -> None:
    assert pg_bigint_hash(key) == hashed


def test_sha1_among_twelve() -> None:
    expected = [4, 7, 8, 3, 6, 0, 0, 10, 3, 11, 1, 7, 4, 4, 11, 2, 5, 0, 8, 3]
    assert [shard_of(key, 12, SHA1) for key in range(20)] == expected


def test_the_only_shard() -> None:
    assert shard_of(13, 1, BIGINT) == shard_of(13, 1, SHA1) == 0

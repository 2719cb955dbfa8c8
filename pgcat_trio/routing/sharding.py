"""From a sharding key to the number of its shard, as PgCat computes it: data that are there already must be found.

``pg_bigint_hash`` is PostgreSQL's own: a key's shard is the partition of a table ``PARTITION BY HASH (bigint)`` of as
many partitions as there are shards (PostgreSQL source, hashint8extended, hash_bytes_uint32_extended and
compute_partition_hash_value).
"""

from __future__ import annotations

import hashlib
from typing import Final

from pgcat_trio.config.model import ShardingFunction

_32_BITS: Final = 0xFFFFFFFF
_64_BITS: Final = 0xFFFFFFFFFFFFFFFF
_SEED: Final = 0x7A5B22367996DCFD  # HASH_PARTITION_SEED
_START: Final = (0x9E3779B9 + 4 + 3923095) & _32_BITS
_COMBINE: Final = 0x49A0F4DD15E5A8E3


def shard_of(key: int, shards: int, function: ShardingFunction) -> int:
    """The shard of a key, a signed 64-bit number, among so many shards."""
    if function is ShardingFunction.SHA1:
        return int(hashlib.sha1(str(key).encode(), usedforsecurity=False).hexdigest()[-8:], 16) % shards
    return pg_bigint_hash(key) % shards


def pg_bigint_hash(key: int) -> int:
    """PostgreSQL's partition hash of one bigint, an unsigned 64-bit number."""
    low, high = key & _32_BITS, (key >> 32) & _32_BITS
    low ^= high if key >= 0 else ~high & _32_BITS
    a, b, c = _mix((_START + (_SEED >> 32)) & _32_BITS, (_START + _SEED) & _32_BITS, _START)
    _, b, c = _final((a + low) & _32_BITS, b, c)
    return (((b << 32) | c) + _COMBINE) & _64_BITS


def _rotated(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & _32_BITS


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    """Jenkins' mix (lookup3.c)."""
    for bits in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _32_BITS) ^ _rotated(c, bits)
        c = (c + b) & _32_BITS
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> tuple[int, int, int]:
    """Jenkins' final (lookup3.c)."""
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, bits)) & _32_BITS
        a, b, c = b, c, a
    return c, a, b  # after seven turns of three

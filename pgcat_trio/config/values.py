"""The small values of a configuration: secrets, and choices with the spellings that PgCat accepts for them."""

from __future__ import annotations

import enum
from typing import Final


class Secret:
    """A password. It never shows itself: only `reveal` gives the text away."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself, for those who must prove that they know it."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


class Role(enum.StrEnum):
    """What a server is, or which kind of server a client asks for (``ANY`` is only ever asked for).

    ``AUTO`` stands in configurations only: the server is what it says that it is.
    """

    ANY = "any"
    PRIMARY = "primary"
    REPLICA = "replica"
    MIRROR = "mirror"
    AUTO = "auto"


class PoolMode(enum.StrEnum):
    """How long a client keeps a backend: until its transaction ends, or until it disconnects."""

    TRANSACTION = "transaction"
    SESSION = "session"


class Pinning(enum.StrEnum):
    """What happens in transaction mode to a client whose statement leaves something that cannot be shared: it keeps its
    backend until that is gone, or the statement is refused."""

    ALLOW = "allow"
    DENY = "deny"


class ReadAfterWrite(enum.StrEnum):
    """Where a session reads that has written: anywhere, from the primary for a while, or from replicas that have
    replayed it."""

    OFF = "off"
    SESSION = "session"
    LSN = "lsn"


class LoadBalancing(enum.StrEnum):
    """How one server is picked of several: by chance, by fewest leases (``LOC``), in turn, or the quicker of two."""

    RANDOM = "random"
    LOC = "loc"
    ROUND_ROBIN = "round_robin"
    EWMA = "ewma"


class AuthType(enum.StrEnum):
    """How a client proves who it is; ``SCRAM_PLUS`` binds the proof to the TLS connection."""

    MD5 = "md5"
    TRUST = "trust"
    SCRAM = "scram-sha-256"
    SCRAM_PLUS = "scram-sha-256-plus"


class SslMode(enum.StrEnum):
    """TLS towards servers, with the names and meanings of libpq's ``sslmode``."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class ShardingFunction(enum.StrEnum):
    """How a sharding key becomes a shard number."""

    PG_BIGINT_HASH = "pg_bigint_hash"
    SHA1 = "sha1"


class DefaultShard(enum.StrEnum):
    """Where a statement goes that names no shard, other than to a shard of fixed number."""

    RANDOM = "random"
    RANDOM_HEALTHY = "random_healthy"


# What PgCat reads besides the value itself (its serde aliases and variant names).
ALSO_SPELLED: Final[dict[str, enum.StrEnum]] = {
    "Primary": Role.PRIMARY,
    "Replica": Role.REPLICA,
    "Mirror": Role.MIRROR,
    "Transaction": PoolMode.TRANSACTION,
    "Session": PoolMode.SESSION,
    "Random": LoadBalancing.RANDOM,
    "LOC": LoadBalancing.LOC,
    "least_outstanding_connections": LoadBalancing.LOC,
    "LeastOutstandingConnections": LoadBalancing.LOC,
    "MD5": AuthType.MD5,
    "Trust": AuthType.TRUST,
    "PgBigintHash": ShardingFunction.PG_BIGINT_HASH,
    "Sha1": ShardingFunction.SHA1,
}

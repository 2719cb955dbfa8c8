"""The configuration: one TOML file in, one immutable tree out."""

from .load import load_config, parse_config
from .model import (
    AuthType,
    Config,
    General,
    LoadBalancing,
    Mirror,
    Pinning,
    Pool,
    PoolMode,
    Role,
    Secret,
    Server,
    Shard,
    ShardingFunction,
    SslMode,
    User,
)
from .plan import PoolChange, PoolKey, Reach, ReloadPlan, diff, keep_boot_only

__all__ = [
    "AuthType",
    "Config",
    "General",
    "LoadBalancing",
    "Mirror",
    "Pinning",
    "Pool",
    "PoolChange",
    "PoolKey",
    "PoolMode",
    "Reach",
    "ReloadPlan",
    "Role",
    "Secret",
    "Server",
    "Shard",
    "ShardingFunction",
    "SslMode",
    "User",
    "diff",
    "keep_boot_only",
    "load_config",
    "parse_config",
]

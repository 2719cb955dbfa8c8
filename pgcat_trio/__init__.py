"""pgcat-trio: a PostgreSQL proxy built on structured concurrency.

As a library: ``addresses = await nursery.start(serve, load_config("pgcat.toml"))``.
"""

from ._version import __version__
from .config import Config, load_config, parse_config
from .errors import BindError, ConfigError
from .server.supervisor import serve

__all__ = ["BindError", "Config", "ConfigError", "__version__", "load_config", "parse_config", "serve"]

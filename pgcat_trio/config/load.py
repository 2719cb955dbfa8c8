"""From a file, or its text, to a `Config`, or to one ConfigError with every problem in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ..errors import ConfigError
from . import compat, toml
from .build import build_config
from .lines import LineIndex
from .reader import Reader

if TYPE_CHECKING:
    from .model import Config


def load_config(path: str | os.PathLike[str]) -> Config:
    """The configuration in the file ``path``.

    Raises ConfigError when the file cannot be read, is no TOML, or breaks a rule. Its ``problems`` are everything that
    is wrong, each as ``file:line: key: what, and what to do``. Blocks while it reads the file and looks for the
    TLS files that it names.
    """
    shown = os.fspath(path)
    try:
        return parse_config(Path(path).read_bytes().decode(), shown)
    except OSError as error:
        reason = f"Could not open '{shown}': {error.strerror}"
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        reason = f"{shown}:{line}: this line is not UTF-8; save the file as UTF-8"
    except ValueError:
        reason = f"Could not open {shown!r}: not a path"
    raise ConfigError(f"{shown} cannot be read", problems=(reason,))


def parse_config(text: str, path: str = "pgcat.toml") -> Config:
    """The configuration in ``text``; ``path`` is what messages call it. Raises ConfigError as `load_config` does."""
    text = text.removeprefix("\ufeff")
    document = toml.parse(text, path)
    remarks, moved = compat.tidy(document)
    reader = Reader(path, LineIndex(text), moved)
    config = build_config(reader, document)
    if config is None:
        problems = tuple(line for _, line in sorted(reader.problems))
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError(f"{path} cannot be used: {count}", problems=problems)
    remarks.extend(reader.remarks)
    remarks.extend(compat.not_built(document, moved))
    warnings = tuple(line for _, line in sorted(reader.place(at, remark) for at, remark in remarks))
    return attrs.evolve(config, path=path, warnings=warnings)

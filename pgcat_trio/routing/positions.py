"""Positions in the write-ahead log as text (``16/B374D848``) and as numbers of bytes (PostgreSQL manual, "pg_lsn")."""

from __future__ import annotations

import re
from typing import Final

_POSITION: Final = re.compile(r"([0-9a-fA-F]{1,8})/([0-9a-fA-F]{1,8})").fullmatch


def parse_position(text: str) -> int | None:
    """The position in bytes; None if it is none."""
    found = _POSITION(text)
    return None if found is None else int(found[1], 16) << 32 | int(found[2], 16)


def position_text(position: int) -> str:
    """As PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"

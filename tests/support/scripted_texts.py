"""What the statements look like that a scripted server knows."""

from __future__ import annotations

import re
from typing import Final

STATEMENTS: Final = re.compile(r"(?:'(?:[^']|'')*'|[^;'])+")
SET: Final = re.compile(r"""SET ([\w."]+) TO\s+(E?)'((?:[^']|'')*)'$""", re.IGNORECASE)
RESET: Final = re.compile(r'RESET ([\w."]+)$', re.IGNORECASE)
SLEEP: Final = re.compile(r"SELECT pg_sleep\(([\d.]+)\)$", re.IGNORECASE)
INSPECTED: Final = re.compile(r"SELECT '([A-Z_]+)',(?:  E'([^']*)')?")
LEFT: Final = {
    "CURSORS": ("DECLARE .* WITH HOLD", "CLOSE"),
    "ADVISORY_LOCKS": (r"SELECT pg_advisory_lock\(", r"SELECT pg_advisory_unlock"),
    "TEMPORARY": (r"CREATE TEMP", r"DROP|DISCARD"),
    "STATEMENTS": (r"PREPARE", r"DEALLOCATE|DISCARD"),
}
"""What statements leave behind in this process, and which take it away."""
CHANNEL: Final = re.compile(r"""(LISTEN|UNLISTEN|NOTIFY) ("[^"]+"|\w+|\*)(?:, '(.*)')?$""")
SERIES: Final = re.compile(r"SELECT generate_series\(1, (\d+)\)$", re.IGNORECASE)

"""Words in a text that may change what a session has: whoever wants to be certain reads the text."""

from __future__ import annotations

import re
from typing import Final


def may_deallocate(text: bytes) -> bool:
    """False if no statement of a text can be DEALLOCATE or DISCARD."""
    text = text.upper()
    return b"DEALLOCATE" in text or b"DISCARD" in text


may_reset: Final = re.compile(rb"\b(?:reset|discard|default|local)\b", re.IGNORECASE).search
"""None if no statement of a text can set back a setting (see `session.resets`)."""

"""What a text takes away of a session's prepared statements: DEALLOCATE and DISCARD ALL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..routing.lexer import is_word, split
from ..wire.suspicions import may_deallocate

if TYPE_CHECKING:
    from ..routing.lexer import Tokens

_ALL: Final[tuple[Tokens, ...]] = (("DEALLOCATE", "ALL"), ("DEALLOCATE", "PREPARE", "ALL"), ("DISCARD", "ALL"))
_ONE: Final[tuple[Tokens, ...]] = (("DEALLOCATE",), ("DEALLOCATE", "PREPARE"))


def deallocated(text: bytes) -> bytes | None:
    """The name of which a text is the DEALLOCATE; None if it is none, that of all, or more than one statement."""
    if not may_deallocate(text):
        return None
    statements = split(text)
    if len(statements) != 1 or statements[0].doubt or statements[0].tokens[:-1] not in _ONE:
        return None
    *_, last = tokens = statements[0].tokens
    end = statements[0].end
    name = text[end - len(last) : end]
    if last.startswith('"'):
        return name[1:-1].replace(b'""', b'"')
    return name.lower() if is_word(last) and tokens not in _ALL else None


def clears(text: bytes) -> bool:
    """True if a text takes away all the names of a session."""
    return may_deallocate(text) and any(statement.tokens in _ALL for statement in split(text))

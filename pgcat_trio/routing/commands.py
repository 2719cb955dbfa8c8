"""PgCat's commands, and EXPLAIN ROUTE: what a client says to the proxy in the words of SQL.

Nothing is taken from PostgreSQL: it refuses each of these texts, as bad syntax or as a setting that cannot exist. They
are told apart by their first words alone, so that what follows them can be refused in words that help.
"""

from __future__ import annotations

import enum
import re
from typing import Final

import attrs

from pgcat_trio.errors import FeatureNotSupported, InvalidCommand
from pgcat_trio.routing.lexer import split
from pgcat_trio.routing.positions import parse_position


class Subject(enum.Enum):
    """What a command is about; the values are PgCat's names of the columns."""

    SHARDING_KEY = "sharding key"
    SHARD = "shard"
    ROLE = "server role"
    PRIMARY_READS = "primary reads"
    POSITION = "pgcat.lsn"


@attrs.frozen
class Command:
    """``SET <subject> TO <value>``; without a value, ``SHOW <subject>``. Values are in lower case."""

    subject: Subject
    value: str | None = None

    @property
    def tag(self) -> str:
        """What CommandComplete says."""
        if self.subject is Subject.POSITION:
            return "SHOW" if self.value is None else "SET"  # it is a setting like others
        return "SELECT 1" if self.value is None else str(self)

    def __str__(self) -> str:
        verb = "SHOW" if self.value is None else "SET"
        return f"{verb} {self.subject.value.upper()}"


@attrs.frozen
class ExplainRoute:
    """``EXPLAIN ROUTE`` of a text, which may have parameters."""

    sql: bytes
    tag: str = "EXPLAIN"

    @property
    def parameters(self) -> int:
        """How many values a client may bind; nobody looks at them."""
        tokens = (token for statement in split(self.sql) for token in statement.tokens)
        numbers = [int(token[1:7]) for token in tokens if token[0] == "$" and token[1:].isdigit()]
        return min(max(numbers, default=0), _MAX_PARAMETERS)


_MAX_PARAMETERS: Final = 65535  # what a Bind can count to

_GAP: Final = rb"(?:\s|--[^\n\r]*+|/\*(?:[^*]|\*(?!/))*+\*/)"
_HEAD_TEMPLATE: Final = rb"""
    GAP*+ (?: set  GAP++ (?P<set>  sharding GAP++ key | shard | server GAP++ role | primary GAP++ reads ) GAP++ to \b
            | set  GAP++ (?:session GAP++)?+ (?P<lsn> pgcat\.lsn) GAP*+ (?: = | to\b )
            | show GAP++ (?P<show> shard | server GAP++ role | primary GAP++ reads | pgcat\.lsn ) GAP*+ (?=;|\Z)
            | explain GAP++ (?P<explain> route ) \b
          )"""
_FLAGS: Final = re.IGNORECASE | re.VERBOSE
_HEAD: Final = re.compile(_HEAD_TEMPLATE.replace(b"GAP", _GAP), _FLAGS).match
_LATER_HEAD: Final = re.compile(b";" + _HEAD_TEMPLATE.replace(b"GAP", _GAP), _FLAGS).search
_VALUE: Final = re.compile(rb"GAP*+ (?: '([^']*+)' | ([\w$+-]++) ) GAP*+ ;*+".replace(b"GAP", _GAP), _FLAGS).match

_MAY_BEGIN: Final = re.compile(rb"[\s/-]|[sS][eEhH][tToO]|[eE][xX][pP]").match
"""What can be told at the first letters, at a third of the cost."""
_SEMICOLON: Final = ord(";")

_SUBJECTS: Final = {
    b"shardi": Subject.SHARDING_KEY,
    b"shard": Subject.SHARD,
    b"server": Subject.ROLE,
    b"primar": Subject.PRIMARY_READS,
    b"pgcat.": Subject.POSITION,
}
"""By their first letters."""

_INTEGER: Final = re.compile(r"-?[0-9]+")
_BIGINT: Final = range(-(2**63), 2**63)
_CHOICES: Final = {
    Subject.ROLE: ("primary", "replica", "any", "auto", "default"),
    Subject.PRIMARY_READS: ("on", "off", "default"),
}


def is_command(sql: bytes) -> bool:
    """Whether a text is for the proxy: a command, or several statements with one among them. Asked for every text."""
    if _MAY_BEGIN(sql) is not None and _HEAD(sql) is not None:
        return True
    if _SEMICOLON not in sql or sql.find(_SEMICOLON) == len(sql) - 1:
        return False
    return _LATER_HEAD(sql) is not None and _has_command(sql)


def _has_command(sql: bytes) -> bool:
    return any(statement.doubt is None and _HEAD(sql, statement.start) for statement in split(sql))


def parse_command(sql: bytes) -> Command | ExplainRoute:
    """The command of a text for which `is_command` holds. Raises `InvalidCommand` and `FeatureNotSupported`."""
    head = _HEAD(sql)
    if head is not None and head["explain"] is not None:
        return _explain(sql[head.end() :])
    if b";" in sql and len(split(sql)) > 1:
        raise FeatureNotSupported(
            "a command of the proxy's must be the only statement of a query",
            hint="Send SET SHARD, SET SERVER ROLE and the like in queries of their own.",
        )
    assert head is not None
    if head["show"] is not None:
        return Command(_subject(head["show"]))
    subject = _subject(head["set"] or head["lsn"])
    value = _VALUE(sql, head.end())
    if value is None or sql[value.end() :].strip(b"; \t\r\n\f\v"):
        raise InvalidCommand(f"SET {subject.value.upper()} TO needs one value", hint=_hint(subject))
    text = (value[1] if value[1] is not None else value[2]).decode("utf-8", "replace").strip().lower()
    if not _allowed(subject, text):
        raise InvalidCommand(f"invalid value for {Command(subject, text)}: {text[:63]!r}", hint=_hint(subject))
    return Command(subject, text)


def _explain(sql: bytes) -> ExplainRoute:
    """Of all that follows: what is sent at once goes to one place."""
    if not split(sql):
        raise InvalidCommand("EXPLAIN ROUTE needs a statement", hint="It says where that would go; nothing is run.")
    return ExplainRoute(sql.strip(b"; \t\r\n\f\v"))


def _subject(words: bytes) -> Subject:
    return _SUBJECTS[words[:6].lower()]


def _allowed(subject: Subject, text: str) -> bool:
    if subject in _CHOICES:
        return text in _CHOICES[subject]
    if subject is Subject.POSITION:
        return text == "default" or parse_position(text) is not None
    if subject is Subject.SHARD and text == "any":
        return True
    # So long a number is none that means anything, and Python takes its time to read it.
    return _INTEGER.fullmatch(text) is not None and len(text) <= 20 and int(text) in _BIGINT


def _hint(subject: Subject) -> str:
    if subject in _CHOICES:
        *others, last = _CHOICES[subject]
        return f"Use {', '.join(others)} or {last}."
    if subject is Subject.POSITION:
        return "Use what SHOW pgcat.lsn has returned, as in '16/B374D848', or DEFAULT."
    if subject is Subject.SHARD:
        return "Use the number of a shard, counted from 0, or ANY."
    return "Use a whole number between -9223372036854775808 and 9223372036854775807."

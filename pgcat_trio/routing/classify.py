"""What one text of SQL is: a proven read, the beginning of a transaction, or something for the primary.

The leading keyword decides, from our own lexer. A query (SELECT, WITH, VALUES, TABLE) is a read only if two witnesses
agree: the words and calls that the lexer found (here), and the tree that sqlglot makes of them (`prove.py`). What is
not proven goes to the primary, with the reason.

What a text does not show (what a user's functions, views, operators and types do) is the catalog's to say.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from pgcat_trio.routing.catalog import EMPTY
from pgcat_trio.routing.effects import LONG_TEXT_BYTES, Effect, effects_of, effects_of_statements
from pgcat_trio.routing.lexer import is_word, split
from pgcat_trio.routing.prove import QUERY_STARTS, NotProvenError, matching_parenthesis, prove_query
from pgcat_trio.routing.traits import StatementTraits, TransactionControl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgcat_trio.routing.catalog import Catalog
    from pgcat_trio.routing.lexer import Statement, Tokens


_TRANSACTION_WORDS = frozenset({"COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"})

_WHY_PRIMARY = {
    "BEGIN": "a transaction that may write",
    "START": "a transaction that may write",
    "SHOW": "what SHOW answers may differ between the servers; the primary's answer is the expected one",
    "SET": "SET changes the session",
    "DO": "DO runs code that is not seen here",
    "CALL": "CALL runs code that is not seen here",
    "EXECUTE": "EXECUTE runs a statement that is not seen here",
    "FETCH": "a cursor lives where it was declared",
    "LOCK": "a hot standby refuses locks that conflict with writes",
}


_NAMES = """
    APPLICATION_NAME BLOCK_SIZE CLIENT_ENCODING DATESTYLE INTEGER_DATETIMES INTERVALSTYLE IS_SUPERUSER LC_MESSAGES
    MAX_IDENTIFIER_LENGTH SEARCH_PATH SERVER_ENCODING SERVER_VERSION SERVER_VERSION_NUM SESSION_AUTHORIZATION
    STANDARD_CONFORMING_STRINGS TIMEZONE
"""
# Properties of the cluster, and settings that follow a session wherever it goes; and not what is tuned for one server.
_SHOWN_ALIKE = frozenset({*((name,) for name in _NAMES.split()), ("SESSION", "AUTHORIZATION"), ("TIME", "ZONE")})


def classify(
    sql: bytes, *, max_length: int | None = None, search_path_reported: bool = False, catalog: Catalog = EMPTY
) -> StatementTraits:
    """The traits of a text as a client sends it (without the terminating NUL). Never raises.

    Texts of more than ``max_length`` bytes (None: `LONG_TEXT_BYTES`, which is also the most that is ever read closely)
    are not looked into and count as writes. A text of several statements is a read if each of them is.
    """
    limit = LONG_TEXT_BYTES if max_length is None else min(max_length, LONG_TEXT_BYTES)
    if len(sql) > limit:
        effects = effects_of(sql, search_path_reported=search_path_reported)
        return StatementTraits(False, TransactionControl.NONE, effects, f"longer than {limit} bytes")
    statements = split(sql)
    effects = effects_of_statements(statements, search_path_reported=search_path_reported)
    control = _transaction_control(statements[0]) if len(statements) == 1 else TransactionControl.NONE
    if control is TransactionControl.BEGIN_READ_ONLY:
        return StatementTraits(False, control, effects, "a read-only transaction", statements, catalog)
    try:
        why, reads = _prove(statements, effects, catalog), True
    except NotProvenError as unproven:
        why, reads = str(unproven), False
    return StatementTraits(reads, control, effects, why, statements, catalog)


def _transaction_control(statement: Statement) -> TransactionControl:
    tokens = statement.tokens
    first = tokens[0]
    if first == "BEGIN" or tokens[:2] == ("START", "TRANSACTION"):
        modes = [mode for mode in tokens if mode != ","]
        read_only = ("READ", "ONLY") in itertools.pairwise(modes)
        # A hot standby refuses SERIALIZABLE (PostgreSQL manual, 13.7.1); READ WRITE besides READ ONLY is an error.
        if read_only and statement.doubt is None and not {"SERIALIZABLE", "WRITE"} & set(modes):
            return TransactionControl.BEGIN_READ_ONLY
        return TransactionControl.BEGIN
    if first in _TRANSACTION_WORDS or tokens[:2] == ("PREPARE", "TRANSACTION"):
        return TransactionControl.OTHER
    return TransactionControl.NONE


def _prove(statements: Sequence[Statement], effects: Effect, catalog: Catalog) -> str:
    """Why the statements are reads; raises NotProvenError."""
    if not statements:
        raise NotProvenError("no statement")
    for statement in statements:
        if statement.doubt:
            raise NotProvenError(f"the text holds {statement.doubt}")
    if effects:
        raise NotProvenError(f"may leave something behind: {_names(effects)}")
    whys = [_prove_statement(statement.tokens, catalog) for statement in statements]
    return whys[0] if len(whys) == 1 else f"{len(whys)} statements, each a read"


def _names(effects: Effect) -> str:
    return ", ".join(effect.name.lower().replace("_", " ") for effect in Effect if effect in effects and effect.name)


def _prove_statement(tokens: Tokens, catalog: Catalog) -> str:
    first = tokens[0]
    if first in QUERY_STARTS:
        prove_query(tokens, catalog)
        return "a read-only query"
    if first == "EXPLAIN":
        prove_query(_explained(tokens), catalog)
        return "EXPLAIN of a read-only query"
    if first == "SHOW" and tokens[1:] in _SHOWN_ALIKE:
        return "SHOW of what all servers have in common"
    if first == "COPY":
        return _prove_copy(tokens, catalog)
    why = _WHY_PRIMARY.get(first)
    if why is None and is_word(first):
        why = f"{first[:63]} is not known to be a read"
    raise NotProvenError(why or "begins with no keyword")


def _explained(tokens: Tokens) -> Tokens:
    position = 1
    if tokens[1:2] == ("(",) and tokens[2:3] and tokens[2] not in QUERY_STARTS:
        position = matching_parenthesis(tokens, 1) + 1
    while tokens[position : position + 1] in (("ANALYZE",), ("ANALYSE",), ("VERBOSE",)):
        position += 1
    return tokens[position:]


def _prove_copy(tokens: Tokens, catalog: Catalog) -> str:
    """``COPY (query) TO STDOUT ...`` or ``COPY table [(columns)] TO STDOUT ...``."""
    if tokens[1:2] == ("(",):
        close = matching_parenthesis(tokens, 1)
        if tokens[close + 1 : close + 3] == ("TO", "STDOUT"):
            prove_query(tokens[2:close], catalog)
            return "COPY of a read-only query to the client"
    else:
        position = 2
        while tokens[position : position + 1] == (".",):
            position += 2
        if tokens[position : position + 1] == ("(",):
            position = matching_parenthesis(tokens, position) + 1
        if tokens[position : position + 2] == ("TO", "STDOUT"):
            if (refusal := catalog.refuses(tokens)) is not None:
                raise NotProvenError(refusal)
            return "COPY of a table to the client"
    raise NotProvenError("COPY that does not go to the client")

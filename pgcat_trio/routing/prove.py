"""The proof that a query (SELECT, WITH, VALUES, TABLE) only reads: two witnesses that must agree.

* The lexer's tokens hold no word that writes, locks or creates, no relation that answers for one server alone, and no
  call outside `READ_ONLY_FUNCTIONS`.
* sqlglot parses them into one tree whose nodes are all on an allow-list.

sqlglot never sees the client's text, only the lexer's tokens joined again, with every string as ``'x'`` and every rare
operator as ``||``: so the two cannot disagree about where a string or a comment ends, and nothing that a client writes
into a literal reaches the parser.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp

from pgcat_trio.routing.catalog import EMPTY
from pgcat_trio.routing.functions import LOCKING_WORDS, PER_SERVER_RELATIONS, WRITING_WORDS
from pgcat_trio.routing.lexer import is_literal, is_name
from pgcat_trio.routing.names import calls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgcat_trio.routing.catalog import Catalog
    from pgcat_trio.routing.lexer import Tokens

QUERY_STARTS = frozenset({"SELECT", "WITH", "VALUES", "TABLE", "("})

# sqlglot runs in the one thread that serves everybody, at 5 to 15 us per token, and in some corners much worse. These
# limits keep nearly every text below 30 ms, the worst found by fuzzing near 100 ms: nesting can cost 2**depth (in some
# type names, and in texts that are not SQL), joins that wait for their ON 2**n, computed limits 2**n, subscripts n**2.
MAX_TOKENS = 2000
MAX_DEPTH = 12
MAX_SUBSCRIPTS = 64
MAX_OPEN_JOINS = 6
MAX_COMPUTED_LIMITS = 4  # LIMIT and OFFSET of something else than a number or a parameter
# In a list of literals only the first few reach the parser: their number proves nothing.
MAX_LITERALS_IN_A_ROW = 8


class NotProvenError(Exception):
    """Why a statement is not known to be a read."""


def prove_query(tokens: Tokens, catalog: Catalog = EMPTY) -> None:
    """Return if ``tokens`` are one query that any hot standby can run; else raise NotProvenError with the reason."""
    if not tokens or tokens[0] not in QUERY_STARTS:
        raise NotProvenError("no query that could be a read")
    tokens = tuple(_without_long_lists(_with_plain_operators(tokens) if "OPERATOR" in tokens else tokens))
    parsed = tuple(each for text in _understandable(tokens) for each in normalized(text))
    _check_size(tokens)
    _check_words(tokens)
    if (refusal := catalog.refuses(tokens)) is not None:
        raise NotProvenError(refusal)
    unexplained = Counter(name.lower() for name in calls(tokens, catalog.writes) if not catalog.is_read(name))
    tree = _parse(" ".join(parsed))
    for node in tree.walk():
        _check_node(node, catalog)
        if isinstance(node, exp.TableAlias) and node.args.get("columns"):
            unexplained[node.name.lower()] -= 1  # "t(a, b)" names columns: it is no call
    for name, count in unexplained.items():
        if count > 0:
            raise NotProvenError(f"calls {name[:63]}, which is not known to be read-only")


def matching_parenthesis(tokens: Tokens, position: int) -> int:
    """Index of the parenthesis that closes the one at ``position``; raises NotProvenError if there is none."""
    depth = 0
    for index in range(position, len(tokens)):
        if tokens[index] == "(":
            depth += 1
        elif tokens[index] == ")":
            depth -= 1
            if depth == 0:
                return index
    raise NotProvenError("unbalanced parentheses")


# -- first witness: the tokens --------------------------------------------------------------------------------------

_PARENTHESES = {"(": 1, ")": -1}
_BRACKETS = {"[": 1, "]": -1}
_JOIN_CHANGE = {"JOIN": 1, "ON": -1, "USING": -1}
_STATEMENTS = """
    ALTER ANALYZE ATTACH BEGIN CACHE CALL COMMENT COMMIT COPY CREATE DECLARE DESC DESCRIBE DETACH DO DROP END EXEC
    EXECUTE EXPLAIN FETCH GRANT KILL LOAD LOCK OPTIMIZE PIVOT PRAGMA PREPARE REFRESH REINDEX RENAME RESET REVOKE
    ROLLBACK SET SHOW TRUNCATE UNCACHE UNPIVOT USE VACUUM
"""
# Where a query could stand, sqlglot takes these for statements, and logs a warning for each that it cannot parse.
_STATEMENT_WORDS = frozenset(_STATEMENTS.split())


def _check_size(tokens: Tokens) -> None:
    if len(tokens) > MAX_TOKENS:
        raise NotProvenError(f"more than {MAX_TOKENS} tokens")
    parentheses = brackets = subscripts = joins = limits = 0
    previous = ""
    for text in tokens:
        parentheses = max(0, parentheses + _PARENTHESES.get(text, 0))
        brackets = max(0, brackets + _BRACKETS.get(text, 0))
        subscripts += text == "["
        if text in _JOIN_CHANGE and previous != "CROSS":
            joins = max(0, joins + _JOIN_CHANGE[text])
        limits += previous in ("LIMIT", "OFFSET") and not is_literal(text)
        previous = text
        if parentheses + brackets > MAX_DEPTH:
            raise NotProvenError("nested too deeply")
        if subscripts > MAX_SUBSCRIPTS or joins > MAX_OPEN_JOINS or limits > MAX_COMPUTED_LIMITS:
            raise NotProvenError("too costly to parse")


def _check_words(tokens: Tokens) -> None:
    has_ctes = "WITH" in tokens
    previous = ""
    for text in tokens:
        if previous == "FOR" and text in LOCKING_WORDS:
            raise NotProvenError("locks rows")
        if text in WRITING_WORDS or text == ";":
            raise NotProvenError(f"contains {text}")
        if has_ctes and previous in ("(", ")") and text in _STATEMENT_WORDS:
            raise NotProvenError(f"contains {text}")
        if text.lstrip('"').upper().startswith(PER_SERVER_RELATIONS):
            raise NotProvenError("asks about one server or session")
        previous = text


# -- second witness: the tree ---------------------------------------------------------------------------------------

_PLAIN_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_PLAIN_QUOTED = re.compile(r'"[A-Za-z0-9_ .$-]+"')
_OPERATOR_CHARACTERS = frozenset("+-*/<>=~!@#%^&|`?")
_PARSED_OPERATORS = frozenset({"+", "-", "*", "/", "%", "^", "<", ">", "=", "<=", ">=", "<>", "!=", "||", "~", "=>"})
_SIGN_MAY_FOLLOW = re.compile(r"([*/<>=+-]+?)([+-]+)")


def _with_plain_operators(tokens: Tokens) -> Tokens:
    """``OPERATOR(pg_catalog.=)`` is ``=``; other schemas are left as they are, for the lookup of calls to refuse."""
    plain: list[str] = []
    for text in tokens:
        plain.append(text)
        if text == ")" and plain[-6:-2] == ["OPERATOR", "(", "PG_CATALOG", "."]:
            plain[-6:] = [plain[-2]]
    return tuple(plain)


_TYPES = """
    ACLITEM BOX BYTEA CID CIDR CIRCLE DATEMULTIRANGE DATERANGE INET INT2VECTOR INT4MULTIRANGE INT4RANGE INT8MULTIRANGE
    INT8RANGE JSON JSONB JSONPATH LINE LSEG MACADDR MACADDR8 MONEY NUMMULTIRANGE NUMRANGE OID OIDVECTOR PATH PG_LSN
    PG_SNAPSHOT POINT POLYGON REGCLASS REGCOLLATION REGCONFIG REGDICTIONARY REGNAMESPACE REGOPER REGOPERATOR REGPROC
    REGPROCEDURE REGROLE REGTYPE TID TSMULTIRANGE TSQUERY TSRANGE TSTZMULTIRANGE TSTZRANGE TSVECTOR TXID_SNAPSHOT UUID
    XID XID8 XML
"""
_TYPES_OF_LITERALS = frozenset(_TYPES.split())


def _understandable(tokens: Tokens) -> Iterator[str]:
    """The tokens without what the parser knows little of and the proof has no use for.

    ``point '(1,2)'`` becomes ``'x'`` (a literal calls nothing of ours), ``|/ 4`` becomes ``- 4``, ``AT LOCAL`` gets a
    time zone, ``UESCAPE '!'`` and the operator after ``USING`` are left out.
    """
    previous = "("
    pairs = itertools.zip_longest(tokens, tokens[1:], fillvalue="")
    for text, following in pairs:
        first_of_expression = previous in ("(", ",", "SELECT")
        if text in _TYPES_OF_LITERALS and following == "'x'" and (previous == "SELECT" or not is_name(previous)):
            pass  # behind a name it is no type, as in "JSON_TABLE(... COLUMNS (a int PATH '$.a'))"
        elif (text == "UESCAPE" and following == "'x'") or (text == "USING" and _is_operator(following)):
            next(pairs)
        elif text == "AT" and following == "LOCAL":
            next(pairs)
            yield from ("AT", "TIME", "ZONE", "'x'")
        elif text == "OVERLAPS" and previous != ")":
            yield "GREATEST"  # called as a function
        elif first_of_expression and _is_operator(text) and text != "*":
            yield "-"
        else:
            yield text
        previous = text


def _is_operator(text: str) -> bool:
    return text[:1] in _OPERATOR_CHARACTERS and text != ""


def _without_long_lists(tokens: Tokens) -> Iterator[str]:
    """All tokens, but of long lists of literals only the first few."""
    literals = 0
    pending_comma = False
    for text in tokens:
        if is_literal(text):
            literals += 1
            if literals > MAX_LITERALS_IN_A_ROW and pending_comma:
                pending_comma = False
                continue
        elif text == "," and literals:
            if pending_comma:
                yield ","
            pending_comma = True
            continue
        else:
            literals = 0
        if pending_comma:
            yield ","
            pending_comma = False
        yield text
    if pending_comma:
        yield ","


def normalized(text: str) -> Iterator[str]:
    """A token as the parser gets it: rare operators, numbers and quoted names in a form that it understands."""
    first = text[0]
    if first.isdigit():
        yield text if _PLAIN_NUMBER.fullmatch(text) else "0"
    elif first == '"':
        yield text if _PLAIN_QUOTED.fullmatch(text) else '"q"'
    elif first in _OPERATOR_CHARACTERS and text not in _PARSED_OPERATORS:
        signs = _SIGN_MAY_FOLLOW.fullmatch(text)  # "a<-1": an operator of these characters alone ends in no sign
        if signs is None:
            yield "||"
        else:
            yield from (signs[1] if signs[1] in _PARSED_OPERATORS else "||", *signs[2])
    else:
        yield text


def _parse(text: str) -> exp.Expr:
    try:
        trees = sqlglot.parse(text, dialect="postgres")
    except Exception as error:  # whatever a parser of this size may raise, RecursionError included
        raise NotProvenError(f"the parser gave up: {type(error).__name__}") from None
    if len(trees) != 1 or not isinstance(trees[0], _QUERIES):
        raise NotProvenError("the parser sees no single query")
    return trees[0]


_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery, exp.Values)


def _check_node(node: exp.Expr, catalog: Catalog) -> None:
    if isinstance(node, exp.Anonymous):
        name = _called(node)
        if not catalog.is_read(name):
            raise NotProvenError(f"calls {name[:63]}, which is not known to be read-only")
    elif not isinstance(node, _HARMLESS):
        raise NotProvenError(f"contains {type(node).__name__}, which is not known to be read-only")


def _called(node: exp.Anonymous) -> str:
    """``name`` or ``schema.name`` of a function that sqlglot knows nothing about, as `names.calls` has it."""
    parent = node.parent
    schema = None
    if isinstance(parent, exp.Dot):
        schema = parent.this
    elif isinstance(parent, exp.Table):
        schema = parent.args.get("db")
    name = _stored(node.this)
    return name if schema is None else f"{_stored(schema)}.{name}"


def _stored(name: str | exp.Expr) -> str:
    if isinstance(name, str):
        return name.lower()
    if isinstance(name, exp.Dot):
        return _stored(name.expression)
    return name.name if name.args.get("quoted") else name.name.lower()


# Every name before a "(" was looked up by the first witness, so the tree may hold any kind of function (operators with
# a name, CASE and CAST are functions here too). Left out on purpose: Lock, Into, Command, all that is DDL or DML.
_HARMLESS = (
    exp.Func,
    exp.Binary,
    exp.Unary,
    exp.SetOperation,
    *(exp.Select, exp.Subquery, exp.Values, exp.With, exp.CTE, exp.RecursiveWithSearch),
    *(exp.From, exp.Table, exp.TableAlias, exp.TableSample, exp.Join, exp.Lateral, exp.Unnest, exp.Where),
    *(exp.Group, exp.Cube, exp.Rollup, exp.GroupingSets, exp.Having, exp.Distinct),
    *(exp.Order, exp.Ordered, exp.WithinGroup, exp.Limit, exp.LimitOptions, exp.Offset, exp.Fetch),
    *(exp.Window, exp.WindowSpec, exp.Filter),
    *(exp.Column, exp.Identifier, exp.Alias, exp.Star, exp.Parameter, exp.Literal, exp.Boolean, exp.Null, exp.Var),
    *(exp.Tuple, exp.Bracket, exp.Slice, exp.Between, exp.In, exp.SubqueryPredicate, exp.AtTimeZone),
    *(exp.DataType, exp.DataTypeParam, exp.ColumnDef, exp.ObjectIdentifier, exp.Interval, exp.IntervalSpan),
    *(exp.JSON, exp.JSONKeyValue, exp.JSONValue, exp.JSONColumnDef, exp.JSONSchema, exp.Variadic),
)

"""What a tree tells beside the proof: the tables of any statement, and what decides about one column.

Nothing here proves anything: where sqlglot cannot parse a statement, its tables come from the tokens alone, and it has
no keys. No function raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import sqlglot
from sqlglot import exp

from .fingerprint import MORE, SLOT, shortened
from .lexer import is_literal, is_word
from .names import relations
from .prove import MAX_TOKENS, QUERY_STARTS, normalized

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .lexer import Tokens


_PARSED: Final = QUERY_STARTS | {"INSERT", "UPDATE", "DELETE", "MERGE"}
"""How statements begin that sqlglot has trees for; of others it complains in the log."""


@attrs.frozen
class ShardKey:
    """A column that must equal, or receives, what one slot stands for.

    ``table``: its name without the schema, "" if the text does not say whose column it is. ``slot``: index into
    `fingerprint.Fingerprint.literals`, or None; then ``parameter`` is the number of a parameter (``$1``: 1).
    """

    table: str
    column: str
    slot: int | None
    parameter: int | None

    def __str__(self) -> str:
        place = f"${self.parameter}" if self.slot is None else f"literal {self.slot + 1}"
        return f"{self.table or '*'}.{self.column} = {place}"


def tables(statements: Sequence[Tokens]) -> frozenset[str]:
    """``name`` or ``schema.name`` of every relation that the statements of one text name."""
    trees = _parse(statements)
    if trees is None:
        return frozenset(name for tokens in statements for name in relations(tokens))
    found = {table for tree in trees for table in tree.find_all(exp.Table) if isinstance(table.this, exp.Identifier)}
    own = {cte.alias for tree in trees for cte in tree.find_all(exp.CTE)}
    names = {(table.db, table.name) for table in found if table.db or table.name not in own}
    return frozenset(f"{schema}.{name}" if schema else name for schema, name in names)


def shard_keys(statements: Sequence[Tokens]) -> tuple[ShardKey, ...]:
    """The keys in the statements of one text, in order.

    Looked at are the comparisons by ``=`` and ``IN`` that every row must meet (joined by AND, in WHERE and in the ON of
    inner joins), and the rows that INSERT names columns for.
    """
    return tuple(key for tree in _parse(statements) or () for key in _keys(tree))


def _parse(statements: Sequence[Tokens]) -> list[exp.Expr] | None:
    """The trees, with the number of its slot in place of each literal; None if the parser gives up."""
    if sum(map(len, statements)) > MAX_TOKENS or not all(tokens[0] in _PARSED for tokens in statements):
        return None
    shape = [SLOT if _is_constant(token) else token for tokens in statements for token in (*tokens, ";")]
    literals = [token for tokens in statements for token in tokens if _is_constant(token)]
    short, slots = shortened([token.lower() if is_word(token) else token for token in shape])
    first = {slot: literals[index] for index, slot in reversed(list(enumerate(slots)))}
    text: list[str] = []
    slot = 0
    for token in short:
        if token == SLOT:
            # Its number stands for the literal, in the same spelling: what a client wrote never reaches the parser.
            text.append(f"'{slot}'" if first[slot][0] == "'" else str(slot))
            slot += 1
        elif token == MORE:
            text.pop()  # and the comma before it
        else:
            text += normalized(token)
    try:
        trees = sqlglot.parse(" ".join(text), dialect="postgres")
    except Exception:  # whatever a parser of this size may raise, RecursionError included
        return None
    return [tree for tree in trees if tree is not None]


def _is_constant(token: str) -> bool:
    return token[0] != "$" and is_literal(token)


def _keys(tree: exp.Expr) -> Iterator[ShardKey]:
    for node in tree.find_all(exp.Select, exp.Update, exp.Delete, exp.Insert):
        if isinstance(node, exp.Insert):
            yield from _inserted(node)
            continue
        tables = _tables(node)
        where = node.args.get("where")
        conditions = [where.this] if where is not None else []
        joins = [join for join in node.args.get("joins") or () if not join.side]
        conditions += [join.args["on"] for join in joins if join.args.get("on") is not None]
        for condition in conditions:
            for part in condition.flatten() if isinstance(condition, exp.And) else (condition,):
                yield from _compared(part.unnest(), tables)


def _tables(node: exp.Expr) -> dict[str, str]:
    """The tables that a SELECT, UPDATE or DELETE itself names, by alias."""
    sources = [node.args.get("from_") or node.args.get("from"), *(node.args.get("joins") or ()), node]
    found = [source.this for source in sources if source is not None and isinstance(source.this, exp.Table)]
    return {table.alias_or_name.lower(): table.name.lower() for table in found}


def _compared(condition: exp.Expr, tables: dict[str, str]) -> Iterator[ShardKey]:
    if isinstance(condition, exp.EQ):
        pairs = [(condition.left, condition.right), (condition.right, condition.left)]
    elif isinstance(condition, exp.In) and len(condition.expressions) == 1:
        pairs = [(condition.this, condition.expressions[0])]
    else:
        return
    for column, value in pairs:
        if isinstance(column, exp.Column):
            alias = column.table.lower()
            own = next(iter(tables.values())) if len(tables) == 1 and not alias else tables.get(alias, "")
            yield from _key(own, column.name.lower(), value)


def _inserted(node: exp.Insert) -> Iterator[ShardKey]:
    target, values = node.this, node.expression
    if not isinstance(target, exp.Schema) or not isinstance(values, exp.Values):
        return
    for row in values.expressions:
        for column, value in zip(target.expressions, row.expressions, strict=False):
            yield from _key(target.this.name.lower(), column.name.lower(), value)


def _key(table: str, column: str, value: exp.Expr) -> Iterator[ShardKey]:
    while isinstance(value, exp.Cast | exp.Paren):
        value = value.this
    if isinstance(value, exp.Literal):
        yield ShardKey(table, column, int(value.this), None)
    elif isinstance(value, exp.Parameter) and value.name.isdigit():
        yield ShardKey(table, column, None, int(value.name))

"""What a database's own functions, views, tables, operators and types mean for a read.

Without a catalog (`EMPTY`) only the functions of `functions.py` are known, and views are trusted. With one (`learned`
makes it, from what the server said), a user's function that is declared STABLE or IMMUTABLE and calls nothing else than
reads is one too, and what a query uses by name counts: a view that calls what is no read, an unlogged table, ...

An unqualified name means the worst of all schemas: which one it will be, only the session's search_path says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from .functions import READ_ONLY_FUNCTIONS
from .names import attributes, plain, relations, spellings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .lexer import Tokens

PG_CATALOG: Final = "pg_catalog."


@attrs.frozen
class NameList:
    """Names that an operator lists, ``name`` or ``schema.name``, in lower case. Use `of` to make one.

    A name listed without a schema is meant in every schema.
    """

    exact: frozenset[str] = frozenset()
    anywhere: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str]) -> NameList:
        """The list of these names."""
        listed = frozenset(spelled for name in names for spelled in spellings(name))
        return cls(listed, frozenset(name for name in listed if "." not in name))

    def holds(self, name: str) -> bool:
        """Whether a name is listed as it is used."""
        return name in self.exact or name.rpartition(".")[2] in self.anywhere

    def may_hold(self, name: str) -> bool:
        """The same, where a name without a schema may be that of any listed one."""
        return self.holds(name) or ("." not in name and any(each.endswith("." + name) for each in self.exact))


@attrs.frozen
class Catalog:
    """Names that decide. Those of functions and relations stand there as ``name`` and as ``schema.name``.

    ``reads``: functions that are reads. ``writes``: functions that are not, although `READ_ONLY_FUNCTIONS` has one of
    that name. The rest is no read either: ``relations`` that no standby has or that call something, ``attributes``
    (functions of a row, which ``row.name`` calls too), ``operators``, ``types`` to which a cast calls something.
    Above all of them stand the operator's own lists; where these contradict each other, the one of writes wins.
    """

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    relations: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    read_functions: NameList = NameList()
    write_functions: NameList = NameList()
    write_tables: NameList = NameList()

    def is_read(self, function: str) -> bool:
        """Whether a call of ``name`` or ``schema.name`` is known to be a read."""
        if self.write_functions.may_hold(function):
            return False
        if function in self.reads or self.read_functions.holds(function):
            return True
        return function not in self.writes and function.removeprefix(PG_CATALOG) in READ_ONLY_FUNCTIONS

    def refuses(self, tokens: Tokens) -> str | None:
        """Why a query with these tokens may be no read whatever functions it calls, or None."""
        if self.relations or self.write_tables.exact:
            for relation in relations(tokens):
                if relation in self.relations:
                    return f"uses {relation[:63]}, which a standby may not be able to read"
                if self.write_tables.may_hold(relation):
                    return f"uses {relation[:63]}, which write_tables lists"
        if self.attributes:
            for name in attributes(tokens):
                if name in self.attributes:
                    return f"may call {name[:63]}, which is not known to be read-only"
        if self.operators:
            for token in tokens:  # of "==-1" a server may make "==" and "-"
                if token in self.operators or token.rstrip("+-") in self.operators:
                    return f"uses the operator {token}, which is not known to be read-only"
        if self.types:
            for name in map(plain, tokens):
                if name in self.types:
                    return f"uses the type {name[:63]}, whose casts are not known to be read-only"
        return None

    def with_lists(self, read_functions: NameList, write_functions: NameList, write_tables: NameList) -> Catalog:
        """The same under an operator's lists."""
        return attrs.evolve(
            self, read_functions=read_functions, write_functions=write_functions, write_tables=write_tables
        )


EMPTY: Final = Catalog()

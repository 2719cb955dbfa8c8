"""One call of every function in pg_catalog whose parameters have types that a value can be written down for."""
# ruff: noqa: E501 - a table reads best with its columns

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from oracle_corpus import Case

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

FUNCTIONS_SQL: Final = """
SELECT p.proname, p.prokind::text, ARRAY(SELECT t::regtype::text FROM unnest(p.proargtypes[0:]) WITH ORDINALITY a(t, n)
    ORDER BY n), p.provariadic <> 0
FROM pg_proc p LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384 AND coalesce(a.aggkind, 'n') = 'n'
    AND p.prorettype::regtype::text NOT IN ('internal', 'trigger', 'event_trigger', 'cstring', 'language_handler',
        'fdw_handler', 'index_am_handler', 'table_am_handler', 'tsm_handler')
ORDER BY p.proname, p.oid
"""
_DISTURBING: Final = re.compile(
    r"binary_upgrade|brin_|lo_import|lo_export|pg_(backup|cancel|copy|create|drop|import|log_|logical_slot|ls_|nextoid"
    r"|promote|stat_get|read_|reload|replication_|rotate|sleep|stat_reset|stop_making|switch|sync|terminate|wal_)"
    r"|(database|schema)_to_xml|pg_(try_)?advisory|pg_get_wal_|pg_stat_file|pg_stat_clear|pg_available_wal|pg_hba|pg_ident"
)
"""What acts on the servers, waits, or reads their files."""

_VALUES: Final = {
    **{"integer": "1", "bigint": "1::bigint", "smallint": "1::smallint", "numeric": "1.5", "real": "1.5::real"},
    **{"double precision": "0.5::float8", "text": "'a'::text", "name": "'customer'::name", "boolean": "true"},
    **{"oid": "'customer'::regclass::oid", "regclass": "'customer'::regclass", "date": "date '2024-01-02'"},
    **{"regproc": "'now'::regproc", "regprocedure": "'abs(int)'::regprocedure", "regtype": "'int4'::regtype"},
    **{"regnamespace": "'app'::regnamespace", "regrole": "'oracle_reader'::regrole", "regconfig": "'simple'::regconfig"},
    **{"regdictionary": "'simple'::regdictionary", "time without time zone": "time '10:00'", "\"char\"": "'a'::\"char\""},
    **{"time with time zone": "timetz '10:00+00'", "timestamp without time zone": "timestamp '2024-01-02 03:04'"},
    **{"timestamp with time zone": "timestamptz '2024-01-02 03:04+00'", "interval": "interval '1 day'"},
    **{"json": "json '{\"a\": 1}'", "jsonb": "jsonb '{\"a\": 1}'", "jsonpath": "jsonpath '$.a'", "bytea": "bytea 'ab'"},
    **{"uuid": "uuid '00000000-0000-7000-8000-000000000001'", "bit": "B'101'", "bit varying": "B'101'::varbit"},
    **{"inet": "inet '10.0.0.1/8'", "cidr": "cidr '10.0.0.0/8'", "macaddr": "macaddr '08:00:2b:01:02:03'"},
    **{"macaddr8": "macaddr8 '08:00:2b:01:02:03:04:05'", "money": "money '1.50'", "point": "point(1, 2)"},
    **{"line": "line '{1,2,3}'", "lseg": "lseg '[(0,0),(1,1)]'", "box": "box '(0,0),(1,1)'", "xml": "xml '<a/>'"},
    **{"path": "path '[(0,0),(1,1)]'", "polygon": "polygon '((0,0),(1,1),(1,0))'", "circle": "circle '<(0,0),1>'"},
    **{"tsvector": "tsvector 'a b'", "tsquery": "tsquery 'a'", "int4range": "int4range(1, 5)", "anyarray": "ARRAY[1, 2]"},
    **{"int8range": "int8range(1, 5)", "numrange": "numrange(1, 5)", "anyrange": "int4range(1, 5)", "anyelement": "1"},
    **{"anymultirange": "'{[1,5)}'::int4multirange", "anyenum": "'ok'::mood", "anynonarray": "1", '"any"': "1"},
    **{"anycompatible": "1", "anycompatiblearray": "ARRAY[1, 2]", "anycompatiblerange": "int4range(1, 5)"},
    **{"anycompatiblenonarray": "1", "text[]": "ARRAY['a']", "integer[]": "ARRAY[1]", "oid[]": "ARRAY[1::oid]"},
    **{"smallint[]": "ARRAY[1::smallint]", "double precision[]": "ARRAY[0.5::float8]", "pg_lsn": "pg_lsn '0/1'"},
    **{"xid": "xid '1'", "xid8": "xid8 '1'", "txid_snapshot": "txid_snapshot '1:1:'", "pg_snapshot": "pg_snapshot '1:1:'"},
    **{"cid": "cid '1'", "tid": "tid '(0,1)'", "character": "'a'::char(1)", "character varying": "'a'::varchar"},
    **{"refcursor": "'c'::refcursor", "oidvector": "oidvector '1'", "int2vector": "int2vector '1'", "record": "ROW(1, 2)"},
    **{"aclitem[]": "'{}'::aclitem[]", "aclitem": "aclitem '=r/postgres'", "tsrange": "tsrange(NULL, NULL)"},
    **{"daterange": "daterange(NULL, NULL)", "tstzrange": "tstzrange(NULL, NULL)", "\"any\"[]": "1", "regoper": "'#'::regoper"},
    **{"regoperator": "'+(int,int)'::regoperator", "regcollation": "'\"C\"'::regcollation", "int4multirange": "'{}'::int4multirange"},
}  # fmt: skip
_OVER: Final = {"f": "", "w": " OVER ()", "a": ""}


def function_cases(connection: psycopg.Connection) -> Iterator[Case]:
    """The calls that the server of ``connection`` knows."""
    seen = set[str]()
    for name, kind, types, _ in connection.execute(FUNCTIONS_SQL):
        if _DISTURBING.match(name) or kind not in _OVER or not all(each in _VALUES for each in types):
            continue
        source = " FROM parent" if kind in "aw" else ""
        values = ", ".join(_VALUES[each] for each in types)
        called = name if re.fullmatch("[a-z][a-z0-9_]*", name) and name not in _GRAMMAR else f'"{name}"'
        sql = f"SELECT {called}({values}){_OVER[kind]}{source}"
        if sql not in seen:
            seen.add(sql)
            yield Case(sql)


_GRAMMAR: Final = frozenset(
    [
        "interval",
        "numeric",
        "timestamp",
        "time",
        "position",
        "substring",
        "overlay",
        "char",
        "bit",
        "xmlexists",
        "normalize overlaps",
    ]
)
"""Names whose calls the grammar takes for something else."""

"""Running a case on a server, and what the two answers together say."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import attrs
from psycopg import pq

if TYPE_CHECKING:
    import psycopg
    from oracle_corpus import Case

_COPY_IN: Final = (pq.ExecStatus.COPY_IN,)
_GOOD: Final = frozenset(
    {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.EMPTY_QUERY, pq.ExecStatus.COPY_OUT}
)

Rows = list[tuple[bytes | None, ...]]


@attrs.frozen
class Answer:
    """``sqlstate``: of the error, or None; then ``rows`` are what came, in no order."""

    sqlstate: str | None
    rows: Rows


class Verdict(enum.Enum):
    """What a standby makes of a statement, compared with the primary."""

    INVALID = "invalid: both refuse it alike"
    REFUSED = "refused by the standby"
    DIFFERENT = "answered differently"
    EQUAL = "answered alike"


def judge(case: Case, primary: psycopg.Connection, standby: psycopg.Connection) -> Verdict:
    """Run a case on both; nothing of it is left on either."""
    on_standby = run(case, standby)
    on_primary = run(case, primary)
    if on_standby.sqlstate is not None:
        return Verdict.INVALID if on_primary.sqlstate == on_standby.sqlstate else Verdict.REFUSED
    if on_primary.sqlstate is not None:
        return Verdict.DIFFERENT
    return Verdict.EQUAL if on_primary.rows == on_standby.rows else Verdict.DIFFERENT


def run(case: Case, connection: psycopg.Connection) -> Answer:
    """The answer of one server."""
    server = connection.pgconn
    if not case.bare:
        server.exec_(b"BEGIN")
    try:
        if case.before:
            before = server.exec_(case.before.encode())
            if before.status not in _GOOD:
                return Answer("before", [])
        return _answer(server, case.sql)
    finally:
        server.exec_(b"ROLLBACK")


def _answer(server: pq.abc.PGconn, sql: str) -> Answer:
    result = server.exec_(sql.encode())
    rows: Rows = []
    if result.status in _COPY_IN:
        server.put_copy_end()
        result = server.get_result() or result
    elif result.status == pq.ExecStatus.COPY_OUT:
        size, data = server.get_copy_data(0)
        while size > 0:
            rows.append((bytes(data),))
            size, data = server.get_copy_data(0)
        result = server.get_result() or result
    while (more := server.get_result()) is not None:
        result = more
    if result.status not in _GOOD:
        return Answer((result.error_field(pq.DiagnosticField.SQLSTATE) or b"?").decode(), [])
    rows += [tuple(result.get_value(row, column) for column in range(result.nfields)) for row in range(result.ntuples)]
    return Answer(None, sorted(rows, key=repr))

package main

import (
	"fmt"
	"strings"

	"github.com/lib/pq"

	"drivers/scenario"
)

// The driver reads whole portals; what is read a few rows at a time is a declared cursor.
func cursor(t *scenario.T) any {
	conn, other := opened(t), opened(t)
	var outcome []any
	t.Rows(conn, "BEGIN")
	t.Rows(conn, "DECLARE part CURSOR FOR SELECT n, repeat('x', n) FROM generate_series(1, 8) AS n")
	for {
		rows := t.Rows(conn, "FETCH 3 FROM part")
		outcome = append(outcome, rows, t.Rows(other, "SELECT 'in between'"))
		if len(rows) == 0 {
			break
		}
	}
	t.Rows(conn, "CLOSE part")
	t.Rows(conn, "COMMIT")
	return append(outcome, t.Try(conn, "FETCH 1 FROM part"))
}

const checkCopied = "SELECT count(*), sum(id), md5(string_agg(name || encode(payload, 'hex'), ',' ORDER BY id)) " +
	"FROM copied"

// COPY in a transaction, as the driver wants it. `rows` gives the values of each, `end` COMMIT or ROLLBACK.
func copyRows(t *scenario.T, conn client, count int, end string, rows func(index int) []any) any {
	t.Rows(conn, "BEGIN")
	statement, err := conn.PrepareContext(t, pq.CopyIn("copied", "id", "name", "payload"))
	scenario.Must(err)
	for index := range count {
		// Whether a row or the end meets the server's refusal is a matter of time.
		if _, err = statement.ExecContext(t, rows(index)...); err != nil {
			break
		}
	}
	outcome := []any{}
	if err == nil {
		result, last := statement.ExecContext(t)
		if err = last; err == nil {
			outcome = append(outcome, scenario.Value(result.RowsAffected()))
		}
	}
	_ = statement.Close() // it says once more what was wrong
	outcome = append(outcome, t.Fault(err), t.Try(conn, checkCopied))
	t.Rows(conn, end)
	return append(outcome, t.Rows(conn, checkCopied))
}

func copyIn(t *scenario.T) any {
	conn, other := opened(t), opened(t)
	t.Rows(conn, "TRUNCATE copied")
	row := func(index int) []any {
		return []any{index, fmt.Sprintf("name\t%d ž🐘", index), scenario.LargeBytes(index % 50)}
	}
	outcome := []any{
		copyRows(t, conn, 5000, "ROLLBACK", row),
		copyRows(t, conn, 3000, "COMMIT", row),
		copyRows(t, conn, 0, "COMMIT", row),
		t.Rows(other, checkCopied),
	}
	t.Rows(conn, "TRUNCATE copied")
	_, err := conn.PrepareContext(t, pq.CopyIn("copied", "id"))
	return append(outcome, fault(err))
}

// A copy that the client gives up is not among what the driver can do.
func copyInError(t *scenario.T) any {
	conn := opened(t)
	t.Rows(conn, "TRUNCATE copied")
	bad := func(at int) func(index int) []any {
		return func(index int) []any {
			var id any = index
			if index == at {
				id = "bad"
			}
			return []any{id, strings.Repeat("x", 80), nil}
		}
	}
	outcome := []any{
		copyRows(t, conn, 2, "ROLLBACK", bad(1)),
		copyRows(t, conn, 20_000, "ROLLBACK", bad(19_999)),
	}
	t.Rows(conn, "BEGIN")
	_, err := conn.PrepareContext(t, pq.CopyIn("nowhere", "id"))
	outcome = append(outcome, fault(err), t.Try(conn, "SELECT 1"))
	t.Rows(conn, "ROLLBACK")
	return append(outcome, t.Rows(conn, "SELECT 'goes on'"))
}

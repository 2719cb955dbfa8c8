package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"

	"drivers/scenario"
)

// The driver reads whole portals; what is read a few rows at a time is a declared cursor.
func cursor(t *scenario.T) any {
	conn, other := opened(t), opened(t)
	var outcome []any
	t.Rows(conn, "BEGIN")
	t.Rows(conn, "DECLARE part CURSOR FOR SELECT n, repeat('x', n) FROM generate_series(1, $1::int4) AS n", 8)
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

func copyIn(t *scenario.T) any {
	conn, other := opened(t), opened(t)
	t.Rows(conn, "TRUNCATE copied")
	columns := []string{"id", "name", "payload"}
	rows := func(index int) ([]any, error) {
		return []any{index, fmt.Sprintf("name\t%d ž🐘", index), scenario.LargeBytes(index % 50)}, nil
	}
	count := scenario.Value(conn.CopyFrom(t, pgx.Identifier{"copied"}, columns, pgx.CopyFromSlice(5000, rows)))
	outcome := []any{count, t.Rows(other, checkCopied)}
	t.Rows(conn, "BEGIN")
	text := strings.NewReader("1,\"a \"\"quoted\"\" name\"\n2,\n3,\"two\nlines\"\n")
	tag := scenario.Value(conn.PgConn().CopyFrom(t, text, "COPY copied (id, name) FROM STDIN WITH (FORMAT csv)"))
	outcome = append(outcome, tag.String(), t.Rows(conn, checkCopied))
	t.Rows(conn, "ROLLBACK")
	none := scenario.Value(conn.CopyFrom(t, pgx.Identifier{"copied"}, columns, pgx.CopyFromSlice(0, rows)))
	outcome = append(outcome, none, t.Rows(other, checkCopied))
	t.Rows(conn, "TRUNCATE copied")
	return outcome
}

func copyOut(t *scenario.T) any {
	conn, other := opened(t), opened(t)
	outcome := map[string]any{}
	for name, sql := range map[string]string{
		"text":   "COPY (SELECT * FROM item ORDER BY id) TO STDOUT",
		"csv":    "COPY (SELECT id, name, flag FROM item ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER)",
		"binary": "COPY (SELECT id, name FROM item ORDER BY id LIMIT 2) TO STDOUT WITH (FORMAT binary)",
	} {
		var data bytes.Buffer
		tag := scenario.Value(conn.PgConn().CopyTo(t, &data, sql))
		outcome[name] = []any{tag.String(), scenario.Show(data.Bytes())}
	}
	var large bytes.Buffer
	sql := "COPY (SELECT n, repeat('y', 100) FROM generate_series(1, 20000) AS n) TO STDOUT"
	scenario.Value(other.PgConn().CopyTo(t, &large, sql))
	outcome["large"] = scenario.Digest(large.Bytes())
	_, err := conn.PgConn().CopyTo(t, io.Discard, "COPY (SELECT 1 / (3 - n) FROM generate_series(1, 5) AS n) TO STDOUT")
	outcome["error"] = fault(err)
	outcome["after"] = t.Rows(conn, "SELECT 'goes on'")
	return outcome
}

func copyInError(t *scenario.T) any {
	conn := opened(t)
	t.Rows(conn, "TRUNCATE copied")
	outcome := map[string]any{}
	columns := []string{"id", "name"}
	send := func(name, table string, rows pgx.CopyFromSource) {
		_, err := conn.CopyFrom(t, pgx.Identifier{table}, columns, rows)
		outcome[name] = []any{fault(err), t.Try(conn, "SELECT count(*) FROM copied")}
	}
	send("abandoned", "copied", pgx.CopyFromSlice(20_000, func(index int) ([]any, error) {
		if index == 10_000 {
			return nil, errors.New("changed its mind")
		}
		return []any{index, "some name"}, nil
	}))
	send("not there", "nowhere", pgx.CopyFromSlice(1, func(int) ([]any, error) { return []any{1, ""}, nil }))
	for name, bad := range map[string]int{"refused early": 10, "refused late": 19_999} {
		var lines strings.Builder
		for index := range 20_000 {
			value := fmt.Sprint(index)
			if index == bad {
				value = "bad"
			}
			lines.WriteString(value + "\t" + strings.Repeat("x", 80) + "\n")
		}
		_, err := conn.PgConn().CopyFrom(t, strings.NewReader(lines.String()), "COPY copied (id, name) FROM STDIN")
		outcome[name] = []any{fault(err), t.Try(conn, "SELECT count(*) FROM copied")}
	}
	t.Rows(conn, "BEGIN")
	_, err := conn.PgConn().CopyFrom(t, strings.NewReader("bad\tx\n"), "COPY copied (id, name) FROM STDIN")
	outcome["in a transaction"] = []any{fault(err), t.Try(conn, "SELECT 1")}
	t.Rows(conn, "ROLLBACK")
	return outcome
}

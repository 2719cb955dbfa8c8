package main

import (
	"database/sql"
	"fmt"

	"drivers/scenario"
)

// The rows that a prepared statement gives, or its error.
func execute(t *scenario.T, statement *sql.Stmt, args ...any) any {
	rows, err := statement.QueryContext(t, args...)
	if err == nil {
		var values [][]any
		if values, err = collect(rows); err == nil {
			return values
		}
	}
	return fault(err)
}

func prepare(t *scenario.T, conn client, query string) *sql.Stmt {
	return scenario.Value(conn.PrepareContext(t, query))
}

func prepared(t *scenario.T) any {
	conn := opened(t)
	const byID = "SELECT id, name, amount, price, tags, data, payload, flag, made FROM item WHERE id = $1"
	statement := prepare(t, conn, byID)
	other := prepare(t, conn, "SELECT count(*) FROM item")
	var rows []any
	for turn := range 60 {
		rows = append(rows, execute(t, statement, turn%10+1))
	}
	rows = append(rows, execute(t, other))
	scenario.Must(statement.Close())
	rows = append(rows, execute(t, other))
	scenario.Must(other.Close())
	return append(rows, t.Rows(conn, "SELECT 'goes on'"))
}

// The driver numbers the statements of each connection: the same names stand for different texts.
func preparedManyClients(t *scenario.T) any {
	conns := make([]client, 6)
	statements := make([][]*sql.Stmt, len(conns))
	for index := range conns {
		conns[index] = opened(t)
		texts := []string{
			"SELECT amount FROM item WHERE id = 1 + $1::int4 % 10",
			fmt.Sprintf("SELECT $1::int4 * %d", index+1),
			"SELECT $1::int4 + 1000",
		}
		for turn := range texts {
			text := texts[(turn+index)%len(texts)]
			statements[index] = append(statements[index], prepare(t, conns[index], text))
		}
	}
	sums := make([]int, len(conns))
	scenario.Together(len(conns), func(index int) {
		for turn := range 40 {
			for _, statement := range statements[index] {
				var value int
				scenario.Must(statement.QueryRowContext(t, turn).Scan(&value))
				sums[index] += value
			}
		}
	})
	return sums
}

func preparedReuseAfterError(t *scenario.T) any {
	conn, other := opened(t), opened(t)
	divide := prepare(t, conn, "SELECT 100 / $1::int4")
	another := prepare(t, other, "SELECT 'another statement', $1::int4")
	var outcome []any
	for _, by := range []any{5, 0, 4, "x", 2} {
		outcome = append(outcome, execute(t, divide, by))
	}
	_, err := conn.PrepareContext(t, "SELEC 1")
	mended := prepare(t, conn, "SELECT 'mended'")
	outcome = append(outcome, fault(err), execute(t, mended))
	t.Rows(conn, "BEGIN")
	outcome = append(outcome, execute(t, divide, 0), execute(t, divide, 1), execute(t, mended))
	_, err = conn.PrepareContext(t, "SELECT 'in a failed transaction'")
	outcome = append(outcome, fault(err))
	t.Rows(conn, "ROLLBACK")
	return append(outcome, execute(t, divide, 10), execute(t, another, 10), execute(t, mended))
}

// Three clients, so that the two requests of a query find other connections free in between.
func unpreparedParameters(t *scenario.T) any {
	conns := []client{opened(t), opened(t), opened(t)}
	rows := make([][]any, len(conns))
	scenario.Together(len(conns), func(index int) {
		conn := conns[index]
		query := fmt.Sprintf("SELECT $1::int4 * %d, $2::text, id FROM item WHERE id = $3", index+2)
		for turn := range 40 {
			rows[index] = append(rows[index], t.Try(conn, query, turn, "ž", turn%10+1))
		}
		rows[index] = append(rows[index], t.Try(conn, "SELECT 1 / $1::int4", 0), t.Try(conn, "SELECT 'goes on', $1::int4", 1))
	})
	result := scenario.Value(conns[0].ExecContext(t, "UPDATE item SET amount = amount WHERE id < $1", 4))
	return []any{rows, scenario.Value(result.RowsAffected())}
}

func manyStatements(t *scenario.T) any {
	conns := []client{opened(t), opened(t)}
	sums := make([]int, len(conns))
	scenario.Together(len(conns), func(index int) {
		statements := make([]*sql.Stmt, 200)
		for turn := range statements {
			statements[turn] = prepare(t, conns[index], fmt.Sprintf("SELECT $1::int4 + %d", turn))
		}
		for round := range 2 {
			for _, statement := range statements {
				var value int
				scenario.Must(statement.QueryRowContext(t, round).Scan(&value))
				sums[index] += value
			}
		}
		for _, statement := range statements {
			scenario.Must(statement.Close())
		}
	})
	return sums
}

func schemaChange(t *scenario.T) any {
	conn, other := opened(t), opened(t)
	t.Rows(other, "CREATE TABLE changing AS SELECT 1 AS id, 'one' AS name")
	all := prepare(t, conn, "SELECT * FROM changing WHERE id = $1")
	one := prepare(t, conn, "SELECT name FROM changing WHERE id = $1")
	outcome := []any{execute(t, all, 1), execute(t, one, 1)}
	t.Rows(other, "ALTER TABLE changing ADD COLUMN extra int4 DEFAULT 7")
	outcome = append(outcome, execute(t, all, 1), execute(t, one, 1))
	again := prepare(t, conn, "SELECT * FROM changing WHERE id = $1")
	outcome = append(outcome, execute(t, again, 1))
	t.Rows(other, "DROP TABLE changing")
	return append(outcome, execute(t, again, 1))
}

func emptyAndMulti(t *scenario.T) any {
	conn := opened(t)
	var outcome []any
	for _, query := range []string{
		"",
		";;",
		"-- nothing",
		"SELECT 1 AS a; SELECT 'b' AS b, 'c' AS c",
		"INSERT INTO item (name) VALUES ('undone'); SELECT 1 / 0; SELECT 'never'",
		"SELECT count(*) FROM item WHERE name = 'undone'",
	} {
		rows, err := conn.QueryContext(t, query)
		if err != nil {
			outcome = append(outcome, fault(err))
			continue
		}
		for more := true; more; more = rows.NextResultSet() {
			columns := scenario.Value(rows.Columns())
			count := 0
			for rows.Next() {
				count++
			}
			outcome = append(outcome, []any{columns, count, t.Fault(rows.Err())})
		}
		scenario.Must(rows.Close())
	}
	for _, query := range []string{
		"UPDATE item SET amount = amount WHERE id < 3; DELETE FROM item WHERE id > 10",
		"BEGIN; INSERT INTO item (name) VALUES ('kept'); COMMIT",
		"DELETE FROM item WHERE name = 'kept'",
		"SELECT $1::int4; SELECT 2",
	} {
		var args []any
		if query[7] == '$' {
			args = append(args, 1)
		}
		result, err := conn.ExecContext(t, query, args...)
		if err == nil {
			outcome = append(outcome, scenario.Value(result.RowsAffected()))
		}
		outcome = append(outcome, t.Fault(err))
	}
	return outcome
}

package main

import (
	"fmt"

	"github.com/jackc/pgx/v5"

	"drivers/scenario"
)

const byID = "SELECT id, name, amount, price, tags, data, payload, flag, made FROM item WHERE id = $1"

func prepared(t *scenario.T) any {
	conn := opened(t)
	description := scenario.Value(conn.Prepare(t, "by_id", byID))
	var rows []any
	for turn := range 60 {
		rows = append(rows, t.Rows(conn, "by_id", turn%10+1))
	}
	again := scenario.Value(conn.Prepare(t, "by_id", byID))
	scenario.Must(conn.Deallocate(t, "by_id"))
	_, err := conn.PgConn().ExecPrepared(t, "by_id", [][]byte{[]byte("1")}, nil, nil).Close()
	return map[string]any{
		"rows":    rows,
		"types":   []any{description.ParamOIDs, columns(description.Fields), again.ParamOIDs},
		"gone":    fault(err),
		"goes on": t.Rows(conn, byID, 1),
	}
}

// Six clients call different statements by the same name and the same statement by different names.
func preparedManyClients(t *scenario.T) any {
	conns := make([]client, 6)
	for index := range conns {
		conns[index] = opened(t)
		for name, sql := range map[string]string{
			"shared":                       "SELECT amount FROM item WHERE id = $1",
			"own":                          fmt.Sprintf("SELECT $1::int4 * %d", index+1),
			fmt.Sprintf("alias %d", index): "SELECT $1::int4 + $2::int4",
		} {
			scenario.Value(conns[index].Prepare(t, name, sql))
		}
	}
	sums := make([]map[string]int, len(conns))
	scenario.Together(len(conns), func(index int) {
		add := func(name, sql string, args ...any) {
			var value int
			scenario.Must(conns[index].QueryRow(t, sql, args...).Scan(&value))
			sums[index][name] += value
		}
		sums[index] = map[string]int{}
		for turn := range 40 {
			add("shared", "shared", turn%10+1)
			add("own", "own", turn)
			add("alias", fmt.Sprintf("alias %d", index), turn, index)
			add("cached", "SELECT $1::int4 + id FROM item WHERE id = 1", turn)
		}
	})
	return sums
}

func preparedReuseAfterError(t *scenario.T) any {
	conn, other := opened(t), opened(t)
	scenario.Value(conn.Prepare(t, "divide", "SELECT 100 / $1::int4"))
	scenario.Value(other.Prepare(t, "divide", "SELECT 'another statement', $1::int4"))
	var outcome []any
	for _, by := range []any{5, 0, 4, "0", 2} {
		outcome = append(outcome, t.Try(conn, "divide", by), t.Try(conn, "SELECT 7 / $1::int4", by))
	}
	_, err := conn.Prepare(t, "broken", "SELEC 1")
	outcome = append(outcome, fault(err))
	scenario.Value(conn.Prepare(t, "broken", "SELECT 'mended'"))
	outcome = append(outcome, t.Rows(conn, "broken"))
	t.Rows(conn, "BEGIN")
	outcome = append(outcome, t.Try(conn, "divide", 0), t.Try(conn, "divide", 1), t.Try(conn, "broken"))
	_, err = conn.Prepare(t, "in a failed transaction", "SELECT 1")
	outcome = append(outcome, fault(err))
	t.Rows(conn, "ROLLBACK")
	return append(outcome, t.Rows(conn, "divide", 10), t.Rows(other, "divide", 10), t.Rows(conn, "broken"))
}

func inModes(t *scenario.T, modes ...pgx.QueryExecMode) any {
	outcome := map[string]any{}
	conns := []client{opened(t), opened(t), opened(t)}
	for _, mode := range modes {
		rows := make([][]any, len(conns))
		scenario.Together(len(conns), func(index int) {
			conn := conns[index]
			sql := fmt.Sprintf("SELECT $1::int4 * %d, $2::text, id FROM item WHERE id = $3::int4", index+2)
			for turn := range 20 {
				rows[index] = append(rows[index], t.Try(conn, sql, mode, turn, "ž", turn%10+1))
			}
			rows[index] = append(rows[index], t.Try(conn, "SELECT 1 / $1::int4", mode, 0))
			rows[index] = append(rows[index], t.Try(conn, "SELECT 'goes on', $1::int4", mode, 1))
		})
		outcome[mode.String()] = rows
	}
	return outcome
}

func unpreparedParameters(t *scenario.T) any {
	return inModes(t, pgx.QueryExecModeExec, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeSimpleProtocol)
}

// Parse and Describe of the unnamed statement in one request, Bind and Execute in the next.
func describedFirst(t *scenario.T) any { return inModes(t, pgx.QueryExecModeDescribeExec) }

// The driver's own cache holds 512 statements, and here 150, so that it closes some.
func manyStatements(t *scenario.T) any {
	conns := []client{opened(t), configured(t, func(config *pgx.ConnConfig) { config.StatementCacheCapacity = 150 })}
	sums := make([]int, len(conns))
	scenario.Together(len(conns), func(index int) {
		for round := range 2 {
			for turn := range 200 {
				var value int
				row := conns[index].QueryRow(t, fmt.Sprintf("SELECT $1::int4 + %d", turn), round)
				scenario.Must(row.Scan(&value))
				sums[index] += value
			}
		}
	})
	return sums
}

func emptyAndMulti(t *scenario.T) any {
	conn := opened(t)
	var outcome []any
	for _, sql := range []string{
		"",
		";;",
		"-- nothing",
		"SELECT 1 AS a; SELECT 'b' AS b, 'c' AS c; UPDATE item SET amount = amount WHERE id < 3",
		"BEGIN; INSERT INTO item (name) VALUES ('kept'); COMMIT; SELECT count(*) FROM item",
		"INSERT INTO item (name) VALUES ('undone'); SELECT 1 / 0; SELECT 'never'",
		"DELETE FROM item WHERE id > 10; SELECT count(*) FROM item",
		"BEGIN; SELECT 1 / 0",
		"SELECT 'in a failed transaction'",
		"ROLLBACK; SELECT 'out of it'",
	} {
		results, err := conn.PgConn().Exec(t, sql).ReadAll()
		for _, result := range results {
			var rows []any
			for _, row := range result.Rows {
				rows = append(rows, texts(row))
			}
			outcome = append(outcome, []any{result.CommandTag.String(), columns(result.FieldDescriptions), rows})
		}
		outcome = append(outcome, t.Fault(err), string(conn.PgConn().TxStatus()))
	}
	return append(outcome, t.Try(conn, ""), t.Try(conn, "SELECT 1; SELECT 2"))
}

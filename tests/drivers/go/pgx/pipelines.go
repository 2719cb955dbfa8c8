package main

import (
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"drivers/scenario"
)

// Everything that a pipeline answers, in order.
func answers(t *scenario.T, flow *pgconn.Pipeline) []any {
	var shown []any
	for {
		results, err := flow.GetResults()
		if err != nil {
			scenario.Must(t.Err())
			shown = append(shown, fault(err))
			continue
		}
		switch results := results.(type) {
		case nil:
			return shown
		case *pgconn.ResultReader:
			result := results.Read()
			shown = append(shown, map[string]any{
				"tag": result.CommandTag.String(), "rows": fmt.Sprintf("%q", result.Rows), "fault": t.Fault(result.Err),
			})
		case *pgconn.StatementDescription:
			shown = append(shown, []any{"prepared", results.Name, results.ParamOIDs, columns(results.Fields)})
		default:
			shown = append(shown, fmt.Sprintf("%T", results))
		}
	}
}

func pipeline(t *scenario.T) any {
	conn, other := opened(t), opened(t)
	outcome := map[string]any{}
	number := func(value int) [][]byte { return [][]byte{fmt.Append(nil, value)} }
	flow := conn.PgConn().StartPipeline(t)
	query := func(sql string, value int) { flow.SendQueryParams(sql, number(value), nil, nil, nil) }
	flow.SendPrepare("name_of", "SELECT name FROM item WHERE id = $1", nil)
	flow.SendQueryPrepared("name_of", number(2), nil, nil)
	query("SELECT $1::int4", 1)
	scenario.Must(flow.Sync())
	flow.SendQueryPrepared("name_of", number(3), nil, nil)
	query("UPDATE item SET amount = -1 WHERE id = $1", 4)
	query("SELECT 1 / $1::int4", 0)
	flow.SendPrepare("skipped", "SELECT 1", nil)
	flow.SendQueryPrepared("name_of", number(5), nil, nil)
	scenario.Must(flow.Sync())
	flow.SendQueryPrepared("name_of", number(6), nil, nil)
	query("SELECT amount FROM item WHERE id = $1", 4)
	flow.SendQueryPrepared("skipped", nil, nil, nil)
	scenario.Must(flow.Sync())
	outcome["errors"] = answers(t, flow)

	flow.SendPrepare("skipped", "SELECT 'prepared now'", nil)
	flow.SendQueryPrepared("skipped", nil, nil, nil)
	flow.SendFlushRequest()
	scenario.Must(flow.Flush())
	outcome["flushed"] = []any{t.Rows(other, "SELECT 'meanwhile'")}
	flow.SendDeallocate("skipped")
	flow.SendQueryPrepared("skipped", nil, nil, nil)
	scenario.Must(flow.Sync())
	outcome["deallocated"] = answers(t, flow)

	query("BEGIN ISOLATION LEVEL SERIALIZABLE -- $1", 0) // a parameter too many: the server says so
	scenario.Must(flow.Sync())
	flow.SendQueryParams("BEGIN", nil, nil, nil, nil)
	query("UPDATE item SET amount = -1 WHERE id = $1", 4)
	scenario.Must(flow.Sync())
	query("SELECT 1 / $1::int4", 0)
	scenario.Must(flow.Sync())
	flow.SendQueryPrepared("name_of", number(7), nil, nil)
	scenario.Must(flow.Sync())
	flow.SendQueryParams("ROLLBACK", nil, nil, nil, nil)
	scenario.Must(flow.Sync())
	query("SELECT amount FROM item WHERE id = $1", 4)
	scenario.Must(flow.Sync())
	outcome["transaction"] = answers(t, flow)

	for turn := range 200 {
		query("SELECT $1::int4", turn)
		flow.SendQueryPrepared("name_of", number(turn%10+1), nil, nil)
		if turn%3 == 0 {
			scenario.Must(flow.Sync())
		}
	}
	scenario.Must(flow.Sync())
	outcome["many"] = len(answers(t, flow))
	scenario.Must(flow.Close())
	outcome["after"] = t.Rows(conn, "SELECT 'goes on'")
	return outcome
}

func batch(t *scenario.T) any {
	other := opened(t)
	outcome := map[string]any{}
	send := func(conn client, statements ...[]any) []any {
		queue := &pgx.Batch{}
		for _, statement := range statements {
			queue.Queue(statement[0].(string), statement[1:]...)
		}
		results := conn.SendBatch(t, queue)
		var shown []any
		for range statements {
			rows, err := results.Query()
			if err != nil {
				shown = append(shown, fault(err))
				continue
			}
			values, err := pgx.CollectRows(rows, pgx.RowTo[any])
			shown = append(shown, []any{scenario.ShowAll(values), rows.CommandTag().String(), t.Fault(err)})
		}
		return append(shown, t.Fault(results.Close()))
	}
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement,
		pgx.QueryExecModeCacheDescribe,
		pgx.QueryExecModeExec,
		pgx.QueryExecModeSimpleProtocol,
	} {
		conn := configured(t, func(config *pgx.ConnConfig) { config.DefaultQueryExecMode = mode })
		insert := "INSERT INTO item (name, amount) VALUES ($1, $2) RETURNING name"
		count := []any{"SELECT count(*) FROM item WHERE amount > $1", -1}
		undo := []any{"DELETE FROM item WHERE id > 10"}
		good := send(conn, []any{insert, "a", 1}, []any{insert, "b", 2}, count, undo, count)
		bad := send(conn, []any{insert, "c", 3}, []any{insert, "item 1", 4}, count)
		syntax := send(conn, []any{insert, "d", 5}, []any{"SELEC $1", 1}, count)
		between := t.Rows(other, "SELECT count(*) FROM item")
		t.Rows(conn, "BEGIN")
		inside := send(conn, []any{insert, "e", 6}, count)
		failed := send(conn, []any{"SELECT 1 / $1::int4", 0}, count)
		aborted := send(conn, count)
		t.Rows(conn, "ROLLBACK")
		outcome[mode.String()] = []any{good, bad, syntax, between, inside, failed, aborted, send(conn, count)}
	}
	var many [][]any
	for turn := range 300 {
		many = append(many, []any{fmt.Sprintf("SELECT $1::int4 + %d", turn%130), turn})
	}
	outcome["many"] = send(opened(t), many...)
	return outcome
}

package main

import (
	"context"
	"errors"
	"time"

	"github.com/lib/pq"

	"drivers/scenario"
)

// The end of the context of a query makes the driver send the request. After one of a statement the connection goes on.
func cancel(t *scenario.T) any {
	conn, observer := opened(t), opened(t)
	outcome := map[string]any{}
	statement := prepare(t, conn, "SELECT slow($1)")
	stopped := func() any {
		ctx, stop := context.WithCancel(t)
		defer stop()
		query := func() any {
			rows, err := statement.QueryContext(ctx, 31)
			if err == nil {
				_, err = collect(rows)
			}
			server := new(pq.Error)
			return []bool{errors.As(err, &server) && server.Code == "57014", errors.Is(err, context.Canceled)}
		}
		return t.Stopped(observer, query, stop)
	}
	outcome["prepared"] = []any{stopped(), execute(t, statement, 0)}
	t.Rows(conn, "BEGIN")
	outcome["in a transaction"] = []any{stopped(), execute(t, statement, 0)}
	t.Rows(conn, "ROLLBACK")
	outcome["goes on"] = []any{execute(t, statement, 0), t.Rows(conn, "SELECT 'goes on'"), t.Rows(observer, "SELECT 1")}
	return outcome
}

func notices(t *scenario.T) any {
	var heard []any
	connector := scenario.Value(pq.NewConnector(""))
	hear := func(notice *pq.Error) { heard = append(heard, fault(notice)) }
	conn := t.Keep(scenario.Value(connect(t, pq.ConnectorWithNoticeHandler(connector, hear))))
	heard = append(heard, t.Rows(conn, "SELECT noisy($1)", "extended ž🐘"), t.Rows(conn, "SELECT noisy('simple')"))
	t.Rows(conn, "DO $$ BEGIN RAISE WARNING 'careful' USING DETAIL = 'why', HINT = 'what', ERRCODE = '01234'; END $$")
	t.Rows(conn, "DROP TABLE IF EXISTS not_there")
	heard = append(heard, t.Try(conn, "DO $$ BEGIN RAISE NOTICE 'before'; RAISE EXCEPTION 'after'; END $$"))
	t.Rows(conn, "COMMIT")
	return heard
}

// The driver listens over a connection of its own.
func listenNotify(t *scenario.T) any {
	sender := opened(t)
	listener := pq.NewListener("", time.Second, time.Second, nil)
	defer listener.Close()
	var heard []any
	hear := func() {
		select {
		case notification := <-listener.NotificationChannel():
			heard = append(heard, []string{notification.Channel, notification.Extra})
		case <-t.Done():
			panic(t.Err())
		}
	}
	scenario.Must(listener.Listen("news"))
	scenario.Must(listener.Listen("Other News"))
	t.Rows(sender, "NOTIFY news")
	hear()
	t.Rows(sender, "SELECT pg_notify($1, $2)", "Other News", "ž🐘")
	hear()
	t.Rows(sender, "BEGIN")
	t.Rows(sender, "NOTIFY news, 'with the commit'")
	scenario.Must(listener.Ping())
	t.Rows(sender, "COMMIT")
	hear()
	scenario.Must(listener.Unlisten("news"))
	t.Rows(sender, "NOTIFY news, 'to nobody'")
	t.Rows(sender, `NOTIFY "Other News", 'last'`)
	hear()
	return heard
}

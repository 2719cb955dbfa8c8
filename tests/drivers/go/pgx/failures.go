package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"drivers/scenario"
)

func cancel(t *scenario.T) any {
	observer := opened(t)
	outcome := map[string]any{}
	for _, version := range []string{"3.0", "3.2"} {
		conn := configured(t, func(config *pgx.ConnConfig) { config.MaxProtocolVersion = version })
		byRequest := func() { scenario.Must(conn.PgConn().CancelRequest(t)) }
		query := func() any { return t.Try(conn, "SELECT slow(31 + $1)", 0.0) }
		prepared := t.Stopped(observer, query, byRequest)
		after := t.Rows(conn, "SELECT slow(31 + $1)", -31.0)
		t.Rows(conn, "BEGIN")
		simple := func() any { return t.Try(conn, "SELECT slow(32)", pgx.QueryExecModeSimpleProtocol) }
		inside := t.Stopped(observer, simple, byRequest)
		aborted := t.Try(conn, "SELECT 1")
		t.Rows(conn, "ROLLBACK")
		outcome[version] = []any{prepared, after, inside, aborted, t.Rows(conn, "SELECT 'goes on'")}
	}
	outcome["by context"] = cancelByContext(t, observer)
	outcome["others"] = t.Rows(observer, "SELECT 'goes on'")
	return outcome
}

// The end of a query's context makes the driver send the request, and the connection goes on.
func cancelByContext(t *scenario.T, observer client) any {
	conn := configured(t, func(config *pgx.ConnConfig) {
		config.BuildContextWatcherHandler = func(raw *pgconn.PgConn) ctxwatch.Handler {
			return &pgconn.CancelRequestContextWatcherHandler{Conn: raw, DeadlineDelay: 20 * time.Second}
		}
	})
	ctx, stop := context.WithCancel(t)
	defer stop()
	query := func() any {
		_, err := conn.Rows(ctx, "SELECT slow($1)", 33.0)
		server := new(pgconn.PgError)
		return []any{errors.Is(err, context.Canceled), errors.As(err, &server) && server.Code == "57014"}
	}
	end := t.Stopped(observer, query, stop)
	return []any{end, conn.IsClosed(), t.Try(conn, "SELECT 'goes on'")}
}

func notices(t *scenario.T) any {
	var heard []any
	conn := configured(t, func(config *pgx.ConnConfig) {
		config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
			heard = append(heard, fault((*pgconn.PgError)(notice)))
		}
	})
	heard = append(heard, t.Rows(conn, "SELECT noisy($1)", "extended ž🐘"))
	heard = append(heard, t.Rows(conn, "SELECT noisy($1)", pgx.QueryExecModeSimpleProtocol, "simple"))
	t.Rows(conn, "DO $$ BEGIN RAISE WARNING 'careful' USING DETAIL = 'why', HINT = 'what', ERRCODE = '01234'; END $$")
	t.Rows(conn, "DROP TABLE IF EXISTS not_there")
	heard = append(heard, t.Try(conn, "DO $$ BEGIN RAISE NOTICE 'before'; RAISE EXCEPTION 'after'; END $$"))
	t.Rows(conn, "SET client_min_messages = warning")
	heard = append(heard, t.Rows(conn, "SELECT noisy($1)", "not heard"))
	t.Rows(conn, "RESET client_min_messages")
	t.Rows(conn, "COMMIT")
	return heard
}

func listenNotify(t *scenario.T) any {
	listener, sender := opened(t), opened(t)
	var heard []any
	hear := func() {
		notification := scenario.Value(listener.WaitForNotification(t))
		heard = append(heard, []string{notification.Channel, notification.Payload})
	}
	t.Rows(listener, "LISTEN news")
	t.Rows(listener, `LISTEN "Other News"`)
	t.Rows(sender, "NOTIFY news")
	hear()
	t.Rows(sender, "SELECT pg_notify($1, $2)", "Other News", "ž🐘")
	hear()
	t.Rows(sender, "BEGIN")
	t.Rows(sender, "NOTIFY news, 'with the commit'")
	t.Rows(listener, "SELECT 1")
	t.Rows(sender, "COMMIT")
	hear()
	t.Rows(listener, "NOTIFY news, 'to itself'")
	hear()
	t.Rows(listener, "UNLISTEN news")
	t.Rows(sender, "NOTIFY news, 'to nobody'")
	t.Rows(sender, `NOTIFY "Other News", 'last'`)
	hear()
	t.Rows(listener, "UNLISTEN *")
	return heard
}

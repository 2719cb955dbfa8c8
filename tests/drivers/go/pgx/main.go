// Command pgx runs the scenarios with pgx, which prepares every statement under a name that it makes of the text.
package main

import (
	"context"
	"errors"
	"maps"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"drivers/scenario"
)

type client struct{ *pgx.Conn }

func (c client) Rows(ctx context.Context, sql string, args ...any) ([][]any, error) {
	rows, err := c.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]any, error) {
		values, err := row.Values()
		return scenario.ShowAll(values), err
	})
}

func open(ctx context.Context, settings scenario.Settings) (scenario.Client, error) {
	return connect(ctx, func(config *pgx.ConnConfig) { maps.Copy(config.RuntimeParams, settings) })
}

func connect(ctx context.Context, configure func(*pgx.ConnConfig)) (scenario.Client, error) {
	config, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	configure(config)
	conn, err := pgx.ConnectConfig(ctx, config)
	return client{conn}, err
}

func opened(t *scenario.T) client { return t.Open(nil).(client) }

func configured(t *scenario.T, configure func(*pgx.ConnConfig)) client {
	return t.Keep(scenario.Value(connect(t, configure))).(client)
}

func fault(err error) any {
	server := new(pgconn.PgError)
	if !errors.As(err, &server) {
		return map[string]any{"driver": err.Error()}
	}
	return scenario.Fields(map[string]any{
		"sqlstate":   server.Code,
		"severity":   server.Severity,
		"message":    server.Message,
		"detail":     server.Detail,
		"hint":       server.Hint,
		"position":   server.Position,
		"where":      server.Where,
		"column":     server.ColumnName,
		"constraint": server.ConstraintName,
		"routine":    server.Routine,
	})
}

func main() {
	scenario.Main(scenario.Driver{Open: open, Fault: fault}, map[string]scenario.Scenario{
		"types_text":                 typesText,
		"types_binary":               typesBinary,
		"large_values":               largeValues,
		"server_info":                serverInfo,
		"prepared":                   prepared,
		"prepared_many_clients":      preparedManyClients,
		"prepared_reuse_after_error": preparedReuseAfterError,
		"unprepared_parameters":      unpreparedParameters,
		"described_first":            describedFirst,
		"many_statements":            manyStatements,
		"schema_change":              scenario.SchemaChange,
		"empty_and_multi":            emptyAndMulti,
		"pipeline":                   pipeline,
		"batch":                      batch,
		"cursor":                     cursor,
		"copy_in":                    copyIn,
		"copy_out":                   copyOut,
		"copy_in_error":              copyInError,
		"cancel":                     cancel,
		"statement_timeout":          scenario.StatementTimeout,
		"notices":                    notices,
		"errors":                     scenario.Errors,
		"errors_in_transaction":      scenario.ErrorsInTransaction,
		"transactions":               scenario.Transactions,
		"session_settings":           scenario.SessionSettings,
		"startup_settings":           scenario.StartupSettings,
		"listen_notify":              listenNotify,
		"advisory_locks":             scenario.AdvisoryLocks,
		"temp_tables":                scenario.TempTables,
		"connection_lost":            scenario.ConnectionLost,
	})
}

// Command pq runs the scenarios with lib/pq and database/sql. A query with parameters takes two requests, both with the
// unnamed statement: Parse and Describe, then Bind and Execute.
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"maps"

	"github.com/lib/pq"

	"drivers/scenario"
)

// A client is the only connection of its pool.
type client struct {
	*sql.Conn
	pool *sql.DB
}

func (c client) Close(context.Context) error {
	return errors.Join(c.Conn.Close(), c.pool.Close())
}

func (c client) Rows(ctx context.Context, query string, args ...any) ([][]any, error) {
	rows, err := c.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return collect(rows)
}

func collect(rows *sql.Rows) ([][]any, error) {
	defer rows.Close()
	columns, err := rows.Columns()
	collected := [][]any{}
	for err == nil && rows.Next() {
		values := make([]any, len(columns))
		places := make([]any, len(columns))
		for index := range values {
			places[index] = &values[index]
		}
		err = rows.Scan(places...)
		collected = append(collected, scenario.ShowAll(values))
	}
	return collected, errors.Join(err, rows.Err())
}

func open(ctx context.Context, settings scenario.Settings) (scenario.Client, error) {
	config, err := pq.NewConfig("")
	if err != nil {
		return nil, err
	}
	settings = maps.Clone(settings)
	config.Options = settings["options"]
	delete(settings, "options")
	config.Runtime = settings
	connector, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, err
	}
	return connect(ctx, connector)
}

func connect(ctx context.Context, connector driver.Connector) (scenario.Client, error) {
	pool := sql.OpenDB(connector)
	conn, err := pool.Conn(ctx)
	return client{conn, pool}, err
}

func opened(t *scenario.T) client { return t.Open(nil).(client) }

func fault(err error) any {
	server := new(pq.Error)
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
		"column":     server.Column,
		"constraint": server.Constraint,
		"routine":    server.Routine,
	})
}

// Without `server_info`, which the driver keeps to itself, and `pipeline`, `batch` and `copy_out`, of which it has none.
func main() {
	scenario.Main(scenario.Driver{Open: open, Fault: fault}, map[string]scenario.Scenario{
		"types_text":                 typesText,
		"types_binary":               typesBinary,
		"large_values":               largeValues,
		"prepared":                   prepared,
		"prepared_many_clients":      preparedManyClients,
		"prepared_reuse_after_error": preparedReuseAfterError,
		"unprepared_parameters":      unpreparedParameters,
		"many_statements":            manyStatements,
		"schema_change":              schemaChange,
		"empty_and_multi":            emptyAndMulti,
		"cursor":                     cursor,
		"copy_in":                    copyIn,
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

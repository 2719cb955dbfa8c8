package main

import (
	"strings"

	"github.com/lib/pq"

	"drivers/scenario"
)

func arguments(texts []string) []any {
	args := make([]any, len(texts))
	for index, text := range texts {
		args[index] = text
	}
	return args
}

func typesText(t *scenario.T) any {
	conn := opened(t)
	outcome := map[string]any{}
	for typename, values := range scenario.Values {
		outcome[typename] = t.Rows(conn, scenario.Echo(typename, len(values)), arguments(values)...)
	}
	return outcome
}

// A prepared statement gives numbers, bytes and uuids in binary; with binary_parameters bytes are sent in it, in one
// request with the unnamed statement.
func typesBinary(t *scenario.T) any {
	config := scenario.Value(pq.NewConfig("binary_parameters=yes"))
	binary := t.Keep(scenario.Value(connect(t, scenario.Value(pq.NewConnectorConfig(config)))))
	conn := opened(t)
	outcome := map[string]any{}
	for typename, values := range scenario.Values {
		query := scenario.Echo(typename, len(values))
		statement := scenario.Value(conn.PrepareContext(t, query))
		read := scenario.Value(collect(scenario.Value(statement.QueryContext(t, arguments(values)...))))
		scenario.Must(statement.Close())
		outcome[typename] = []any{read, t.Rows(binary, query, arguments(values)...)}
	}
	outcome["sent"] = t.Rows(binary, "SELECT $1::bytea, $2::text, $3::int4", []byte{0, 1, 254, 255}, "text", 7)
	outcome["fault"] = t.Try(binary, "SELECT 1 / $1::int4", 0)
	return outcome
}

func largeValues(t *scenario.T) any {
	conn := opened(t)
	var outcome []any
	for _, megabytes := range []int{1, 5} {
		sent := scenario.LargeBytes(megabytes << 20)
		text := strings.Repeat("ž🐘 ", len(sent)/8)
		var bytes []byte
		var echoed, md5 string
		row := conn.QueryRowContext(t, "SELECT $1::bytea, $2::text, md5($2::text)", sent, text)
		scenario.Must(row.Scan(&bytes, &echoed, &md5))
		outcome = append(outcome, scenario.Digest(bytes), scenario.Digest([]byte(echoed)), md5, echoed == text)
	}
	t.Rows(conn, "INSERT INTO item (name, payload) VALUES ('large', $1)", scenario.LargeBytes(1<<20))
	var stored []byte
	row := conn.QueryRowContext(t, "DELETE FROM item WHERE name = 'large' RETURNING payload")
	scenario.Must(row.Scan(&stored))
	return append(outcome, scenario.Digest(stored))
}

package main

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"drivers/scenario"
)

var binary = []int16{pgx.BinaryFormatCode}

func texts(values [][]byte) []any {
	shown := make([]any, len(values))
	for index, value := range values {
		if value != nil {
			shown[index] = string(value)
		}
	}
	return shown
}

func columns(fields []pgconn.FieldDescription) []string {
	shown := make([]string, len(fields))
	for index, field := range fields {
		shown[index] = fmt.Sprintf("%s %d %d", field.Name, field.DataTypeOID, field.Format)
	}
	return shown
}

func parameters(typename string) [][]byte {
	var values [][]byte
	for _, text := range scenario.Values[typename] {
		values = append(values, []byte(text))
	}
	return values
}

func typesText(t *scenario.T) any {
	raw := opened(t).PgConn()
	outcome := map[string]any{}
	for typename, values := range scenario.Values {
		result := raw.ExecParams(t, scenario.Echo(typename, len(values)), parameters(typename), nil, nil, nil).Read()
		scenario.Must(result.Err)
		outcome[typename] = []any{columns(result.FieldDescriptions), texts(result.Rows[0])}
	}
	return outcome
}

// Values in binary as they are on the wire, as the driver reads them, and sent back in binary.
func typesBinary(t *scenario.T) any {
	conn := opened(t)
	outcome := map[string]any{}
	for typename, values := range scenario.Values {
		sql := scenario.Echo(typename, len(values))
		result := conn.PgConn().ExecParams(t, sql, parameters(typename), nil, nil, binary).Read()
		scenario.Must(result.Err)
		wire := result.Rows[0]
		back := conn.PgConn().ExecParams(t, sql, wire[:len(values)], nil, binary, nil).Read()
		scenario.Must(back.Err)
		args := []any{pgx.QueryResultFormats(binary)}
		for _, value := range values {
			args = append(args, value)
		}
		outcome[typename] = map[string]any{
			"columns": columns(result.FieldDescriptions),
			"wire":    fmt.Sprintf("%x", wire),
			"read":    t.Rows(conn, sql, args...),
			"back":    texts(back.Rows[0]),
		}
	}
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
		row := conn.QueryRow(t, "SELECT $1::bytea, $2::text, md5($2::text)", sent, text)
		scenario.Must(row.Scan(&bytes, &echoed, &md5))
		outcome = append(outcome, scenario.Digest(bytes), scenario.Digest([]byte(echoed)), md5, echoed == text)
	}
	_, err := conn.Exec(t, "INSERT INTO item (name, payload) VALUES ('large', $1)", scenario.LargeBytes(1<<20))
	scenario.Must(err)
	var stored []byte
	scenario.Must(conn.QueryRow(t, "DELETE FROM item WHERE name = 'large' RETURNING payload").Scan(&stored))
	return append(outcome, scenario.Digest(stored))
}

// The newest protocol has a longer key to cancel with.
func serverInfo(t *scenario.T) any {
	outcome := map[string]any{}
	for _, version := range []string{"3.0", "3.2"} {
		conn := configured(t, func(config *pgx.ConnConfig) { config.MaxProtocolVersion = version })
		told := map[string]string{}
		for _, name := range []string{
			"server_version", "server_encoding", "client_encoding", "integer_datetimes", "standard_conforming_strings",
			"DateStyle", "IntervalStyle", "TimeZone", "application_name", "is_superuser", "session_authorization",
			"search_path", "in_hot_standby", "default_transaction_read_only", "scram_iterations", "not_a_setting",
		} {
			told[name] = conn.PgConn().ParameterStatus(name)
		}
		outcome[version] = []any{told, len(conn.PgConn().SecretKey()), t.One(conn, "SHOW server_version")}
	}
	return outcome
}

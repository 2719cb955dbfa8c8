package scenario

import (
	"crypto/sha256"
	"database/sql/driver"
	"fmt"
	"maps"
	"reflect"
	"time"
)

// Values are texts to send as parameters and to get back, by type.
var Values = map[string][]string{
	"int2":        {"-32768", "0", "32767"},
	"int4":        {"-2147483648", "2147483647"},
	"int8":        {"-9223372036854775808", "9223372036854775807"},
	"float4":      {"1.5", "-0.000125"},
	"float8":      {"0.1", "1e+308", "Infinity", "NaN", "-0"},
	"numeric":     {"12345678901234567890.123456789", "-0.000001", "NaN", "100"},
	"text":        {"", "plain", "žluťoučký kůň 🐘 中文", "quote ' and \" and \\ and\n\ttab"},
	"varchar":     {"ein Wort"},
	"bytea":       {`\x`, `\x0001feff`, `\x5c78`},
	"bool":        {"t", "f"},
	"date":        {"0099-01-01", "2026-02-28"},
	"time":        {"23:59:59.987654"},
	"timestamp":   {"2026-02-28 23:59:59.987654"},
	"timestamptz": {"2026-02-28 23:59:59.987654+05:30"},
	"interval":    {"1 year 2 mons 3 days 04:05:06.789"},
	"uuid":        {"12345678-9abc-def0-1234-56789abcdef0"},
	"inet":        {"10.1.2.0/24"},
	"json":        {`{"a": [1, 2, {"b": null}], "ключ": "значение"}`},
	"jsonb":       {`{"z": 1.5, "a": "x"}`},
	"_int4":       {"{1,-2,3}", "{}"},
	"_text":       {`{a,"b\"c","d,e",NULL,"{}"}`},
}

// Echo is a statement that gives back so many values of a type, and a NULL at its end.
func Echo(typename string, count int) string {
	sql := "SELECT "
	for index := range count {
		sql += fmt.Sprintf("$%d::%s, ", index+1, typename)
	}
	return sql + "NULL::" + typename
}

// Show makes a value one that JSON has a form for: texts and NULLs as they are, others with their types.
func Show(value any) any {
	switch value := value.(type) {
	case nil, string:
		return value
	case []byte:
		return fmt.Sprintf("bytes %q", value)
	case time.Time:
		return "time " + value.UTC().Format(time.RFC3339Nano)
	case driver.Valuer:
		return fmt.Sprintf("%T %v", value, Show(Value(value.Value())))
	default:
		return fmt.Sprintf("%T %v", value, value)
	}
}

// ShowAll is Show for a row.
func ShowAll(values []any) []any {
	shown := make([]any, len(values))
	for index, value := range values {
		shown[index] = Show(value)
	}
	return shown
}

// Fields are those of an error that say something. Which of its messages a failed transaction refuses, Parse or Bind,
// depends on what is prepared already, and is no matter.
func Fields(all map[string]any) map[string]any {
	if fmt.Sprint(all["sqlstate"]) == "25P02" {
		delete(all, "routine")
	}
	maps.DeleteFunc(all, func(_ string, value any) bool { return reflect.ValueOf(value).IsZero() })
	return all
}

// Digest is enough of a large value to tell it apart from all others.
func Digest(value []byte) string {
	return fmt.Sprintf("%d bytes %x", len(value), sha256.Sum256(value))
}

// LargeBytes look different wherever they are cut.
func LargeBytes(count int) []byte {
	bytes := make([]byte, count)
	for at := range bytes {
		bytes[at] = byte(at*31 + at>>8)
	}
	return bytes
}

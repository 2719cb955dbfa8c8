package scenario

// Transactions: what they show to others, how they fail, and how they end.

// Transactions of all isolation levels.
func Transactions(t *T) any {
	client, other := t.Open(nil), t.Open(nil)
	outcome := map[string]any{}
	const shown = "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')"
	for _, level := range []string{
		"READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", "SERIALIZABLE READ ONLY DEFERRABLE",
	} {
		t.Rows(client, "BEGIN ISOLATION LEVEL "+level)
		outcome[level] = t.Rows(client, shown)
		t.Rows(client, "COMMIT")
	}
	t.Rows(client, "BEGIN READ ONLY")
	outcome["read only"] = t.Try(client, "INSERT INTO item (name) VALUES ($1)", "new")
	outcome["commit of a failed one"] = t.Try(client, "COMMIT")
	count := func(who Client) any { return t.One(who, "SELECT count(*) FROM item WHERE name = $1", "new") }
	for _, end := range []string{"ROLLBACK", "COMMIT"} {
		t.Rows(client, "BEGIN")
		t.Rows(client, "INSERT INTO item (name) VALUES ($1)", "new")
		during := []any{count(client), count(other)}
		t.Rows(client, end)
		outcome[end] = append(during, count(client), count(other))
	}
	t.Rows(client, "DELETE FROM item WHERE name = $1", "new")
	for _, who := range []Client{client, other} {
		t.Rows(who, "BEGIN ISOLATION LEVEL REPEATABLE READ")
		t.Rows(who, "SELECT amount FROM item WHERE id = 1")
	}
	t.Rows(client, "UPDATE item SET amount = amount WHERE id = 1")
	t.Rows(client, "COMMIT")
	outcome["conflict"] = t.Try(other, "UPDATE item SET amount = amount WHERE id = 1")
	t.Rows(other, "ROLLBACK")
	return outcome
}

// ErrorsInTransaction end it, or what came after a savepoint.
func ErrorsInTransaction(t *T) any {
	client, other := t.Open(nil), t.Open(nil)
	insert := func(name string) any { return t.Try(client, "INSERT INTO item (name) VALUES ($1)", name) }
	outcome := map[string]any{}
	t.Rows(client, "BEGIN")
	insert("lost")
	outcome["error"] = insert("item 1")
	outcome["aborted"] = []any{t.Try(client, "SELECT $1::int4", 1), t.Try(client, "SELECT 1"), insert("never")}
	outcome["another"] = t.Rows(other, "SELECT 'not concerned'")
	t.Rows(client, "ROLLBACK")
	t.Rows(client, "BEGIN")
	insert("first")
	t.Rows(client, "SAVEPOINT here")
	outcome["at a savepoint"] = insert("item 2")
	t.Rows(client, "ROLLBACK TO here")
	insert("second")
	t.Rows(client, "RELEASE here")
	t.Rows(client, "SAVEPOINT there")
	insert("third")
	t.Rows(client, "ROLLBACK TO SAVEPOINT there")
	t.Rows(client, "COMMIT")
	outcome["kept"] = t.Rows(other, "DELETE FROM item WHERE id > 10 RETURNING name")
	outcome["outside"] = t.Try(client, "SAVEPOINT nowhere")
	return outcome
}

// StatementTimeout set for a transaction, and at the start of a connection.
func StatementTimeout(t *T) any {
	client, hasty := t.Open(nil), t.Open(Settings{"statement_timeout": "200"})
	slower := t.Open(Settings{"options": "-c statement_timeout=300ms"})
	limit := func(who Client) any { return t.One(who, "SHOW statement_timeout") }
	outcome := map[string]any{}
	t.Rows(client, "BEGIN")
	t.Rows(client, "SET LOCAL statement_timeout = '150ms'")
	outcome["local"] = []any{t.Try(client, "SELECT slow($1)", 10.0), t.Try(client, "SELECT 1")}
	t.Rows(client, "ROLLBACK")
	outcome["afterwards"] = []any{limit(client), t.Rows(client, "SELECT slow($1)", 0.4)}
	outcome["start-up"] = []any{t.Try(hasty, "SELECT slow($1)", 10.0), limit(hasty), t.Try(hasty, "SELECT slow(10)")}
	outcome["options"] = []any{t.Try(slower, "SELECT slow($1)", 10.0), limit(slower)}
	outcome["others"] = []any{limit(client), t.Rows(client, "SELECT slow(0.4)")}
	return outcome
}

// Errors of many kinds.
func Errors(t *T) any {
	client := t.Open(nil)
	return []any{
		t.Try(client, "SELEC 1"),
		t.Try(client, "SELECT * FROM nowhere"),
		t.Try(client, "SELECT 1 / 0"),
		t.Try(client, "SELECT $1::int4 / 0", 1),
		t.Try(client, "SELECT $1::text::int4", "not a number"),
		t.Try(client, "INSERT INTO item (name) VALUES ($1)", "item 1"),
		t.Try(client, "INSERT INTO item (id, name) VALUES (1000, NULL)"),
		t.Try(client, "DO $$ BEGIN RAISE EXCEPTION 'own' USING ERRCODE = 'ZZ123', DETAIL = 'd', HINT = 'h'; END $$"),
		t.Try(client, "SELECT 'goes on'"),
	}
}

// ConnectionLost by what a client does itself.
func ConnectionLost(t *T) any {
	one, two := t.Open(nil), t.Open(nil)
	return []any{
		t.Try(one, "SELECT pg_terminate_backend(pg_backend_pid())"), t.Try(one, "SELECT 1"),
		t.Try(two, "SELECT pg_terminate_backend(pg_backend_pid() + $1)", 0), t.Try(two, "SELECT 1"),
	}
}

// SchemaChange under a prepared SELECT *.
func SchemaChange(t *T) any {
	client, other := t.Open(nil), t.Open(nil)
	all := func() any { return t.Try(client, "SELECT * FROM changing WHERE id = $1", 1) }
	one := func() any { return t.Try(client, "SELECT name FROM changing WHERE id = $1", 1) }
	t.Rows(other, "CREATE TABLE changing AS SELECT 1 AS id, 'one' AS name")
	outcome := []any{all(), one()}
	t.Rows(other, "ALTER TABLE changing ADD COLUMN extra int4 DEFAULT 7")
	outcome = append(outcome, all(), one(), all())
	t.Rows(other, "ALTER TABLE changing ALTER COLUMN extra TYPE text")
	t.Rows(client, "BEGIN")
	outcome = append(outcome, all(), all())
	t.Rows(client, "ROLLBACK")
	outcome = append(outcome, all())
	t.Rows(other, "DROP TABLE changing")
	return append(outcome, all())
}

package scenario

// What belongs to a session: it must follow its client, and nobody else.

var settings = []string{"TimeZone", "DateStyle", "application_name", "search_path", "statement_timeout"}

func show(t *T, client Client, more ...string) map[string]any {
	values := map[string]any{}
	for _, name := range append(more, settings...) {
		values[name] = t.One(client, "SHOW "+name)
	}
	return values
}

// SessionSettings has one client that sets everything, another that sets what every pooler knows, and a third.
func SessionSettings(t *T) any {
	one, two, three := t.Open(nil), t.Open(nil), t.Open(nil)
	for _, sql := range []string{
		"SET TimeZone = 'Asia/Tokyo'",
		"SET DateStyle = 'ISO, DMY'",
		"SET application_name = 'one'",
		"SET search_path = pg_catalog, public",
		"SET SESSION statement_timeout TO 54321",
	} {
		t.Rows(one, sql)
	}
	t.Rows(two, "SET TimeZone = 'America/New_York'")
	t.Rows(two, "SET application_name TO 'two'")
	const stamp = "SELECT ('2026-07-01 12:00:00+00'::timestamptz + $1 * interval '1 hour')::text"
	var outcome []any
	for turn := range 4 {
		if turn%2 == 1 {
			t.Rows(one, "BEGIN")
		}
		outcome = append(outcome, show(t, one), show(t, two), show(t, three))
		if turn%2 == 1 {
			t.Rows(one, "COMMIT")
		}
		stamps := make([]any, 3)
		clients := []Client{one, two, three}
		Together(3, func(index int) { stamps[index] = t.One(clients[index], stamp, turn) })
		outcome = append(outcome, stamps)
	}
	t.Rows(one, "BEGIN")
	t.Rows(one, "SET LOCAL TimeZone = 'Europe/Paris'")
	t.Rows(one, "SET statement_timeout = 11111")
	outcome = append(outcome, show(t, one))
	t.Rows(one, "ROLLBACK")
	outcome = append(outcome, show(t, one))
	t.Rows(one, "RESET search_path")
	t.Rows(one, "SET statement_timeout TO DEFAULT")
	t.Rows(one, "SELECT set_config('TimeZone', $1, false)", "Asia/Kolkata")
	outcome = append(outcome, show(t, one), show(t, two))
	t.Rows(one, "RESET ALL")
	return append(outcome, show(t, one), show(t, two), show(t, three))
}

// StartupSettings come with the connection, and are what RESET gives back.
func StartupSettings(t *T) any {
	one := t.Open(Settings{
		"application_name":  "from the start",
		"TimeZone":          "Asia/Tokyo",
		"statement_timeout": "54321",
		"search_path":       "pg_catalog,public",
	})
	two := t.Open(Settings{"options": `-c IntervalStyle=iso_8601 -cwork_mem=5MB --lock_timeout=7s`})
	more := []string{"IntervalStyle", "work_mem", "lock_timeout"}
	var outcome []any
	for range 3 {
		outcome = append(outcome, show(t, one, more...), show(t, two, more...))
		outcome = append(outcome, t.One(two, "SELECT interval '1 day 2 hours'::text"))
	}
	for _, client := range []Client{one, two} {
		for _, sql := range []string{
			"SET application_name = 'changed'",
			"SET TimeZone = 'UTC'",
			"SET IntervalStyle = 'sql_standard'",
			"SET statement_timeout = 5000",
			"SET work_mem = '6MB'",
		} {
			t.Rows(client, sql)
		}
		outcome = append(outcome, show(t, client, more...))
		for _, name := range []string{"statement_timeout", "application_name", "TimeZone", "work_mem"} {
			t.Rows(client, "RESET "+name)
		}
		outcome = append(outcome, show(t, client, more...))
		t.Rows(client, "RESET ALL")
		outcome = append(outcome, show(t, client, more...))
	}
	_, err := t.driver.Open(t, Settings{"statement_timeout": "no number"})
	return append(outcome, t.Fault(err))
}

// AdvisoryLocks are held by one session and seen by another.
func AdvisoryLocks(t *T) any {
	holder, other := t.Open(nil), t.Open(nil)
	ask := func(client Client, call string) any { return t.One(client, "SELECT "+call) }
	outcome := []any{ask(holder, "pg_try_advisory_lock(44)"), ask(other, "pg_try_advisory_lock(44)")}
	t.Rows(holder, "BEGIN")
	t.Rows(holder, "COMMIT")
	outcome = append(outcome, ask(other, "pg_try_advisory_lock(44)"), ask(holder, "pg_advisory_unlock(44)"))
	outcome = append(outcome, ask(other, "pg_try_advisory_lock(44)"), ask(other, "pg_advisory_unlock(44)"))
	outcome = append(outcome, ask(holder, "pg_advisory_lock(1, 2)::text"), ask(other, "pg_try_advisory_lock(1, 2)"))
	outcome = append(outcome, ask(holder, "pg_advisory_unlock_all()::text"), ask(other, "pg_try_advisory_lock(1, 2)"))
	Must(other.Close(t))
	t.Until(func() bool { return ask(holder, "pg_try_advisory_lock(1, 2)::text") == "true" })
	return append(outcome, ask(holder, "pg_advisory_unlock(1, 2)"), ask(holder, "pg_advisory_unlock(1, 2)"))
}

// TempTables live over several transactions of one session.
func TempTables(t *T) any {
	client, other := t.Open(nil), t.Open(nil)
	count := func(who Client) any { return t.Try(who, "SELECT count(*) FROM scratch") }
	var outcome []any
	t.Rows(client, "CREATE TEMP TABLE scratch (n int4)")
	for n := range 3 {
		t.Rows(client, "INSERT INTO scratch VALUES ($1)", n)
		outcome = append(outcome, count(client), count(other))
	}
	t.Rows(client, "BEGIN")
	t.Rows(client, "DELETE FROM scratch")
	outcome = append(outcome, count(client))
	t.Rows(client, "ROLLBACK")
	outcome = append(outcome, count(client))
	t.Rows(client, "DROP TABLE scratch")
	outcome = append(outcome, count(client))
	t.Rows(client, "BEGIN")
	t.Rows(client, "CREATE TEMP TABLE brief ON COMMIT DROP AS SELECT 1 AS n")
	outcome = append(outcome, t.Try(client, "SELECT n FROM brief"))
	t.Rows(client, "COMMIT")
	return append(outcome, t.Try(client, "SELECT n FROM brief"), t.Try(other, "SELECT n FROM brief"))
}

// What belongs to a session: it must follow its client, and nobody else.

import { range, until } from "../program.mjs";

const SETTINGS = ["TimeZone", "DateStyle", "application_name", "search_path", "statement_timeout"];

async function show(client, names = SETTINGS) {
  const values = {};
  for (const name of names) values[name] = Object.values((await client.query(`SHOW ${name}`)).rows[0])[0];
  return values;
}

// One client sets everything, another what every pooler knows, a third nothing.
export async function session_settings(open) {
  const [one, two, three] = [await open(), await open(), await open()];
  await one.query("SET TimeZone = 'Asia/Tokyo'");
  await one.query("SET DateStyle = 'German'");
  await one.query("SET application_name = 'one'");
  await one.query("SET search_path = pg_catalog, public");
  await one.query("SET SESSION statement_timeout TO 54321");
  await two.query("SET TimeZone = 'America/New_York'; SET application_name TO 'two'");
  const outcome = [];
  for (const turn of range(6)) {
    if (turn % 2) await one.query("BEGIN");
    outcome.push([await show(one), await show(two), await show(three)]);
    if (turn % 2) await one.query("COMMIT");
    const stamps = await Promise.all(
      [one, two, three].map((who) => who.query("SELECT '2026-07-01 12:00:00+00'::timestamptz::text AS stamp")),
    );
    outcome.push(stamps.map(({ rows }) => rows[0].stamp));
  }
  await one.query("BEGIN");
  await one.query("SET LOCAL TimeZone = 'Europe/Paris'");
  await one.query("SET statement_timeout = 11111");
  outcome.push(await show(one));
  await one.query("ROLLBACK");
  outcome.push(await show(one));
  await one.query("RESET search_path");
  await one.query("SET statement_timeout TO DEFAULT");
  await one.query("SELECT set_config('TimeZone', $1, false)", ["Asia/Kolkata"]);
  outcome.push(await show(one), await show(two));
  await one.query("RESET ALL");
  outcome.push(await show(one), await show(two), await show(three));
  return outcome;
}

export async function startup_settings(open) {
  const one = await open({
    application_name: "from the start",
    options:
      "-c TimeZone=Asia/Tokyo -c statement_timeout=54321 -c search_path=pg_catalog,public --extra_float_digits=0",
  });
  const [two, three] = [await open({ statement_timeout: 1234567, lock_timeout: 7654 }), await open()];
  const names = [...SETTINGS, "lock_timeout", "extra_float_digits"];
  const outcome = [];
  for (const _ of range(3)) outcome.push(await show(one, names), await show(two, names), await show(three, names));
  for (const client of [one, two]) {
    await client.query("SET application_name = 'changed'; SET TimeZone = 'UTC'");
    await client.query("SET statement_timeout = 5000");
    outcome.push(await show(client, names));
    await client.query("RESET statement_timeout");
    await client.query("RESET application_name; RESET TimeZone");
    outcome.push(await show(client, names));
    await client.query("SET statement_timeout = 6000");
    await client.query("RESET ALL");
    outcome.push(await show(client, names));
  }
  return outcome;
}

export async function listen_notify(open) {
  const [listener, sender] = [await open(), await open()];
  const heard = [];
  const heardAll = (count) => until(() => heard.length >= count);
  listener.on("notification", ({ channel, payload }) => heard.push([channel, payload]));
  await listener.query("LISTEN news");
  await listener.query('LISTEN "Other News"');
  await sender.query("NOTIFY news");
  await sender.query("SELECT pg_notify($1, $2)", ["Other News", "ž🐘"]);
  await heardAll(2);
  await sender.query("BEGIN");
  await sender.query("NOTIFY news, 'with the commit'");
  await listener.query("SELECT 1");
  heard.push("not yet");
  await sender.query("COMMIT");
  await heardAll(4);
  await listener.query("NOTIFY news, 'to itself'");
  await heardAll(5);
  await listener.query("UNLISTEN news");
  await sender.query("NOTIFY news, 'to nobody'; NOTIFY \"Other News\", 'last'");
  await heardAll(6);
  await listener.query("UNLISTEN *");
  return heard;
}

export async function advisory_locks(open) {
  const [holder, other] = [await open(), await open()];
  const ask = async (who, call) => Object.values((await who.query(`SELECT ${call}`)).rows[0])[0];
  const outcome = [await ask(holder, "pg_try_advisory_lock(42)"), await ask(other, "pg_try_advisory_lock(42)")];
  await holder.query("BEGIN; SELECT 1; COMMIT");
  outcome.push(await ask(other, "pg_try_advisory_lock(42)"), await ask(holder, "pg_advisory_unlock(42)"));
  outcome.push(await ask(other, "pg_try_advisory_lock(42)"), await ask(other, "pg_advisory_unlock(42)"));
  outcome.push(await ask(holder, "pg_advisory_lock(1, 2)"), await ask(other, "pg_try_advisory_lock(1, 2)"));
  await holder.query("SELECT pg_advisory_unlock_all()");
  outcome.push(await ask(other, "pg_try_advisory_lock(1, 2)"));
  await other.end();
  await until(() => ask(holder, "pg_try_advisory_lock(1, 2)"));
  outcome.push(await ask(holder, "pg_advisory_unlock(1, 2)"), await ask(holder, "pg_advisory_unlock(1, 2)"));
  return outcome;
}

export async function temp_tables(open) {
  const [client, other] = [await open(), await open()];
  const count = (who) =>
    who.query("SELECT count(*)::int4 FROM scratch").then(
      ({ rows }) => rows[0].count,
      ({ code }) => code,
    );
  const outcome = [];
  await client.query("CREATE TEMP TABLE scratch (n int4)");
  for (const n of range(3)) {
    await client.query("INSERT INTO scratch VALUES ($1)", [n]);
    outcome.push(await count(client), await count(other));
  }
  await client.query("BEGIN");
  await client.query("DELETE FROM scratch");
  outcome.push(await count(client));
  await client.query("ROLLBACK");
  outcome.push(await count(client));
  await client.query("DROP TABLE scratch");
  outcome.push(await count(client));
  await client.query("BEGIN");
  await client.query("CREATE TEMP TABLE scratch ON COMMIT DROP AS SELECT 1 AS n");
  outcome.push(await count(client));
  await client.query("COMMIT");
  outcome.push(await count(client), await count(other));
  return outcome;
}

// What belongs to a session: it must follow its client, and nobody else.

import { range, until } from "../program.mjs";

const SETTINGS = ["TimeZone", "DateStyle", "application_name", "search_path", "statement_timeout"];

async function show(sql, names = SETTINGS) {
  const values = {};
  for (const name of names) values[name] = Object.values((await sql`SHOW ${sql.unsafe(name)}`)[0])[0];
  return values;
}

// One client sets everything, another what every pooler knows, a third nothing.
export async function session_settings(open) {
  const [one, two, three] = [await open(), await open(), await open()];
  await one`SET TimeZone = 'Asia/Tokyo'`;
  await one`SET DateStyle = 'German'`;
  await one`SET application_name = 'one'`;
  await one`SET search_path = pg_catalog, public`;
  await one`SET SESSION statement_timeout TO 54321`;
  await two`SET TimeZone = 'America/New_York'; SET application_name TO 'two'`.simple();
  const outcome = [];
  for (const turn of range(4)) {
    outcome.push([
      await (turn % 2 ? one.begin((inner) => show(inner)) : show(one)),
      await show(two),
      await show(three),
    ]);
    outcome.push(
      await Promise.all(
        [one, two, three].map((sql) => sql`SELECT '2026-07-01 12:00:00+00'::timestamptz::text AS stamp`),
      ),
    );
  }
  await one.begin(async (inner) => {
    await inner`SET LOCAL TimeZone = 'Europe/Paris'`;
    outcome.push(await show(inner));
  });
  outcome.push(await show(one));
  await one`RESET search_path`;
  await one`SELECT set_config('TimeZone', ${"Asia/Kolkata"}, false)`;
  outcome.push(await show(one), await show(two), one.parameters.TimeZone);
  await one`RESET ALL`;
  outcome.push(await show(one), await show(two), await show(three));
  return outcome;
}

export async function startup_settings(open) {
  const connection = {
    application_name: "from the start",
    TimeZone: "Asia/Tokyo",
    statement_timeout: 54321,
    search_path: "pg_catalog,public",
  };
  const [one, two] = [
    await open({ connection }),
    await open({ connection: { IntervalStyle: "iso_8601", extra_float_digits: "0" } }),
  ];
  const names = [...SETTINGS, "IntervalStyle", "extra_float_digits"];
  const outcome = [];
  for (const _ of range(3)) outcome.push(await show(one, names), await show(two, names));
  for (const sql of [one, two]) {
    await sql`SET application_name = 'changed'`;
    await sql`SET statement_timeout = 5000`;
    await sql`SET IntervalStyle = 'sql_standard'`;
    outcome.push(await show(sql, names));
    await sql`RESET statement_timeout`;
    await sql`RESET application_name; RESET IntervalStyle`.simple();
    outcome.push(await show(sql, names));
  }
  return outcome;
}

// The driver listens over a connection of its own, which it makes for that.
export async function listen_notify(open) {
  const [sql, sender] = [await open(), await open()];
  const heard = [];
  const heardAll = (count) => until(() => heard.length >= count);
  const news = await sql.listen("news", (payload) => heard.push(["news", payload]));
  await sql.listen("Other News", (payload) => heard.push(["Other News", payload]));
  await sender.notify("news", "");
  await heardAll(1);
  await sender.notify("Other News", "ž🐘");
  await heardAll(2);
  await sender.begin(async (inner) => {
    await inner`SELECT pg_notify('news', 'with the commit')`;
    heard.push("not yet");
  });
  await heardAll(4);
  await news.unlisten();
  await sender.notify("news", "to nobody");
  await sender.notify("Other News", "last");
  await heardAll(5);
  return heard;
}

export async function advisory_locks(open) {
  const [holder, other] = [await open(), await open()];
  const ask = async (sql, call) => Object.values((await sql`SELECT ${sql.unsafe(call)}`)[0])[0];
  const outcome = [await ask(holder, "pg_try_advisory_lock(43)"), await ask(other, "pg_try_advisory_lock(43)")];
  outcome.push(await ask(other, "pg_try_advisory_lock(43)"), await ask(holder, "pg_advisory_unlock(43)"));
  outcome.push(await ask(other, "pg_try_advisory_lock(43)"));
  await other.end();
  await until(() => ask(holder, "pg_try_advisory_lock(43)"));
  outcome.push(await ask(holder, "pg_advisory_unlock(43)"));
  return outcome;
}

export async function temp_tables(open) {
  const [sql, other] = [await open(), await open()];
  const count = (who) =>
    who`SELECT count(*)::int4 FROM scratch`.then(
      ([row]) => row.count,
      ({ code }) => code,
    );
  const outcome = [];
  await sql`CREATE TEMP TABLE scratch (n int4)`;
  for (const n of range(3)) {
    await sql`INSERT INTO scratch VALUES (${n})`;
    outcome.push(await count(sql), await count(other));
  }
  outcome.push(await sql.begin(async (inner) => [await inner`DELETE FROM scratch RETURNING n`, await count(inner)]));
  await sql`DROP TABLE scratch`;
  outcome.push(await count(sql));
  return outcome;
}

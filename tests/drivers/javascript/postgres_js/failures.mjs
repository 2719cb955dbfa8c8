// Errors, notices, cancelled and lost queries.

import { faultOf, fields, settled, until } from "../program.mjs";

async function cancelled(query, observer) {
  const end = faultOf(query);
  const sleeping = () => observer`SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'`;
  await until(async () => (await sleeping()).length === 1);
  await query.cancel();
  return end;
}

export async function cancel(open) {
  const [sql, observer] = [await open(), await open()];
  const outcome = {};
  outcome.simple = await cancelled(sql`SELECT slow(31)`.simple(), observer);
  outcome.goesOn = await sql`SELECT 1 AS one`;
  outcome.prepared = await cancelled(sql`SELECT slow(32 + ${0}::int4)`, observer);
  outcome.again = await sql`SELECT slow(32 + ${-32}::int4)`;
  await sql
    .begin(async (inner) => {
      outcome.inTransaction = await cancelled(inner`SELECT slow(33)`, observer);
      outcome.aborted = await faultOf(inner`SELECT 1`);
    })
    .catch(() => {});
  outcome.others = await observer`SELECT 1 AS one`;
  return outcome;
}

export async function statement_timeout(open) {
  const [sql, hasty] = [await open(), await open({ connection: { statement_timeout: 200 } })];
  const limit = (who) => who`SHOW statement_timeout`;
  const outcome = {};
  outcome.local = await faultOf(
    sql.begin(async (inner) => {
      await inner`SET LOCAL statement_timeout = '150ms'`;
      await inner`SELECT slow(${10})`;
    }),
  );
  outcome.afterwards = [await limit(sql), await sql`SELECT slow(0)`];
  outcome.startup = [await faultOf(hasty`SELECT slow(10)`), await limit(hasty)];
  outcome.others = [await limit(sql), await sql`SELECT slow(0.4)`];
  return outcome;
}

export async function notices(open) {
  const heard = [];
  const sql = await open({ onnotice: (notice) => heard.push(notice) });
  heard.push(await sql`SELECT noisy('simple')`.simple());
  heard.push(await sql`SELECT noisy(${"extended ž🐘"})`);
  await sql`DO $$ BEGIN RAISE WARNING 'careful' USING DETAIL = 'why', HINT = 'what', ERRCODE = '01234'; END $$`;
  await sql`DROP TABLE IF EXISTS not_there`;
  heard.push(await faultOf(sql`DO $$ BEGIN RAISE NOTICE 'before'; RAISE EXCEPTION 'after'; END $$`));
  return heard;
}

export async function errors(open) {
  const sql = await open();
  const queries = [
    () => sql`SELEC 1`,
    () => sql`SELECT * FROM nowhere`,
    () => sql`SELECT 1 / 0`,
    () => sql`SELECT 1 / 0`.simple(),
    () => sql`SELECT ${"not a number"}::int4`,
    () => sql`INSERT INTO item (name) VALUES (${"item 1"})`,
    () => sql`INSERT INTO item (id, name) VALUES (1000, ${null})`,
    () => sql`DO $$ BEGIN RAISE EXCEPTION 'own' USING ERRCODE = 'ZZ123', DETAIL = 'd', HINT = 'h'; END $$`,
    () => sql.unsafe("SELECT 1; SELECT 2 WHERE"),
  ];
  const outcome = [];
  for (const query of queries) outcome.push(fields(await query().catch((error) => error)));
  return outcome;
}

// The driver keeps the server's last words, and gives them to the first query of the next connection.
export async function connection_lost(open) {
  const sql = await open();
  const queries = [
    () => sql`SELECT pg_terminate_backend(pg_backend_pid())`,
    () => sql`SELECT 'connected again' AS word`,
    () => sql`SELECT 'and well' AS word`,
  ];
  const outcome = [];
  for (const query of queries) outcome.push(...(await settled([query()])));
  return outcome;
}

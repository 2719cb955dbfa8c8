// Errors, notices, cancelled and lost queries.

import pg from "pg";

import { fault, faultOf, fields, happens, until } from "../program.mjs";

const SLEEPING = "SELECT count(*)::int4 FROM pg_stat_activity WHERE wait_event = 'PgSleep'";

async function cancelled(client, observer, query) {
  const end = new Promise((resolve) => {
    query.callback = (error) => resolve(error ? fault(error) : null);
  });
  client.query(query);
  await until(async () => (await observer.query(SLEEPING)).rows[0].count === 1);
  new pg.Client().cancel(client, query);
  return end;
}

export async function cancel(open) {
  const [client, observer] = [await open(), await open()];
  const outcome = {};
  outcome.simple = await cancelled(client, observer, new pg.Query("SELECT slow(31)"));
  outcome.goesOn = (await client.query("SELECT 1 AS one")).rows;
  const { Query } = pg;
  outcome.prepared = await cancelled(
    client,
    observer,
    new Query({ name: "slow", text: "SELECT slow(32 + $1::int4)", values: [0] }),
  );
  outcome.preparedGoesOn = (
    await client.query({ name: "slow", text: "SELECT slow(32 + $1::int4)", values: [-32] })
  ).rows;
  await client.query("BEGIN");
  outcome.inTransaction = await cancelled(client, observer, new Query("SELECT slow(33)"));
  outcome.aborted = await faultOf(client.query("SELECT 1"));
  await client.query("ROLLBACK");
  outcome.others = (await observer.query("SELECT 1 AS one")).rows;
  return outcome;
}

export async function statement_timeout(open) {
  const [client, hasty, slower] = [
    await open(),
    await open({ statement_timeout: 200 }),
    await open({ options: "-c statement_timeout=300ms" }),
  ];
  const limit = async (who) => (await who.query("SHOW statement_timeout")).rows;
  const outcome = {};
  await client.query("BEGIN");
  await client.query("SET LOCAL statement_timeout = '150ms'");
  outcome.local = [await faultOf(client.query("SELECT slow($1)", [10])), await faultOf(client.query("SELECT 1"))];
  await client.query("ROLLBACK");
  outcome.afterwards = [await limit(client), (await client.query("SELECT slow(0)")).rows];
  outcome.startup = [await faultOf(hasty.query("SELECT slow(10)")), await limit(hasty)];
  outcome.options = [await faultOf(slower.query("SELECT slow(10)")), await limit(slower)];
  outcome.others = [await limit(client), (await client.query("SELECT slow(0.4)")).rows];
  return outcome;
}

export async function notices(open) {
  const [client, other] = [await open(), await open()];
  const heard = [];
  const hear =
    (who) =>
    ({ severity, code, message, detail, hint }) =>
      heard.push({ who, severity, code, message, detail, hint });
  client.on("notice", hear("client"));
  other.on("notice", hear("other"));
  heard.push((await client.query("SELECT noisy('simple')")).rows);
  heard.push((await client.query("SELECT noisy($1)", ["extended ž🐘"])).rows);
  await client.query(
    "DO $$ BEGIN RAISE WARNING 'careful' USING DETAIL = 'why', HINT = 'what', ERRCODE = '01234'; END $$",
  );
  await client.query("DROP TABLE IF EXISTS not_there");
  heard.push(await faultOf(client.query("DO $$ BEGIN RAISE NOTICE 'before'; RAISE EXCEPTION 'after'; END $$")));
  await other.query("SELECT noisy('to another')");
  await client.query("COMMIT");
  return heard;
}

export async function errors(open) {
  const client = await open();
  const texts = [
    ["SELEC 1"],
    ["SELECT * FROM nowhere"],
    ["SELECT 1 / 0"],
    ["SELECT $1::int4 / 0", [1]],
    ["SELECT $1::int4", ["not a number"]],
    ["SELECT $1::int4, $2::int4", [1]],
    ["INSERT INTO item (name) VALUES ($1)", ["item 1"]],
    ["INSERT INTO item (id, name) VALUES (1000, NULL)"],
    ["DO $$ BEGIN RAISE EXCEPTION 'own' USING ERRCODE = 'ZZ123', DETAIL = 'd', HINT = 'h'; END $$"],
    ["SELECT 1; SELECT 2 WHERE", undefined],
  ];
  const outcome = [];
  for (const [text, values] of texts) {
    const error = await client.query(text, values).catch((caught) => caught);
    outcome.push(fields(error));
  }
  return outcome;
}

// The query that ends the connection by itself, and one after it.
export async function connection_lost(open) {
  const outcome = [];
  for (const [text, values] of [
    ["SELECT pg_terminate_backend(pg_backend_pid())"],
    ["SELECT pg_terminate_backend(pg_backend_pid() + $1::int4)", [0]],
  ]) {
    const client = await open();
    const ended = new Promise((resolve) => {
      client.once("end", resolve);
    });
    outcome.push(
      await faultOf(client.query(text, values)),
      await happens(ended),
      await faultOf(client.query("SELECT 1")),
    );
  }
  return outcome;
}

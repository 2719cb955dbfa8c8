// Prepared statements (all tagged queries, unless told otherwise) and others, one after the other and without waiting.

import { faultOf, range, settled } from "../program.mjs";

export async function prepared(open) {
  const sql = await open();
  const rows = [];
  for (const turn of range(60)) {
    const [row] =
      await sql`SELECT id, name, amount, price, tags, data, payload, flag FROM item WHERE id = ${(turn % 10) + 1}`;
    rows.push(row);
  }
  const described = await sql`SELECT name, amount FROM item WHERE id = ${1}`.describe();
  const none = await sql`SELECT count(*) FROM item`;
  return {
    rows,
    none,
    described: { types: described.types, columns: described.columns.map(({ name, type }) => [name, type]) },
  };
}

// Six clients prepare the same statement and different ones, under the driver's random names.
export async function prepared_many_clients(open) {
  const clients = await Promise.all(range(6).map(() => open()));
  const sums = clients.map(() => ({ shared: 0, own: 0 }));
  for (const turn of range(40)) {
    await Promise.all(
      clients.map(async (sql, index) => {
        const [{ amount }] = await sql`SELECT amount FROM item WHERE id = ${(turn % 10) + 1}`;
        const [{ product }] = await sql.unsafe(`SELECT $1::int4 * ${index + 1} AS product`, [turn], { prepare: true });
        sums[index].shared += amount;
        sums[index].own += product;
      }),
    );
  }
  return sums;
}

export async function prepared_reuse_after_error(open) {
  const [sql, other] = [await open(), await open()];
  const divide = (by, who = sql) => who`SELECT 100 / ${by}::int4 AS result`;
  const outcome = [];
  for (const by of [5, 0, 4, "x", 2]) outcome.push(...(await settled([divide(by)])));
  outcome.push(await faultOf(sql`SELEC ${1}`), await faultOf(sql`SELEC ${1}`));
  outcome.push(await faultOf(sql.begin((inner) => divide(0, inner))), await divide(10));
  outcome.push(await divide(20, other));
  return outcome;
}

// The unnamed statement: Parse and Describe wait for their answer before Bind, without a Sync between.
export async function unprepared_parameters(open) {
  const clients = [await open({ prepare: false }), await open({ prepare: false }), await open()];
  const outcome = [];
  for (const turn of range(30)) {
    const ask = (sql, index) => sql.unsafe(`SELECT $1::int4 * ${index + 2} AS product, $2 AS text`, [turn, `${turn}`]);
    outcome.push(await Promise.all(clients.map(ask)));
  }
  const [sql] = clients;
  const update = await sql`UPDATE item SET amount = amount WHERE id < ${4}`;
  return { outcome, update: [update.command, update.count], fault: await faultOf(sql`SELECT ${"x"}::int4`) };
}

export async function pipeline(open) {
  const [sql, other] = [await open(), await open()];
  await sql`SELECT name FROM item WHERE id = ${1}`;
  const first = settled([
    sql`SELECT 1 AS number`,
    sql`SELECT count(*)::int4 FROM item`,
    sql`SELECT 1 / 0`,
    sql`SELECT count(*)::int4 FROM item`,
    sql`SELECT nothing FROM nowhere`,
    sql`SELECT 'simple' AS word`.simple(),
    sql`SELECT name FROM item WHERE id = ${2}`,
    sql`SELECT 1 / ${0}::int4 AS result`,
    sql`SELECT 1 / ${1}::int4 AS result`,
    sql`SELECT name FROM item WHERE id = ${3}`,
  ]);
  const meanwhile = await other`SELECT 'other' AS word`;
  const turns = await Promise.all(
    range(100).map((turn) => sql.unsafe(`SELECT ${turn % 7} + ${turn} AS turn`, [], { prepare: true, simple: false })),
  );
  return { first: await first, meanwhile, turns: turns.map(([row]) => row.turn) };
}

// A transaction whose statements are all sent without waiting, and one insert of many rows.
export async function batch(open) {
  const [sql, other] = [await open(), await open()];
  const add = (inner, name, amount) =>
    inner`INSERT INTO item (name, amount) VALUES (${name}, ${amount}) RETURNING name, amount`;
  const outcome = {};
  outcome.sent = await sql.begin((inner) => range(50).map((n) => add(inner, `batch ${n}`, n)));
  outcome.failed = await faultOf(
    sql.begin((inner) => [add(inner, "never", 1), add(inner, "item 1", 2), add(inner, "nor this", 3)]),
  );
  const rows = range(200).map((n) => ({ name: `row ${n}`, amount: n, flag: n % 2 === 0 }));
  outcome.rows = (await sql`INSERT INTO item ${sql(rows)}`).count;
  outcome.seen = await other`SELECT count(*)::int4, sum(amount)::int4 FROM item WHERE id > 10`;
  outcome.gone = (await sql`DELETE FROM item WHERE id > 10`).count;
  return outcome;
}

export async function many_statements(open) {
  const [sql, other] = [await open(), await open()];
  const sums = [0, 0];
  for (const round of range(2)) {
    for (const turn of range(200)) {
      const text = `SELECT $1::int4 + ${turn} AS sum`;
      sums[0] += (await sql.unsafe(text, [round], { prepare: true }))[0].sum;
      sums[1] += (await other.unsafe(text, [round], { prepare: true }))[0].sum;
    }
  }
  return sums;
}

// The driver prepares again by itself when it reads the routine RevalidateCachedQuery in the error.
export async function schema_change(open) {
  const [sql, other] = [await open(), await open()];
  const all = (who) => who`SELECT * FROM changing WHERE id = ${1}`;
  const one = (who) => who`SELECT name FROM changing WHERE id = ${1}`;
  await other`CREATE TABLE changing AS SELECT 1 AS id, 'one' AS name`;
  const outcome = [await all(sql), await one(sql)];
  await other`ALTER TABLE changing ADD COLUMN extra int4 DEFAULT 7`;
  outcome.push(await all(sql), await one(sql));
  await other`ALTER TABLE changing ALTER COLUMN name TYPE varchar(5)`;
  outcome.push(await faultOf(sql.begin(async (inner) => outcome.push(await one(inner)))), await all(sql));
  await other`DROP TABLE changing`;
  outcome.push(await faultOf(all(sql)));
  return outcome;
}

export async function empty_and_multi(open) {
  const sql = await open();
  const shape = (results) =>
    results.command === undefined
      ? results.map(shape)
      : { command: results.command, count: results.count, rows: [...results] };
  const texts = [
    "",
    ";;",
    "SELECT 1 AS a; SELECT 'b' AS b, 'c' AS c; UPDATE item SET amount = amount WHERE id < 3",
    "INSERT INTO item (name) VALUES ('undone'); SELECT 1 / 0; SELECT 'never'",
    "SELECT count(*) FROM item WHERE name = 'undone'",
    "BEGIN; INSERT INTO item (name) VALUES ('kept'); COMMIT; SELECT count(*) FROM item",
    "DELETE FROM item WHERE name = 'kept'",
  ];
  const outcome = [];
  for (const text of texts) outcome.push(...(await settled([sql.unsafe(text)], shape)));
  outcome.push(...(await settled([sql.unsafe("", [], { prepare: true, simple: false })], shape)));
  outcome.push(await faultOf(sql.unsafe("SELECT 1; SELECT $1::int4", [1])));
  return outcome;
}

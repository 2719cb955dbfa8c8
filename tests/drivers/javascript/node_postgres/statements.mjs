// Prepared and unprepared statements, one after the other and without waiting.

import { faultOf, range, settled } from "../program.mjs";

const BY_ID = {
  name: "by-id",
  text: "SELECT id, name, amount, price, tags, data, payload, flag FROM item WHERE id = $1",
};

export async function prepared(open) {
  const client = await open();
  const names = [];
  for (const turn of range(60)) names.push((await client.query({ ...BY_ID, values: [(turn % 10) + 1] })).rows[0]);
  const renamed = await client.query({ ...BY_ID, name: "another name", values: [3] });
  const none = await client.query({ name: "no parameters", text: "SELECT count(*) FROM item", values: [] });
  const taken = await faultOf(client.query({ ...BY_ID, text: "SELECT 'other text', $1::int4", values: [1] }));
  return { names, renamed: renamed.rows, none: none.rows, taken };
}

// Six clients call different statements by the same name and the same statement by different names.
export async function prepared_many_clients(open) {
  const clients = await Promise.all(range(6).map(() => open()));
  const sums = clients.map(() => ({ shared: 0, own: 0, alias: 0 }));
  for (const turn of range(30)) {
    await Promise.all(
      clients.map(async (client, index) => {
        const shared = { name: "shared", text: "SELECT amount FROM item WHERE id = $1", values: [(turn % 10) + 1] };
        const own = { name: "own", text: `SELECT $1::int4 * ${index + 1} AS product`, values: [turn] };
        const alias = { name: `alias ${index}`, text: "SELECT $1::int4 + $2::int4 AS sum", values: [turn, index] };
        sums[index].shared += (await client.query(shared)).rows[0].amount;
        sums[index].own += (await client.query(own)).rows[0].product;
        sums[index].alias += (await client.query(alias)).rows[0].sum;
      }),
    );
  }
  return sums;
}

export async function prepared_reuse_after_error(open) {
  const [client, other] = [await open(), await open()];
  const divide = (by) => client.query({ name: "divide", text: "SELECT 100 / $1::int4 AS result", values: [by] });
  const broken = (text) => client.query({ name: "broken", text, values: [] });
  const outcome = [];
  for (const by of [5, 0, 4, "x", 2]) outcome.push(...(await settled([divide(by)], ({ rows }) => rows)));
  outcome.push(await faultOf(broken("SELEC 1")), (await broken("SELECT 'mended' AS word")).rows);
  await client.query("BEGIN");
  outcome.push(await faultOf(divide(0)), await faultOf(divide(1)), await faultOf(broken("SELECT 'mended' AS word")));
  await client.query("ROLLBACK");
  await other.query({ name: "divide", text: "SELECT 'another statement' AS word", values: [] });
  outcome.push((await divide(10)).rows, (await broken("SELECT 'mended' AS word")).rows);
  return outcome;
}

export async function unprepared_parameters(open) {
  const clients = [await open(), await open(), await open()];
  const outcome = [];
  for (const turn of range(30)) {
    const rows = await Promise.all(
      clients.map((client, index) =>
        client.query(`SELECT $1::int4 * ${index + 2} AS product, $2 AS text`, [turn, `${turn}`]),
      ),
    );
    outcome.push(rows.map((result) => result.rows[0]));
  }
  const update = await clients[0].query("UPDATE item SET amount = amount WHERE id < $1", [4]);
  return {
    outcome,
    command: [update.command, update.rowCount],
    fault: await faultOf(clients[1].query("SELECT $1::int4", ["x"])),
  };
}

// Each query has its own Sync, so an error ends only its own query; a transaction goes on to fail.
export async function pipeline(open) {
  const client = await open({ pipeline: true });
  const [other] = [await open()];
  const send = (text, values, name) => client.query({ text, values, name });
  const first = settled(
    [
      send("SELECT $1::int4 AS number", [1]),
      send("SELECT name FROM item WHERE id = $1", [2], "named"),
      send("SELECT 1 / $1::int4", [0]),
      send("SELECT name FROM item WHERE id = $1", [3], "named"),
      send("SELECT nothing FROM nowhere"),
      send("SELECT 'simple' AS word"),
      send("SELECT 1 / $1::int4 AS result", [0], "named error"),
      send("SELECT 1 / $1::int4 AS result", [1], "named error"),
    ],
    ({ rows }) => rows,
  );
  const meanwhile = await other.query("SELECT 'other' AS word");
  const second = settled(
    [
      send("BEGIN"),
      send("UPDATE item SET amount = 0 WHERE id = $1", [1]),
      send("SELECT 1 / $1::int4", [0]),
      send("SELECT name FROM item WHERE id = $1", [4], "named"),
      send("ROLLBACK"),
      send("SELECT amount FROM item WHERE id = $1", [1], "named too"),
    ],
    ({ command, rows }) => [command, rows],
  );
  const hundred = await Promise.all(
    range(100).map((turn) => send("SELECT $1::int4 AS turn", [turn], `turn ${turn % 7}`)),
  );
  const turns = hundred.map(({ rows }) => rows[0].turn);
  return { first: await first, second: await second, meanwhile: meanwhile.rows, turns };
}

export async function many_statements(open) {
  const [client, other] = [await open(), await open()];
  const sums = [0, 0];
  for (const round of range(2)) {
    for (const turn of range(200)) {
      const statement = { name: `s${turn}`, text: `SELECT $1::int4 + ${turn} AS sum`, values: [round] };
      sums[0] += (await client.query(statement)).rows[0].sum;
      sums[1] += (await other.query({ ...statement, name: `t${turn}` })).rows[0].sum;
    }
  }
  return sums;
}

export async function schema_change(open) {
  const [client, other] = [await open(), await open()];
  const all = { name: "all of it", text: "SELECT * FROM changing WHERE id = $1", values: [1] };
  const one = { name: "one column", text: "SELECT name FROM changing WHERE id = $1", values: [1] };
  await other.query("CREATE TABLE changing AS SELECT 1 AS id, 'one' AS name");
  const outcome = [(await client.query(all)).rows, (await client.query(one)).rows];
  await other.query("ALTER TABLE changing ADD COLUMN extra int4 DEFAULT 7");
  outcome.push(...(await settled([client.query(all)], ({ rows }) => rows)), (await client.query(one)).rows);
  await other.query("ALTER TABLE changing ALTER COLUMN name TYPE varchar(5)");
  outcome.push(...(await settled([client.query(one)], ({ rows }) => rows)));
  outcome.push((await client.query({ ...all, name: "prepared again" })).rows);
  await other.query("DROP TABLE changing");
  outcome.push(await faultOf(client.query({ ...all, name: "prepared again" })));
  return outcome;
}

export async function empty_and_multi(open) {
  const client = await open();
  const shape = (results) => [results].flat().map(({ command, rowCount, rows }) => ({ command, rowCount, rows }));
  const texts = [
    "",
    ";;",
    "-- nothing",
    "SELECT 1 AS a; SELECT 'b' AS b, 'c' AS c; UPDATE item SET amount = amount WHERE id < 3",
    "BEGIN; INSERT INTO item (name) VALUES ('kept'); COMMIT; SELECT count(*) FROM item",
    "INSERT INTO item (name) VALUES ('undone'); SELECT 1 / 0; SELECT 'never'",
    "SELECT count(*) FROM item WHERE name IN ('kept', 'undone')",
    "DELETE FROM item WHERE name = 'kept'; SELECT count(*) FROM item",
    "BEGIN; SELECT 1 / 0",
    "SELECT 'in a failed transaction'",
    "ROLLBACK; SELECT 'out of it' AS word",
  ];
  const outcome = [];
  for (const text of texts) outcome.push(...(await settled([client.query(text)], shape)));
  outcome.push(...(await settled([client.query({ text: "", name: "empty", values: [] })], shape)));
  outcome.push(...(await settled([client.query("SELECT 1; SELECT $1::int4", [1])], shape)));
  return outcome;
}

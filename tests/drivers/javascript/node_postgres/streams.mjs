// Rows a few at a time, and COPY both ways.

import { Readable } from "node:stream";
import { pipeline as flow } from "node:stream/promises";

import Cursor from "pg-cursor";
import QueryStream from "pg-query-stream";
import { from as copyFrom, to as copyTo } from "pg-copy-streams";

import { fault, faultOf, range } from "../program.mjs";
import { digest } from "../types.mjs";

const NUMBERS = "SELECT n, repeat('x', n) AS xs FROM generate_series(1, $1::int4) AS n";

export async function cursor(open) {
  const [client, other] = [await open(), await open()];
  const outcome = {};
  for (const begun of [true, false]) {
    if (begun) await client.query("BEGIN");
    const whole = client.query(new Cursor(NUMBERS, [8]));
    const sizes = [];
    for (let rows = [0]; rows.length; sizes.push(rows.map(({ n }) => n))) {
      rows = await whole.read(3);
      await other.query("SELECT 'in between'");
    }
    await whole.close();
    const part = client.query(new Cursor(NUMBERS, [1000]));
    const beginning = await part.read(2);
    await part.close();
    const streamed = [];
    for await (const row of client.query(new QueryStream(NUMBERS, [10], { batchSize: 4 }))) streamed.push(row.n);
    const rowsOption = await client.query({ text: NUMBERS, values: [7], rows: 2 });
    if (begun) await client.query("COMMIT");
    outcome[begun ? "in a transaction" : "alone"] = { sizes, beginning, streamed, rowsOption: rowsOption.rows.length };
  }
  outcome.fault = await faultOf(
    client.query(new Cursor("SELECT 1 / (3 - n) FROM generate_series(1, $1::int4) AS n", [5])).read(10),
  );
  outcome.late = [];
  const late = client.query(new Cursor("SELECT 6 / (3 - n) AS result FROM generate_series(1, $1::int4) AS n", [5]));
  for (const _ of range(2)) outcome.late.push(await late.read(2).catch(fault));
  await client.query("BEGIN");
  await client.query("DECLARE declared CURSOR FOR SELECT id, name FROM item ORDER BY id");
  outcome.declared = [
    (await client.query("FETCH 3 FROM declared")).rows,
    (await client.query("FETCH BACKWARD 1 FROM declared")).rows,
  ];
  await client.query("CLOSE declared");
  await client.query("COMMIT");
  outcome.gone = await faultOf(client.query("FETCH 1 FROM declared"));
  return outcome;
}

async function copied(client) {
  const { rows } = await client.query(
    "SELECT count(*), sum(id), md5(string_agg(name || encode(payload, 'hex'), ',' ORDER BY id)) FROM copied",
  );
  return rows[0];
}

export async function copy_in(open) {
  const [client, other] = [await open(), await open()];
  await client.query("TRUNCATE copied");
  const lines = range(5000).map((id) => `${id}\tname\\t${id} ž🐘\t\\\\x${id.toString(16).padStart(8, "0")}\n`);
  const text = client.query(copyFrom("COPY copied FROM STDIN"));
  await flow(Readable.from(lines), text);
  const outcome = [text.rowCount, await copied(other)];
  await client.query("BEGIN");
  const csv = client.query(copyFrom("COPY copied (id, name) FROM STDIN WITH (FORMAT csv)"));
  await flow(Readable.from(['1,"a ""quoted"" name"\n', "2,\n", '3,"two\nlines"\n']), csv);
  outcome.push(csv.rowCount, await copied(client));
  await client.query("ROLLBACK");
  const none = client.query(copyFrom("COPY copied FROM STDIN"));
  await flow(Readable.from([]), none);
  outcome.push(none.rowCount, await copied(client));
  await client.query("TRUNCATE copied");
  return outcome;
}

async function collect(client, statement) {
  const chunks = [];
  for await (const chunk of client.query(copyTo(statement))) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export async function copy_out(open) {
  const [client, other] = [await open(), await open()];
  const table = await collect(client, "COPY (SELECT * FROM item ORDER BY id) TO STDOUT");
  const csv = await collect(
    client,
    "COPY (SELECT id, name, flag FROM item ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER)",
  );
  const binary = await collect(
    other,
    "COPY (SELECT id, name FROM item ORDER BY id LIMIT 2) TO STDOUT WITH (FORMAT binary)",
  );
  const large = await collect(
    client,
    "COPY (SELECT n, repeat('y', 100) FROM generate_series(1, 20000) AS n) TO STDOUT",
  );
  const after = await client.query("SELECT 'goes on' AS word");
  return { table: table.toString(), csv: csv.toString(), binary, large: digest(large), after: after.rows };
}

export async function copy_in_error(open) {
  const client = await open();
  await client.query("TRUNCATE copied");
  const outcome = {};
  const abandoned = client.query(copyFrom("COPY copied FROM STDIN"));
  abandoned.write("1\tone\t\\\\x01\n");
  outcome.abandoned = await new Promise((resolve) => {
    abandoned.once("error", (error) => resolve(fault(error)));
    abandoned.destroy(new Error("changed its mind"));
  });
  outcome.goesOn = (await client.query("SELECT count(*) FROM copied")).rows;
  const refused = client.query(copyFrom("COPY copied (id, name) FROM STDIN"));
  outcome.refused = await faultOf(flow(Readable.from(["1\tone\n", "two\t2\n", "3\tthree\n"]), refused));
  const much = client.query(copyFrom("COPY copied (id, name) FROM STDIN"));
  const lines = range(20_000).map((id) => (id === 10 ? "ten\tx\n" : `${id}\t${"x".repeat(80)}\n`));
  outcome.refusedEarly = await faultOf(flow(Readable.from(lines), much));
  outcome.nowhere = await faultOf(flow(Readable.from(["1\n"]), client.query(copyFrom("COPY nowhere FROM STDIN"))));
  outcome.noStream = await faultOf(client.query("COPY copied FROM STDIN"));
  outcome.none = (await client.query("SELECT count(*) FROM copied")).rows;
  return outcome;
}

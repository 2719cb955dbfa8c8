// Rows a few at a time, and COPY both ways.

import { Readable } from "node:stream";
import { pipeline as flow } from "node:stream/promises";

import { fault, faultOf, range } from "../program.mjs";

export async function cursor(open) {
  const [sql, other] = [await open(), await open()];
  const numbers = (who, count) => who`SELECT n, repeat('x', n) AS xs FROM generate_series(1, ${count}::int4) AS n`;
  const outcome = {};
  const read = async (who) => {
    const sizes = [];
    for await (const rows of numbers(who, 8).cursor(3)) {
      sizes.push(rows.map(({ n }) => n));
      await other`SELECT 'in between'`;
    }
    const part = [];
    await numbers(who, 1000).cursor(2, (rows) => {
      part.push(...rows);
      return part.length > 2 ? sql.CLOSE : undefined;
    });
    const each = [];
    await numbers(who, 5).forEach(({ n }) => each.push(n));
    return { sizes, part, each };
  };
  outcome.alone = await read(sql);
  outcome.inTransaction = await sql.begin(read);
  outcome.fault = await faultOf(sql`SELECT 1 / (3 - n) FROM generate_series(1, ${5}::int4) AS n`.cursor(10, () => {}));
  outcome.declared = await sql.begin(async (inner) => {
    await inner`DECLARE declared CURSOR FOR SELECT id, name FROM item ORDER BY id`;
    return [await inner`FETCH 3 FROM declared`, await inner`FETCH BACKWARD 1 FROM declared`];
  });
  outcome.gone = await faultOf(sql`FETCH 1 FROM declared`);
  return outcome;
}

async function copied(sql) {
  return sql`
    SELECT count(*)::int4, sum(id)::int4, md5(string_agg(name || encode(payload, 'hex'), ',' ORDER BY id)) FROM copied`;
}

export async function copy_in(open) {
  const [sql, other] = [await open(), await open()];
  await sql`TRUNCATE copied`;
  const lines = range(5000).map((id) => `${id}\tname\\t${id} ž🐘\t\\\\x${id.toString(16).padStart(8, "0")}\n`);
  await flow(Readable.from(lines), await sql`COPY copied FROM STDIN`.writable());
  const outcome = [await copied(sql), await copied(other)];
  const undone = await faultOf(
    sql.begin(async (inner) => {
      await flow(
        Readable.from(['1,"a ""quoted"" name"\n', "2,\n"]),
        await inner`COPY copied (id, name) FROM STDIN WITH (FORMAT csv)`.writable(),
      );
      outcome.push(await copied(inner));
      throw new Error("undo it");
    }),
  );
  outcome.push(undone, await copied(other));
  await sql`TRUNCATE copied`;
  return outcome;
}

async function collect(query) {
  const chunks = [];
  for await (const chunk of await query.readable()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

// Little at a time: when its buffer is full, the driver may leave its socket paused for good.
export async function copy_out(open) {
  const [sql, other] = [await open(), await open()];
  const table = await collect(sql`COPY (SELECT * FROM item ORDER BY id) TO STDOUT`);
  const csv = await collect(
    other`COPY (SELECT id, name, flag FROM item ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER)`,
  );
  const binary = await collect(
    sql`COPY (SELECT id, name FROM item ORDER BY id LIMIT 2) TO STDOUT WITH (FORMAT binary)`,
  );
  return { table: table.toString(), csv: csv.toString(), binary, after: await sql`SELECT 'goes on' AS word` };
}

// The driver keeps the server's answer to a failed COPY to itself; what is left to see is that nothing was copied.
export async function copy_in_error(open) {
  const sql = await open();
  await sql`TRUNCATE copied`;
  const outcome = {};
  const abandoned = await sql`COPY copied FROM STDIN`.writable();
  abandoned.write("1\tone\t\\\\x01\n");
  outcome.abandoned = await new Promise((resolve) => {
    abandoned.once("error", (error) => resolve(fault(error)));
    abandoned.destroy(new Error("changed its mind"));
  });
  outcome.goesOn = await sql`SELECT count(*)::int4 FROM copied`;
  outcome.nowhere = await faultOf(sql`COPY nowhere FROM STDIN`.writable());
  outcome.none = await sql`SELECT count(*)::int4 FROM copied`;
  return outcome;
}

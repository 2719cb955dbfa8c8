// Values of all types and sizes, and what the server says of itself.

import { digest, echo, largeBytes, VALUES } from "../types.mjs";

export async function types_text(open) {
  const sql = await open();
  const outcome = {};
  for (const [type, values] of Object.entries(VALUES)) {
    const text = echo(type, values);
    const prepared = await sql.unsafe(text, values, { prepare: true });
    const raw = await sql.unsafe(text, values, { prepare: true }).raw();
    const unnamed = await sql.unsafe(text, values);
    const { types, columns } = await sql.unsafe(text, values).describe();
    outcome[type] = {
      row: prepared[0],
      raw: raw[0],
      unnamed: unnamed[0],
      types,
      columns: columns.map((column) => column.type),
    };
  }
  return outcome;
}

export async function large_values(open) {
  const sql = await open();
  const echoed = [];
  for (const megabytes of [1, 5]) {
    const bytes = largeBytes(megabytes * 1024 * 1024);
    const text = "ž🐘 ".repeat(bytes.length / 8);
    const [row] = await sql`
      SELECT ${bytes}::bytea AS bytes, length(${bytes}::bytea) AS size, ${text}::text AS text, md5(${text}::text) AS md5`;
    echoed.push({ ...row, bytes: digest(row.bytes), text: digest(row.text), same: row.text === text });
  }
  await sql`INSERT INTO item (name, payload) VALUES ('large', ${largeBytes(1 << 20)})`;
  const [stored] = await sql`DELETE FROM item WHERE name = 'large' RETURNING payload`;
  return { echoed, stored: digest(stored.payload) };
}

export async function server_info(open) {
  const told = [];
  const sql = await open({ onparameter: (name, value) => told.push([name, value]) });
  const rows = await sql`SHOW server_version`;
  const parameters = { ...sql.parameters };
  return { parameters, told: told.sort(), rows, key: [typeof rows.state.pid, typeof rows.state.secret] };
}

// Values of all types and sizes, in text and in binary, and what the server says of itself.

import { digest, echo, largeBytes, VALUES } from "../types.mjs";

const BINARY_PARAMETERS = {
  int2: "8000",
  int4: "7fffffff",
  int8: "8000000000000001",
  float8: "3fb999999999999a",
  bool: "01",
};

export async function types_text(open) {
  const client = await open();
  const outcome = {};
  for (const [type, values] of Object.entries(VALUES)) {
    const { rows, fields } = await client.query(echo(type, values), values);
    outcome[type] = { row: rows[0], type: fields[0].dataTypeID, format: fields[0].format };
  }
  return outcome;
}

// Buffers are sent in binary. The driver reads results in binary as if they were UTF-8, so what is shown has losses.
export async function types_binary(open) {
  const client = await open({ binary: true });
  const types = { getTypeParser: () => (value) => Buffer.from(value) };
  const outcome = { results: {}, parameters: {} };
  for (const [type, values] of Object.entries(VALUES)) {
    const { rows, fields } = await client.query({ text: echo(type, values), values, types });
    outcome.results[type] = { row: rows[0], format: fields[0].format };
  }
  for (const [type, hex] of Object.entries(BINARY_PARAMETERS)) {
    const { rows } = await client.query(`SELECT ($1::${type})::text AS value`, [Buffer.from(hex, "hex")]);
    outcome.parameters[type] = rows[0].value;
  }
  return outcome;
}

export async function large_values(open) {
  const client = await open();
  const outcome = [];
  for (const megabytes of [1, 5]) {
    const bytes = largeBytes(megabytes * 1024 * 1024);
    const text = "ž🐘 ".repeat(bytes.length / 8);
    const { rows } = await client.query(
      "SELECT $1::bytea AS bytes, length($1::bytea) AS size, $2::text AS text, md5($2::text) AS md5",
      [bytes, text],
    );
    const [row] = rows;
    outcome.push({ ...row, bytes: digest(row.bytes), text: digest(row.text), same: row.text === text });
  }
  await client.query("INSERT INTO item (name, payload) VALUES ('large', $1)", [largeBytes(1 << 20)]);
  const stored = await client.query("SELECT payload FROM item WHERE name = 'large'");
  await client.query("DELETE FROM item WHERE name = 'large'");
  return { outcome, stored: digest(stored.rows[0].payload) };
}

export async function server_info(open) {
  const parameters = {};
  const watch = ({ connection }) => {
    connection.on("parameterStatus", ({ parameterName, parameterValue }) => {
      parameters[parameterName] = parameterValue;
    });
  };
  const client = await open({ watch });
  const { rows } = await client.query("SHOW server_version");
  return { parameters, rows, key: [typeof client.processID, typeof client.secretKey] };
}

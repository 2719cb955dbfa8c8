// Values to send as parameters and to get back, by type; both drivers take and give them in their own ways.

import { createHash } from "node:crypto";

export const VALUES = {
  int2: [-32768, 0, 32767],
  int4: [-2147483648, 2147483647],
  int8: ["-9223372036854775808", "9223372036854775807"],
  float4: [1.5, -0.000125],
  float8: [0.1, 1e308, Infinity, NaN],
  numeric: ["12345678901234567890.123456789", "-0.000001", "NaN"],
  text: ["", "plain", "žluťoučký kůň 🐘 中文", "quote ' and \" and \\ and\n\ttab"],
  varchar: ["ein Wort"],
  bytea: [Buffer.alloc(0), Buffer.from([0, 1, 254, 255]), Buffer.from("\\x00 not hex")],
  bool: [true, false],
  date: ["0099-01-01", "2026-02-28"],
  timestamp: ["2026-02-28 23:59:59.987654"],
  timestamptz: [new Date("2026-02-28T23:59:59.987Z")],
  uuid: ["12345678-9abc-def0-1234-56789abcdef0"],
  json: [{ a: [1, 2, { b: null }], ключ: "значение" }],
  jsonb: [{ z: 1.5, a: "x" }],
  "int4[]": [[1, -2, 3], []],
  "text[]": [["a", 'b"c', "d,e", null, "{}"]],
};

// A statement that gives back all values of a type, and a NULL at its end.
export function echo(type, values) {
  const columns = values.map((_, index) => `$${index + 1}::${type} AS v${index}`);
  return `SELECT ${[...columns, `NULL::${type} AS nothing`].join(", ")}`;
}

// Enough of a large value to tell it apart from all others.
export function digest(value) {
  const bytes = Buffer.from(value);
  return { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}

// Bytes that look different wherever they are cut.
export function largeBytes(count) {
  const bytes = Buffer.alloc(count);
  for (let at = 0; at < count; at += 1) bytes[at] = (at * 31 + (at >> 8)) & 255;
  return bytes;
}

// postgres.js: one connection each (`max: 1`), where what is asked for at once is sent without waiting.
//
// Without `types_binary`: it knows no values in binary.

import postgres from "postgres";

import * as failures from "./postgres_js/failures.mjs";
import * as sessions from "./postgres_js/sessions.mjs";
import * as statements from "./postgres_js/statements.mjs";
import * as streams from "./postgres_js/streams.mjs";
import * as transactions from "./postgres_js/transactions.mjs";
import * as values from "./postgres_js/values.mjs";
import { run } from "./program.mjs";

async function connect(settings = {}) {
  const sql = postgres({ max: 1, onnotice: () => {}, ...settings });
  return Object.assign(sql, { end: sql.end.bind(sql, { timeout: 2 }) });
}

await run(connect, { ...values, ...statements, ...streams, ...transactions, ...sessions, ...failures });

// node-postgres, with its cursors, query streams and COPY streams.
//
// Without `batch`: it sends one set of parameters a query; several queries without waiting are `pipeline`.

import pg from "pg";

import * as failures from "./node_postgres/failures.mjs";
import * as sessions from "./node_postgres/sessions.mjs";
import * as statements from "./node_postgres/statements.mjs";
import * as streams from "./node_postgres/streams.mjs";
import * as transactions from "./node_postgres/transactions.mjs";
import * as values from "./node_postgres/values.mjs";
import { run } from "./program.mjs";

async function connect({ watch, ...settings } = {}) {
  const client = new pg.Client(settings);
  client.on("error", () => {}); // a lost connection also shows in the query that it hits
  watch?.(client);
  await client.connect();
  return client;
}

await run(connect, { ...values, ...statements, ...streams, ...transactions, ...sessions, ...failures });

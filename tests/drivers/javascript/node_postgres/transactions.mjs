// Transactions: what they show to others, how they fail, and how they end.

import { faultOf } from "../program.mjs";

export async function transactions(open) {
  const [client, other] = [await open(), await open()];
  const count = async (who) => (await who.query("SELECT count(*)::int4 FROM item WHERE name = 'new'")).rows[0].count;
  const outcome = {};
  for (const level of ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", "SERIALIZABLE READ ONLY DEFERRABLE"]) {
    await client.query(`BEGIN ISOLATION LEVEL ${level}`);
    const shown = await client.query(
      "SELECT current_setting('transaction_isolation') AS level, current_setting('transaction_read_only') AS ro",
    );
    outcome[level] = [shown.rows, client.getTransactionStatus()];
    await client.query("COMMIT");
  }
  await client.query("BEGIN READ ONLY");
  outcome.readOnly = await faultOf(client.query("INSERT INTO item (name) VALUES ($1)", ["new"]));
  outcome.aborted = await faultOf(client.query("SELECT 1"));
  outcome.status = client.getTransactionStatus(); // as of the statement before: an error comes ahead of its status
  outcome.commitOfFailed = (await client.query("COMMIT")).command;
  for (const end of ["ROLLBACK", "COMMIT"]) {
    await client.query("BEGIN");
    await client.query("INSERT INTO item (name) VALUES ($1)", ["new"]);
    outcome[end] = [await count(client), await count(other)];
    await client.query(end);
    outcome[end].push(await count(client), await count(other), client.getTransactionStatus());
  }
  await client.query("DELETE FROM item WHERE name = 'new'");
  for (const who of [client, other]) {
    await who.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
    await who.query("SELECT amount FROM item WHERE id = 1");
  }
  await client.query("UPDATE item SET amount = amount WHERE id = 1");
  await client.query("COMMIT");
  outcome.conflict = await faultOf(other.query("UPDATE item SET amount = amount WHERE id = 1"));
  await other.query("ROLLBACK");
  return outcome;
}

export async function errors_in_transaction(open) {
  const [client, other] = [await open(), await open()];
  const insert = (name) => client.query("INSERT INTO item (name) VALUES ($1)", [name]);
  const outcome = {};
  await client.query("BEGIN");
  await insert("lost");
  outcome.error = await faultOf(insert("item 1"));
  outcome.aborted = await faultOf(client.query("SELECT $1::int4", [1]));
  outcome.abortedSimple = await faultOf(client.query("SELECT 1"));
  outcome.other = (await other.query("SELECT 'not concerned' AS word")).rows;
  await client.query("ROLLBACK");
  await client.query("BEGIN");
  await insert("first");
  await client.query("SAVEPOINT here");
  outcome.atSavepoint = await faultOf(insert("item 2"));
  await client.query("ROLLBACK TO here");
  await insert("second");
  await client.query("RELEASE here");
  await client.query("SAVEPOINT there");
  await insert("third");
  await client.query("ROLLBACK TO SAVEPOINT there");
  await client.query("COMMIT");
  outcome.kept = (await other.query("DELETE FROM item WHERE id > 10 RETURNING name")).rows;
  outcome.outside = await faultOf(client.query("SAVEPOINT nowhere"));
  return outcome;
}

// Transactions: what they show to others, how they fail, and how they end.

import { faultOf } from "../program.mjs";

const undo = new Error("undo it");

export async function transactions(open) {
  const [sql, other] = [await open(), await open()];
  const count = async (who) => (await who`SELECT count(*)::int4 FROM item WHERE name = 'new'`)[0].count;
  const outcome = {};
  for (const level of ["isolation level read committed", "isolation level serializable", "read only"]) {
    outcome[level] = await sql.begin(
      level,
      (inner) =>
        inner`SELECT current_setting('transaction_isolation') AS level, current_setting('transaction_read_only') AS ro`,
    );
  }
  outcome.readOnly = await faultOf(sql.begin("read only", (inner) => inner`INSERT INTO item (name) VALUES (${"new"})`));
  for (const error of [undo, null]) {
    const seen = [];
    const end = await faultOf(
      sql.begin(async (inner) => {
        await inner`INSERT INTO item (name) VALUES (${"new"})`;
        seen.push(await count(inner), await count(other));
        if (error) throw error;
      }),
    );
    outcome[error ? "undone" : "kept"] = [...seen, end, await count(sql), await count(other)];
  }
  await sql`DELETE FROM item WHERE name = 'new'`;
  outcome.conflict = await faultOf(
    sql.begin("isolation level repeatable read", async (inner) => {
      await inner`SELECT amount FROM item WHERE id = 1`;
      await other`UPDATE item SET amount = amount WHERE id = 1`;
      await inner`UPDATE item SET amount = amount WHERE id = 1`;
    }),
  );
  return outcome;
}

export async function errors_in_transaction(open) {
  const [sql, other] = [await open(), await open()];
  const insert = (who, name) => who`INSERT INTO item (name) VALUES (${name})`;
  const outcome = {};
  outcome.error = await faultOf(
    sql.begin(async (inner) => {
      await insert(inner, "lost");
      outcome.first = await faultOf(insert(inner, "item 1"));
      outcome.aborted = await faultOf(inner`SELECT ${1}::int4`);
      outcome.abortedSimple = await faultOf(inner`SELECT 1`.simple());
      outcome.other = await other`SELECT 'not concerned' AS word`;
    }),
  );
  await sql
    .begin(async (inner) => {
      await insert(inner, "first");
      outcome.savepoint = await faultOf(inner.savepoint((nested) => insert(nested, "item 2")));
      await insert(inner, "second");
      await faultOf(
        inner.savepoint(async (nested) => {
          await insert(nested, "third");
          throw undo;
        }),
      );
      await inner.savepoint((nested) => insert(nested, "fourth"));
    })
    .catch((error) => {
      outcome.end = error.message;
    });
  outcome.kept = await other`DELETE FROM item WHERE id > 10 RETURNING name`;
  return outcome;
}

//! Cancel requests, and transactions that the driver ends by itself.

use std::time::{Duration, Instant};

use drivers::{Failure, Outcome, Session, attempt};
use futures_util::future::join;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_postgres::{IsolationLevel, NoTls};

use crate::session::{Database, plain};
use crate::values::simple;

const SOON: Duration = Duration::from_secs(30);

pub async fn cancel() -> Outcome {
    let start = Instant::now();
    let (mut database, mut other) = (Database::connect(&[]).await?, Database::connect(&[]).await?);
    let token = database.client.cancel_token();
    let mut found = Vec::new();
    for (begin, sql) in [("", "select slow(60)"), ("begin", "select slow(61)")] {
        database.execute(begin).await?;
        let (end, ()) = join(simple(&database, sql), async {
            wait_for(&mut other, sql).await;
            token.cancel_query(NoTls).await.ok();
        })
        .await;
        found.push(attempt(end.map(Value::from)));
        found.push(attempt(database.value("select 1").await));
    }
    database.execute("rollback").await?;
    let prepared = database.client.prepare("select slow($1) as prepared").await?;
    let (end, ()) = join(database.client.query(&prepared, &[&60.0]), async {
        wait_for(&mut other, "% as prepared").await;
        token.cancel_query(NoTls).await.ok();
    })
    .await;
    found.push(attempt(end.map(|rows| plain(&rows)).map_err(Failure::from)));
    token.cancel_query(NoTls).await?; // nothing runs
    found.push(database.value("select 2").await?);
    database.close().await;
    other.close().await;
    found.push(json!({"within 30 s": start.elapsed() < SOON}));
    Ok(found.into())
}

/// Returns when a statement like this is executed.
async fn wait_for(other: &mut Database, pattern: &str) {
    let sql =
        "select count(*) from pg_stat_activity where state = 'active' and query like $1 and pid <> pg_backend_pid()";
    while !other.query(sql, &[pattern.into()]).await.is_ok_and(|rows| rows[0][0] == 1) {
        sleep(Duration::from_millis(10)).await;
    }
}

/// Nested ones are savepoints; one that is dropped is rolled back, without waiting for that.
pub async fn transactions() -> Outcome {
    let mut database = Database::connect(&[]).await?;
    let mut found = Vec::new();
    let update = "update item set amount = amount + 1 where id = $1 returning amount";
    let mut outer = database.client.transaction().await?;
    found.push(plain(&outer.query(update, &[&1]).await?));
    let inner = outer.transaction().await?;
    let refused = inner.query("insert into item (name) values ($1)", &[&"item 2"]).await;
    found.push(attempt(refused.map(|rows| plain(&rows)).map_err(Failure::from)));
    drop(inner);
    let inner = outer.savepoint("named").await?;
    found.push(plain(&inner.query(update, &[&1]).await?));
    inner.commit().await?;
    outer.commit().await?;
    let dropped = database.client.transaction().await?;
    found.push(plain(&dropped.query(update, &[&1]).await?));
    drop(dropped);
    found.push(plain(&database.client.query("select amount from item where id = 1", &[]).await?));
    let builder = database.client.build_transaction().isolation_level(IsolationLevel::Serializable).read_only(true);
    let strict = builder.deferrable(true).start().await?;
    found.push(plain(&strict.query("show transaction_isolation", &[]).await?));
    let refused = strict.query(update, &[&1]).await;
    found.push(attempt(refused.map(|rows| plain(&rows)).map_err(Failure::from)));
    strict.rollback().await?;
    found.push(database.value("show transaction_isolation").await?);
    database.close().await;
    Ok(found.into())
}

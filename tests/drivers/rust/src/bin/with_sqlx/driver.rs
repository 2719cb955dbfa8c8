//! What sqlx does with statements of its own: transactions, listeners, locks, and its cache of statements.

use std::time::Duration;

use drivers::{Failure, Outcome, Session, attempt};
use serde_json::{Value, json};
use sqlx::postgres::{PgAdvisoryLock, PgAdvisoryLockKey, PgListener, PgPoolOptions};
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::session::{Database, options, plain};

const PATIENCE: Duration = Duration::from_secs(5);

/// Nested ones are savepoints; one that is dropped is rolled back before the next request.
pub async fn transactions() -> Outcome {
    let mut database = Database::connect(&[]).await?;
    let mut found = Vec::new();
    let mut outer = database.connection.begin().await?;
    found.push(increment(&mut outer).await?);
    let mut inner = outer.begin().await?;
    let refused = sqlx::query("insert into item (name) values ($1)").bind("item 2").execute(&mut *inner).await;
    found.push(attempt(refused.map(|done| done.rows_affected().into()).map_err(Failure::from)));
    drop(inner);
    let mut inner = outer.begin().await?;
    found.push(increment(&mut inner).await?);
    inner.commit().await?;
    outer.commit().await?;
    let mut dropped = database.connection.begin().await?;
    found.push(increment(&mut dropped).await?);
    drop(dropped);
    found.push(database.value("select amount from item where id = 1").await?);
    let mut strict = database.connection.begin_with("begin isolation level serializable, read only").await?;
    found.push(attempt(increment(&mut strict).await));
    strict.rollback().await?;
    found.push(database.value("show transaction_isolation").await?);
    database.close().await;
    Ok(found.into())
}

async fn increment(connection: &mut PgConnection) -> Outcome {
    let update = sqlx::query("update item set amount = amount + 1 where id = $1 returning amount").bind(1);
    plain(&update.fetch_all(connection).await?)
}

/// The listener takes a connection of its own from a pool.
pub async fn listen_notify() -> Outcome {
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options(&[])).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    let mut sender = Database::connect(&[]).await?;
    let mut found = Vec::new();
    listener.listen_all(["events", "Other Events"]).await?;
    sender.execute("notify events, 'first'; notify \"Other Events\"; notify unheard, 'x'").await?;
    found.push(received(&mut listener, 2).await);
    sender.query("select pg_notify('events', $1)", &["zweites ü".into()]).await?;
    found.push(received(&mut listener, 1).await);
    sender.execute("begin; notify events, 'rolled back'; rollback").await?;
    sender.execute("begin; notify events, 'committed'; notify events, 'committed'; commit").await?;
    found.push(received(&mut listener, 1).await);
    listener.unlisten("events").await?;
    sender.execute("notify events, 'unheard'; notify \"Other Events\", 'last'").await?;
    found.push(received(&mut listener, 1).await);
    listener.unlisten_all().await?;
    drop(listener);
    pool.close().await;
    sender.close().await;
    Ok(found.into())
}

/// So many notifications, the connection being idle while it waits.
async fn received(listener: &mut PgListener, count: usize) -> Value {
    let mut found = Vec::new();
    while found.len() < count {
        match timeout(PATIENCE, listener.recv()).await {
            Ok(Ok(notification)) => found.push(json!([notification.channel(), notification.payload()])),
            _ => return json!([found, "nothing more came"]),
        }
    }
    found.into()
}

pub async fn advisory_locks() -> Outcome {
    let (one, mut two) = (Database::connect(&[]).await?.connection, Database::connect(&[]).await?.connection);
    let mut found = Vec::new();
    let lock = PgAdvisoryLock::with_key(PgAdvisoryLockKey::BigInt(77));
    let guard = lock.acquire(one).await?;
    found.push(json!(lock.try_acquire(&mut two).await?.is_left()));
    let one = guard.release_now().await?;
    let second = lock.try_acquire(&mut two).await?;
    found.push(json!(second.is_left()));
    if let Some(guard) = second.left() {
        guard.release_now().await?;
    }
    one.close().await?;
    two.close().await?;
    Ok(found.into())
}

pub async fn empty_and_multi() -> Outcome {
    let mut database = Database::connect(&[]).await?;
    let mut found = Vec::new();
    for sql in [
        "",
        ";",
        "-- only a comment",
        "select 1; select 'two', 2; select 3 where false",
        ";;select 3;;",
        "update item set flag = flag where id < 4; select 4; delete from item where id < 0",
        "insert into item (id, name) values (50, 'fifty'); select 1 / 0; select 5",
        "select count(*) from item where id = 50",
        "begin; insert into item (id, name) values (51, 'x'); rollback; select count(*) from item",
        "begin; select 6; select 1 / 0; commit",
        "select 7",
        "rollback",
        "select 8",
    ] {
        found.push(attempt(database.results(sql).await));
    }
    for sql in ["", "select 1; select 2"] {
        found.push(attempt(database.query(sql, &[]).await));
    }
    database.close().await;
    Ok(found.into())
}

pub async fn server_info() -> Outcome {
    let mut database = Database::connect(&[("application_name", "asks")]).await?;
    let version = database.connection.server_version_num();
    let shown =
        database.query("select current_setting('server_version'), current_setting('client_encoding')", &[]).await?;
    database.connection.ping().await?;
    database.close().await;
    Ok(json!({"version": version, "shown": shown}))
}

/// Statements that are pushed out of the cache, or cleared from it, are closed on the server.
pub async fn statement_cache() -> Outcome {
    let mut connection = PgConnection::connect_with(&options(&[]).statement_cache_capacity(3)).await?;
    let mut found = Vec::new();
    for round in 0..20 {
        let sql = format!("select $1 + {}", round % 5);
        found.push(plain(&sqlx::query(&sql).bind(round).fetch_all(&mut connection).await?)?);
        if round % 8 == 7 {
            connection.clear_cached_statements().await?;
        }
    }
    found.push(json!(connection.cached_statements_size()));
    connection.close().await?;
    Ok(found.into())
}

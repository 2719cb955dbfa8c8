//! What the server says unasked, to strings of several statements, and of itself.

use std::time::Duration;

use drivers::{Failure, Outcome, Session, attempt};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_postgres::AsyncMessage;

use crate::session::Database;
use crate::values::simple;

const PATIENCE: Duration = Duration::from_secs(5);

fn shown(message: AsyncMessage) -> Value {
    match message {
        AsyncMessage::Notice(notice) => Failure::from(&notice).0,
        AsyncMessage::Notification(notification) => json!([notification.channel(), notification.payload()]),
        _ => json!("something else"),
    }
}

pub async fn notices() -> Outcome {
    let mut database = Database::connect(&[]).await?;
    let mut found = Vec::new();
    for sql in [
        "select noisy('one'), noisy('zwei ü')",
        "drop table if exists nothing_of_this_name",
        "do $$ begin raise warning using message = 'careful', detail = 'd', hint = 'h', errcode = '01ABC'; end $$",
        "select noisy(name) from item where id < 4 order by id",
        "commit",
        "begin; set local client_min_messages = warning; select noisy('not heard'); rollback; select noisy('heard')",
    ] {
        database.execute(sql).await?;
        found.push(json!(sql));
        while let Ok(message) = database.messages.try_recv() {
            found.push(shown(message));
        }
    }
    database.query("select noisy($1)", &["prepared".into()]).await?;
    found.push(database.messages.try_recv().map_or(Value::Null, shown));
    database.close().await;
    Ok(found.into())
}

pub async fn listen_notify() -> Outcome {
    let (mut listener, mut sender) = (Database::connect(&[]).await?, Database::connect(&[]).await?);
    let mut found = Vec::new();
    listener.execute("listen events; listen \"Other Events\"").await?;
    sender.execute("notify events, 'first'; notify \"Other Events\"; notify unheard, 'x'").await?;
    found.push(received(&mut listener, 2).await);
    sender.query("select pg_notify('events', $1)", &["zweites ü".into()]).await?;
    found.push(received(&mut listener, 1).await);
    sender.execute("begin; notify events, 'rolled back'; rollback").await?;
    sender.execute("begin; notify events, 'committed'; notify events, 'committed'; commit").await?;
    found.push(received(&mut listener, 1).await);
    listener.execute("notify events, 'to itself'").await?;
    found.push(received(&mut listener, 1).await);
    listener.execute("unlisten events").await?;
    sender.execute("notify events, 'unheard'; notify \"Other Events\", 'last'").await?;
    found.push(received(&mut listener, 1).await);
    listener.execute("unlisten *").await?;
    listener.close().await;
    sender.close().await;
    Ok(found.into())
}

/// So many notifications, the connection being idle while it waits.
async fn received(listener: &mut Database, count: usize) -> Value {
    let mut found = Vec::new();
    while found.len() < count {
        match timeout(PATIENCE, listener.messages.recv()).await {
            Ok(Some(message)) => found.push(shown(message)),
            _ => return json!([found, "nothing more came"]),
        }
    }
    found.into()
}

pub async fn empty_and_multi() -> Outcome {
    let database = Database::connect(&[]).await?;
    let mut found = Vec::new();
    for sql in [
        "",
        ";",
        "-- only a comment",
        "select 1; select 'two', 2; select where false",
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
        found.push(attempt(simple(&database, sql).await.map(Value::from)));
    }
    for sql in ["", "select 1; select 2"] {
        found.push(attempt(database.client.execute(sql, &[]).await.map(Value::from).map_err(Failure::from)));
    }
    database.close().await;
    Ok(found.into())
}

pub async fn server_info() -> Outcome {
    let mut database = Database::connect(&[("application_name", "asks")]).await?;
    let version = database.value("show server_version").await?;
    let parameters = json!(database.parameters);
    let checked = database.client.check_connection().await.is_ok();
    database.close().await;
    Ok(json!({"parameters": parameters, "version": version, "checked": checked}))
}

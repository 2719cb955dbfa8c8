//! Results in parts, and COPY both ways.

use drivers::{Failure, Outcome, Session, attempt};
use futures_util::TryStreamExt;
use serde_json::{Value, json};

use crate::session::{Database, plain};

const ROWS: &[u8] = "1\tone\t\\\\x00ff\n2\tzwölf, 世\t\\N\n3\t\\N\t\\\\x\n".as_bytes();
const SUMMARY: &str = "select count(*), sum(id), count(name), sum(length(name)) from copied";

/// sqlx has no portals of its own: rows are read as they come, or by DECLARE CURSOR.
pub async fn cursor() -> Outcome {
    let mut database = Database::connect(&[]).await?;
    let mut found = Vec::new();
    for wanted in [1, 1000, 200_000] {
        let rows = sqlx::query("select n from generate_series(1, $1) n").bind(100_000).fetch(&mut database.connection);
        let some: Vec<_> = futures_util::StreamExt::take(rows, wanted).try_collect().await?;
        found.push(json!([some.len(), plain(&some[some.len() - 1..])?]));
    }
    database.execute("begin; declare numbers scroll cursor for select id, name from item order by id").await?;
    for which in ["forward 3", "backward 2", "last", "absolute 5", "all"] {
        found.push(database.query(&format!("fetch {which} from numbers"), &[]).await?);
    }
    let failing =
        sqlx::query("select 10 / (4 - n) from generate_series(1, 10) n").fetch_all(&mut database.connection).await;
    found.push(attempt(failing.map_err(Failure::from).and_then(|rows| plain(&rows))));
    database.execute("rollback").await?;
    found.push(attempt(database.query("fetch 1 from numbers", &[]).await));
    database.close().await;
    Ok(found.into())
}

async fn copy(database: &mut Database, sql: &str, pieces: &[&[u8]]) -> Result<u64, Failure> {
    let mut sink = database.connection.copy_in_raw(sql).await?;
    for piece in pieces {
        sink.send(*piece).await?;
    }
    Ok(sink.finish().await?)
}

pub async fn copy_in() -> Outcome {
    let mut database = Database::connect(&[]).await?;
    let mut found = vec![json!(copy(&mut database, "copy copied from stdin", &[ROWS]).await?)];
    found.push(database.query("select * from copied order by id", &[]).await?);
    let bytes: Vec<&[u8]> = ROWS.chunks(1).collect();
    found.push(json!(copy(&mut database, "copy copied from stdin", &bytes).await?));
    let csv = b"4,\"a \"\"b\"\"\"\n5,\n";
    found.push(json!(copy(&mut database, "copy copied (id, name) from stdin (format csv)", &[csv]).await?));
    let many: Vec<String> = (0..10_000).map(|number| format!("{number}\trow number {number}\t\\N\n")).collect();
    let many: Vec<&[u8]> = many.iter().map(|row| row.as_bytes()).collect();
    found.push(json!(copy(&mut database, "copy copied from stdin", &many).await?));
    found.push(json!(copy(&mut database, "copy copied from stdin", &[]).await?));
    found.push(database.query(SUMMARY, &[]).await?);
    database.close().await;
    Ok(found.into())
}

/// Without an error: after one sqlx takes the ReadyForQuery for a reply to the next request.
pub async fn copy_out() -> Outcome {
    let mut database = Database::connect(&[]).await?;
    let mut found = vec![json!(String::from_utf8_lossy(
        &read(&mut database, "copy (select * from item order by id) to stdout").await?
    ))];
    let many = "copy (select n, repeat('é', 100) from generate_series(1, 20000) n) to stdout (format binary)";
    found.push(json!(read(&mut database, many).await?.len()));
    found.push(database.value("select 1").await?);
    database.close().await;
    Ok(found.into())
}

async fn read(database: &mut Database, sql: &str) -> Result<Vec<u8>, Failure> {
    let pieces: Vec<_> = database.connection.copy_out_raw(sql).await?.try_collect().await?;
    Ok(pieces.concat())
}

pub async fn copy_in_error() -> Outcome {
    let mut database = Database::connect(&[]).await?;
    let mut found = Vec::new();
    for pieces in [b"1\ta\n".as_slice(), b"no number\ta\t\\N\n"] {
        found.push(attempt(copy(&mut database, "copy copied from stdin", &[pieces]).await.map(Value::from)));
    }
    found.push(attempt(copy(&mut database, "copy no_such_table from stdin", &[]).await.map(Value::from)));
    found.push(aborted(&mut database).await?);
    found.push(database.query(SUMMARY, &[]).await?);
    database.execute("begin").await?;
    found.push(attempt(copy(&mut database, "copy copied from stdin", &[b"x\ty\tz\n"]).await.map(Value::from)));
    found.push(attempt(database.value("select 1").await));
    database.execute("rollback; begin").await?;
    found.push(aborted(&mut database).await?);
    found.push(attempt(database.value("select 2").await));
    database.execute("rollback").await?;
    let mut dropped = database.connection.copy_in_raw("copy copied from stdin").await?;
    dropped.send(ROWS).await?;
    drop(dropped); // which fails the copy before the next request
    found.push(attempt(database.query(SUMMARY, &[]).await));
    found.push(attempt(database.query(SUMMARY, &[]).await));
    database.close().await;
    Ok(found.into())
}

async fn aborted(database: &mut Database) -> Outcome {
    let mut sink = database.connection.copy_in_raw("copy copied from stdin").await?;
    sink.send(ROWS).await?;
    Ok(json!(sink.abort("because").await.is_ok()))
}

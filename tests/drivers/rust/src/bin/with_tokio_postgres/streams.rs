//! Results in parts, and COPY both ways.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use drivers::{Failure, Outcome, Session, attempt};
use futures_util::{SinkExt, TryStreamExt};
use serde_json::{Value, json};
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::types::Type;

use crate::session::{Database, plain};
use crate::values::simple;

const ROWS: &[u8] = "1\tone\t\\\\x00ff\n2\tzwölf, 世\t\\N\n3\t\\N\t\\\\x\n".as_bytes();
const SUMMARY: &str = "select count(*), sum(id), count(name), sum(length(name)) from copied";

pub async fn cursor() -> Outcome {
    let mut database = Database::connect(&[]).await?;
    let transaction = database.client.transaction().await?;
    let mut found = Vec::new();
    let one = transaction.bind("select n from generate_series(1, $1) n", &[&100]).await?;
    let two = transaction.bind("select id, name from item order by id", &[]).await?;
    for limit in [1, 7, 64, 0] {
        found.push(plain(&transaction.query_portal(&one, limit).await?));
        found.push(plain(&transaction.query_portal(&two, 2).await?));
        found.push(plain(&transaction.query("select $1 + 1", &[&limit]).await?));
    }
    drop(one);
    transaction.batch_execute("declare numbers scroll cursor for select id from item order by id").await?;
    for which in ["forward 3", "backward 2", "last", "absolute 5", "all"] {
        found.push(plain(&transaction.query(&format!("fetch {which} from numbers"), &[]).await?));
    }
    let failing = transaction.bind("select 10 / (4 - n) from generate_series(1, $1) n", &[&10]).await?;
    for _ in 0..3 {
        let part = transaction.query_portal(&failing, 2).await;
        found.push(attempt(part.map(|rows| plain(&rows)).map_err(Failure::from)));
    }
    transaction.rollback().await?;
    let gone = simple(&database, "fetch 1 from numbers").await;
    found.push(attempt(gone.map(Value::from)));
    database.close().await;
    Ok(found.into())
}

pub async fn copy_in() -> Outcome {
    let mut database = Database::connect(&[]).await?;
    let mut found = vec![json!(copy(&database, "copy copied from stdin", &[ROWS]).await?)];
    found.push(database.query("select * from copied order by id", &[]).await?);
    let bytes: Vec<&[u8]> = ROWS.chunks(1).collect();
    found.push(json!(copy(&database, "copy copied from stdin", &bytes).await?));
    found.push(json!(
        copy(&database, "copy copied (id, name) from stdin (format csv)", &[b"4,\"a \"\"b\"\"\"\n5,\n"]).await?
    ));
    let many: Vec<String> = (0..50_000).map(|number| format!("{number}\trow number {number}\t\\N\n")).collect();
    let many: Vec<&[u8]> = many.iter().map(|row| row.as_bytes()).collect();
    found.push(json!(copy(&database, "copy copied from stdin", &many).await?));
    found.push(json!(copy(&database, "copy copied from stdin", &[]).await?));
    found.push(database.query(SUMMARY, &[]).await?);
    found.push(binary_in(&database).await?);
    found.push(database.query(SUMMARY, &[]).await?);
    database.close().await;
    Ok(found.into())
}

async fn copy(database: &Database, sql: &str, pieces: &[&[u8]]) -> Result<u64, Failure> {
    let mut sink = pin!(database.client.copy_in::<_, Bytes>(sql).await?);
    for piece in pieces {
        sink.feed(Bytes::copy_from_slice(piece)).await?;
    }
    Ok(sink.finish().await?)
}

async fn binary_in(database: &Database) -> Outcome {
    let sink = database.client.copy_in("copy copied from stdin binary").await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &[Type::INT4, Type::TEXT, Type::BYTEA]));
    for number in 0..5000i32 {
        writer.as_mut().write(&[&number, &"binär", &None::<&[u8]>]).await?;
    }
    Ok(writer.finish().await?.into())
}

pub async fn copy_out() -> Outcome {
    let mut database = Database::connect(&[]).await?;
    let mut found = vec![json!(read(&database, "copy (select * from item order by id) to stdout").await?)];
    let many = read(&database, "copy (select n, repeat('é', 100) from generate_series(1, 20000) n) to stdout").await?;
    found.push(json!(many.len()));
    let stream =
        database.client.copy_out("copy (select id, name, payload from item order by id) to stdout binary").await?;
    let rows: Vec<_> = BinaryCopyOutStream::new(stream, &[Type::INT4, Type::TEXT, Type::BYTEA]).try_collect().await?;
    found.extend(rows.iter().map(|row| json!([row.get::<i32>(0), row.get::<&str>(1), row.get::<&[u8]>(2)])));
    let failing = read(&database, "copy (select 1 / (5 - n) from generate_series(1, 10) n) to stdout").await;
    found.push(attempt(failing.map(Value::from)));
    found.push(first_row(&database, "copy (select n from generate_series(1, 300000) n) to stdout").await?);
    found.push(database.value("select 1").await?); // the rest of the rows is in between
    database.close().await;
    Ok(found.into())
}

async fn first_row(database: &Database, sql: &str) -> Outcome {
    let mut rows = pin!(database.client.copy_out(sql).await?);
    Ok(json!(rows.try_next().await?.map(|row| row.len())))
}

async fn read(database: &Database, sql: &str) -> Result<String, Failure> {
    let rows: BytesMut = database.client.copy_out(sql).await?.try_collect::<Vec<_>>().await?.concat().as_slice().into();
    Ok(String::from_utf8_lossy(&rows).into_owned())
}

/// Without a COPY that is refused as a whole: after that the driver takes its replies for those of the next request.
pub async fn copy_in_error() -> Outcome {
    let mut database = Database::connect(&[]).await?;
    let mut found = Vec::new();
    let many: Vec<&[u8]> =
        [b"wrong\n".as_slice()].into_iter().chain([b"1\ta\t\\N\n".as_slice()].repeat(100_000)).collect();
    for pieces in [&[b"1\ta\n".as_slice()], &[b"no number\ta\t\\N\n".as_slice()], many.as_slice()] {
        found.push(attempt(copy(&database, "copy copied from stdin", pieces).await.map(Value::from)));
    }
    abandon(&database).await?;
    found.push(database.query(SUMMARY, &[]).await?);
    database.execute("begin").await?;
    found.push(attempt(copy(&database, "copy copied from stdin", &[b"x\ty\tz\n"]).await.map(Value::from)));
    found.push(attempt(database.value("select 1").await));
    database.execute("rollback; begin").await?;
    abandon(&database).await?;
    found.push(attempt(database.value("select 2").await));
    database.execute("rollback").await?;
    found.push(database.query(SUMMARY, &[]).await?);
    database.close().await;
    Ok(found.into())
}

/// A sink that is dropped before its end sends CopyFail.
async fn abandon(database: &Database) -> Result<(), Failure> {
    let mut sink = pin!(database.client.copy_in::<_, Bytes>("copy copied from stdin").await?);
    sink.send(Bytes::from_static(ROWS)).await?;
    Ok(())
}

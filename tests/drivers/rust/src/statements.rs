//! Errors, timeouts and large values.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Failure, Outcome, Parameter, Session, attempt, attempt_done};

const MEGABYTE: usize = 1 << 20;
const SOON: Duration = Duration::from_secs(30);

pub async fn errors<S: Session>() -> Outcome {
    let mut session = S::connect(&[]).await?;
    let mut found = Vec::new();
    for sql in [
        "selekt 1",
        "select *\nfrom no_such_table",
        "select no_such_column from item",
        "insert into item (name) values ('item 1')",
        "insert into item (name) values (null)",
        "select 1 / 0",
        "select 'x'::int4",
        "select no_such_function(1)",
        "do $$ begin raise exception using message = 'own', detail = 'd', hint = 'h', errcode = 'P1234'; end $$",
        "set no_such_setting = 1",
        "savepoint outside",
    ] {
        found.push(json!([sql, attempt_done(session.execute(sql).await), attempt(session.query(sql, &[]).await)]));
    }
    let parameter = session.query("select $1::text::int4", &["many".into()]).await;
    found.push(attempt(parameter));
    let zero = session.query("select $1::text", &["a\0b".into()]).await;
    found.push(attempt(zero));
    found.push(session.value("select 1").await?);
    session.close().await;
    Ok(found.into())
}

pub async fn statement_timeout<S: Session>() -> Outcome {
    let begin = Instant::now();
    let mut found = Vec::new();
    let (mut session, mut other) = (S::connect(&[("statement_timeout", "400ms")]).await?, S::connect(&[]).await?);
    other.execute("begin; set local statement_timeout = '100ms'").await?;
    found.push(attempt(other.value("select slow(60)").await));
    other.execute("rollback").await?;
    found.push(other.value("select slow(0.2)").await?);
    found.push(attempt(session.value("select slow(60)").await));
    found.push(other.value("select slow(0.6)").await?);
    found.push(attempt_done(session.execute("select slow(60)").await));
    found.push(session.value("select 1").await?);
    session.close().await;
    other.close().await;
    found.push(json!({"within 30 s": begin.elapsed() < SOON}));
    Ok(found.into())
}

pub async fn large_values<S: Session>() -> Outcome {
    let mut session = S::connect(&[]).await?;
    let mut found = Vec::new();
    for size in [MEGABYTE, 5 * MEGABYTE] {
        let text = Parameter::Text("0123456789abcdé\n".repeat(size / 16));
        let bytes = Parameter::Bytes((0..size).map(|i| (i * 31 + i / 257) as u8).collect());
        let sql = "select length($1::text), md5($1::text), $1::text, md5($2::bytea), $2::bytea";
        let row = session.query(sql, &[text, bytes]).await?[0].take();
        found.push(json!([row[0], row[1], digest(&row[2]), row[3], digest(&row[4])]));
    }
    let made = session.value("select repeat('x', 3000000)").await?;
    found.push(digest(&made));
    session.execute(&format!("select length('{}')", "y".repeat(MEGABYTE))).await?;
    let many =
        session.query("select repeat(chr(65 + n % 26), 1000) from generate_series(1, $1) n", &[2000.into()]).await?;
    found.push(json!([many.as_array().map(Vec::len), digest(&many[1999][0])]));
    found.push(session.value("select 1").await?);
    session.close().await;
    Ok(found.into())
}

/// Length and a checksum (Adler's, without its modulus) of a long text.
fn digest(value: &Value) -> Value {
    let text = value.as_str().unwrap_or_default();
    let (low, high) = text.bytes().fold((1u64, 0u64), |(low, high), byte| {
        let low = low.wrapping_add(byte.into());
        (low, high.wrapping_add(low))
    });
    json!([text.len(), low, high])
}

/// The server ends the connection of the one who asks for it.
pub async fn connection_lost<S: Session>() -> Outcome {
    let mut session = S::connect(&[]).await?;
    let mut found = vec![attempt(session.value("select pg_terminate_backend(pg_backend_pid())").await)];
    let after = session.value("select 1").await;
    found.push(match after {
        Ok(value) => value,
        Err(Failure(error)) => json!({"the connection is gone": error["sqlstate"].is_null()}),
    });
    session.close().await;
    let mut again = S::connect(&[]).await?;
    found.push(again.value("select 2").await?);
    again.close().await;
    Ok(found.into())
}

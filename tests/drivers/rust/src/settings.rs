//! Settings of the session, set by statements or when the connection is made: they follow the client.

use serde_json::{Map, Value};

use crate::{Failure, Outcome, Session, attempt};

const NAMES: [&str; 8] = [
    "TimeZone",
    "DateStyle",
    "IntervalStyle",
    "application_name",
    "search_path",
    "statement_timeout",
    "client_min_messages",
    "extra_float_digits",
];

async fn shown<S: Session>(session: &mut S) -> Outcome {
    let mut values = Map::new();
    for name in NAMES {
        values.insert(name.to_owned(), session.value(&format!("show {name}")).await?);
    }
    Ok(values.into())
}

/// Each runs while a transaction of the other holds a connection to the server. What is seen, each thing once.
async fn in_turn<S: Session>(one: &mut S, two: &mut S) -> Outcome {
    let mut found: Vec<Value> = Vec::new();
    for round in 0..4 {
        let (holder, other) = if round % 2 == 0 { (&mut *one, &mut *two) } else { (&mut *two, &mut *one) };
        holder.execute("begin").await?;
        for seen in [shown(other).await?, shown(holder).await?] {
            if !found.contains(&seen) {
                found.push(seen);
            }
        }
        holder.execute("commit").await?;
    }
    Ok(found.into())
}

pub async fn session<S: Session>() -> Outcome {
    let (mut one, mut two) = (S::connect(&[]).await?, S::connect(&[]).await?);
    let mut found = Vec::new();
    one.execute("set application_name = 'one'; set DateStyle = 'German'; set IntervalStyle = iso_8601").await?;
    two.execute("set TimeZone = 'Asia/Tokyo'; set application_name = 'two'").await?;
    found.push(in_turn(&mut one, &mut two).await?); // only what servers report
    found.push(one.value("select current_date > '31.12.2025'::date").await?);
    one.execute("set search_path = pg_catalog, public; set statement_timeout = '34s'").await?;
    one.value("select set_config('client_min_messages', 'error', false)").await?;
    found.push(in_turn(&mut one, &mut two).await?);
    one.execute("begin; set local statement_timeout = 0; set application_name = 'undone'").await?;
    found.push(shown(&mut one).await?);
    one.execute("rollback").await?;
    found.push(in_turn(&mut one, &mut two).await?);
    one.execute("reset search_path; set statement_timeout to default; reset application_name").await?;
    found.push(in_turn(&mut one, &mut two).await?);
    one.execute("reset all").await?;
    found.push(in_turn(&mut one, &mut two).await?);
    one.close().await;
    two.close().await;
    Ok(found.into())
}

pub async fn startup<S: Session>() -> Outcome {
    let ours = [
        ("application_name", "started as this"),
        ("search_path", "pg_catalog"),
        ("statement_timeout", "4321"),
        ("IntervalStyle", "sql_standard"),
        ("client_min_messages", "log"),
    ];
    let (mut one, mut two) = (S::connect(&ours).await?, S::connect(&[]).await?);
    let mut found = vec![in_turn(&mut one, &mut two).await?];
    one.execute("set statement_timeout = 1234; set search_path = public; set IntervalStyle = postgres").await?;
    one.execute("set application_name = 'changed'").await?;
    found.push(in_turn(&mut one, &mut two).await?);
    one.execute("reset statement_timeout; reset search_path; reset IntervalStyle; reset application_name").await?;
    found.push(in_turn(&mut one, &mut two).await?);
    one.close().await;
    two.close().await;
    for refused in [("no_such_setting", "1"), ("work_mem", "nonsense"), ("max_connections", "5")] {
        found.push(attempt(refusal::<S>(refused).await));
    }
    Ok(found.into())
}

async fn refusal<S: Session>(setting: (&str, &str)) -> Result<Value, Failure> {
    S::connect(&[setting]).await?.close().await;
    Ok("connected".into())
}

//! Statements that stay prepared, under names that the driver gives.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{Failure, Outcome, Parameter, Session, attempt};

const CLIENTS: usize = 6;
const ROUNDS: usize = 60;

pub async fn many_times<S: Session>() -> Outcome {
    let mut session = S::connect(&[]).await?;
    let mut names = Vec::new();
    let mut prices = Vec::new();
    for round in 0..ROUNDS as i32 {
        let by_amount = "select name from item where amount = $1";
        names.push(session.query(by_amount, &[(10 * (round % 12)).into()]).await?);
        let update = "update item set price = price + 1 where id = $1 returning id, price";
        prices.push(session.query(update, &[(1 + round % 3).into()]).await?);
    }
    session.close().await;
    Ok(json!({"names": names, "prices": prices}))
}

/// All at once at first; then in step, where a client's transaction keeps one server from the others.
pub async fn many_clients<S: Session>() -> Outcome {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(S::connect(&[]).await?);
    }
    let all = clients.iter_mut().enumerate().map(|(number, client)| executions(client, number));
    let at_once = join_all(all).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let in_step = in_step(&mut clients).await?;
    for client in clients {
        client.close().await;
    }
    Ok(json!({"at once": at_once, "in step": in_step}))
}

/// Each client comes to the shared statements in an order of its own, so that equal names mean unequal statements.
async fn executions<S: Session>(client: &mut S, number: usize) -> Outcome {
    let mut found = Vec::new();
    for round in 0..ROUNDS {
        let which = (round * 7 + number) % 6;
        let (sql, parameter): (String, Parameter) = if which % 2 == 0 {
            (format!("select $1::int4 + {which}"), (100 * round as i32).into())
        } else {
            (format!("select $1::text || ' {which} of client {number}'"), "round".into())
        };
        found.push(client.query(&sql, &[parameter]).await?[0][0].take());
    }
    Ok(found.into())
}

async fn in_step<S: Session>(clients: &mut [S]) -> Outcome {
    let mut found = Vec::new();
    for round in 0..ROUNDS {
        let holder = round % CLIENTS;
        let other = (holder + 1 + round / CLIENTS % (CLIENTS - 1)) % CLIENTS;
        let id = 1 + round as i32 % 10;
        clients[holder].execute("begin").await?;
        found.push(clients[holder].query("select name from item where id = $1", &[id.into()]).await?);
        found
            .push(clients[other].query("select name from item where id = $1", &[(1 + round as i32 % 7).into()]).await?);
        let apart = format!("select $1::text || {}", round % 9);
        found.push(clients[other].query(&apart, &["other".into()]).await?);
        found.push(clients[holder].query("select count(*) from item where amount > $1", &[(10 * id).into()]).await?);
        clients[holder].execute("commit").await?;
    }
    Ok(found.into())
}

pub async fn reuse_after_error<S: Session>() -> Outcome {
    let mut session = S::connect(&[]).await?;
    let mut found = Vec::new();
    let divide = "select 60 / $1";
    for divisor in [1, 2, 0, 3, 0, 0, 4] {
        found.push(attempt(session.query(divide, &[divisor.into()]).await));
    }
    let missing = "select count(*) from not_yet where id > $1";
    found.push(attempt(session.query(missing, &[0.into()]).await));
    session.execute("create table not_yet as select 1 as id").await?;
    found.push(attempt(session.query(missing, &[0.into()]).await));
    session.execute("begin").await?;
    for divisor in [6, 0, 10] {
        found.push(attempt(session.query(divide, &[divisor.into()]).await));
    }
    session.execute("rollback").await?;
    found.push(attempt(session.query(divide, &[12.into()]).await));
    session.execute("drop table not_yet").await?;
    found.push(attempt(session.query(missing, &[0.into()]).await));
    session.close().await;
    Ok(found.into())
}

/// More statements than the proxy keeps, or sqlx.
pub async fn many_statements<S: Session>() -> Outcome {
    let (mut one, mut two) = (S::connect(&[]).await?, S::connect(&[]).await?);
    let mut totals = Vec::new();
    for pass in 1..=3 {
        let mut total = 0;
        for number in 0..200 {
            let sql = format!("select $1::int4 * {number}");
            for (session, weight) in [(&mut one, 1), (&mut two, 1000)] {
                total += weight * integer(&session.query(&sql, &[pass.into()]).await?[0][0])?;
            }
        }
        totals.push(total);
    }
    one.close().await;
    two.close().await;
    Ok(totals.into())
}

fn integer(value: &Value) -> Result<i64, Failure> {
    value.as_i64().ok_or_else(|| Failure(json!({"no integer": value})))
}

/// Another connection changes the table under a prepared statement, which selects all columns.
pub async fn schema_change<S: Session>() -> Outcome {
    let (mut session, mut owner) = (S::connect(&[]).await?, S::connect(&[]).await?);
    let all = "select * from changing where id = $1";
    let mut found = Vec::new();
    owner.execute("create table changing as select 1 as id, 'one' as name").await?;
    found.push(attempt(session.query(all, &[1.into()]).await));
    owner.execute("alter table changing add column extra integer default 7").await?;
    for _ in 0..3 {
        found.push(attempt(session.query(all, &[1.into()]).await));
    }
    let mut newcomer = S::connect(&[]).await?;
    found.push(attempt(newcomer.query(all, &[1.into()]).await));
    newcomer.close().await;
    owner.execute("alter table changing drop column extra").await?;
    session.execute("begin").await?;
    found.push(attempt(session.query(all, &[1.into()]).await));
    found.push(attempt(session.query(all, &[1.into()]).await));
    session.execute("rollback").await?;
    found.push(attempt(session.query(all, &[1.into()]).await));
    owner.execute("drop table changing").await?;
    found.push(attempt(session.query(all, &[1.into()]).await));
    found.push(session.value("select 1").await?);
    session.close().await;
    owner.close().await;
    Ok(found.into())
}

//! Transactions by statements; what the drivers do of their own is in their programs.

use serde_json::json;

use crate::{Outcome, Session, attempt, attempt_done};

pub async fn errors<S: Session>() -> Outcome {
    let mut session = S::connect(&[]).await?;
    let mut found = Vec::new();
    let amount = "select amount from item where id = 1";
    session.execute("begin").await?;
    found.push(session.query("update item set amount = $1 where id = 1 returning amount", &[5.into()]).await?);
    found.push(attempt(session.query("select 1 / $1", &[0.into()]).await));
    found.push(attempt(session.query("select 2 + $1", &[0.into()]).await));
    found.push(attempt_done(session.execute("select 3").await));
    session.execute("rollback").await?;
    found.push(session.value(amount).await?);
    session.execute("begin; savepoint before").await?;
    found.push(attempt(session.query("insert into item (name) values ($1)", &["item 2".into()]).await));
    found.push(attempt(session.value(amount).await));
    session.execute("rollback to before").await?;
    found.push(session.value(amount).await?);
    session.execute("update item set amount = 6 where id = 1; release before").await?;
    found.push(attempt_done(session.execute("rollback to before").await));
    found.push(attempt_done(session.execute("commit").await)); // which rolls back
    found.push(session.value(amount).await?);
    session.execute("begin; update item set amount = 7 where id = 1; commit").await?;
    found.push(session.value(amount).await?);
    session.close().await;
    Ok(found.into())
}

pub async fn transactions<S: Session>() -> Outcome {
    let (mut one, mut two) = (S::connect(&[]).await?, S::connect(&[]).await?);
    let mut found = Vec::new();
    let amount = "select amount from item where id = 7";
    for begin in
        ["begin", "begin isolation level repeatable read", "begin isolation level serializable read only deferrable"]
    {
        one.execute(begin).await?;
        found.push(one.value("show transaction_isolation").await?);
        found.push(one.value("show transaction_read_only").await?);
        found.push(one.value(amount).await?);
        two.execute("update item set amount = amount + 1 where id = 7").await?;
        found.push(one.value(amount).await?);
        found.push(attempt(one.query("update item set amount = $1 where id = 8", &[8.into()]).await));
        found.push(attempt_done(one.execute("commit").await));
        found.push(one.value(amount).await?);
        found.push(one.value("show transaction_isolation").await?);
    }
    one.execute("begin; update item set amount = 0 where id = 7").await?;
    found.push(json!([one.value(amount).await?, two.value(amount).await?]));
    one.execute("rollback").await?;
    found.push(two.value(amount).await?);
    found.push(conflict(&mut one, &mut two).await?);
    one.execute("begin; select 1; commit and chain").await?;
    found.push(attempt_done(one.execute("savepoint chained; rollback").await));
    one.close().await;
    two.close().await;
    Ok(found.into())
}

/// Both read, both write what the other has read: one of them must do it again.
async fn conflict<S: Session>(one: &mut S, two: &mut S) -> Outcome {
    let mut found = Vec::new();
    for session in [&mut *one, &mut *two] {
        session.execute("begin isolation level serializable").await?;
        found.push(session.value("select sum(amount) from item where id <= 2").await?);
    }
    one.execute("update item set amount = amount + 0 where id = 1").await?;
    two.execute("update item set amount = amount + 0 where id = 2").await?;
    found.push(attempt_done(one.execute("commit").await));
    found.push(attempt_done(two.execute("commit").await));
    two.execute("rollback").await?;
    Ok(found.into())
}

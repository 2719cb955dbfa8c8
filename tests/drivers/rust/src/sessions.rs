//! State that the server keeps for a session.

use crate::{Outcome, Session, attempt};

pub async fn advisory_locks<S: Session>() -> Outcome {
    let (mut one, mut two) = (S::connect(&[]).await?, S::connect(&[]).await?);
    let mut found = Vec::new();
    one.query("select pg_advisory_lock($1::int4)", &[42.into()]).await?;
    for _ in 0..3 {
        found.push(two.value("select pg_try_advisory_lock(42)").await?);
        found.push(one.value("select count(*) from item").await?);
    }
    found.push(one.value("select pg_advisory_unlock(42)").await?);
    found.push(two.value("select pg_try_advisory_lock(42)").await?);
    found.push(one.value("select pg_try_advisory_lock(42)").await?);
    found.push(two.value("select pg_advisory_unlock(42)").await?);
    found.push(two.value("select pg_advisory_unlock(42)").await?);
    one.execute("begin").await?;
    one.query("select pg_advisory_xact_lock($1, 2)", &[4.into()]).await?;
    found.push(two.value("select pg_try_advisory_lock(4, 2)").await?);
    one.execute("commit").await?;
    found.push(two.value("select pg_try_advisory_lock(4, 2)").await?);
    two.execute("select pg_advisory_unlock_all()").await?;
    found.push(one.value("select pg_try_advisory_lock(4, 2)").await?);
    one.close().await;
    // Its holder has gone. The server may see that a little later, so this waits for the lock.
    two.execute("set statement_timeout = '5s'; select pg_advisory_lock(4, 2)").await?;
    found.push(two.value("select pg_advisory_unlock(4, 2)").await?);
    two.close().await;
    Ok(found.into())
}

pub async fn temp_tables<S: Session>() -> Outcome {
    let (mut one, mut two) = (S::connect(&[]).await?, S::connect(&[]).await?);
    let mut found = Vec::new();
    let insert = "insert into scratch values ($1) returning n";
    one.execute("create temporary table scratch (n integer)").await?;
    for number in 0..5 {
        found.push(attempt(one.query(insert, &[number.into()]).await));
        found.push(attempt(two.value("select count(*) from scratch").await));
    }
    two.execute("begin").await?;
    found.push(attempt(one.value("select sum(n) from scratch").await));
    two.execute("create temporary table scratch on commit drop as select 7 as n").await?;
    found.push(attempt(two.value("select n from scratch").await));
    two.execute("commit").await?;
    found.push(attempt(two.value("select n from scratch").await));
    one.execute("drop table scratch").await?;
    found.push(attempt(one.query(insert, &[1.into()]).await));
    one.execute("select 8 as n into temporary scratch").await?;
    found.push(attempt(one.value("select n from scratch").await));
    one.execute("discard temp").await?;
    found.push(attempt(one.value("select n from scratch").await));
    one.close().await;
    two.close().await;
    Ok(found.into())
}

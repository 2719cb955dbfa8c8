//! Requests that are sent without waiting for the replies to those before; each has a Sync of its own.

use drivers::{Failure, Outcome, Session, attempt};
use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use crate::session::{Database, plain};
use crate::values::simple;

pub async fn pipeline() -> Outcome {
    let database = Database::connect(&[]).await?;
    let found = json!({
        "executions": executions(&database).await?,
        "preparations": preparations(&database).await?,
        "transaction": transaction(&database).await?,
        "mixed": mixed(&database).await?,
    });
    database.close().await;
    Ok(found)
}

/// One statement many times, with errors in the middle.
async fn executions(database: &Database) -> Outcome {
    let divide = database.client.prepare("select 120 / $1::int4").await?;
    let all = [1, 2, 0, 3, 0, 4, 5].map(|divisor| {
        let divide = &divide;
        async move { database.client.query(divide, &[&divisor]).await.map(|rows| plain(&rows)).map_err(Failure::from) }
    });
    Ok(join_all(all).await.into_iter().map(attempt).collect())
}

/// Many statements are prepared at once, one of them in vain; all are executed and then closed, at once again.
async fn preparations(database: &Database) -> Outcome {
    let texts: Vec<String> = (0..150)
        .map(|number| if number == 77 { "selekt".into() } else { format!("select {number} + $1::int4") })
        .collect();
    let prepared = join_all(texts.iter().map(|text| database.client.prepare(text))).await;
    let mut statements = Vec::new();
    let mut errors = Vec::new();
    for each in prepared {
        match each {
            Ok(statement) => statements.push(statement),
            Err(error) => errors.push(Failure::from(error).0),
        }
    }
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&1000];
    let mut sums = Vec::new();
    for _ in 0..2 {
        let rows = join_all(statements.iter().map(|statement| database.client.query_one(statement, &parameters))).await;
        let numbers = rows.into_iter().map(|row| row.map(|row| row.get::<_, i32>(0)));
        sums.push(numbers.sum::<Result<i32, _>>()?);
    }
    drop(statements);
    Ok(json!({"errors": errors, "sums": sums, "afterwards": simple(database, "select 1").await?}))
}

/// BEGIN, an error, what is ignored, ROLLBACK, and what is not: all before the first reply.
async fn transaction(database: &Database) -> Outcome {
    let insert = database.client.prepare("insert into item (name) values ($1)").await?;
    let execute = async |name: &'static str| {
        database.client.execute(&insert, &[&name]).await.map(Value::from).map_err(Failure::from)
    };
    let run = async |sql: &'static str| simple(database, sql).await.map(Value::from);
    let ((begun, first), (twice, ignored)) =
        join(join(run("begin"), execute("new")), join(execute("item 1"), execute("newer"))).await;
    let ((ended, after), count) =
        join(join(run("rollback"), execute("newest")), run("select count(*) from item")).await;
    Ok([begun, first, twice, ignored, ended, after, count].map(attempt).into_iter().collect())
}

/// The simple protocol and the extended one, in turn.
async fn mixed(database: &Database) -> Outcome {
    let count = database.client.prepare("select count(*) from item where id <= $1").await?;
    let all = (0..30i32).map(|number| {
        let count = &count;
        async move {
            if number % 3 == 0 {
                simple(database, "select 'simple'; select 2").await.map(Value::from)
            } else if number % 7 == 0 {
                simple(database, "select 1; select 1 / 0; select 3").await.map(Value::from)
            } else {
                database.client.query(count, &[&number]).await.map(|rows| plain(&rows)).map_err(Failure::from)
            }
        }
    });
    Ok(join_all(all).await.into_iter().map(attempt).collect())
}

//! The scenarios of tests/drivers by tokio-postgres and by sqlx: a program for each, in `src/bin`.
//!
//! What both drivers can do in the same words is here, written for any [`Session`]; each program has the rest, and the
//! table of its scenarios.

use std::future::Future;
use std::pin::Pin;
use std::process::exit;

use serde_json::{Value, json};

mod failure;
pub mod prepared;
pub mod sessions;
pub mod settings;
pub mod statements;
pub mod transactions;

pub use failure::Failure;

/// What a scenario found, or the error that kept it from its end.
pub type Outcome = Result<Value, Failure>;

/// A scenario of a program's table.
pub type Scenario = (&'static str, fn() -> Pin<Box<dyn Future<Output = Outcome>>>);

/// Each scenario finds the rows as the schema made them, whatever the ones before have done.
const AS_MADE: &str = "drop table if exists changing, not_yet;
    truncate copied;
    delete from item where id > 10;
    update item set amount = 10 * id, price = id + 0.25, flag = id % 2 = 1";

/// A value that is sent.
#[derive(Clone, Debug)]
pub enum Parameter {
    Int(i32),
    Text(String),
    Bytes(Vec<u8>),
}

impl From<i32> for Parameter {
    fn from(value: i32) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Parameter {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

/// A connection of one of the drivers.
#[allow(async_fn_in_trait)] // nobody sends these futures to another thread
pub trait Session: Sized {
    /// To where the environment says; the settings are sent with the start-up packet.
    async fn connect(settings: &[(&str, &str)]) -> Result<Self, Failure>;

    /// All rows, by a prepared statement that the session keeps for the next time.
    async fn query(&mut self, sql: &str, parameters: &[Parameter]) -> Outcome;

    /// One or more statements in the simple protocol, for what they do.
    async fn execute(&mut self, sql: &str) -> Result<(), Failure>;

    /// Returns when the connection is gone.
    async fn close(self);

    /// The first column of the first row.
    async fn value(&mut self, sql: &str) -> Outcome {
        Ok(self.query(sql, &[]).await?[0][0].take())
    }
}

/// What was returned, or the error as a part of an outcome.
pub fn attempt(outcome: Outcome) -> Value {
    outcome.unwrap_or_else(|Failure(error)| error)
}

/// The same where nothing is returned.
pub fn attempt_done(outcome: Result<(), Failure>) -> Value {
    attempt(outcome.map(|()| json!("done")))
}

/// A row for [`run`]'s table.
#[macro_export]
macro_rules! scenario {
    ($name:ident: $function:expr) => {
        (stringify!($name), || Box::pin($function()))
    };
}

/// Run the scenarios that the arguments name, or all, and end the process: with 0 if all came to their ends.
pub async fn run<S: Session>(scenarios: &[Scenario]) {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let mut failed = false;
    for (name, scenario) in scenarios {
        if !names.is_empty() && !names.iter().any(|each| each == name) {
            continue;
        }
        let outcome = match make_data::<S>().await {
            Ok(()) => scenario().await,
            Err(failure) => Err(failure),
        };
        match outcome {
            Ok(outcome) => println!("{}", json!({"scenario": name, "outcome": outcome})),
            Err(Failure(error)) => {
                eprintln!("{name}: {error}");
                failed = true;
            }
        }
    }
    exit(failed.into());
}

async fn make_data<S: Session>() -> Result<(), Failure> {
    let mut session = S::connect(&[]).await?;
    session.execute(AS_MADE).await?;
    session.close().await;
    Ok(())
}

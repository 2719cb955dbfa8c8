//! Errors of both drivers, with the fields of the server's ErrorResponse where it was the server that said so.

use std::error::Error;

use serde_json::{Map, Value, json};
use sqlx::postgres::{PgDatabaseError, PgErrorPosition};
use tokio_postgres::error::{DbError, ErrorPosition};

/// An error as a part of an outcome.
#[derive(Debug)]
pub struct Failure(pub Value);

impl Failure {
    /// Of the driver itself. The text must not name anything that differs from run to run.
    pub fn local(error: impl Error) -> Self {
        Self(json!({"error": error.to_string()}))
    }
}

fn fields<const N: usize>(fields: [(&str, Option<String>); N]) -> Failure {
    let said = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    Failure(Value::Object(said.collect::<Map<_, _>>()))
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

impl From<&DbError> for Failure {
    fn from(error: &DbError) -> Self {
        let position = match error.position() {
            Some(ErrorPosition::Original(position)) => Some(position.to_string()),
            Some(ErrorPosition::Internal { position, query }) => Some(format!("{position} in {query}")),
            None => None,
        };
        fields([
            ("sqlstate", owned(Some(error.code().code()))),
            ("severity", owned(Some(error.severity()))),
            ("message", owned(Some(error.message()))),
            ("detail", owned(error.detail())),
            ("hint", owned(error.hint())),
            ("position", position),
            ("where", owned(error.where_())),
            ("table", owned(error.table())),
            ("constraint", owned(error.constraint())),
        ])
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(error) => error.into(),
            None => Self::local(error),
        }
    }
}

impl From<&PgDatabaseError> for Failure {
    fn from(error: &PgDatabaseError) -> Self {
        let position = match error.position() {
            Some(PgErrorPosition::Original(position)) => Some(position.to_string()),
            Some(PgErrorPosition::Internal { position, query }) => Some(format!("{position} in {query}")),
            None => None,
        };
        fields([
            ("sqlstate", owned(Some(error.code()))),
            ("severity", Some(format!("{:?}", error.severity()).to_uppercase())),
            ("message", owned(Some(error.message()))),
            ("detail", owned(error.detail())),
            ("hint", owned(error.hint())),
            ("position", position),
            ("where", owned(error.r#where())),
            ("table", owned(error.table())),
            ("constraint", owned(error.constraint())),
        ])
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>()) {
            Some(error) => error.into(),
            None => Self::local(error),
        }
    }
}

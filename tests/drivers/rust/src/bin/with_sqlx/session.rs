//! A connection. sqlx keeps a hundred prepared statements in it, named sqlx_s_1 and so on.

use drivers::{Failure, Outcome, Parameter, Session};
use serde_json::{Value, json};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::Query;
use sqlx::types::{Decimal, Uuid, chrono};
use sqlx::{Column, ConnectOptions, Connection, Decode, Either, PgConnection, Postgres, Row, Type, TypeInfo, ValueRef};

pub struct Database {
    pub connection: PgConnection,
}

/// To where the environment says, which sqlx reads by itself.
pub fn options(settings: &[(&str, &str)]) -> PgConnectOptions {
    settings.iter().fold(PgConnectOptions::new(), |options, (name, value)| match *name {
        "application_name" => options.application_name(value),
        _ => options.options([(name, value)]),
    })
}

impl Session for Database {
    async fn connect(settings: &[(&str, &str)]) -> Result<Self, Failure> {
        Ok(Self { connection: options(settings).connect().await? })
    }

    async fn query(&mut self, sql: &str, parameters: &[Parameter]) -> Outcome {
        plain(&bind(sqlx::query(sql), parameters).fetch_all(&mut self.connection).await?)
    }

    async fn execute(&mut self, sql: &str) -> Result<(), Failure> {
        sqlx::raw_sql(sql).execute(&mut self.connection).await?;
        Ok(())
    }

    async fn close(self) {
        self.connection.close().await.ok();
    }
}

impl Database {
    /// What each statement of a string leads to: rows, or how many are affected.
    pub async fn results(&mut self, sql: &str) -> Outcome {
        use futures_util::TryStreamExt;
        let mut found = Vec::new();
        let mut results = sqlx::raw_sql(sql).fetch_many(&mut self.connection);
        while let Some(result) = results.try_next().await? {
            found.push(match result {
                Either::Left(done) => json!({"affected": done.rows_affected()}),
                Either::Right(row) => plain(&[row])?[0].take(),
            });
        }
        Ok(found.into())
    }
}

pub type PgQuery<'q> = Query<'q, Postgres, PgArguments>;

pub fn bind<'q>(query: PgQuery<'q>, parameters: &[Parameter]) -> PgQuery<'q> {
    parameters.iter().fold(query, |query, parameter| match parameter.clone() {
        Parameter::Int(value) => query.bind(value),
        Parameter::Text(value) => query.bind(value),
        Parameter::Bytes(value) => query.bind(value),
    })
}

pub fn plain(rows: &[PgRow]) -> Outcome {
    let shown = rows.iter().map(|row| (0..row.len()).map(|at| cell(row, at)).collect::<Result<Vec<_>, _>>());
    Ok(shown.collect::<Result<Vec<_>, _>>()?.into())
}

/// A value that JSON has, too. Text comes from the simple protocol, binary from the extended one.
fn cell(row: &PgRow, at: usize) -> Outcome {
    match row.column(at).type_info().name() {
        "BOOL" => of::<bool>(row, at, Value::from),
        "INT2" => of::<i16>(row, at, Value::from),
        "INT4" => of::<i32>(row, at, Value::from),
        "INT8" => of::<i64>(row, at, Value::from),
        "FLOAT4" => of::<f32>(row, at, |value| value.to_string().into()),
        "FLOAT8" => of::<f64>(row, at, |value| value.to_string().into()),
        "NUMERIC" => of::<Decimal>(row, at, |value| value.to_string().into()),
        "BYTEA" => of::<Vec<u8>>(row, at, hex),
        "DATE" => of::<chrono::NaiveDate>(row, at, |value| value.to_string().into()),
        "TIME" => of::<chrono::NaiveTime>(row, at, |value| value.to_string().into()),
        "TIMESTAMP" => of::<chrono::NaiveDateTime>(row, at, |value| value.to_string().into()),
        "TIMESTAMPTZ" => of::<chrono::DateTime<chrono::Utc>>(row, at, |value| value.to_string().into()),
        "UUID" => of::<Uuid>(row, at, |value| value.to_string().into()),
        "JSON" | "JSONB" => of::<Value>(row, at, |value| json!({"json": value})),
        "INT4[]" => of::<Vec<Option<i32>>>(row, at, Value::from_iter),
        "TEXT[]" => of::<Vec<Option<String>>>(row, at, Value::from_iter),
        "FLOAT8[]" => of::<Vec<Option<f64>>>(row, at, Value::from_iter),
        "VOID" => Ok(Value::Null),
        "TEXT" | "VARCHAR" | "NAME" | "CHAR" | "UNKNOWN" => of::<String>(row, at, Value::from),
        other => Ok(json!({"type": other, "null": row.try_get_raw(at)?.is_null()})),
    }
}

fn of<'r, T: Decode<'r, Postgres> + Type<Postgres>>(row: &'r PgRow, at: usize, show: fn(T) -> Value) -> Outcome {
    Ok(row.try_get::<Option<T>, _>(at)?.map_or(Value::Null, show))
}

fn hex(bytes: Vec<u8>) -> Value {
    bytes.iter().fold("\\x".to_owned(), |text, byte| text + &format!("{byte:02x}")).into()
}

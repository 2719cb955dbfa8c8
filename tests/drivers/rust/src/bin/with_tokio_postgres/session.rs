//! A connection, with the statements that it has prepared and the messages that the server sends unasked.

use std::collections::HashMap;
use std::env::var;

use drivers::{Failure, Outcome, Parameter, Session};
use futures_util::{StreamExt, stream};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_postgres::types::{FromSqlOwned, ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Row, Statement};

pub struct Database {
    pub client: Client,
    pub messages: UnboundedReceiver<AsyncMessage>,
    /// As they were when the connection was made.
    pub parameters: HashMap<String, String>,
    prepared: HashMap<String, Statement>,
    driver: JoinHandle<()>,
}

const REPORTED: [&str; 10] = [
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "application_name",
    "client_encoding",
    "default_transaction_read_only",
    "integer_datetimes",
    "server_encoding",
    "server_version",
    "standard_conforming_strings",
];

impl Session for Database {
    async fn connect(settings: &[(&str, &str)]) -> Result<Self, Failure> {
        let mut config = Config::new();
        let of = |name| var(name).unwrap_or_default();
        config.host(of("PGHOST")).user(of("PGUSER")).password(of("PGPASSWORD")).dbname(of("PGDATABASE"));
        config.port(of("PGPORT").parse().map_err(Failure::local)?);
        let mut options = String::new();
        for (name, value) in settings {
            match *name {
                "application_name" => drop(config.application_name(*value)),
                _ => options += &format!("-c {name}={} ", value.replace(' ', "\\ ")),
            }
        }
        if !options.is_empty() {
            config.options(options);
        }
        let (client, mut connection) = config.connect(NoTls).await?;
        let reported = |name: &&str| Some(((*name).to_owned(), connection.parameter(name)?.to_owned()));
        let parameters = REPORTED.iter().filter_map(reported).collect();
        let (sender, messages) = unbounded_channel();
        let driver = tokio::spawn(async move {
            let mut incoming = stream::poll_fn(move |context| connection.poll_message(context));
            while let Some(Ok(message)) = incoming.next().await {
                sender.send(message).ok();
            }
        });
        Ok(Self { client, messages, parameters, prepared: HashMap::new(), driver })
    }

    async fn query(&mut self, sql: &str, parameters: &[Parameter]) -> Outcome {
        if !self.prepared.contains_key(sql) {
            let statement = self.client.prepare(sql).await?;
            self.prepared.insert(sql.to_owned(), statement);
        }
        let parameters: Vec<_> = parameters.iter().map(to_sql).collect();
        Ok(plain(&self.client.query(&self.prepared[sql], &parameters).await?))
    }

    async fn execute(&mut self, sql: &str) -> Result<(), Failure> {
        Ok(self.client.batch_execute(sql).await?)
    }

    async fn close(self) {
        let Self { client, prepared, driver, .. } = self;
        drop((prepared, client));
        driver.await.ok();
    }
}

pub fn to_sql(parameter: &Parameter) -> &(dyn ToSql + Sync) {
    match parameter {
        Parameter::Int(value) => value,
        Parameter::Text(value) => value,
        Parameter::Bytes(value) => value,
    }
}

pub fn plain(rows: &[Row]) -> Value {
    rows.iter().map(|row| (0..row.len()).map(|at| cell(row, at)).collect::<Value>()).collect()
}

/// A value that JSON has, too; what came in binary is read by its type.
fn cell(row: &Row, at: usize) -> Value {
    match *row.columns()[at].type_() {
        Type::BOOL => of::<bool>(row, at, Value::from),
        Type::INT2 => of::<i16>(row, at, Value::from),
        Type::INT4 => of::<i32>(row, at, Value::from),
        Type::INT8 => of::<i64>(row, at, Value::from),
        Type::FLOAT4 => of::<f32>(row, at, |value| value.to_string().into()),
        Type::FLOAT8 => of::<f64>(row, at, |value| value.to_string().into()),
        Type::NUMERIC => of::<Decimal>(row, at, |value| value.to_string().into()),
        Type::BYTEA => of::<Vec<u8>>(row, at, hex),
        Type::DATE => of::<chrono::NaiveDate>(row, at, |value| value.to_string().into()),
        Type::TIME => of::<chrono::NaiveTime>(row, at, |value| value.to_string().into()),
        Type::TIMESTAMP => of::<chrono::NaiveDateTime>(row, at, |value| value.to_string().into()),
        Type::TIMESTAMPTZ => of::<chrono::DateTime<chrono::Utc>>(row, at, |value| value.to_string().into()),
        Type::UUID => of::<uuid::Uuid>(row, at, |value| value.to_string().into()),
        Type::JSON | Type::JSONB => of::<Value>(row, at, |value| json!({"json": value})),
        Type::INT4_ARRAY => of::<Vec<Option<i32>>>(row, at, Value::from_iter),
        Type::TEXT_ARRAY => of::<Vec<Option<String>>>(row, at, Value::from_iter),
        Type::FLOAT8_ARRAY => of::<Vec<Option<f64>>>(row, at, Value::from_iter),
        Type::OID => of::<u32>(row, at, Value::from),
        Type::VOID => Value::Null,
        _ => of::<String>(row, at, Value::from),
    }
}

fn of<T: FromSqlOwned>(row: &Row, at: usize, show: fn(T) -> Value) -> Value {
    match row.try_get::<_, Option<T>>(at) {
        Ok(value) => value.map_or(Value::Null, show),
        Err(error) => json!({"type": row.columns()[at].type_().name(), "error": error.to_string()}),
    }
}

pub fn hex(bytes: Vec<u8>) -> Value {
    bytes.iter().fold("\\x".to_owned(), |text, byte| text + &format!("{byte:02x}")).into()
}

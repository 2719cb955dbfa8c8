//! Values of many types.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use drivers::{Failure, Outcome, Session, attempt};
use serde_json::{Value, json};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::{ToSql, Type};

use crate::session::{Database, plain};

/// Only the simple protocol brings text; what it selects comes as the server writes it.
pub async fn text() -> Outcome {
    let database = Database::connect(&[]).await?;
    let sql = "select 1::int2, (-2147483648)::int4, 9223372036854775807::int8, 1.5::float4, 0.1::float8, 'NaN'::numeric,
        12345678901234567890.0001::numeric, 'grüße, 世界 \"'::text, ''::text, '\\x00ff'::bytea, true,
        '0001-01-01'::date, '23:59:59.123456'::time, '2026-07-01 12:00+02'::timestamptz, '-infinity'::timestamp,
        '1 day 2.5 s'::interval, '00112233-4455-6677-8899-aabbccddeeff'::uuid, '{\"a\":  1}'::json, '{\"b\":  1}'::jsonb,
        '{1,NULL,-3}'::int4[], array['a,b', '\"', null, 'NULL'], null::int4, row(1, 'a'), '[1,5)'::int4range
        union all select 0, 0, 0, 'inf', '-0', 0, 0, e'\\t\\n\\\\', null, '', false, 'infinity', '00:00', 'epoch',
        'epoch', '1 year', '00000000-0000-0000-0000-000000000000', 'null', '[]', '{}', '{}', 7, row(null, ''), 'empty'";
    let mut found = simple(&database, sql).await?;
    found.extend(simple(&database, "select * from item order by id limit 3").await?);
    database.close().await;
    Ok(found.into())
}

pub async fn simple(database: &Database, sql: &str) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    for message in database.client.simple_query(sql).await? {
        found.push(match message {
            SimpleQueryMessage::Row(row) => (0..row.len()).map(|at| row.get(at)).collect(),
            SimpleQueryMessage::CommandComplete(count) => json!({"rows": count}),
            SimpleQueryMessage::RowDescription(columns) => columns.iter().map(|column| column.name()).collect(),
            _ => json!("something else"),
        });
    }
    Ok(found)
}

pub async fn binary() -> Outcome {
    let database = Database::connect(&[]).await?;
    let time = NaiveTime::from_hms_micro_opt(23, 59, 59, 123_456);
    let date = NaiveDate::from_ymd_opt(2026, 2, 28);
    let instant = "2026-07-01T10:00:00.000001Z".parse::<DateTime<Utc>>().map_err(Failure::local)?;
    let identity = "00112233-4455-6677-8899-aabbccddeeff".parse::<uuid::Uuid>().map_err(Failure::local)?;
    let number = "-12345678901234567890.00010".parse::<rust_decimal::Decimal>().map_err(Failure::local)?;
    let moment: Option<NaiveDateTime> = date.zip(time).map(|(date, time)| date.and_time(time));
    let (bytes, no_bytes) = (b"\0\x01\xff\\'".to_vec(), Vec::<u8>::new());
    let numbers = vec![Some(1), None, Some(-3)];
    let words = vec!["a,b", "\"q\"", "NULL", "\\"];
    let measures = vec![0.5, -2.25];
    let values: [(&str, Vec<&(dyn ToSql + Sync)>); 18] = [
        ("int2", vec![&i16::MIN, &i16::MAX, &None::<i16>]),
        ("int4", vec![&i32::MIN, &0i32, &i32::MAX]),
        ("int8", vec![&i64::MIN, &i64::MAX]),
        ("float4", vec![&1.5f32, &f32::MIN_POSITIVE]),
        ("float8", vec![&0.1f64, &f64::NAN, &f64::NEG_INFINITY]),
        ("numeric", vec![&number]),
        ("text", vec![&"", &"it's \"quoted\" \\ and\nlong", &"grüße, 世界 🐘", &None::<&str>]),
        ("bytea", vec![&bytes, &no_bytes, &None::<&[u8]>]),
        ("bool", vec![&true, &false]),
        ("date", vec![&date]),
        ("time", vec![&time]),
        ("timestamp", vec![&moment]),
        ("timestamptz", vec![&instant, &None::<DateTime<Utc>>]),
        ("uuid", vec![&identity]),
        ("json", vec![&Value::Null]),
        ("int4[]", vec![&numbers, &None::<Vec<i32>>]),
        ("text[]", vec![&words]),
        ("float8[]", vec![&measures]),
    ];
    let mut found = Vec::new();
    for (name, parameters) in values {
        let statement = database.client.prepare(&format!("select $1::{name}, $1::{name}::text")).await?;
        for parameter in parameters {
            found.push(json!([name, plain(&database.client.query(&statement, &[parameter]).await?)]));
        }
    }
    let document = json!({"b": [1, null], "a": "ü"});
    found.push(plain(&database.client.query("select $1::jsonb, $1::jsonb ->> 'a'", &[&document]).await?));
    found.push(plain(&database.client.query("select * from item where id < $1 order by id", &[&4]).await?));
    found.push(looked_up(&database).await?);
    database.close().await;
    Ok(found.into())
}

/// A type that the driver does not know makes it ask the catalogs, by statements that it prepares for that.
async fn looked_up(database: &Database) -> Outcome {
    let mut found = Vec::new();
    for sql in
        ["select item from item where id = $1", "select array[item] from item where id = $1", "select $1::int4range"]
    {
        let statement = database.client.prepare(sql).await?;
        let types = statement.columns().iter().map(|column| format!("{} {:?}", column.name(), column.type_().name()));
        found.push(types.collect::<Value>());
    }
    Ok(found.into())
}

/// By the unnamed statement: Parse, Describe, Bind, Execute and Sync at once.
pub async fn unprepared() -> Outcome {
    let database = Database::connect(&[]).await?;
    let mut found = Vec::new();
    for id in 1..=40 {
        let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&id, Type::INT4), (&"run", Type::TEXT)];
        let sql = "select id, tags, $2 || id from item where id = $1 % 12";
        found.push(plain(&database.client.query_typed(sql, &parameters).await?));
    }
    let refused = database.client.query_typed("select 1 / $1", &[(&0, Type::INT4)]).await;
    found.push(attempt(refused.map(|rows| plain(&rows)).map_err(Failure::from)));
    found.push(json!(
        database.client.execute_typed("update item set amount = $1 where id < 4", &[(&1, Type::INT4)]).await?
    ));
    found.push(plain(&database.client.query_typed("select $1 + 1", &[(&1, Type::INT4)]).await?));
    database.close().await;
    Ok(found.into())
}

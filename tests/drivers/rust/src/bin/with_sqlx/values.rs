//! Values of many types.

use drivers::{Failure, Outcome, Session, attempt};
use serde_json::{Value, json};
use sqlx::types::{Decimal, Json, Uuid, chrono};
use sqlx::{Column, Executor, Statement, TypeInfo};

use crate::session::{Database, bind, plain};

/// The simple protocol brings text, and sqlx reads it by its type.
pub async fn text() -> Outcome {
    let mut database = Database::connect(&[]).await?;
    let mut found = vec![
        database
            .results(
                "select 1::int2, (-2147483648)::int4, 9223372036854775807::int8, 1.5::float4, 0.1::float8,
                12345678901234567890.0001::numeric, 'grüße, 世界 \"'::text, ''::text, '\\x00ff'::bytea, true,
                '0001-01-01'::date, '23:59:59.123456'::time, '2026-07-01 12:00+02'::timestamptz,
                '00112233-4455-6677-8899-aabbccddeeff'::uuid, '{\"a\":  1}'::json, '{\"b\":  1}'::jsonb,
                '{1,NULL,-3}'::int4[], array['a,b', '\"', null, 'NULL'], null::int4, null::text;
                select * from item order by id limit 3",
            )
            .await?,
    ];
    found.push(attempt(
        database.results("select '[1,5)'::int4range, '10.0.0.1'::inet, b'101', '1 day'::interval").await,
    ));
    database.close().await;
    Ok(found.into())
}

/// Each value by itself: as it comes back in binary, and as the server has understood it.
macro_rules! round_trips {
    ($database:expr, $found:expr, $($type:literal: $($value:expr),+;)*) => {$($(
        let query = sqlx::query(concat!("select $1::", $type, ", $1::", $type, "::text")).bind($value);
        $found.push(json!([$type, plain(&query.fetch_all(&mut $database.connection).await?)?]));
    )+)*};
}

pub async fn binary() -> Outcome {
    let mut database = Database::connect(&[]).await?;
    let instant = "2026-07-01T10:00:00.000001Z".parse::<chrono::DateTime<chrono::Utc>>().map_err(Failure::local)?;
    let identity = "00112233-4455-6677-8899-aabbccddeeff".parse::<Uuid>().map_err(Failure::local)?;
    let number = "-12345678901234567890.00010".parse::<Decimal>().map_err(Failure::local)?;
    let document = json!({"b": [1, null], "a": "ü"});
    let mut found = Vec::new();
    round_trips!(database, found,
        "int2": i16::MIN, i16::MAX, None::<i16>;
        "int4": i32::MIN, 0, i32::MAX;
        "int8": i64::MIN, i64::MAX;
        "float4": 1.5f32, f32::MIN_POSITIVE;
        "float8": 0.1f64, f64::NAN, f64::NEG_INFINITY;
        "numeric": number;
        "text": "", "it's \"quoted\" \\ and\nlong", "grüße, 世界 🐘", None::<String>;
        "bytea": b"\0\x01\xff\\'".as_slice(), b"".as_slice(), None::<Vec<u8>>;
        "bool": true, false;
        "date": instant.date_naive();
        "time": instant.time();
        "timestamp": instant.naive_utc();
        "timestamptz": instant, None::<chrono::DateTime<chrono::Utc>>;
        "uuid": identity;
        "json": Json(&document);
        "jsonb": Json(&document);
        "int4[]": vec![Some(1), None, Some(-3)], Vec::<i32>::new(), None::<Vec<i32>>;
        "text[]": vec!["a,b", "\"q\"", "NULL", "\\"];
        "float8[]": vec![0.5, -2.25];
    );
    found.push(database.query("select * from item where id < $1 order by id", &[4.into()]).await?);
    found.push(looked_up(&mut database).await?);
    database.close().await;
    Ok(found.into())
}

/// A type that the driver does not know makes it ask the catalogs.
async fn looked_up(database: &mut Database) -> Outcome {
    let mut found = Vec::new();
    for sql in ["select item from item where id = $1", "select array[item], $1::int4range from item", "select $1::item"]
    {
        let statement = (&mut database.connection).prepare(sql).await?;
        found.push(statement.columns().iter().map(|column| column.type_info().name()).collect::<Value>());
        found.push(json!(format!("{:?}", statement.parameters().map(|some| some.map_left(|types| types.len())))));
    }
    Ok(found.into())
}

/// By the unnamed statement.
pub async fn unprepared() -> Outcome {
    let mut database = Database::connect(&[]).await?;
    let mut found = Vec::new();
    for id in 1..=40 {
        let query = sqlx::query("select id, tags, $2::text || id from item where id = $1 % 12").persistent(false);
        let rows = bind(query, &[id.into(), "run".into()]).fetch_all(&mut database.connection).await?;
        found.push(plain(&rows)?);
    }
    let refused = sqlx::query("select 1 / $1").persistent(false).bind(0).fetch_all(&mut database.connection).await;
    found.push(attempt(refused.map_err(Failure::from).and_then(|rows| plain(&rows))));
    let update = sqlx::query("update item set amount = $1 where id < 4").persistent(false).bind(1);
    found.push(json!(update.execute(&mut database.connection).await?.rows_affected()));
    found.push(database.query("select $1 + 1", &[1.into()]).await?);
    database.close().await;
    Ok(found.into())
}

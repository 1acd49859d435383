//! Envelopes read as types, for topologies and other consumers.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};

/// What happened to a row of a table whose rows are `T`.
///
/// It is read from what [`CdcSource`](super::CdcSource) writes, and from what Debezium's connector
/// for PostgreSQL writes with its JSON converter, with schemas or without. Fields of `T` have the
/// columns' names; its types follow [`Value`](super::Value). Tombstones are no changes: leave them
/// out at the source, or read `optional(json::<Change<T>>())`.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidemill::driver::{DriverConfig, TopologyTestDriver};
/// use tidemill::dsl::StreamsBuilder;
/// use tidemill::serdes::{json, string};
/// use tidemill::topology::{Consumed, Produced};
/// use tidemill_connect::cdc::{Change, Op};
///
/// #[derive(Debug, Clone, Serialize, Deserialize)]
/// struct OrderRow {
///     id: i64,
///     customer: String,
///     cents: i64,
/// }
///
/// let builder = StreamsBuilder::new();
/// builder
///     .stream("shop.public.orders", Consumed::with(string(), json::<Change<OrderRow>>()))
///     .filter(|_, change| change.op == Op::Create)
///     .map_values(|change| change.after.map_or(0, |order| order.cents / 100))
///     .to("points", Produced::with(string(), json::<i64>()));
///
/// let driver = TopologyTestDriver::new(builder.build()?, DriverConfig::default())?;
/// let mut orders = driver.create_input_topic("shop.public.orders", string(), string())?;
/// let mut points = driver.create_output_topic("points", string(), json::<i64>())?;
/// let envelope = r#"{"before": null, "after": {"id": 7, "customer": "anna", "cents": 1250},
///     "source": {"db": "shop", "schema": "public", "table": "orders", "ts_ms": 1000, "txId": 5,
///                "lsn": 9000, "ord": 1}, "op": "c", "ts_ms": 1001}"#;
/// orders.pipe_input(r#"{"id":7}"#.to_owned(), envelope.to_owned())?;
/// assert_eq!(points.read_value()?, 12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change<T> {
    /// What happened.
    pub op: Op,
    /// The row before it, if all of it is known: with `REPLICA IDENTITY FULL` only. Without, the
    /// record's key tells which row it was.
    pub before: Option<T>,
    /// The row after it; `None` if it was deleted.
    pub after: Option<T>,
    /// Where it comes from.
    pub source: ChangeOrigin,
    /// When it was published: milliseconds since the Unix epoch.
    pub ts_ms: i64,
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    /// It was there when the table was read.
    #[serde(rename = "r")]
    Read,
    /// It was inserted.
    #[serde(rename = "c")]
    Create,
    /// It was updated.
    #[serde(rename = "u")]
    Update,
    /// It was deleted.
    #[serde(rename = "d")]
    Delete,
    /// All rows of the table were removed.
    #[serde(rename = "t")]
    Truncate,
}

/// Where a change comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeOrigin {
    /// The database.
    pub db: String,
    /// The table's schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// When it was committed: milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// The transaction; `None` for a row that was read.
    #[serde(rename = "txId", default)]
    pub xid: Option<u32>,
    /// Where the transaction's commit record lies. With `ord` it is the order of all changes.
    pub lsn: u64,
    /// Which change of the transaction, from 1. Debezium does not tell it: 0.
    #[serde(default)]
    pub ord: u64,
    /// Which shape of the table, from 1. Debezium does not tell it: 0.
    #[serde(default)]
    pub schema_version: u32,
    /// What `before` holds: `full` or `key`. Debezium does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_image: Option<String>,
}

/// As it is written: rows may be parts of rows.
#[derive(Deserialize)]
struct Written {
    before: Option<serde_json::Value>,
    after: Option<serde_json::Value>,
    source: ChangeOrigin,
    op: Op,
    ts_ms: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Envelope {
    WithSchema { payload: Written },
    Plain(Written),
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = match Envelope::deserialize(deserializer)? {
            Envelope::WithSchema { payload } | Envelope::Plain(payload) => payload,
        };
        let Written { before, after, source, op, ts_ms } = written;
        let row = |row: Option<serde_json::Value>| {
            row.map(serde_json::from_value).transpose().map_err(D::Error::custom)
        };
        let whole = source.before_image.as_deref() != Some("key");
        let before = if whole { row(before)? } else { None };
        let ts_ms = ts_ms.unwrap_or(source.ts_ms);
        Ok(Self { op, before, after: row(after)?, source, ts_ms })
    }
}

//! PostgreSQL as a target: the offsets in the data's own transaction.
//!
//! ```sql
//! BEGIN;
//!   UPDATE sink_offset SET next_offset = $new
//!    WHERE sink = $s AND topic = $t AND partition = $p AND next_offset = $expected;
//!   -- 0 rows: somebody else was here. ROLLBACK, read the offset, go on from there.
//!   -- then the data
//! COMMIT;
//! ```
//!
//! The update comes first: its row lock keeps a second owner waiting, and the compare-and-set turns
//! a zombie away, without help from Kafka. A commit whose answer was lost is looked up by the
//! offset. So any change of the data may be made, also one that is not idempotent, like adding to a
//! balance.
//!
//! A session that stops in the middle of a transaction (a suspended process, a machine without
//! power) would keep its row locks; the server ends it after
//! [`idle_limit`](PostgresSink::idle_limit).
//!
//! # Tables
//!
//! `sink_offset`, one row for each sink and partition, and `sink_dead_letter` where records are put
//! aside ([`OnPoison::DeadLetter`](super::OnPoison)). Both are made at the first start if the role
//! may; [`schema`] has the statements for everybody else.
//!
//! # A new table from the old topic
//!
//! Give the sink another name and table, let it read from the beginning, then swap the tables by a
//! view. Feed it the topic that a table is written to (`KTable::to_stream().to(..)`), never a
//! store's changelog: its format is private.

mod columns;
mod error;
mod offsets;
mod positions;
mod target;
mod upsert;
mod upsert_sql;
mod writer;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidemill::BoxError;
use tidemill::client::ClientConfig;
use tokio_postgres::{Config, IsolationLevel, Transaction};

pub use offsets::{move_offset, schema};
pub use positions::{AppliedPositions, PositionError};
pub use target::PostgresTarget;
pub use upsert::{Upsert, UpsertWriter};
pub use writer::{Handler, HandlerFuture, PostgresWriter};

use super::record::SinkRecord;
use super::runner::Sink;
use crate::postgres::{NameError, TableName};
use offsets::Tables;
use target::Settings;

/// Sets up a sink into PostgreSQL: what to read, then what to do with it.
///
/// ```no_run
/// # use serde::{Serialize, Deserialize};
/// use tidemill::client::ClientConfig;
/// use tidemill_connect::sink::{OnPoison, PostgresSink};
/// use tidemill_connect::sink::postgres::Upsert;
/// # #[derive(Serialize, Deserialize)]
/// # struct Balance { account: String, cents: i64, revision: i64 }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut kafka = ClientConfig::new();
/// kafka.set("bootstrap.servers", "localhost:9092");
/// let sink = PostgresSink::new(&kafka, &"host=localhost dbname=bank".parse()?, "balances-sink")
///     .topics(["balances"])
///     .upsert::<Balance>("balance", Upsert::revision_guarded("revision"))?
///     .on_poison(OnPoison::DeadLetter)
///     .spawn()?;
/// // ..
/// sink.stop().await?;
/// # Ok(())
/// # }
/// ```
///
/// Or with statements of one's own, in the transaction that moves the offsets:
///
/// ```no_run
/// # use tidemill_connect::sink::PostgresSink;
/// # async fn example(sink: PostgresSink) -> Result<(), Box<dyn std::error::Error>> {
/// let sink = sink.topics(["payments"]).with(|tx, records| Box::pin(async move {
///     for record in records {
///         let cents: i64 = record.json()?;
///         tx.execute(
///             "UPDATE account SET cents = cents + $2 WHERE id = $1",
///             &[&record.key_text()?, &cents],
///         ).await?;
///     }
///     Ok(())
/// })).spawn()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a sink does nothing before it is told what to write and spawned"]
pub struct PostgresSink {
    kafka: ClientConfig,
    name: String,
    topics: Vec<String>,
    settings: Settings,
}

impl PostgresSink {
    /// Names the cluster, the database and the sink. The name is the consumer group, and the name
    /// under which offsets are stored.
    pub fn new(kafka: &ClientConfig, database: &Config, name: &str) -> Self {
        Self {
            kafka: kafka.clone(),
            name: name.to_owned(),
            topics: Vec::new(),
            settings: Settings {
                database: database.clone(),
                tables: Tables::default(),
                isolation: IsolationLevel::ReadCommitted,
                transaction_limit: Duration::from_secs(60),
                idle_limit: Duration::from_secs(10),
            },
        }
    }

    /// Says which topics to read.
    pub fn topics(mut self, topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.topics = topics.into_iter().map(Into::into).collect();
        self
    }

    /// Names the tables for offsets and dead letters, which several sinks may share. Default:
    /// `sink_offset` and `sink_dead_letter`.
    ///
    /// # Errors
    /// If it is no name of PostgreSQL.
    pub fn tables(mut self, offsets: &str, dead_letters: &str) -> Result<Self, NameError> {
        self.settings.tables = Tables {
            offsets: TableName::new(offsets)?,
            dead_letters: TableName::new(dead_letters)?,
        };
        Ok(self)
    }

    /// Sets the isolation of the transactions. Default: read committed, which is enough for the
    /// offsets.
    pub fn isolation(mut self, isolation: IsolationLevel) -> Self {
        self.settings.isolation = isolation;
        self
    }

    /// Sets how long a transaction may take before the connection is given up and the outcome
    /// looked up. Default: 60 s.
    pub fn transaction_limit(mut self, limit: Duration) -> Self {
        self.settings.transaction_limit = limit;
        self
    }

    /// Sets after which time the server ends a session that says nothing in the middle of a
    /// transaction: how long a suspended owner can keep the next one waiting. Default: 10 s.
    pub fn idle_limit(mut self, limit: Duration) -> Self {
        self.settings.idle_limit = limit;
        self
    }

    /// Keeps a table in the shape of the records: one row for each key, the newest revision wins.
    ///
    /// # Errors
    /// If it is no name of PostgreSQL.
    pub fn upsert<T>(
        self,
        table: &str,
        upsert: Upsert,
    ) -> Result<Sink<PostgresTarget<UpsertWriter<T>>>, NameError>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let writer = UpsertWriter::new(TableName::new(table)?, upsert);
        Ok(self.writer(writer))
    }

    /// Runs statements of one's own with the records of each transaction: several partitions may be
    /// among them, each in its order. The handler may be run again for the same records, after its
    /// transaction was rolled back: it must do nothing but work on the database.
    ///
    /// An error of the database's stops the sink, has the batch tried again, or marks the records
    /// as not applicable, by its code. Any other error of the handler marks the records so.
    pub fn with<H>(self, handler: H) -> Sink<PostgresTarget<Handler<H>>>
    where
        H: for<'a> Fn(&'a Transaction<'a>, &'a [&'a SinkRecord]) -> HandlerFuture<'a>,
        H: Send + Sync + 'static,
    {
        self.writer(Handler(handler))
    }

    /// Hands the records to a writer of one's own.
    pub fn writer<W: PostgresWriter>(self, writer: W) -> Sink<PostgresTarget<W>> {
        let target = PostgresTarget::new(self.name.clone(), self.settings, writer);
        Sink::new(&self.kafka, &self.name, self.topics, target)
    }
}

/// An error of a writer.
pub(crate) type WriteError = BoxError;

//! Reading one's own writes: has the sink applied this record yet? Asked from any process.

use std::fmt;
use std::time::{Duration, Instant};

use tidemill::record::{Offset, TopicPartition};
use tokio::sync::Mutex;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, Error};

use crate::postgres::{Connection, NameError, TableName, connect, is_transient};

/// The first pause between two looks; it doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Looks into the table of offsets, over one connection of its own that many may wait with.
pub struct AppliedPositions {
    database: Config,
    sink: String,
    sql: String,
    connection: Mutex<Option<Connection>>,
}

/// The record was not seen to be applied.
#[derive(Debug, thiserror::Error)]
pub enum PositionError {
    /// Time ran out. The record may be applied later.
    #[error("sink {sink} did not apply {partition} up to offset {offset} within {waited:?}")]
    Timeout {
        /// The sink.
        sink: String,
        /// Which partition.
        partition: TopicPartition,
        /// The record's own offset.
        offset: Offset,
        /// How long.
        waited: Duration,
    },
    /// The offsets can't be read.
    #[error("could not read the offsets of sink {sink}")]
    Database {
        /// The sink.
        sink: String,
        /// Why not.
        #[source]
        source: Error,
    },
}

impl AppliedPositions {
    /// Watches a sink's table of offsets (default: `sink_offset`).
    ///
    /// # Errors
    /// If it is no name of PostgreSQL.
    pub fn new(database: &Config, table: &str, sink: &str) -> Result<Self, NameError> {
        let sql = format!(
            "SELECT next_offset FROM {} WHERE sink = $1 AND topic = $2 AND partition = $3",
            TableName::new(table)?
        );
        let (database, connection) = (database.clone(), Mutex::default());
        Ok(Self { database, sink: sink.to_owned(), sql, connection })
    }

    /// Returns the next offset of a partition, if the sink ever saw it.
    ///
    /// # Errors
    /// If the offsets can't be read.
    pub async fn next_offset(
        &self,
        partition: &TopicPartition,
    ) -> Result<Option<Offset>, PositionError> {
        self.read(partition).await.map_err(|source| self.failed(source))
    }

    /// Waits until the record at this offset was applied, by whichever process owns its partition.
    ///
    /// # Errors
    /// [`PositionError::Timeout`] if that takes longer than `patience`.
    pub async fn applied_up_to(
        &self,
        partition: &TopicPartition,
        offset: Offset,
        patience: Duration,
    ) -> Result<(), PositionError> {
        let (begin, mut pause) = (Instant::now(), PAUSE_FIRST);
        loop {
            match self.read(partition).await {
                Ok(next) if next.is_some_and(|next| next > offset) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_transient(&error) => {
                    tracing::debug!(%error, "the offsets can't be read now");
                }
                Err(error) => return Err(self.failed(error)),
            }
            let waited = begin.elapsed();
            if waited >= patience {
                let (sink, partition) = (self.sink.clone(), partition.clone());
                return Err(PositionError::Timeout { sink, partition, offset, waited });
            }
            tokio::time::sleep(pause.min(patience - waited)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn read(&self, partition: &TopicPartition) -> Result<Option<Offset>, Error> {
        let mut slot = self.connection.lock().await;
        let connection = match slot.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => connect(&self.database).await?,
        };
        let (topic, number) = (&*partition.topic, partition.partition.0);
        let row = connection.query_opt(&self.sql, &[&self.sink, &topic, &number]).await;
        *slot = Some(connection);
        match row {
            Ok(row) => Ok(row.map(|row| Offset(row.get(0)))),
            // the sink was never started
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn failed(&self, source: Error) -> PositionError {
        PositionError::Database { sink: self.sink.clone(), source }
    }
}

impl fmt::Debug for AppliedPositions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // not the database: it may hold a password
        f.debug_struct("AppliedPositions").field("sink", &self.sink).finish_non_exhaustive()
    }
}

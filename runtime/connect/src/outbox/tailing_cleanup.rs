//! Rows that were published from the log are removed from the table.
//!
//! A snapshot, and then the end of the log behind it: whatever is visible in the snapshot was
//! committed before that end. Once a position at or behind it is committed in Kafka, all of that is
//! published, and its rows may go. No list of ids is kept, so nothing is forgotten by a crash.

use tokio::time::{Duration, Instant};
use tokio_postgres::{Config, Error};

use super::Outbox;
use super::cleanup::place;
use super::queries::SESSION;
use super::settings::Cleanup;
use crate::cdc::Lsn;
use crate::postgres::{Connection, TableName, connect};

/// Between two sweeps.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long a sweep may take, so that the log is not kept waiting.
const SLICE: Duration = Duration::from_millis(200);
/// Rows of one, where they are kept for a while.
const BATCH: u32 = 5000;

/// Deletes rows behind the position.
#[derive(Debug)]
pub(super) struct Sweeper {
    config: Config,
    table: TableName,
    /// What a row is found again by.
    place: &'static str,
    pub(super) cleanup: Cleanup,
    client: Option<Connection>,
    /// What is committed in Kafka.
    reached: Option<Lsn>,
    /// All rows of transactions below this id may go once the position is there.
    mark: Option<(String, Lsn)>,
    next: Option<Instant>,
}

impl Sweeper {
    pub(super) fn new(config: Config, outbox: &Outbox) -> Self {
        let (table, place) = (outbox.table().clone(), place(outbox));
        let cleanup = Cleanup::default();
        Self { config, table, place, cleanup, client: None, reached: None, mark: None, next: None }
    }

    pub(super) fn forget(&mut self) {
        (self.client, self.reached) = (None, None);
        (self.mark, self.next) = (None, None);
    }

    /// Takes note of a committed position.
    pub(super) fn committed(&mut self, lsn: Lsn) {
        self.reached = Some(lsn);
    }

    /// Removes what lies behind the committed position, every now and then. What fails is tried
    /// again. To be called also while nothing is published: the last rows go then.
    pub(super) async fn turn(&mut self) {
        let Some(lsn) = self.reached else { return };
        if self.next.is_some_and(|next| Instant::now() < next) {
            return;
        }
        self.next = Some(Instant::now() + INTERVAL);
        if let Err(error) = self.sweep(lsn).await {
            tracing::warn!(table = %self.table, %error, "published rows were not removed");
            self.client = None;
        }
    }

    async fn sweep(&mut self, lsn: Lsn) -> Result<(), Error> {
        let (batch, age) = match self.cleanup {
            Cleanup::DeleteAfterPublish { batch } => (batch.max(1), Duration::ZERO),
            Cleanup::Retain(age) => (BATCH, age),
            Cleanup::DropPartitions { .. } | Cleanup::None => return Ok(()),
        };
        let client = match &mut self.client {
            Some(client) => client,
            empty => {
                let client = connect(&self.config).await?;
                client.batch_execute(SESSION).await?;
                empty.insert(client)
            }
        };
        if self.mark.is_none() {
            // two statements: the end of the log must be taken after the snapshot
            let xmin =
                client.query_one("SELECT pg_snapshot_xmin(pg_current_snapshot())::text", &[]);
            let xmin: String = xmin.await?.get(0);
            let end = client.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await?;
            let end: &str = end.get(0);
            self.mark = end.parse().ok().map(|end| (xmin, end));
        }
        if let Some((xmin, end)) = &self.mark
            && lsn >= *end
        {
            // by the index on xid: the table may be large, and most of it not published
            let delete = format!(
                "DELETE FROM {table} WHERE {place} = ANY (ARRAY(
                     SELECT {place} FROM {table}
                     WHERE xid < $1::text::xid8 AND created_at <= now() - $2 * interval '1 second'
                     ORDER BY xid LIMIT {batch}))",
                table = self.table,
                place = self.place
            );
            let (began, mut full) = (Instant::now(), true);
            while full && began.elapsed() < SLICE {
                let deleted = client.execute(&delete, &[xmin, &age.as_secs_f64()]).await?;
                full = deleted == u64::from(batch);
            }
            if full {
                // there is more: go on as soon as the log was looked at
                self.next = None;
            } else {
                self.mark = None;
            }
        }
        Ok(())
    }
}

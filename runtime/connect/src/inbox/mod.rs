//! The inbox: events remembered by their id, so that each has its effect once.
//!
//! # What is promised
//!
//! For each consumer and event id, [`Inbox::first_time`] returns true in **exactly one transaction
//! that commits**. So an effect that is made in the transaction that got true is made once, however
//! often the event comes: delivered again by Kafka, or sent again by a client, which no offset can
//! tell. Two transactions that ask for the same event at once wait for each other.
//!
//! # What it costs
//!
//! One row for each event, kept for as long as the same event may come again
//! ([`Inbox::purge`]).
//!
//! # What is not promised
//!
//! Nothing about events older than the last purge, and nothing about effects outside the
//! transaction. The id has to be the event's own, given by whoever made the event: a resend must
//! carry the same one.
//!
//! ```no_run
//! use tidemill_connect::inbox::Inbox;
//! # async fn example(
//! #     client: &mut tokio_postgres::Client, event_id: uuid::Uuid,
//! # ) -> Result<(), tokio_postgres::Error> {
//! let inbox = Inbox::default();
//! let tx = client.transaction().await?;
//! if inbox.first_time(&tx, "rewards", event_id).await? {
//!     tx.execute("UPDATE points SET points = points + 10 WHERE customer = $1", &[&"ann"]).await?;
//! }
//! tx.commit().await?;
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_postgres::{Error, GenericClient, Transaction};
use uuid::Uuid;

use crate::postgres::{NameError, TableName, quoted};

/// A table of event ids by consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbox {
    table: TableName,
}

impl Default for Inbox {
    /// The table `inbox`.
    fn default() -> Self {
        Self { table: TableName::new("inbox").expect("a name without a dot") }
    }
}

impl Inbox {
    /// Names the table, which several consumers may share.
    ///
    /// # Errors
    /// If it is no name of PostgreSQL.
    pub fn new(table: &str) -> Result<Self, NameError> {
        Ok(Self { table: TableName::new(table)? })
    }

    /// Returns the statements that make the table, for roles that may not make it.
    #[must_use]
    pub fn schema(&self) -> String {
        let table = &self.table;
        // rows come in the order of time: a small index is enough to find the old ones
        let mut index: String = table.name().chars().take(12).collect();
        index.push_str("_seen_at_idx");
        format!(
            "CREATE TABLE IF NOT EXISTS {table} (
                consumer text NOT NULL, event_id uuid NOT NULL,
                seen_at timestamptz NOT NULL DEFAULT now(),
                PRIMARY KEY (consumer, event_id)
             );
             CREATE INDEX IF NOT EXISTS {} ON {table} USING brin (seen_at)",
            quoted(&index)
        )
    }

    /// Makes the table unless it is there.
    ///
    /// # Errors
    /// As PostgreSQL says.
    pub async fn ensure_schema(&self, client: &impl GenericClient) -> Result<(), Error> {
        let exists = "SELECT to_regclass($1) IS NOT NULL";
        let known = client.query_one(exists, &[&self.table.to_string()]).await?.get(0);
        if known {
            return Ok(());
        }
        // sent at once it is one transaction: two that make the same table at once would fail
        let sql = format!(
            "SELECT pg_advisory_xact_lock(hashtextextended('tidemill inbox', 0)); {}",
            self.schema()
        );
        client.batch_execute(&sql).await
    }

    /// Notes the event, and returns true if the consumer had not seen it. Undone with the
    /// transaction. Waits for another transaction that notes the same event.
    ///
    /// # Errors
    /// As PostgreSQL says.
    pub async fn first_time(
        &self,
        tx: &Transaction<'_>,
        consumer: &str,
        event_id: Uuid,
    ) -> Result<bool, Error> {
        // an insert that failed would spoil the whole transaction
        let sql = format!(
            "INSERT INTO {} (consumer, event_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            self.table
        );
        Ok(tx.execute(&sql, &[&consumer, &event_id]).await? == 1)
    }

    /// Notes many events in one round trip, and returns those that the consumer had not seen.
    ///
    /// # Errors
    /// As PostgreSQL says.
    pub async fn first_times(
        &self,
        tx: &Transaction<'_>,
        consumer: &str,
        event_ids: impl IntoIterator<Item = Uuid>,
    ) -> Result<BTreeSet<Uuid>, Error> {
        // in order, so that two that overlap wait for each other in turn
        let ids: BTreeSet<Uuid> = event_ids.into_iter().collect();
        if ids.is_empty() {
            return Ok(ids);
        }
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let sql = format!(
            "INSERT INTO {} (consumer, event_id) SELECT $1, unnest($2::uuid[])
             ON CONFLICT DO NOTHING RETURNING event_id",
            self.table
        );
        let rows = tx.query(&sql, &[&consumer, &ids]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Forgets at most `limit` events that were seen longer ago than `age`, and returns how many it
    /// forgot. `age` must be longer than any client goes on sending an event again, and longer than
    /// a consumer may have to catch up.
    ///
    /// # Errors
    /// As PostgreSQL says.
    pub async fn purge(
        &self,
        client: &impl GenericClient,
        age: Duration,
        limit: u32,
    ) -> Result<u64, Error> {
        let sql = format!(
            "DELETE FROM {0} WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM {0} WHERE seen_at < now() - make_interval(secs => $1) LIMIT $2))",
            self.table
        );
        client.execute(&sql, &[&age.as_secs_f64(), &i64::from(limit)]).await
    }
}

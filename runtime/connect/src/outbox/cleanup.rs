//! What is removed from an outbox behind the committed position, never beyond it.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::cleanup_ranges::Ranges;
use super::dead::forget_published;
use super::partitions;
use super::position::OutboxPosition;
use super::schema::Tables;
use super::session::failed;
use super::settings::{Cleanup, RelaySettings, Shard};
use super::stage::Outbox;
use crate::source::SourceError;

/// How long deletions may take at a time: publishing goes first.
const SLICE: Duration = Duration::from_millis(200);
/// How long a position is kept back for a larger deletion.
const GATHER: Duration = Duration::from_millis(100);
const RETAIN_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// Removes published rows of one relay.
pub(super) struct Cleaner {
    tables: Tables,
    relay: String,
    token: Uuid,
    mode: Cleanup,
    period: Option<Duration>,
    delete: Option<String>,
    /// Deletes from a range of ids, and what that is prepared as.
    delete_range: String,
    prepared: Option<Statement>,
    ranges: Ranges,
    /// What earlier sessions left is gone, so that the ranges have all of it.
    swept: bool,
    shard: Shard,
    /// The newest committed position that was not cleaned up behind.
    due: Option<OutboxPosition>,
    last: Option<Instant>,
    /// Rows that were published since the last time, roughly.
    pending: u64,
    /// The last dead events that are known as published.
    ticket: i64,
}

impl Cleaner {
    pub(super) fn new(outbox: &Outbox, settings: &RelaySettings, token: Uuid) -> Self {
        let retain = match settings.cleanup {
            Cleanup::DeleteAfterPublish { .. } => Some(Duration::ZERO),
            Cleanup::Retain(retain) => Some(retain),
            Cleanup::DropPartitions { .. } | Cleanup::None => None,
        };
        Self {
            tables: outbox.tables.clone(),
            relay: settings.relay.clone(),
            token,
            mode: settings.cleanup,
            period: outbox.partition_period,
            shard: settings.shard,
            delete: retain.map(|retain| delete_statement(outbox, settings, retain)),
            delete_range: delete_range_statement(outbox, settings),
            prepared: None,
            ranges: Ranges::default(),
            swept: false,
            due: None,
            last: None,
            pending: 0,
            ticket: 0,
        }
    }

    /// Takes note of a committed position.
    pub(super) fn committed(&mut self, position: &OutboxPosition) {
        self.ranges.committed(position);
        self.due = Some(position.clone());
    }

    /// Takes note of rows that are on their way, by their ids; `position` is the one behind them.
    pub(super) fn sent(
        &mut self,
        rows: usize,
        (first, last): (i64, i64),
        position: &OutboxPosition,
    ) {
        self.pending += rows as u64;
        if matches!(self.mode, Cleanup::DeleteAfterPublish { .. }) {
            self.ranges.sent(position, first, last);
        }
    }

    /// Cleans up if there is enough to do or nothing else to do.
    pub(super) async fn work(&mut self, client: &mut Client) -> Result<(), SourceError> {
        let Some(position) = self.due.take() else { return Ok(()) };
        let since = self.last.map_or(Duration::MAX, |last| last.elapsed());
        let enough = match self.mode {
            Cleanup::DeleteAfterPublish { batch } => self.pending >= u64::from(batch),
            _ => false,
        };
        if since < self.interval() && !enough {
            self.due = Some(position);
            return Ok(());
        }
        self.hint(client, &position).await?;
        let done = match self.mode {
            Cleanup::DeleteAfterPublish { batch } => {
                self.delete_published(client, &position, batch).await?
            }
            Cleanup::Retain(_) => self.delete(client, &position, 5000).await?,
            Cleanup::DropPartitions { retain } => {
                if let Some(period) = self.period {
                    partitions::maintain(client, &self.tables, period, retain).await?;
                }
                true
            }
            Cleanup::None => true,
        };
        self.last = Some(Instant::now());
        let again = !done || matches!(self.mode, Cleanup::Retain(_));
        if again || matches!(self.mode, Cleanup::DropPartitions { .. }) {
            self.due = Some(position);
        }
        if done {
            self.pending = 0;
        }
        Ok(())
    }

    fn interval(&self) -> Duration {
        match self.mode {
            Cleanup::DeleteAfterPublish { .. } | Cleanup::None => GATHER,
            Cleanup::Retain(retain) | Cleanup::DropPartitions { retain } => {
                (retain / 10).clamp(GATHER, RETAIN_INTERVAL_MAX)
            }
        }
    }

    /// Writes down how far this relay came, for the others, for `Outbox::lag` and for humans.
    async fn hint(
        &mut self,
        client: &mut Client,
        position: &OutboxPosition,
    ) -> Result<(), SourceError> {
        let sql = format!(
            "UPDATE {} SET base = $3, published = true, updated_at = now()
             WHERE relay = $1 AND token = $2",
            self.tables.relay
        );
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&self.relay, &self.token, &position.base];
        client.execute(&sql, &parameters).await.map_err(failed)?;
        if position.ticket > self.ticket {
            let sql = forget_published(&self.tables, self.shard);
            client.execute(&sql, &[&position.ticket]).await.map_err(failed)?;
            self.ticket = position.ticket;
        }
        Ok(())
    }

    /// Deletes what is published; returns false if some of it is left.
    async fn delete_published(
        &mut self,
        client: &Client,
        position: &OutboxPosition,
        batch: u32,
    ) -> Result<bool, SourceError> {
        if !self.swept {
            if !self.delete(client, position, batch).await? {
                return Ok(false);
            }
            self.swept = true;
            self.ranges.look_up_to(position.last_id);
        }
        let began = Instant::now();
        while let Some((first, last)) = self.ranges.due() {
            let (target, rows) =
                (position.target.as_ref().unwrap_or(&position.base), i64::from(batch));
            let statement = match &self.prepared {
                Some(statement) => statement.clone(),
                None => client.prepare(&self.delete_range).await.map_err(failed)?,
            };
            let row = client
                .query_one(
                    &statement,
                    &[&first, &last, &position.base, target, &position.last_id, &rows],
                )
                .await
                .map_err(failed)?;
            self.prepared = Some(statement);
            let (deleted, highest): (i64, Option<i64>) = (row.get(0), row.get(1));
            let next = highest.filter(|_| deleted == rows);
            self.ranges.done(next.map(|highest| highest + 1));
            if began.elapsed() >= SLICE {
                break;
            }
        }
        Ok(self.ranges.due().is_none())
    }

    /// Deletes what is visible in the base, wherever it is; returns false if some of it is left.
    async fn delete(
        &mut self,
        client: &Client,
        position: &OutboxPosition,
        batch: u32,
    ) -> Result<bool, SourceError> {
        let Some(sql) = &self.delete else { return Ok(true) };
        let began = Instant::now();
        while began.elapsed() < SLICE {
            let limit = i64::from(batch);
            let deleted = client.execute(sql, &[&position.base, &limit]).await;
            if deleted.map_err(failed)? < u64::from(batch) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// $1 base, $2 rows at most.
fn delete_statement(outbox: &Outbox, settings: &RelaySettings, retain: Duration) -> String {
    let (table, shard) = (&outbox.tables.outbox, settings.shard.condition());
    let row = place(outbox);
    let age = if retain.is_zero() {
        "true".to_owned()
    } else {
        format!("created_at < now() - interval '{} ms'", retain.as_millis())
    };
    format!(
        "DELETE FROM {table} WHERE {row} = ANY (ARRAY(
             SELECT {row} FROM {table}
             WHERE xid < (SELECT pg_snapshot_xmax($1::text::pg_snapshot))
               AND pg_visible_in_snapshot(xid, (SELECT $1::text::pg_snapshot))
               AND {age} AND {shard}
             ORDER BY xid LIMIT $2))"
    )
}

/// $1 first id, $2 last id, $3 base, $4 target, $5 last id of its part, $6 rows at most. Returns
/// how many were deleted, and the highest id of them.
fn delete_range_statement(outbox: &Outbox, settings: &RelaySettings) -> String {
    let (table, shard) = (&outbox.tables.outbox, settings.shard.condition());
    let row = place(outbox);
    format!(
        "WITH gone AS (
             DELETE FROM {table} WHERE {row} = ANY (ARRAY(
                 SELECT {row} FROM {table}
                 WHERE id >= $1 AND id <= $2
                   AND (pg_visible_in_snapshot(xid, (SELECT $3::text::pg_snapshot))
                        OR id <= $5
                           AND pg_visible_in_snapshot(xid, (SELECT $4::text::pg_snapshot)))
                   AND {shard}
                 ORDER BY id LIMIT $6))
             RETURNING id)
         SELECT count(*), max(id) FROM gone"
    )
}

/// What a row is found again by: its place is unique within one table only.
pub(super) fn place(outbox: &Outbox) -> &'static str {
    if outbox.partition_period.is_some() { "id" } else { "ctid" }
}

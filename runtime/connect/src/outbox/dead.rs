//! Events that can't be published, and those parked behind them.

use std::collections::HashMap;

use tokio_postgres::{Client, Transaction};
use uuid::Uuid;

use super::OutboxError;
use super::position::OutboxPosition;
use super::row::{COLUMNS, OutboxRow};
use super::schema::Tables;
use super::session::{failed, refused};
use super::settings::{RelaySettings, Shard};
use super::stage::Outbox;
use crate::source::SourceError;

/// Aggregates with dead events are remembered, so they are bounded.
const AGGREGATES_MAX: usize = 100_000;

/// Removes what was published again: $1 is the last ticket of the committed position.
pub(super) fn forget_published(tables: &Tables, shard: Shard) -> String {
    format!("DELETE FROM {} WHERE ticket <= $1 AND {}", tables.dead, shard.condition())
}

/// Which aggregates have dead events.
pub(super) struct DeadEvents {
    tables: Tables,
    shard: Shard,
    relay: String,
    token: Uuid,
    /// With the id of the first dead event: those before it are published as ever.
    aggregates: HashMap<(String, String), i64>,
    pub(super) rows: u64,
    /// A ticket of which a part was read.
    pub(super) reading: Option<(i64, i64)>,
}

impl DeadEvents {
    pub(super) async fn load(
        client: &Client,
        outbox: &Outbox,
        settings: &RelaySettings,
        position: &OutboxPosition,
    ) -> Result<Self, SourceError> {
        let (tables, shard) = (outbox.tables.clone(), settings.shard);
        let token = position.token.unwrap_or_default();
        client
            .execute(&forget_published(&tables, shard), &[&position.ticket])
            .await
            .map_err(failed)?;
        let sql = format!(
            "SELECT aggregatetype, aggregateid, min(id), count(*) FROM {} WHERE {}
             GROUP BY 1, 2 LIMIT {}",
            tables.dead,
            shard.condition(),
            AGGREGATES_MAX + 1
        );
        let rows = client.query(&sql, &[]).await.map_err(failed)?;
        if rows.len() > AGGREGATES_MAX {
            return refused(
                format!("{} has events of more than {AGGREGATES_MAX} aggregates", tables.dead),
                "this is no single bad event: mend the cause, then publish them or delete them",
            );
        }
        let count = rows.iter().map(|row| row.get::<_, i64>(3).unsigned_abs()).sum();
        let aggregates = rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect();
        let relay = settings.relay.clone();
        Ok(Self { tables, shard, relay, token, aggregates, rows: count, reading: None })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.aggregates.is_empty()
    }

    /// Returns true if an earlier event of this one's aggregate is dead, so that it has to wait.
    pub(super) fn blocks(&self, row: &OutboxRow<'_>) -> bool {
        // no allocation in the usual case, which is that nothing is dead
        !self.aggregates.is_empty()
            && self
                .aggregates
                .get(&(row.aggregate_type.to_owned(), row.aggregate_id.to_owned()))
                .is_some_and(|first| row.id >= *first)
    }

    /// Parks rows behind the dead events of their aggregates. Doing it again changes nothing.
    pub(super) async fn park(
        &mut self,
        client: &mut Client,
        ids: &[i64],
    ) -> Result<(), SourceError> {
        let tx = self.fenced(client).await?;
        let sql = format!(
            "INSERT INTO {} ({COLUMNS}) SELECT {COLUMNS} FROM {} WHERE id = ANY ($1)
             ON CONFLICT (id) DO NOTHING",
            self.tables.dead, self.tables.outbox
        );
        let parked = tx.execute(&sql, &[&ids]).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        self.rows += parked;
        Ok(())
    }

    /// Puts an event aside that can't be sent. The position still lies before it.
    pub(super) async fn bury(
        &mut self,
        client: &mut Client,
        event: Uuid,
        why: &str,
        position: &OutboxPosition,
    ) -> Result<(), SourceError> {
        let tx = self.fenced(client).await?;
        let (dead, outbox) = (&self.tables.dead, &self.tables.outbox);
        // it may come from there: then nothing of its aggregate is published for now
        let again = format!(
            "UPDATE {dead} SET ticket = NULL,
                    reason = CASE WHEN event_id = $1 THEN $2 ELSE reason END
             WHERE (aggregatetype, aggregateid) IN
                   (SELECT aggregatetype, aggregateid FROM {dead} WHERE event_id = $1)"
        );
        let known = tx.execute(&again, &[&event, &why]).await.map_err(failed)?;
        if known == 0 {
            let sql = format!(
                "INSERT INTO {dead} ({COLUMNS}, reason) SELECT {COLUMNS}, $2 FROM {outbox}
                 WHERE event_id = $1
                   AND xid >= pg_snapshot_xmin((SELECT $3::text::pg_snapshot))
                 ON CONFLICT (id) DO UPDATE SET reason = excluded.reason"
            );
            let buried = tx.execute(&sql, &[&event, &why, &position.base]).await;
            if buried.map_err(failed)? == 0 {
                let text = format!("event {event} is not in {outbox} any more");
                return Err(SourceError::Failed(text.into()));
            }
        }
        tx.commit().await.map_err(failed)
    }

    /// Returns the next request to publish dead events again. Whatever was parked for the same
    /// aggregates since then belongs to it.
    pub(super) async fn ticket(
        &self,
        client: &mut Client,
        after: i64,
    ) -> Result<Option<i64>, SourceError> {
        let (dead, shard) = (&self.tables.dead, self.shard.condition());
        let sql = format!("SELECT min(ticket) FROM {dead} WHERE ticket > $1 AND {shard}");
        let row = client.query_one(&sql, &[&after]).await.map_err(failed)?;
        let Some(ticket) = row.get::<_, Option<i64>>(0) else { return Ok(None) };
        let tx = self.fenced(client).await?;
        let sql = format!(
            "UPDATE {dead} SET ticket = $1
             WHERE ticket IS NULL AND (aggregatetype, aggregateid) IN
                   (SELECT aggregatetype, aggregateid FROM {dead} WHERE ticket = $1)"
        );
        tx.execute(&sql, &[&ticket]).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(Some(ticket))
    }

    /// Returns the next rows of a request, in their order.
    pub(super) async fn read(
        &self,
        client: &Client,
        (ticket, after): (i64, i64),
        rows: i64,
    ) -> Result<Vec<tokio_postgres::Row>, SourceError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {} WHERE ticket = $1 AND id > $2 AND {} ORDER BY id LIMIT $3",
            self.tables.dead,
            self.shard.condition()
        );
        client.query(&sql, &[&ticket, &after, &rows]).await.map_err(failed)
    }

    /// Takes note that the aggregate's events are on their way.
    pub(super) fn revived(&mut self, row: &OutboxRow<'_>) {
        self.aggregates.remove(&(row.aggregate_type.to_owned(), row.aggregate_id.to_owned()));
        self.rows = self.rows.saturating_sub(1);
    }

    /// Begins a transaction that only the relay's present session can commit.
    async fn fenced<'a>(&self, client: &'a mut Client) -> Result<Transaction<'a>, SourceError> {
        let tx = client.transaction().await.map_err(failed)?;
        tx.batch_execute("SET LOCAL synchronous_commit = on").await.map_err(failed)?;
        let sql =
            format!("SELECT FROM {} WHERE relay = $1 AND token = $2 FOR SHARE", self.tables.relay);
        let ours = tx.query_opt(&sql, &[&self.relay, &self.token]).await.map_err(failed)?;
        if ours.is_none() {
            let text = "another session of this relay was opened in the database";
            return Err(SourceError::Unavailable(text.into()));
        }
        Ok(tx)
    }
}

impl Outbox {
    /// Has the dead events of an aggregate, and all that are parked behind them, published by the
    /// relay, in their order: after the cause was mended. Returns how many.
    ///
    /// # Errors
    /// If PostgreSQL refuses.
    pub async fn publish_dead(
        &self,
        client: &mut Client,
        aggregate_type: &str,
        aggregate_id: &str,
    ) -> Result<u64, OutboxError> {
        let (dead, outbox) = (&self.tables.dead, &self.tables.outbox);
        let doing = || OutboxError::postgres(format!("publish events of {dead}"));
        let tx = client.transaction().await.map_err(doing())?;
        // tickets are fulfilled in their order, so they must be committed in it
        let lock = format!("LOCK TABLE {dead} IN SHARE ROW EXCLUSIVE MODE");
        tx.batch_execute(&lock).await.map_err(doing())?;
        let sql = format!(
            "WITH ticket AS MATERIALIZED
                  (SELECT nextval(pg_get_serial_sequence($3, 'id')::regclass) AS number)
             UPDATE {dead} SET ticket = ticket.number FROM ticket
             WHERE aggregatetype = $1 AND aggregateid = $2"
        );
        let count = tx
            .execute(&sql, &[&aggregate_type, &aggregate_id, &outbox.to_string()])
            .await
            .map_err(doing())?;
        tx.commit().await.map_err(doing())?;
        Ok(count)
    }
}

//! Projections: tables made of events, each event applied once, rebuilt while everything runs.
//!
//! Ids are not in the order of commits: whoever reads "all after id 7" misses 6, if that commits
//! later. So a projection reads what is visible in one snapshot of the database and was not in the
//! one before: each commit is in exactly one such difference.

use std::future::Future;

use tidemill::BoxError;
use tidemill::record::Timestamp;
use tokio_postgres::{Client, Transaction};

use super::load::COLUMNS;
use super::{EventStoreError, PAGE, PgEventStore};
use crate::event_sourcing::{Decider, Recorded};

/// Nothing is visible in it: 3 is the first transaction id there can be.
pub(super) const BEGINNING: &str = "3:3:";

/// An event on its way into a projection.
#[derive(Debug, Clone, PartialEq)]
pub struct Projected<E> {
    /// Its place in the table. Grows within a stream; says nothing between streams.
    pub id: i64,
    /// The stream's id.
    pub stream: String,
    /// When it was written.
    pub at: Timestamp,
    /// The event.
    pub recorded: Recorded<E>,
}

/// A view of the events in tables of its own, in the same database.
pub trait Projection<E>: Send {
    /// Returns its name: that of its position. A new version of a projection has a new name, and
    /// tables of its own: it catches up while the old one is read, and then takes its place.
    fn name(&self) -> &str;

    /// Applies events, in the transaction that moves the position past them. Events of a stream
    /// come in the order of their versions.
    ///
    /// # Errors
    /// Whatever makes that impossible: nothing is applied then.
    fn apply(
        &mut self,
        transaction: &Transaction<'_>,
        events: &[Projected<E>],
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Empties its tables: it is rebuilt from the beginning.
    ///
    /// # Errors
    /// Whatever makes that impossible: nothing is changed then.
    fn clear(
        &mut self,
        transaction: &Transaction<'_>,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// Feeds one projection. Several may run for one projection: they take turns.
#[derive(Debug)]
pub struct Projector<D, P> {
    store: PgEventStore<D>,
    projection: P,
}

/// How far a projection is.
struct Position {
    base: String,
    target: Option<String>,
    last_id: i64,
    applied: i64,
}

impl<D: Decider, P: Projection<D::Event>> Projector<D, P> {
    /// Makes one; the position is made with the first [`Projector::open`].
    pub fn new(store: PgEventStore<D>, projection: P) -> Self {
        Self { store, projection }
    }

    /// Makes sure that the projection has a position, and that it belongs to this database.
    ///
    /// # Errors
    /// [`EventStoreError::Refused`] if it does not.
    pub async fn open(&self, client: &Client) -> Result<(), EventStoreError> {
        let store = &self.store;
        let cluster = store.check_cluster(client).await?;
        let failed = |cause| store.failed("opening a projection", cause);
        let sql = format!(
            "INSERT INTO {} (name, aggregatetype, base, last_id, applied, system_identifier)
             VALUES ($1, $2, '{BEGINNING}', 0, 0, $3) ON CONFLICT DO NOTHING",
            store.projections
        );
        let name = self.projection.name();
        let made = client.execute(&sql, &[&name, &store.aggregate_type, &cluster]).await;
        made.map_err(failed)?;
        let sql = format!(
            "SELECT system_identifier, aggregatetype FROM {} WHERE name = $1",
            store.projections
        );
        let row = client.query_one(&sql, &[&name]).await.map_err(failed)?;
        let (stored, kind): (String, String) = (row.get(0), row.get(1));
        if stored != cluster {
            let what = format!("projection {name} is of cluster {stored}, this is {cluster}");
            return Err(store.refused(what, "rebuild() it"));
        }
        if kind != store.aggregate_type {
            let what = format!("projection {name} is of streams of kind {kind}");
            return Err(store.refused(what, "give this one another name"));
        }
        Ok(())
    }

    /// Applies what has happened until now; returns how many events that were.
    ///
    /// # Errors
    /// See [`EventStoreError`]; what was applied before stays applied.
    pub async fn catch_up(&mut self, client: &mut Client) -> Result<u64, EventStoreError> {
        let mut applied = 0;
        loop {
            let (batch, more) = self.step(client).await?;
            applied += batch;
            if !more {
                return Ok(applied);
            }
        }
    }

    /// Applies at most 500 events; returns how many, and whether more are known of.
    ///
    /// # Errors
    /// See [`EventStoreError`].
    pub async fn step(&mut self, client: &mut Client) -> Result<(u64, bool), EventStoreError> {
        let Self { store, projection } = self;
        let failed = |cause| store.failed("moving a projection", cause);
        let transaction = client.transaction().await.map_err(failed)?;
        let name = projection.name().to_owned();
        let Position { base, target: fixed, last_id, applied } =
            store.lock_position(&transaction, &name).await?;
        let target = match &fixed {
            Some(target) => target.clone(),
            None => {
                let now = "SELECT pg_current_snapshot()::text";
                transaction.query_one(now, &[]).await.map_err(failed)?.get(0)
            }
        };
        let events = store.difference(&transaction, &base, &target, last_id).await?;
        let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
        let Some((first, last)) = events.first().zip(events.last()) else {
            if fixed.is_some() {
                let done = Position { base: target, target: None, last_id: 0, applied };
                store.move_position(&transaction, &name, &done).await?;
                transaction.commit().await.map_err(failed)?;
            }
            // what is behind a target of the past was not looked at
            return Ok((0, fixed.is_some()));
        };
        let (first, last) = (first.id, last.id);
        if let Err(cause) = projection.apply(&transaction, &events).await {
            return Err(EventStoreError::Projection { projection: name, first, last, cause });
        }
        tidemill::failpoint::pass("ES_PROJECTED");
        let applied = applied.saturating_add(count);
        let page_is_full = count >= PAGE;
        let more = page_is_full || fixed.is_some();
        let next = if page_is_full {
            Position { base, target: Some(target), last_id: last, applied }
        } else {
            Position { base: target, target: None, last_id: 0, applied }
        };
        store.move_position(&transaction, &name, &next).await?;
        transaction.commit().await.map_err(failed)?;
        Ok((count.unsigned_abs(), more))
    }

    /// Empties the projection and sets it back to the beginning, in one transaction. Writers go on
    /// meanwhile; readers see it grow again. To keep the old one readable until the new one has
    /// caught up, give the new one another name instead.
    ///
    /// # Errors
    /// See [`EventStoreError`].
    pub async fn rebuild(&mut self, client: &mut Client) -> Result<(), EventStoreError> {
        let Self { store, projection } = self;
        let cluster = store.check_cluster(client).await?;
        let failed = |cause| store.failed("rebuilding a projection", cause);
        let transaction = client.transaction().await.map_err(failed)?;
        let name = projection.name().to_owned();
        let sql = format!(
            "INSERT INTO {} AS old (name, aggregatetype, base, last_id, applied, system_identifier)
             VALUES ($1, $2, '{BEGINNING}', 0, 0, $3)
             ON CONFLICT (name) DO UPDATE SET base = excluded.base, target = NULL, last_id = 0,
                 applied = 0, system_identifier = excluded.system_identifier",
            store.projections
        );
        let set = transaction.execute(&sql, &[&name, &store.aggregate_type, &cluster]).await;
        set.map_err(failed)?;
        if let Err(cause) = projection.clear(&transaction).await {
            return Err(EventStoreError::Projection { projection: name, first: 0, last: 0, cause });
        }
        transaction.commit().await.map_err(failed)
    }
}

impl<D: Decider> PgEventStore<D> {
    /// Whoever holds the row is the only one who moves the projection.
    async fn lock_position(
        &self,
        transaction: &Transaction<'_>,
        name: &str,
    ) -> Result<Position, EventStoreError> {
        let sql = format!(
            "SELECT base::text, target::text, last_id, applied FROM {} WHERE name = $1 FOR UPDATE",
            self.projections
        );
        let row = transaction.query_opt(&sql, &[&name]).await;
        let row = row.map_err(|cause| self.failed("reading a projection's position", cause))?;
        let Some(row) = row else {
            let what = format!("projection {name} has no position");
            return Err(self.refused(what, "open() it first"));
        };
        let (base, target) = (row.get(0), row.get(1));
        Ok(Position { base, target, last_id: row.get(2), applied: row.get(3) })
    }

    /// The events that are visible in one snapshot and not in the other, in the order of their ids.
    async fn difference(
        &self,
        transaction: &Transaction<'_>,
        base: &str,
        target: &str,
        last_id: i64,
    ) -> Result<Vec<Projected<D::Event>>, EventStoreError> {
        let sql = format!(
            "SELECT {COLUMNS}, id, aggregateid FROM {}
              WHERE xid >= pg_snapshot_xmin($1::text::pg_snapshot)
                AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot)
                AND pg_visible_in_snapshot(xid, $2::text::pg_snapshot)
                AND id > $3 AND aggregatetype = $4
              ORDER BY id LIMIT {PAGE}",
            self.events
        );
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&base, &target, &last_id, &self.aggregate_type];
        let rows = transaction.query(&sql, &parameters).await;
        let rows = rows.map_err(|cause| self.failed("reading new events", cause))?;
        let projected = rows.iter().map(|row| {
            let stream: String = row.get(6);
            let read = self.read_row(&stream, row)?;
            Ok(Projected { id: row.get(5), stream, at: read.at, recorded: read.recorded })
        });
        projected.collect()
    }

    async fn move_position(
        &self,
        transaction: &Transaction<'_>,
        name: &str,
        to: &Position,
    ) -> Result<(), EventStoreError> {
        let sql = format!(
            "UPDATE {} SET base = $2::text::pg_snapshot, target = $3::text::pg_snapshot,
                    last_id = $4, applied = $5
              WHERE name = $1",
            self.projections
        );
        let Position { base, target, last_id, applied } = to;
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&name, base, target, last_id, applied];
        let moved = transaction.execute(&sql, &parameters).await;
        moved.map_err(|cause| self.failed("writing a projection's position", cause))?;
        Ok(())
    }
}

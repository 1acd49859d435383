//! Event sourcing on PostgreSQL: a table with one row for each event, which is an outbox, too.
//!
//! ```text
//!  append: INSERT (aggregatetype, aggregateid, revision = version) ... primary key = conflict
//!     |                                                            \
//!     v                                                             +--> relay --> Kafka topic
//!  events --- page by page, in the order of versions ---> fold      |
//!     |                                                             |
//!     +------ rows of one snapshot of the database and not of the one before ---> projections
//! ```
//!
//! The columns are those of an outbox. `aggregateid` is the stream, `revision` the version;
//! `payload` is the JSON of an [`EventEnvelope`](super::EventEnvelope), as in the events topic of a
//! decider on Kafka. An [`EventTableSource`] publishes them; a program that knows outboxes can.
//!
//! # What is promised
//! * An append happens whole, in a transaction of the caller's or of its own, or is told that the
//!   stream is not where it was expected. Versions have no gaps: an append sees the event before
//!   its own, committed, or it conflicts.
//! * Events of a stream have ids (`id`) in the order of their versions, because the id is drawn
//!   after the event before was seen. That is what the relay and the projections go by.
//! * A projection applies each event once, with its position in the same transaction, and none is
//!   passed over because its transaction was slow.
//!
//! # What it costs
//! A command is four to six statements: look for an earlier answer, load snapshot and tail, append,
//! commit. Loading reads all events after the snapshot. Rows are never deleted.
//!
//! # What is not promised
//! Rejections, and commands that led to no event, are not remembered: they are decided again.
//! Between a command and the relay, or a projection, lies the poll interval.

mod append;
mod audit;
mod error;
mod execute;
mod load;
mod projection;
mod publish;
mod schema;
mod snapshot;

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;

pub use audit::StoreAudit;
pub use error::EventStoreError;
pub use projection::{Projected, Projection, Projector};
pub use publish::{EventTablePosition, EventTableSource};

use super::{Decider, Upcasters};
use crate::postgres::{NameError, TableName};

/// Rows that are read at once.
const PAGE: i64 = 500;
/// Attempts of a command whose caller does not mind at which version it is carried out.
const ATTEMPTS: u32 = 10;

/// The streams of one decider in a table.
///
/// ```no_run
/// # use serde::{Deserialize, Serialize};
/// # use tidemill_connect::event_sourcing::*;
/// # async fn example<D: Decider>(deposit: D::Command) -> Result<(), Box<dyn std::error::Error>> {
/// use tidemill_connect::postgres::{TableName, connect};
///
/// let mut client = connect(&"host=localhost dbname=bank user=bank".parse()?).await?;
/// let store = PgEventStore::<D>::new(TableName::new("events")?, "account")?;
/// store.ensure_schema(&client).await?;
/// let command = Command::new(uuid::Uuid::now_v7(), deposit);
/// let reply = store.execute(&mut client, "account-1", &command).await?;
/// let stream = store.load(&*client, "account-1").await?;
/// # Ok(())
/// # }
/// ```
pub struct PgEventStore<D> {
    events: TableName,
    snapshots: TableName,
    cluster: TableName,
    projections: TableName,
    aggregate_type: String,
    upcasters: Upcasters,
    snapshot_every: Option<NonZeroU32>,
    decider: PhantomData<fn() -> D>,
}

impl<D> Clone for PgEventStore<D> {
    fn clone(&self) -> Self {
        Self {
            events: self.events.clone(),
            snapshots: self.snapshots.clone(),
            cluster: self.cluster.clone(),
            projections: self.projections.clone(),
            aggregate_type: self.aggregate_type.clone(),
            upcasters: self.upcasters.clone(),
            snapshot_every: self.snapshot_every,
            decider: PhantomData,
        }
    }
}

impl<D> fmt::Debug for PgEventStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgEventStore")
            .field("events", &self.events)
            .field("aggregate_type", &self.aggregate_type)
            .field("upcasters", &self.upcasters)
            .field("snapshot_every", &self.snapshot_every)
            .finish_non_exhaustive()
    }
}

impl<D: Decider> PgEventStore<D> {
    /// Keeps streams of this kind in the table; several kinds may share one. Snapshots, positions
    /// of projections and the identity lie beside it: `<table>_snapshots`, `<table>_projections`,
    /// `<table>_cluster`.
    ///
    /// # Errors
    /// If one of the names is too long.
    pub fn new(table: TableName, aggregate_type: impl Into<String>) -> Result<Self, NameError> {
        Ok(Self {
            snapshots: table.with_suffix("_snapshots")?,
            cluster: table.with_suffix("_cluster")?,
            projections: table.with_suffix("_projections")?,
            events: table,
            aggregate_type: aggregate_type.into(),
            upcasters: Upcasters::new(),
            snapshot_every: NonZeroU32::new(100),
            decider: PhantomData,
        })
    }

    /// Reads old events with these.
    #[must_use]
    pub fn with_upcasters(mut self, upcasters: Upcasters) -> Self {
        self.upcasters = upcasters;
        self
    }

    /// Writes a snapshot of a stream with each so many events; default 100. `None` writes none.
    #[must_use]
    pub fn snapshot_every(mut self, events: Option<NonZeroU32>) -> Self {
        self.snapshot_every = events;
        self
    }

    /// Returns the table of the events, for the relay that publishes it.
    #[must_use]
    pub fn table(&self) -> &TableName {
        &self.events
    }
}

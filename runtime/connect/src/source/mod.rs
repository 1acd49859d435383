//! Sources: whatever comes from outside into Kafka, each change once.
//!
//! One loop, [`SourceRunner`], serves all of them. It reads the committed position from a compacted
//! topic, asks the source for what comes after it, and writes records and the new position in
//! **one** Kafka transaction, the position last. So the position is never ahead of the records nor
//! behind them, wherever the process dies. It is what Kafka Connect does for a source task with
//! exactly-once support (KIP-618), with the rule added that a doubt about the source's identity
//! stops the loop.
//!
//! # What is promised
//! Each change that the source yields is exactly once among the records that a `read_committed`
//! consumer sees, and for each key in the source's order. One relay works at a time: a second one
//! with the same name fences the first, whose open transaction is aborted.
//!
//! # What it costs
//! One small record a transaction, read back at each start from a topic with one partition. Readers
//! see records when their transaction is committed, not before. While much comes at a time,
//! batches share a transaction that is open for the commit interval at most
//! ([`SourceRunner::commit_interval`]); few records are committed at once.
//!
//! # What is not promised
//! * Anything to `read_uncommitted` consumers: they also see what was aborted.
//! * Order between keys, or across a change of a topic's number of partitions.
//! * That the source is right about its own order; each source says on its page what it rests on.
//!
//! # Errors
//! What time heals is tried again with growing pauses, always from the committed position. What
//! needs a human ends the relay with a [`RelayError`] that says what was found and what can be
//! done; [`PositionAdmin`] shows and sets positions. After a commit whose outcome was in doubt for
//! a while, or that met an error, the producer is replaced before anything else is sent, and the
//! position read again: the request could end a later transaction (see `docs/TRANSACTIONS.md`).
//!
//! Fail points for tests: `OB7` after the position was read, `OB3` after the records were sent,
//! `OB4` after the position was, `OB5` after the commit.

mod attendant;
mod error;
mod operator;
mod position;
mod publisher;
mod run;
mod runner;
mod status;
mod step;
mod stop;
mod topics;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidemill::BoxError;
use tidemill::record::{Headers, Partition, Timestamp};

pub use error::RelayError;
pub use operator::{PositionAdmin, ResetTo};
pub use position::StoredPosition;
#[cfg(feature = "postgres")]
pub(crate) use runner::COMMIT_INTERVAL;
use runner::Options;
pub use runner::{RelayHandle, SourceRunner};
pub use status::{RelayMetrics, RelayState};
pub use stop::Stop;

/// Something that yields changes in an order of its own, and can be asked again for what comes
/// after a position.
///
/// Calls come one at a time, in this order: `open`, then `poll` again and again with `committed` in
/// between; after anything went wrong `open` again, with the position that is committed then.
pub trait TransactionalSource: Send + 'static {
    /// A point of the source's order. What is stored of it is its JSON.
    type Position: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static;

    /// Gets ready to yield what comes after `committed`, from scratch: whatever an earlier `open`
    /// left behind counts no more.
    ///
    /// With `None` nothing was ever committed. A position that is returned is committed before the
    /// first record, so that a beginning is a fact before anything depends on it.
    ///
    /// # Errors
    /// [`SourceError::Refused`] on every doubt whether the position belongs to this source.
    fn open(
        &mut self,
        committed: Option<&Self::Position>,
    ) -> impl Future<Output = Result<Option<Self::Position>, SourceError>> + Send;

    /// Returns what comes next, waiting for it at most `limits.wait`; `None` if there is nothing.
    ///
    /// The source moves on with each batch that it returned, committed or not, so that the next can
    /// be read while one is being committed.
    ///
    /// # Errors
    /// See [`SourceError`]; the loop opens the source again if it goes on at all.
    fn poll(
        &mut self,
        limits: &BatchLimits,
    ) -> impl Future<Output = Result<Option<SourceBatch<Self::Position>>, SourceError>> + Send;

    /// Told after a position was committed, so that the source can clean up behind it. A hint:
    /// positions may be left out, and after a crash none is told again.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn committed(
        &mut self,
        position: &Self::Position,
    ) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Told of a record that can never be sent: its topic does not exist, or takes no record of its
    /// size. Nothing of its transaction is committed. A source that puts the record aside, so that
    /// it does not come again, returns `Ok`, and is opened again; any error stops the loop, and
    /// that is what happens unless this is implemented.
    ///
    /// # Errors
    /// [`SourceError::Failed`] if the record can't be put aside.
    fn rejected(
        &mut self,
        _record: &SourceRecord,
        why: &str,
    ) -> impl Future<Output = Result<(), SourceError>> + Send {
        std::future::ready(Err(SourceError::Failed(why.into())))
    }
}

/// How much a source may return at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Records.
    pub records: usize,
    /// Bytes of keys and values. A single record may be larger.
    pub bytes: usize,
    /// How long to wait for the first record.
    pub wait: Duration,
}

impl Default for BatchLimits {
    /// 1000 records, 1 MiB, 250 ms.
    fn default() -> Self {
        Self { records: 1000, bytes: 1 << 20, wait: Duration::from_millis(250) }
    }
}

/// Part of what a source has to say.
#[derive(Debug, Clone)]
pub struct SourceBatch<P> {
    /// The records, in order. May be empty where only the position moves.
    pub records: Vec<SourceRecord>,
    /// Where the source stands after them. `None`: what was read so far must not be committed
    /// without what follows, so the next batch belongs to the same Kafka transaction.
    pub position: Option<P>,
}

/// A record on its way into Kafka.
#[derive(Debug, Clone)]
pub struct SourceRecord {
    /// Which topic.
    pub topic: Arc<str>,
    /// Which partition; `None` is chosen from the key, as Java's producer does it.
    pub partition: Option<Partition>,
    /// Key bytes; `None` is null.
    pub key: Option<Bytes>,
    /// Value bytes; `None` is null, a tombstone.
    pub value: Option<Bytes>,
    /// Milliseconds since the Unix epoch.
    pub timestamp: Timestamp,
    /// The headers.
    pub headers: Headers,
}

/// A source can't go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The source is not what the position was taken from, or something was lost on the way.
    /// Going on could lose or repeat changes, so an operator has to decide.
    #[error("{what}; {remedy}")]
    Refused {
        /// What was found, and what was expected.
        what: String,
        /// What can be done about it.
        remedy: String,
    },
    /// The source can't be reached or asks to try again: it is opened again after a pause.
    #[error("the source is not available")]
    Unavailable(#[source] BoxError),
    /// Anything that time does not heal: a missing right, a wrong configuration, a change that
    /// can't be represented.
    #[error("the source failed")]
    Failed(#[source] BoxError),
}

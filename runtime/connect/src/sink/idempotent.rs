//! Targets without transactions: web services, mail, search indexes. **At least once**, with a key
//! by which the target can tell a repetition.
//!
//! # What is promised
//!
//! Each record is handed over **at least once**, in the order of its partition, and each time with
//! the same [`IdempotencyKey`]. Nothing is promised to be handed over once: between the target's
//! answer and the commit of the offset, this process may die, and the record comes again.
//! Whether it then has a second effect is up to the target: pass the key along, as an
//! `Idempotency-Key` header, a message id or a document id, and have it refuse what it has seen.
//!
//! # What it costs
//!
//! The offsets are kept by the consumer group and committed after each batch.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;

use tidemill::BoxError;
use tidemill::client::ClientConfig;
use tidemill::record::{Offset, TopicPartition};

use super::assignment::starts;
use super::record::SinkRecord;
use super::runner::Sink;
use super::target::{Applied, PartitionBatch, TargetError, TopicFacts, TransactionalTarget};

/// The same for each delivery of a record: its event id if it has one (header `id`, a UUID), so
/// that a client's resend is the same too, else topic, partition and offset.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Returns the key of a record.
    #[must_use]
    pub fn of(record: &SinkRecord) -> Self {
        Self(record.event_id().map_or_else(
            |_| format!("{}/{}/{}", record.topic, record.partition, record.offset),
            |id| id.to_string(),
        ))
    }

    /// Returns it as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that takes records, and can tell a repetition by its key.
pub trait IdempotentTarget: Send + 'static {
    /// Hands a record over and waits until it is safe.
    ///
    /// # Errors
    /// [`SendFailed::Later`] to try it again, [`SendFailed::Poison`] if it never will succeed.
    fn send(
        &mut self,
        key: &IdempotencyKey,
        record: &SinkRecord,
    ) -> impl Future<Output = Result<(), SendFailed>> + Send;

    /// Puts a record aside that was refused, where the sink was told to
    /// ([`OnPoison::DeadLetter`](super::OnPoison)). May be called again for the same record.
    ///
    /// # Errors
    /// As of `send`.
    fn put_aside(
        &mut self,
        key: &IdempotencyKey,
        record: &SinkRecord,
        reason: &str,
    ) -> impl Future<Output = Result<(), SendFailed>> + Send;
}

/// A record was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SendFailed {
    /// Not now; it may have been taken all the same.
    #[error("the target is not available")]
    Later(#[source] BoxError),
    /// Never.
    #[error("the target refuses the record")]
    Poison(#[source] BoxError),
}

impl From<SendFailed> for TargetError {
    fn from(error: SendFailed) -> Self {
        match error {
            SendFailed::Later(cause) => Self::Unavailable(cause),
            SendFailed::Poison(cause) => Self::Poison(cause),
        }
    }
}

/// Sets up a sink into a target without transactions: **at least once**, see the module.
pub fn at_least_once<S: IdempotentTarget>(
    kafka: &ClientConfig,
    name: &str,
    topics: impl IntoIterator<Item = impl Into<String>>,
    target: S,
) -> Sink<AtLeastOnce<S>> {
    Sink::new(kafka, name, topics, AtLeastOnce { target, sent: BTreeMap::new() }).kept_by_group()
}

/// A target without transactions in the sink's loop.
#[derive(Debug)]
pub struct AtLeastOnce<S> {
    target: S,
    /// What was handed over beyond the last committed offset, so that a batch that is tried again
    /// in this process goes on where it was.
    sent: BTreeMap<TopicPartition, Offset>,
}

impl<S: IdempotentTarget> TransactionalTarget for AtLeastOnce<S> {
    async fn open(
        &mut self,
        topics: &[TopicFacts],
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, TargetError> {
        Ok(starts(topics, partitions))
    }

    async fn apply(&mut self, batches: &[PartitionBatch]) -> Result<Applied, TargetError> {
        for batch in batches {
            for record in &batch.records {
                if self.sent.get(&batch.partition).is_some_and(|next| *next > record.offset) {
                    continue;
                }
                self.target.send(&IdempotencyKey::of(record), record).await?;
                self.sent.insert(batch.partition.clone(), record.offset.next());
            }
        }
        self.sent.clear();
        Ok(Applied::default())
    }

    async fn reject(&mut self, batch: &PartitionBatch, reason: &str) -> Result<(), TargetError> {
        for record in &batch.records {
            self.target.put_aside(&IdempotencyKey::of(record), record, reason).await?;
        }
        Ok(())
    }
}

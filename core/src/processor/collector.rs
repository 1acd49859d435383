//! Where a task's records go: the seam to the producer.

use crate::BoxError;
use crate::record::{Headers, Partition, Timestamp};
use crate::store::StoreIndex;

/// A topic that can be sent to, resolved once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkTopic {
    /// The collector's own number for the topic.
    pub index: u32,
    /// How many partitions it has.
    pub partitions: u32,
}

/// A record on its way out, as bytes.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Where it goes.
    pub topic: SinkTopic,
    /// `None`: the client chooses (records without key).
    pub partition: Option<Partition>,
    /// Key bytes; `None` is null.
    pub key: Option<&'a [u8]>,
    /// Value bytes; `None` is null.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since the Unix epoch.
    pub timestamp: Timestamp,
    /// The headers.
    pub headers: &'a Headers,
}

/// A record that was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// This record can't be sent, others can: the production handler decides.
    #[error("{0}")]
    Rejected(#[source] BoxError),
    /// Nothing can be sent: the transaction is lost.
    #[error("{0}")]
    Failed(#[source] BoxError),
}

impl SendError {
    /// Returns what the client said.
    #[must_use]
    pub fn into_cause(self) -> BoxError {
        match self {
            Self::Rejected(cause) | Self::Failed(cause) => cause,
        }
    }
}

/// Takes everything a task sends. All of it belongs to the open transaction.
pub trait Collector {
    /// Finds a topic. Called when a task is built, for each record of a sink that chooses its
    /// topic, and for a dead letter queue.
    ///
    /// # Errors
    /// [`SendError::Rejected`] if the topic does not exist; [`SendError::Failed`] if that can't be
    /// said.
    fn resolve(&mut self, topic: &str) -> Result<SinkTopic, SendError>;

    /// Sends a record to a sink topic.
    ///
    /// # Errors
    /// See [`SendError`].
    fn send(&mut self, record: Outgoing<'_>) -> Result<(), SendError>;

    /// Sends a record to the changelog of one of the task's stores.
    ///
    /// # Errors
    /// See [`SendError`]; here both kinds end the transaction.
    fn log(
        &mut self,
        store: StoreIndex,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp: Timestamp,
        headers: &Headers,
    ) -> Result<(), SendError>;
}

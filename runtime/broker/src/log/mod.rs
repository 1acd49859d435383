//! Topics, partitions and their records.
//!
//! Records are kept in memory, as the batches in which clients sent them: a broker for development
//! and tests needs as much memory as its topics hold. With a data directory the journal has them
//! too.

mod append;
mod batch;
mod clean;
pub(crate) mod config;
mod entry;
mod partition;
mod producer;
mod read;
mod record;
mod recover;
mod refusal;
mod retain;
mod segment;
#[cfg(test)]
pub(crate) mod tests;
mod topics;
mod transactions;
mod zstd;

use serde::{Deserialize, Serialize};

pub use batch::{Batch, BatchError};
pub use config::LogConfig;
pub use entry::{Entry, PartitionImage, PartitionKey, SegmentImage, TopicNumber};
pub use partition::PartitionLog;
pub use producer::{Producer, Written};
pub use read::{OutOfRange, Read, TimedOffset};
pub use record::{Record, records};
pub(crate) use refusal::Refusal;
pub use topics::{Topic, Topics};
pub use transactions::Aborted;

/// The only node has always been the leader.
pub(crate) const LEADER_EPOCH: i32 = 0;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Marker {
    /// Its records never happened.
    Abort,
    /// Its records are part of the log.
    Commit,
}

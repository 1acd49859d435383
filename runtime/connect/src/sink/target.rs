//! The seam between the sink's loop and what it writes to.

use std::collections::BTreeMap;
use std::future::Future;

use tidemill::BoxError;
use tidemill::record::{Offset, TopicPartition};

use super::record::SinkRecord;

/// A store that can apply records and move their next offset **in one transaction of its own**, by
/// compare-and-set. PostgreSQL is one ([`PostgresSink`](super::PostgresSink)); implement it for
/// others.
///
/// Calls come one at a time: `open` first and after every error, then `apply` and `reject`.
pub trait TransactionalTarget: Send + 'static {
    /// Connects, anew if need be, and returns the next offset of each of these partitions, which
    /// belong to these topics.
    ///
    /// A topic of which nothing is known yet begins at [`TopicFacts::starts`], all its partitions
    /// in one step; a partition that was added to a known topic begins at 0. Both are stored before
    /// this returns. Waits for a transaction of an earlier owner that is under way.
    ///
    /// # Errors
    /// [`TargetError::Refused`] if a topic is known under another id.
    fn open(
        &mut self,
        topics: &[TopicFacts],
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<BTreeMap<TopicPartition, Offset>, TargetError>> + Send;

    /// Applies the records of all these batches and moves the next offset of each partition from
    /// `expected` to `next`: everything or nothing.
    ///
    /// # Errors
    /// [`TargetError::Fenced`] if an offset is not the expected one. After
    /// [`TargetError::Unavailable`] it may have been applied all the same.
    fn apply(
        &mut self,
        batches: &[PartitionBatch],
    ) -> impl Future<Output = Result<Applied, TargetError>> + Send;

    /// Puts the one record of this batch aside, with the reason, and moves the next offset behind
    /// it: both or neither.
    ///
    /// # Errors
    /// As of `apply`.
    fn reject(
        &mut self,
        batch: &PartitionBatch,
        reason: &str,
    ) -> impl Future<Output = Result<(), TargetError>> + Send;
}

/// Consecutive records of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionBatch {
    /// Which partition.
    pub partition: TopicPartition,
    /// Where the target must stand.
    pub expected: Offset,
    /// Where it stands afterwards: behind the last record, or behind what no reader sees.
    pub next: Offset,
    /// The records, in order. None where only the offset moves.
    pub records: Vec<SinkRecord>,
}

/// Returns the records of batches, one partition after the other.
pub fn records_of(batches: &[PartitionBatch]) -> impl Iterator<Item = &SinkRecord> {
    batches.iter().flat_map(|batch| &batch.records)
}

/// What the cluster says of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFacts {
    /// Its name.
    pub name: String,
    /// Its id; `None` where the broker has none.
    pub id: Option<String>,
    /// Where a new sink begins, one offset for each partition.
    pub starts: Vec<Offset>,
}

/// What became of the records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Records that had no effect because theirs was there before: repeated events, old revisions.
    pub ignored: u64,
}

/// A target can't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Not reachable, or another transaction won: the same may succeed later. It may have been done
    /// all the same; the offsets tell.
    #[error("the target is not available")]
    Unavailable(#[source] BoxError),
    /// An offset is not the expected one: somebody else moved it, or this is a repetition. Nothing
    /// was changed.
    #[error("somebody else moved the offset of {0}")]
    Fenced(TopicPartition),
    /// The records themselves are refused. Nothing was changed.
    #[error("the target refuses the records")]
    Poison(#[source] BoxError),
    /// The offsets do not belong to this topic. Going on could lose or repeat records, so an
    /// operator has to decide.
    #[error("{what}; {remedy}")]
    Refused {
        /// What was found, and what was expected.
        what: String,
        /// What can be done about it.
        remedy: String,
    },
    /// Anything that time does not heal: a missing right, a missing table.
    #[error("the target failed")]
    Failed(#[source] BoxError),
}

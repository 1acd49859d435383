//! The log of one partition: its records, producers and transactions.

use std::collections::{BTreeMap, VecDeque};

use super::batch::Batch;
use super::config::LogConfig;
use super::entry::PartitionKey;
use super::producer::Producer;
use super::segment::Segment;
use super::transactions::{Aborted, Index};
use crate::engine::Millis;

/// The records of one partition, in memory. What is written is at once as safe as it gets (there
/// are no replicas): the high watermark is the end of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionLog {
    pub(super) key: PartitionKey,
    pub(super) config: LogConfig,
    /// Never empty; the last one is being written.
    pub(super) segments: VecDeque<Segment>,
    pub(super) log_start: i64,
    pub(super) next_offset: i64,
    /// Everything before was compacted.
    pub(super) cleaned_to: i64,
    pub(super) producers: BTreeMap<i64, Producer>,
    pub(super) index: Index,
    /// Until when writing fails, on demand.
    pub(super) failing_until: Option<Millis>,
}

impl PartitionLog {
    pub(crate) fn new(key: PartitionKey, config: LogConfig) -> Self {
        Self {
            key,
            config,
            segments: VecDeque::from([Segment::new(0)]),
            log_start: 0,
            next_offset: 0,
            cleaned_to: 0,
            producers: BTreeMap::new(),
            index: Index::default(),
            failing_until: None,
        }
    }

    pub(crate) fn configure(&mut self, config: LogConfig) {
        self.config = config;
    }

    pub(crate) fn fail_until(&mut self, until: Millis) {
        self.failing_until = Some(until);
    }

    /// Until when writing fails, if it does at this time.
    pub(crate) fn fails_until(&self, now: Millis) -> Option<Millis> {
        self.failing_until.filter(|until| now < *until)
    }

    /// Which partition this is, by the number of its topic.
    #[must_use]
    pub fn key(&self) -> PartitionKey {
        self.key
    }

    /// Whether clients may delete records: not of a topic that is only compacted.
    pub(crate) fn allows_deletion(&self) -> bool {
        self.config.deletes
    }

    /// Offset of the first record that may be read.
    #[must_use]
    pub fn log_start(&self) -> i64 {
        self.log_start
    }

    /// Offset of the next record to be written.
    #[must_use]
    pub fn high_watermark(&self) -> i64 {
        self.next_offset
    }

    /// Where the oldest open transaction begins, else the high watermark: what a `read_committed`
    /// consumer reads up to.
    #[must_use]
    pub fn last_stable_offset(&self) -> i64 {
        self.index.first_open().unwrap_or(self.next_offset).max(self.log_start)
    }

    /// Everything before was compacted.
    #[must_use]
    pub fn cleaned_to(&self) -> i64 {
        self.cleaned_to
    }

    /// Where a consumer's reading ends.
    #[must_use]
    pub fn end(&self, committed_only: bool) -> i64 {
        if committed_only { self.last_stable_offset() } else { self.next_offset }
    }

    /// The aborted transactions that are still known, by the offset of their markers.
    pub fn aborted(&self) -> impl Iterator<Item = &Aborted> {
        self.index.aborted().iter()
    }

    /// The producers that wrote here, by id.
    #[must_use]
    pub fn producers(&self) -> &BTreeMap<i64, Producer> {
        &self.producers
    }

    /// Whether a producer has a transaction here that has not ended.
    #[must_use]
    pub fn has_open_transaction(&self, producer_id: i64) -> bool {
        self.producers.get(&producer_id).is_some_and(|known| known.transaction().is_some())
    }

    /// All batches, first to last. The first may begin before the log's start.
    pub fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.segments.iter().flat_map(Segment::batches)
    }

    /// The batches from the one that has `offset`, or is the first behind it.
    pub fn batches_from(&self, offset: i64) -> impl Iterator<Item = &Batch> {
        let after = self.segments.partition_point(|segment| segment.base() <= offset);
        let first = after.saturating_sub(1);
        self.segments.range(first..).flat_map(move |segment| segment.from(offset))
    }

    /// Bytes of all batches.
    #[must_use]
    pub fn size(&self) -> usize {
        self.segments.iter().map(Segment::size).sum()
    }

    pub(super) fn active(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("a partition always has a segment that is being written")
    }

    /// Puts a batch at the end, into a new segment if the last one is full.
    pub(super) fn push(&mut self, batch: Batch) {
        let base = self.next_offset;
        let config = &self.config;
        if self.segments.back().is_some_and(|active| active.is_full_for(&batch, config)) {
            self.segments.push_back(Segment::new(base));
        }
        self.next_offset = batch.last_offset() + 1;
        self.active().push(batch);
    }
}

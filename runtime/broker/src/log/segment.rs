//! A stretch of a partition's log: the unit of retention and compaction.

use std::collections::VecDeque;

use super::batch::Batch;
use super::config::LogConfig;

/// Batches one after the other, from `base` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    base: i64,
    batches: VecDeque<Batch>,
    size: usize,
    max_timestamp: i64,
    /// Largest timestamp of the first batch: when the segment began, in the records' own time.
    began: Option<i64>,
}

impl Segment {
    pub(crate) fn new(base: i64) -> Self {
        Self { base, batches: VecDeque::new(), size: 0, max_timestamp: -1, began: None }
    }

    /// Whether `batch` is to open a new segment, as `LogSegment.shouldRoll` decides: by size, by
    /// the time between the records, or because offsets within a segment have 31 bits.
    pub(crate) fn is_full_for(&self, batch: &Batch, config: &LogConfig) -> bool {
        if self.size == 0 {
            return false;
        }
        let waited = self.began.map_or(0, |began| batch.max_timestamp().saturating_sub(began));
        self.size + batch.size() > config.segment_bytes
            || waited > config.roll_ms()
            || batch.last_offset() - self.base > i64::from(i32::MAX)
    }

    pub(crate) fn push(&mut self, batch: Batch) {
        self.began = self.began.or(Some(batch.max_timestamp()));
        self.max_timestamp = self.max_timestamp.max(batch.max_timestamp());
        self.size += batch.size();
        self.batches.push_back(batch);
    }

    /// Drops the batches that end before `offset`.
    pub(crate) fn drop_before(&mut self, offset: i64) {
        while self.batches.front().is_some_and(|batch| batch.last_offset() < offset) {
            self.size -= self.batches.pop_front().map_or(0, |batch| batch.size());
        }
        // as if the segment had been read from a journal that has only what is left
        self.began = self.batches.front().map(Batch::max_timestamp);
        self.max_timestamp = self.batches.iter().map(Batch::max_timestamp).max().unwrap_or(-1);
    }

    /// The batches from the one on that has `offset`, or is the first behind it.
    pub(crate) fn from(&self, offset: i64) -> impl Iterator<Item = &Batch> {
        let start = self.batches.partition_point(|batch| batch.last_offset() < offset);
        self.batches.range(start..)
    }

    pub(crate) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.iter()
    }

    pub(crate) fn base(&self) -> i64 {
        self.base
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(crate) fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }
}

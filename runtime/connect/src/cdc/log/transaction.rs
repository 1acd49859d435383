//! A transaction while it is read, and what is ready to be handed out.

use std::time::{Duration, Instant};

use crate::cdc::lsn::Lsn;
use crate::source::{BatchLimits, SourceRecord};

/// A transaction that has begun and not ended.
pub(super) struct Transaction {
    pub(super) commit_lsn: Lsn,
    pub(super) xid: u32,
    /// Milliseconds since the Unix epoch.
    pub(super) time: i64,
    /// Changes seen.
    pub(super) ordinal: u64,
    /// Changes that were published before, by a predecessor.
    pub(super) published: u64,
    /// Its records that were not handed out.
    pub(super) records: Vec<SourceRecord>,
    pub(super) bytes: usize,
    /// Records and bytes that were handed out since the last position.
    pub(super) open_records: u64,
    pub(super) open_bytes: u64,
    /// When the first of them was read.
    pub(super) open_since: Instant,
}

impl Transaction {
    /// Takes its records so far, and counts them.
    pub(super) fn take(&mut self) -> Vec<SourceRecord> {
        self.open_records += self.records.len() as u64;
        self.open_bytes += self.bytes as u64;
        self.bytes = 0;
        std::mem::take(&mut self.records)
    }

    pub(super) fn total(&self) -> (u64, u64) {
        (self.open_records + self.records.len() as u64, self.open_bytes + self.bytes as u64)
    }

    pub(super) fn open_for(&self) -> Duration {
        self.open_since.elapsed()
    }

    /// Begins the next part.
    pub(super) fn part_done(&mut self) {
        (self.open_records, self.open_bytes) = (0, 0);
        self.open_since = Instant::now();
    }
}

/// Records of whole transactions.
#[derive(Default)]
pub(super) struct Ready {
    pub(super) records: Vec<SourceRecord>,
    pub(super) bytes: usize,
    /// A transaction ended that has records, be they still here or handed out.
    pub(super) any: bool,
}

impl Ready {
    pub(super) fn is_full(&self, limits: &BatchLimits) -> bool {
        self.records.len() >= limits.records || self.bytes >= limits.bytes
    }

    pub(super) fn take(&mut self) -> Vec<SourceRecord> {
        (self.bytes, self.any) = (0, false);
        std::mem::take(&mut self.records)
    }
}

/// Returns the bytes of a record's key and value.
pub(super) fn record_bytes(record: &SourceRecord) -> usize {
    let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    length(&record.key) + length(&record.value)
}

//! Reading from a partition: records by offset, offsets by timestamp.

use bytes::{Bytes, BytesMut};

use super::batch::Batch;
use super::partition::PartitionLog;
use super::record;
use super::transactions::Aborted;

/// What a fetch gets from one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Read {
    /// Whole batches; the first may begin before the offset that was asked for.
    pub records: Bytes,
    /// The aborted transactions whose records are among them, when only committed ones are asked
    /// for.
    pub aborted: Vec<Aborted>,
}

/// An offset that the log does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} is not within {start}..={end}")]
pub struct OutOfRange {
    offset: i64,
    start: i64,
    end: i64,
}

/// A record's place in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOffset {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, in milliseconds since the Unix epoch.
    pub timestamp: i64,
}

impl PartitionLog {
    /// Reads whole batches from `offset` on, up to `max_bytes`, and one that is larger if there is
    /// nothing before it and `at_least_one` says so.
    ///
    /// # Errors
    /// [`OutOfRange`] when `offset` is before the start or behind the end of the log.
    pub fn read(
        &self,
        offset: i64,
        committed_only: bool,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Read, OutOfRange> {
        if offset < self.log_start || offset > self.next_offset {
            return Err(OutOfRange { offset, start: self.log_start, end: self.next_offset });
        }
        let end = self.end(committed_only);
        if offset >= end {
            return Ok(Read::default());
        }
        let mut size = 0;
        let mut found: Vec<&Batch> = Vec::new();
        for batch in self.batches_from(offset).take_while(|batch| batch.base_offset() < end) {
            let first = at_least_one && found.is_empty();
            if size + batch.size() > max_bytes && !first {
                break;
            }
            size += batch.size();
            found.push(batch);
        }
        let Some(last) = found.last() else { return Ok(Read::default()) };
        let aborted = if committed_only {
            self.index.aborted_within(offset, last.last_offset() + 1)
        } else {
            Vec::new()
        };
        Ok(Read { records: join(&found, size), aborted })
    }

    /// The first record at or after a timestamp, before the end for this isolation.
    #[must_use]
    pub fn offset_for_timestamp(
        &self,
        timestamp: i64,
        committed_only: bool,
    ) -> Option<TimedOffset> {
        let segments = self.segments.iter().filter(|s| s.max_timestamp() >= timestamp);
        let batches = segments.flat_map(|segment| segment.from(self.log_start));
        let found = batches
            .filter(|batch| batch.max_timestamp() >= timestamp)
            .find_map(|batch| self.first_in(batch, |record| record.timestamp >= timestamp));
        found.filter(|found| found.offset < self.end(committed_only))
    }

    /// The first of the records with the largest timestamp.
    #[must_use]
    pub fn offset_of_max_timestamp(&self) -> Option<TimedOffset> {
        let newest = self.batches_from(self.log_start).map(Batch::max_timestamp).max()?;
        let mut batches = self.batches_from(self.log_start);
        batches.find_map(|batch| {
            let holds = batch.max_timestamp() == newest;
            holds.then(|| self.first_in(batch, |record| record.timestamp == newest)).flatten()
        })
    }

    fn first_in(&self, batch: &Batch, fits: impl Fn(&TimedOffset) -> bool) -> Option<TimedOffset> {
        let mut found = None;
        // what can't be read has no timestamps to find
        let _ = record::each(batch, |_, raw| {
            let here = TimedOffset { offset: raw.offset(batch), timestamp: raw.timestamp(batch) };
            if found.is_none() && here.offset >= self.log_start && fits(&here) {
                found = Some(here);
            }
        });
        found
    }
}

/// One batch is handed out as it is, several are copied together once.
fn join(batches: &[&Batch], size: usize) -> Bytes {
    if let [only] = batches {
        return only.bytes().clone();
    }
    let mut bytes = BytesMut::with_capacity(size);
    for batch in batches {
        bytes.extend_from_slice(batch.bytes());
    }
    bytes.freeze()
}

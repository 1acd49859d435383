//! Records of one source partition that wait for their turn.

use std::collections::VecDeque;
use std::time::Duration;

use crate::BoxError;
use crate::processor::Current;
use crate::record::{Offset, RawRecord, StreamTime, Timestamp, TopicPartition};
use crate::topology::{RecordTimes, SourcePort};

/// What became of the head of a queue.
pub(super) enum Loaded {
    /// It was read, or there is none.
    Ready,
    /// It has no timestamp, and its source skips such records.
    Skipped,
    /// It can't be read.
    Failed(BoxError),
}

pub(super) struct PartitionQueue<R> {
    pub(super) source: TopicPartition,
    pub(super) records: VecDeque<R>,
    pub(super) port: Box<dyn SourcePort>,
    /// Timestamp of the head, once it was read.
    head: Option<Timestamp>,
    bytes: usize,
    /// The next record to process, were the queue empty.
    pub(super) position: Option<Offset>,
    pub(super) partition_time: StreamTime,
    /// Where the log ended when its end was reached; `None`: more records may be on the broker.
    end: Option<Offset>,
    /// Wall-clock time since which others wait for this queue, all its data having been taken.
    idle_since: Option<Timestamp>,
}

impl<R: RawRecord> PartitionQueue<R> {
    pub(super) fn new(source: TopicPartition, port: Box<dyn SourcePort>) -> Self {
        Self {
            source,
            records: VecDeque::new(),
            port,
            head: None,
            bytes: 0,
            position: None,
            partition_time: StreamTime::UNKNOWN,
            end: None,
            idle_since: None,
        }
    }

    pub(super) fn push(&mut self, record: R) {
        let offset = record.offset();
        let position = self.records.back().map(|last| last.offset().next()).or(self.position);
        assert!(
            position.is_none_or(|position| offset >= position),
            "INV-8: record {offset} of {} came behind position {position:?}",
            self.source,
        );
        self.end = None;
        self.bytes += record.size_bytes();
        self.records.push_back(record);
    }

    /// Reads the head if that was not done yet.
    pub(super) fn load(&mut self, wall_clock: Timestamp) -> Loaded {
        if self.head.is_some() {
            return Loaded::Ready;
        }
        let Some(raw) = self.records.front() else { return Loaded::Ready };
        let TopicPartition { topic, partition } = &self.source;
        let times = RecordTimes {
            record: raw.timestamp(),
            partition: self.partition_time.get(),
            wall_clock,
        };
        match self.port.load(Current { topic, partition: *partition, raw }, times) {
            Ok(Some(timestamp)) => {
                self.head = Some(timestamp);
                Loaded::Ready
            }
            Ok(None) => Loaded::Skipped,
            Err(error) => Loaded::Failed(error),
        }
    }

    pub(super) fn head_timestamp(&self) -> Option<Timestamp> {
        self.head
    }

    /// Takes the head's timestamp into the partition time.
    pub(super) fn take_time(&mut self) -> Timestamp {
        let timestamp = self.head.expect("a chosen queue has a head");
        self.partition_time.advance(timestamp);
        timestamp
    }

    /// Drops the head: it was processed, or a handler said to skip it.
    pub(super) fn pop(&mut self) {
        let done = self.records.pop_front().expect("only a head is popped");
        self.head = None;
        self.bytes -= done.size_bytes();
        self.position = Some(done.offset().next());
        assert!(
            !self.records.is_empty() || self.bytes == 0,
            "INV-11: {} holds no record but counts {} bytes",
            self.source,
            self.bytes,
        );
        self.pass_control_records();
    }

    /// Notes the end of the partition; returns whether the position moved.
    pub(super) fn reach_end(&mut self, end: Offset) -> bool {
        self.end = Some(end);
        let before = self.position;
        self.pass_control_records();
        self.position != before
    }

    /// Behind the last record the rest of the log is control records. The end is told only once,
    /// so it counts as soon as the records before it are done.
    fn pass_control_records(&mut self) {
        if self.records.is_empty() {
            self.position = self.position.max(self.end);
        }
    }

    /// Returns whether the others need not wait for this queue: it has a record, or it has had none
    /// for as long as `idle`, with none known to be on the broker.
    pub(super) fn lets_others_go(&mut self, wall_clock: Timestamp, idle: Duration) -> bool {
        if self.head.is_some() || self.end.is_none() {
            self.idle_since = None;
            return self.head.is_some();
        }
        let since = *self.idle_since.get_or_insert(wall_clock);
        let waited = u128::try_from(wall_clock.0.saturating_sub(since.0)).unwrap_or(0);
        waited >= idle.as_millis()
    }

    /// The next record to process: what is committed.
    pub(super) fn next_offset(&self) -> Option<Offset> {
        self.records.front().map(RawRecord::offset).or(self.position)
    }

    pub(super) fn buffered(&self) -> (usize, usize) {
        (self.records.len(), self.bytes)
    }
}

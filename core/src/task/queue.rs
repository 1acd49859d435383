//! Records of one source partition that wait for their turn.

use std::collections::VecDeque;

use crate::BoxError;
use crate::processor::Current;
use crate::record::{Offset, RawRecord, StreamTime, Timestamp, TopicPartition};
use crate::topology::SourcePort;

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
    /// No record is known to be on the broker that is not here.
    pub(super) caught_up: bool,
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
            caught_up: false,
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
        self.caught_up = false;
        self.bytes += record.size_bytes();
        self.records.push_back(record);
    }

    /// Reads the head if that was not done yet; returns why it could not be read.
    pub(super) fn load(&mut self) -> Option<BoxError> {
        if self.head.is_some() {
            return None;
        }
        let raw = self.records.front()?;
        let TopicPartition { topic, partition } = &self.source;
        match self.port.load(Current { topic, partition: *partition, raw }) {
            Ok(timestamp) => {
                self.head = Some(timestamp);
                None
            }
            Err(error) => Some(error),
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
        self.bytes = self.bytes.saturating_sub(done.size_bytes());
        self.position = Some(done.offset().next());
    }

    /// Notes the end of the partition; returns whether the position moved.
    pub(super) fn reach_end(&mut self, end: Offset) -> bool {
        self.caught_up = true;
        let moves = self.records.is_empty() && self.position.is_none_or(|at| at < end);
        if moves {
            self.position = Some(end);
        }
        moves
    }

    /// The next record to process: what is committed.
    pub(super) fn next_offset(&self) -> Option<Offset> {
        self.records.front().map(RawRecord::offset).or(self.position)
    }

    pub(super) fn buffered(&self) -> (usize, usize) {
        (self.records.len(), self.bytes)
    }
}

//! Records on their way from the Kafka client into the next transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill::client::{ClientError, Fetched, PartitionReader};
use tidemill::record::{Offset, RawRecord, TopicPartition};

use super::config::SinkOptions;
use super::record::SinkRecord;
use super::target::PartitionBatch;

/// Read at once at most, so that the bound in bytes is looked at often enough.
const CHUNK: usize = 512;

/// One partition: where its next batch begins, and what was read of it.
struct Lane {
    reader: PartitionReader,
    topic: Arc<str>,
    from: Offset,
    next: Offset,
    records: Vec<SinkRecord>,
}

impl Lane {
    /// Reads at most `max`; returns how many things were taken and their bytes.
    fn read(&mut self, max: usize, failed: &mut Option<ClientError>) -> (usize, usize) {
        let partition = self.reader.topic_partition().partition;
        let (topic, next, records) = (&self.topic, &mut self.next, &mut self.records);
        let mut bytes = 0;
        let taken = self.reader.read(max, &mut |fetched| match fetched {
            Fetched::Record(record) => {
                let record_next = record.offset().next();
                // what lies before the batch's beginning is no part of it
                if record_next > *next {
                    *next = record_next;
                    let copy = SinkRecord::copy(topic, partition, &record);
                    bytes += copy.size_bytes();
                    records.push(copy);
                }
            }
            // behind control records and what was aborted
            Fetched::EndOfPartition(at) => *next = (*next).max(at),
            Fetched::Failed(error) => *failed = Some(error),
        });
        (taken, bytes)
    }

    fn take(&mut self) -> Option<PartitionBatch> {
        let expected = std::mem::replace(&mut self.from, self.next);
        (self.next > expected).then(|| PartitionBatch {
            partition: self.reader.topic_partition().clone(),
            expected,
            next: self.next,
            records: std::mem::take(&mut self.records),
        })
    }
}

/// What was read and is in no transaction yet.
#[derive(Default)]
pub(super) struct Gathered {
    lanes: Vec<Lane>,
    records: usize,
    bytes: usize,
    turn: usize,
}

impl Gathered {
    /// Begins anew with these partitions.
    pub(super) fn assign(&mut self, readers: Vec<(PartitionReader, Offset)>) {
        self.clear();
        self.lanes = readers
            .into_iter()
            .map(|(reader, from)| {
                let topic = Arc::from(&*reader.topic_partition().topic);
                Lane { reader, topic, from, next: from, records: Vec::new() }
            })
            .collect();
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Where each partition's next batch begins.
    pub(super) fn begins(&self) -> BTreeMap<TopicPartition, Offset> {
        let lanes = self.lanes.iter();
        lanes.map(|lane| (lane.reader.topic_partition().clone(), lane.from)).collect()
    }

    pub(super) fn has_records(&self) -> bool {
        self.records > 0
    }

    /// Takes what is there, from all partitions in turn, until the batch is full.
    ///
    /// Returns the last error of a reader, if there was one.
    pub(super) fn fill(&mut self, options: &SinkOptions) -> Option<ClientError> {
        let (mut failed, count) = (None, self.lanes.len());
        let mut dry = 0;
        while dry < count && !self.is_full(options) {
            let left = options.batch_records - self.records;
            // as many as the bytes that are left hold of such records as there are
            let size = (self.bytes / self.records.max(1)).max(1);
            let fit = (options.batch_bytes - self.bytes) / size + 1;
            let max = left.min(fit).clamp(1, CHUNK);
            self.turn = (self.turn + 1) % count;
            let lane = &mut self.lanes[self.turn];
            let before = lane.records.len();
            let (taken, bytes) = lane.read(max, &mut failed);
            self.records += lane.records.len() - before;
            self.bytes += bytes;
            dry = if taken == 0 { dry + 1 } else { 0 };
        }
        failed
    }

    fn is_full(&self, options: &SinkOptions) -> bool {
        self.records >= options.batch_records || self.bytes >= options.batch_bytes
    }

    /// Returns everything, partitions where only the offset moved included.
    pub(super) fn take(&mut self) -> Vec<PartitionBatch> {
        (self.records, self.bytes) = (0, 0);
        self.lanes.iter_mut().filter_map(Lane::take).collect()
    }
}

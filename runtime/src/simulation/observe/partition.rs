//! One partition, watched: which records are committed, and that nobody who reads along misses any.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::records::RecordBatchDecoder;
use tidemill_broker::log::{Batch, PartitionLog};
use tidemill_core::record::{Headers, Offset, OwnedRecord, Timestamp};

/// Type of a control record that ends a transaction by a commit; 0 is an abort.
const COMMIT: [u8; 2] = [0, 1];

#[derive(Debug, Default)]
pub(super) struct PartitionWatch {
    /// Everything below was looked at.
    next: i64,
    /// What a reader of committed records has read up to.
    stable: i64,
    /// Records of transactions that are not decided, by producer.
    open: BTreeMap<i64, Vec<OwnedRecord>>,
    committed: BTreeMap<i64, OwnedRecord>,
}

impl PartitionWatch {
    pub(super) fn committed(&self) -> &BTreeMap<i64, OwnedRecord> {
        &self.committed
    }

    /// Records of these producers' open transactions.
    pub(super) fn open_of(&self, producers: &BTreeSet<i64>) -> impl Iterator<Item = &OwnedRecord> {
        self.open.iter().filter(|(id, _)| producers.contains(id)).flat_map(|(_, records)| records)
    }

    /// Reads what is new.
    pub(super) fn look(&mut self, log: &PartitionLog) -> Result<(), String> {
        if log.high_watermark() < self.next {
            let (end, next) = (log.high_watermark(), self.next);
            return Err(format!("the log was cut from {next} to {end}"));
        }
        let from = self.next;
        for batch in log.batches_from(from).filter(|batch| batch.base_offset() >= from) {
            self.take(batch)?;
            self.next = batch.last_offset() + 1;
        }
        let stable = log.last_stable_offset();
        if stable < self.stable {
            return Err(format!("the last stable offset went from {} to {stable}", self.stable));
        }
        self.stable = stable;
        Ok(())
    }

    fn take(&mut self, batch: &Batch) -> Result<(), String> {
        let producer = batch.producer_id();
        let records = decode(batch)?;
        if batch.is_control() {
            let key = records.first().and_then(|record| record.key.as_deref());
            let commits = key.is_some_and(|key| key.get(2..4) == Some(&COMMIT));
            for record in self.open.remove(&producer).unwrap_or_default() {
                if commits {
                    self.show(record)?;
                }
            }
        } else if batch.is_transactional() {
            self.open.entry(producer).or_default().extend(records);
        } else {
            records.into_iter().try_for_each(|record| self.show(record))?;
        }
        Ok(())
    }

    fn show(&mut self, record: OwnedRecord) -> Result<(), String> {
        let offset = record.offset.0;
        if offset < self.stable {
            return Err(format!(
                "record {offset} became visible when readers were at {} already",
                self.stable
            ));
        }
        self.committed.insert(offset, record);
        Ok(())
    }
}

fn decode(batch: &Batch) -> Result<Vec<OwnedRecord>, String> {
    let mut bytes = batch.bytes().clone();
    let set = RecordBatchDecoder::decode(&mut bytes)
        .map_err(|error| format!("the batch at {} is unreadable: {error}", batch.base_offset()))?;
    let record = |record: kafka_protocol::records::Record| {
        let mut headers = Headers::new();
        for (name, value) in record.headers {
            headers.add(name.to_string(), value.map(|value| value.to_vec()));
        }
        OwnedRecord {
            offset: Offset(record.offset),
            timestamp: Timestamp(record.timestamp),
            key: record.key.map(|key| key.to_vec()),
            value: record.value.map(|value| value.to_vec()),
            headers,
        }
    };
    Ok(set.records.into_iter().map(record).collect())
}

//! What a partition knows of the producers that wrote to it.
//!
//! The rules are those of `ProducerStateManager` and `ProducerAppendInfo`: the epoch never goes
//! back, sequences have no gap, and a batch among the last five is a repetition.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::refusal::Refusal;
use crate::engine::Millis;

/// How many batches are remembered: as many as a producer may have in flight.
const REMEMBERED: usize = 5;
const NO_EPOCH: i16 = -1;

/// A batch that was written, enough to know it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    first_sequence: i32,
    last_sequence: i32,
    /// Offset of its first record.
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) timestamp: i64,
}

/// One producer, as one partition knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producer {
    epoch: i16,
    coordinator_epoch: i32,
    last_timestamp: i64,
    /// When it wrote last, by the broker's clock.
    seen: Millis,
    written: VecDeque<Written>,
    transaction: Option<i64>,
}

impl Default for Producer {
    fn default() -> Self {
        Self {
            epoch: NO_EPOCH,
            coordinator_epoch: -1,
            last_timestamp: -1,
            seen: 0,
            written: VecDeque::new(),
            transaction: None,
        }
    }
}

impl Producer {
    /// Its epoch.
    #[must_use]
    pub fn epoch(&self) -> i16 {
        self.epoch
    }

    /// Sequence number of its last record, -1 if it has written none in this epoch.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        self.written.back().map_or(-1, |last| last.last_sequence)
    }

    /// Offset of its last record in this epoch, if it has one.
    #[must_use]
    pub fn last_offset(&self) -> Option<i64> {
        self.written.back().map(|last| last.last_offset)
    }

    /// Largest timestamp of what it wrote last, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn last_timestamp(&self) -> i64 {
        self.last_timestamp
    }

    /// Epoch of the coordinator that wrote its last marker, -1 if there is none.
    #[must_use]
    pub fn coordinator_epoch(&self) -> i32 {
        self.coordinator_epoch
    }

    /// Where its open transaction begins, if it has one.
    #[must_use]
    pub fn transaction(&self) -> Option<i64> {
        self.transaction
    }

    /// The batch that `batch` repeats.
    pub(crate) fn duplicate(&self, batch: &Batch) -> Option<&Written> {
        if self.epoch != batch.producer_epoch() {
            return None;
        }
        let sequences = (batch.base_sequence(), batch.last_sequence());
        self.written.iter().find(|known| (known.first_sequence, known.last_sequence) == sequences)
    }

    /// Whether `batch` may be the next of this producer.
    pub(crate) fn check(&self, batch: &Batch) -> Result<(), Refusal> {
        let (id, epoch, first) =
            (batch.producer_id(), batch.producer_epoch(), batch.base_sequence());
        if epoch < self.epoch {
            return Err(Refusal::fenced(id, epoch, self.epoch));
        }
        if epoch != self.epoch {
            if first != 0 && self.epoch != NO_EPOCH {
                return Err(Refusal::new_epoch(id, epoch, first, self.epoch));
            }
        } else {
            let last = self.last_sequence();
            let follows = first == last.wrapping_add(1) && last != i32::MAX;
            let wraps = first == 0 && last == i32::MAX;
            if !(follows || wraps) && super::append::checks_sequences() {
                return Err(Refusal::out_of_order(id, epoch, first, last));
            }
        }
        if self.transaction.is_some() && !batch.is_transactional() {
            return Err(Refusal::not_transactional(id, epoch));
        }
        Ok(())
    }

    /// Takes note of a batch that was written. Returns whether it began a transaction.
    pub(crate) fn wrote(&mut self, batch: &Batch, now: Millis) -> bool {
        self.seen(now);
        self.enter(batch.producer_epoch());
        if self.written.len() == REMEMBERED {
            self.written.pop_front();
        }
        self.written.push_back(Written {
            first_sequence: batch.base_sequence(),
            last_sequence: batch.last_sequence(),
            base_offset: batch.base_offset(),
            last_offset: batch.last_offset(),
            timestamp: batch.max_timestamp(),
        });
        self.last_timestamp = batch.max_timestamp();
        let begins = batch.is_transactional() && self.transaction.is_none();
        if begins {
            self.transaction = Some(batch.base_offset());
        }
        begins
    }

    /// Takes note of a marker. Returns where the transaction that it ends began, if there was one.
    pub(crate) fn ended(
        &mut self,
        epoch: i16,
        coordinator_epoch: i32,
        timestamp: i64,
    ) -> Option<i64> {
        self.enter(epoch);
        self.coordinator_epoch = coordinator_epoch;
        self.last_timestamp = timestamp;
        self.transaction.take()
    }

    pub(crate) fn seen(&mut self, now: Millis) {
        self.seen = now;
    }

    /// Whether it has been idle since `limit`. Apache Kafka goes by the timestamps of its records,
    /// which forgets a producer of old records while it is writing.
    pub(crate) fn is_idle_since(&self, limit: Millis) -> bool {
        self.transaction.is_none() && self.seen <= limit
    }

    fn enter(&mut self, epoch: i16) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.written.clear();
        }
    }
}

//! Reads one assigned partition.

#![expect(unsafe_code, reason = "batch consume hands out an array of C messages")]

use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidemill_core::record::{RawRecord, TopicPartition};

use super::code;
use super::error;
use super::ffi;
use super::handle::Queue;
use super::message::Message;
use crate::client::seam::Fetched;

/// The records of one partition, from the offset that it was assigned with.
///
/// Reading counts as polling for `max.poll.interval.ms` (librdkafka's `rd_kafka_app_polled` is
/// called for partition queues too), but rebalances are only seen by `Consumer::poll_event`.
/// Once the partition is unassigned, or assigned anew, the old reader yields nothing more.
pub struct PartitionReader {
    partition: TopicPartition,
    queue: Queue,
    active: Arc<AtomicBool>,
    batch: Vec<*mut ffi::rd_kafka_message_t>,
}

// SAFETY: the batch holds no message between two calls; the queue may be used by any thread.
unsafe impl Send for PartitionReader {}

impl PartitionReader {
    pub(super) fn new(partition: TopicPartition, queue: Queue) -> (Self, Arc<AtomicBool>) {
        let active = Arc::new(AtomicBool::new(true));
        let reader = Self { partition, queue, active: Arc::clone(&active), batch: Vec::new() };
        (reader, active)
    }

    /// Returns which partition this is.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Hands over at most `max` records or other outcomes that are there already; never waits.
    ///
    /// Returns how many were handed over. The consumer's waker is raised when the queue turns from
    /// empty to non-empty, so **read until less than `max` comes back** before waiting for it.
    pub fn read(&mut self, max: usize, into: &mut impl FnMut(Fetched)) -> usize {
        if !self.active.load(Ordering::Acquire) {
            return 0;
        }
        assert!(self.batch.iter().all(|message| message.is_null()), "a batch was left unread");
        self.batch.clear();
        self.batch.resize(max, ptr::null_mut());
        // SAFETY: the array has `max` places; the first `count` are filled with messages that are
        // ours. A timeout of 0 returns what is there.
        let count = unsafe {
            ffi::rd_kafka_consume_batch_queue(self.queue.ptr(), 0, self.batch.as_mut_ptr(), max)
        };
        // Negative only for a queue of a client that is not a consumer.
        self.batch.truncate(usize::try_from(count).unwrap_or(0));
        for place in 0..self.batch.len() {
            let message = std::mem::replace(&mut self.batch[place], ptr::null_mut());
            if let Some(message) = self.own(message) {
                into(outcome(message));
            }
        }
        self.batch.len()
    }

    fn own(&self, message: *mut ffi::rd_kafka_message_t) -> Option<Message> {
        let client = Arc::clone(self.queue.client());
        // SAFETY: a message of this client that the batch call gave us; its place in the batch is
        // null now, so it has no second owner.
        NonNull::new(message).map(|message| unsafe { Message::own(message, client) })
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        // Only after a panic in the middle of a batch: a message left behind would keep the client
        // from ever being destroyed.
        for message in std::mem::take(&mut self.batch) {
            drop(self.own(message));
        }
    }
}

fn outcome(message: Message) -> Fetched {
    match message.code() {
        code::NO_ERROR => Fetched::Record(message),
        code::PARTITION_EOF => Fetched::EndOfPartition(message.offset()),
        failed => Fetched::Failed(error::make(
            "read a partition",
            failed,
            message.error_text(),
            code::severity(failed),
        )),
    }
}

impl fmt::Debug for PartitionReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionReader")
            .field("partition", &self.partition)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

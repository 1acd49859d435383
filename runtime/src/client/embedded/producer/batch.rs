//! Records that go out together, with the sequence numbers that the broker knows them by.

use std::time::Duration;

use bytes::Bytes;

use super::queue::Queued;
use crate::client::embedded::link::Pending;
use crate::client::embedded::records::{Outbound, Writer, encode};

/// A batch keeps its records and its first sequence number through every repetition.
pub(super) struct Batch {
    pub(super) sequence: i32,
    pub(super) items: Vec<Queued>,
    /// The request, while there is one.
    pub(super) flight: Option<Pending>,
    pub(super) retries: u32,
    pub(super) not_before: Duration,
}

impl Batch {
    pub(super) fn new(sequence: i32, items: Vec<Queued>) -> Self {
        Self { sequence, items, flight: None, retries: 0, not_before: Duration::ZERO }
    }

    /// How many sequence numbers it has.
    pub(super) fn len(&self) -> i32 {
        i32::try_from(self.items.len()).unwrap_or(i32::MAX)
    }

    /// Since when its oldest record waits.
    pub(super) fn since(&self) -> Duration {
        self.items.iter().map(|item| item.since).min().unwrap_or_default()
    }

    pub(super) fn encode(&self, writer: Writer) -> Bytes {
        let records: Vec<Outbound> = self.items.iter().map(|item| item.record.clone()).collect();
        let sequence = if writer.producer_id < 0 { -1 } else { self.sequence };
        encode(writer, sequence, &records)
    }
}

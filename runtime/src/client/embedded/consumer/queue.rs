//! What was fetched of one partition and not read yet.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use tidemill_core::record::TopicPartition;

use crate::client::embedded::message::Message;
use crate::client::error::ClientError;
use crate::client::seam::Fetched;

/// One assignment of a partition; another assignment has another queue.
#[derive(Debug)]
pub(super) struct PartitionQueue {
    pub(super) partition: TopicPartition,
    items: RefCell<VecDeque<Fetched<Message>>>,
    bytes: Cell<usize>,
    active: Cell<bool>,
    /// The offset to fetch from.
    pub(super) next: Cell<i64>,
    /// The last end that was told.
    pub(super) told_end: Cell<Option<i64>>,
    pub(super) not_before: Cell<Duration>,
    /// Not to be fetched any more: an error was told that only a new assignment heals.
    pub(super) stopped: Cell<bool>,
    /// Since when the partition is not there.
    pub(super) missing_since: Cell<Option<Duration>>,
}

impl PartitionQueue {
    pub(super) fn new(partition: TopicPartition, offset: i64) -> Self {
        Self {
            partition,
            items: RefCell::default(),
            bytes: Cell::new(0),
            active: Cell::new(true),
            next: Cell::new(offset),
            told_end: Cell::new(None),
            not_before: Cell::new(Duration::ZERO),
            stopped: Cell::new(false),
            missing_since: Cell::new(None),
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.active.get()
    }

    /// Its reader yields nothing more.
    pub(super) fn deactivate(&self) {
        self.active.set(false);
        self.items.borrow_mut().clear();
        self.bytes.set(0);
    }

    /// Bytes of values and number of what waits, as librdkafka counts them.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.bytes.get(), self.items.borrow().len())
    }

    /// Appends; returns true if there was nothing before.
    pub(super) fn push(&self, item: Fetched<Message>) -> bool {
        if let Fetched::Record(message) = &item {
            self.bytes.set(self.bytes.get() + message.value_len());
        }
        let mut items = self.items.borrow_mut();
        items.push_back(item);
        items.len() == 1
    }

    pub(super) fn fail(&self, error: ClientError) -> bool {
        self.push(Fetched::Failed(error))
    }

    pub(super) fn pop(&self) -> Option<Fetched<Message>> {
        let item = self.items.borrow_mut().pop_front()?;
        if let Fetched::Record(message) = &item {
            self.bytes.set(self.bytes.get() - message.value_len());
        }
        Some(item)
    }
}

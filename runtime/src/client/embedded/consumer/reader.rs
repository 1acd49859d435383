//! Reads one assigned partition.

use std::fmt;
use std::rc::Rc;

use tidemill_core::record::TopicPartition;

use super::Core;
use super::queue::PartitionQueue;
use crate::client::embedded::message::Message;
use crate::client::seam::{Fetched, ReadPartition};

/// The records of one partition, from the offset that it was assigned with.
pub(crate) struct PartitionReader {
    queue: Rc<PartitionQueue>,
    core: Rc<Core>,
}

impl PartitionReader {
    pub(super) fn new(queue: Rc<PartitionQueue>, core: Rc<Core>) -> Self {
        Self { queue, core }
    }
}

impl ReadPartition for PartitionReader {
    type Message = Message;

    fn topic_partition(&self) -> &TopicPartition {
        &self.queue.partition
    }

    fn read(&mut self, max: usize, into: &mut impl FnMut(Fetched<Message>)) -> usize {
        if !self.queue.is_active() || self.core.is_dead() {
            return 0;
        }
        self.core.app_polled();
        let mut count = 0;
        while count < max {
            let Some(item) = self.queue.pop() else { break };
            count += 1;
            into(item);
        }
        count
    }
}

impl fmt::Debug for PartitionReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionReader")
            .field("partition", &self.queue.partition)
            .field("active", &self.queue.is_active())
            .finish_non_exhaustive()
    }
}

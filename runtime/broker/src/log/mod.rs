//! Topics, partitions and their records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::Context;
use crate::journal;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Marker {
    /// Its records never happened.
    Abort,
    /// Its records are part of the log.
    Commit,
}

/// What a restart has to know of topics and records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {}

/// All topics, by name.
#[derive(Debug, Default)]
pub struct Topics {
    topics: BTreeMap<String, Vec<PartitionLog>>,
}

impl Topics {
    pub(crate) fn recover(&mut self, entry: Entry) -> Result<(), String> {
        match entry {}
    }

    pub(crate) fn snapshot(&self) -> Vec<journal::Entry> {
        Vec::new()
    }

    /// Names of the topics, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(String::as_str)
    }

    /// How many partitions a topic has; `None` if there is no such topic.
    #[must_use]
    pub fn partition_count(&self, topic: &str) -> Option<i32> {
        self.topics.get(topic).map(|logs| i32::try_from(logs.len()).unwrap_or(i32::MAX))
    }

    /// One partition's log.
    #[must_use]
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionLog> {
        self.topics.get(topic)?.get(usize::try_from(partition).ok()?)
    }

    pub(crate) fn partition_mut(
        &mut self,
        topic: &str,
        partition: i32,
    ) -> Option<&mut PartitionLog> {
        self.topics.get_mut(topic)?.get_mut(usize::try_from(partition).ok()?)
    }
}

/// The records of one partition.
#[derive(Debug)]
pub struct PartitionLog {
    next_offset: i64,
}

impl PartitionLog {
    /// Ends a producer's transaction in this partition; returns the marker's offset.
    pub(crate) fn append_marker(
        &mut self,
        _context: &mut Context<'_>,
        _producer: (i64, i16),
        _marker: Marker,
        _coordinator_epoch: i32,
    ) -> i64 {
        self.next_offset
    }

    /// Whether a producer has a transaction here that has not ended.
    #[must_use]
    pub fn has_open_transaction(&self, _producer_id: i64) -> bool {
        false
    }
}

//! Counters with a type of their own, so that an offset is never mistaken for a partition.

use std::fmt;
use std::sync::Arc;

/// A position in a partition's log. Of a record it is the record's own place; as a *position* (of a
/// consumer, a commit, a store) it is always the **next** record to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    /// The first offset of a log that nothing was deleted from.
    pub const ZERO: Self = Self(0);

    /// Returns the offset after this one.
    ///
    /// # Panics
    /// Past `i64::MAX`, which no log reaches.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("an offset never reaches i64::MAX"))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a partition, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub i32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A partition of a topic. Cloning is cheap. Printed `topic-7`, as Kafka prints it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: Partition,
}

impl TopicPartition {
    /// Makes a topic partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: Partition) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The number of a sub-topology, from 0, in the order in which its first node was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubTopologyId(pub u32);

impl fmt::Display for SubTopologyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

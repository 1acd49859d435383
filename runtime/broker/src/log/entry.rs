//! What a restart has to know of topics and records.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::producer::Producer;
use super::transactions::Aborted;

/// Number of a topic: never used again, not even for a topic of the same name.
pub type TopicNumber = u32;

/// Which partition, without the name of its topic.
pub type PartitionKey = (TopicNumber, i32);

/// One thing that happened to a topic or to records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A batch was written at the end of a partition: records or a marker.
    Appended(PartitionKey, Bytes),
    /// A topic was made.
    Created {
        /// Its number.
        topic: TopicNumber,
        /// Its name.
        name: String,
        /// How many partitions it has.
        partitions: i32,
        /// Where its configuration differs from the defaults.
        configs: BTreeMap<String, String>,
    },
    /// A topic was deleted.
    Deleted(TopicNumber),
    /// A topic has that many partitions now.
    Extended(TopicNumber, i32),
    /// A topic's configuration differs from the defaults in this now.
    Configured(TopicNumber, BTreeMap<String, String>),
    /// The log of a partition starts at this offset now.
    Started(PartitionKey, i64),
    /// A partition forgot producers that had written nothing for long.
    Expired(PartitionKey, Vec<i64>),
    /// Compaction replaced everything in segments before an offset.
    Cleaned(PartitionKey, i64, Vec<SegmentImage>),
    /// Numbers below this were given to topics.
    NextTopic(TopicNumber),
    /// A partition as it was when the journal was rewritten; its segments follow.
    Restored(PartitionKey, Box<PartitionImage>),
    /// Another segment of a partition begins, in a rewritten journal.
    Segment(PartitionKey, i64),
    /// A batch of that segment.
    Stored(PartitionKey, Bytes),
}

/// A segment as compaction left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentImage {
    /// Its first offset.
    pub base: i64,
    /// Its batches.
    pub batches: Vec<Bytes>,
}

/// A partition without its records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionImage {
    /// Where its first segment begins.
    pub(crate) base: i64,
    pub(crate) log_start: i64,
    pub(crate) next_offset: i64,
    pub(crate) cleaned_to: i64,
    pub(crate) producers: BTreeMap<i64, Producer>,
    pub(crate) aborted: VecDeque<Aborted>,
}

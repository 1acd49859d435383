//! Values that cross the client seam. No librdkafka in here.

use std::collections::BTreeMap;
use std::fmt;

use tidemill_core::record::{Headers, Offset, Partition, Timestamp, TopicPartition};

use super::error::ClientError;
use crate::config::ClientProperties;

/// Options of one client, by librdkafka's names (`bootstrap.servers`, `isolation.level`, ..).
///
/// Debug output lists the names only: a value may be a secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClientConfig {
    options: BTreeMap<String, String>,
}

impl ClientConfig {
    /// Makes an empty configuration.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one option, replacing an earlier value.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.options.insert(name.into(), value.into());
        self
    }

    /// Returns the value of an option, if it was set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// Iterates over names and values in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl From<BTreeMap<String, String>> for ClientConfig {
    fn from(options: BTreeMap<String, String>) -> Self {
        Self { options }
    }
}

impl From<&ClientProperties> for ClientConfig {
    fn from(properties: &ClientProperties) -> Self {
        let mut config = Self::new();
        for (name, value) in properties.iter() {
            config.set(name, value);
        }
        config
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientConfig")?;
        f.debug_set().entries(self.options.keys()).finish()
    }
}

/// What the consumer group asks of its member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupEvent {
    /// These partitions are ours now: answer with `assign` (an empty list too).
    Assigned(Vec<TopicPartition>),
    /// These partitions are to be given back: answer with `unassign`.
    Revoked {
        /// What is given back; with the classic eager protocols, everything.
        partitions: Vec<TopicPartition>,
        /// True if somebody else may own them already, so that nothing may be committed for them.
        /// False is no promise: a commit refused for its generation says the same (LRK#5604).
        lost: bool,
    },
    /// The membership or the client failed in a way that time does not heal.
    Failed(ClientError),
}

/// The committed offset of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Which partition.
    pub partition: TopicPartition,
    /// The next record to read; `None` if the group never committed.
    pub offset: Option<Offset>,
    /// What was committed with it; empty if nothing was.
    pub metadata: String,
}

/// An offset to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetCommit {
    /// Which partition.
    pub partition: TopicPartition,
    /// The **next** record to read.
    pub offset: Offset,
    /// Kept by the broker with the offset. Default limit of a broker: 4096 bytes.
    pub metadata: String,
}

/// A topic that this producer knows. Cheap to copy; valid for the producer that made it only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicHandle {
    pub(super) producer: u32,
    pub(super) index: u32,
}

/// A partition whose acknowledged offsets this producer keeps. Valid for its maker only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PositionSlot {
    pub(super) producer: u32,
    pub(super) index: u32,
}

/// One record on its way out.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Where to.
    pub topic: TopicHandle,
    /// Which partition; `None` leaves it to librdkafka's partitioner.
    pub partition: Option<Partition>,
    /// Key bytes; `None` is null.
    pub key: Option<&'a [u8]>,
    /// Value bytes; `None` is null, a tombstone.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since the Unix epoch. 0 is sent as 1: librdkafka reads 0 as "now", and one
    /// millisecond off is better than a wall clock among event times.
    pub timestamp: Timestamp,
    /// The headers; none costs nothing.
    pub headers: &'a Headers,
    /// Keep the acknowledged offset under this slot.
    pub position: Option<PositionSlot>,
}

/// A record was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The send queue is full: `poll`, then send the same record again.
    #[error("the send queue is full")]
    QueueFull,
    /// Larger than `message.max.bytes`.
    #[error("a record of {bytes} bytes is larger than message.max.bytes, {max}")]
    TooLarge {
        /// Bytes of key and value.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Anything else.
    #[error(transparent)]
    Failed(#[from] ClientError),
}

/// What delivery reports say about one changelog partition since the last reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckedPosition {
    /// The offset after the last acknowledged record; `None` if no report carried an offset.
    pub next: Option<Offset>,
    /// True if the reports cannot be trusted: an offset was negative or not above the one before
    /// (after a retry librdkafka may invent offsets from -1 up), a record was refused, or fewer
    /// records were acknowledged than sent. Ask for the partition's end offset instead.
    pub suspicious: bool,
}

/// A record was taken but not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a record for {topic}-{partition} was not delivered")]
pub struct DeliveryError {
    /// Its topic.
    pub topic: String,
    /// Its partition, -1 if none was chosen yet.
    pub partition: Partition,
    /// Why.
    #[source]
    pub error: ClientError,
}

/// What the cluster says about a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` if the topic does not exist.
    pub partitions: Option<usize>,
}

/// The configuration of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// The topic's name.
    pub name: String,
    /// Values by name, defaults included, except those that the broker hides.
    pub entries: BTreeMap<String, String>,
}

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; -1 is the broker's default.
    pub partitions: i32,
    /// How many replicas; -1 is the broker's default.
    pub replication_factor: i16,
    /// Topic configuration, e.g. `cleanup.policy`.
    pub configs: BTreeMap<String, String>,
}

/// What became of a topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicCreation {
    /// It exists because of this call.
    Created,
    /// It was there before; check its partitions.
    AlreadyExists,
    /// It was refused.
    Failed(ClientError),
}

/// Which place of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first record that is still there.
    Earliest,
    /// After the last record that the isolation lets a reader see.
    Latest,
    /// The first record with this timestamp or a later one, in milliseconds since the Unix epoch,
    /// not negative; the answer is -1 if there is none.
    FromTimestamp(Timestamp),
}

/// Whose eyes the end of a log is read with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Latest is the high watermark: open transactions count. What restore targets use (INV-4).
    ReadUncommitted,
    /// Latest is the last stable offset: the start of the first open transaction.
    ReadCommitted,
}

//! What is wrong with an events topic.

use tidemill::client::ClientError;
use tidemill::record::{Offset, Partition};

use crate::event_sourcing::{EventError, VersionError};

/// An events topic, or a changelog, can't be read.
#[derive(Debug, thiserror::Error)]
pub enum EventLogError {
    /// Kafka refused or is not there.
    #[error("topic {topic}: {doing} failed")]
    Kafka {
        /// The topic.
        topic: String,
        /// What was being done.
        doing: &'static str,
        /// What the client said.
        #[source]
        cause: ClientError,
    },
    /// There is no such topic.
    #[error("topic {topic} does not exist: check its name, it is never created by a reader")]
    NoTopic {
        /// The topic.
        topic: String,
    },
    /// A partition does not come to its end: a transaction stays open, or the broker is away.
    #[error(
        "topic {topic}-{partition}: no progress at offset {position}, before the end {end}; look \
         for a transaction that stays open"
    )]
    NoProgress {
        /// The topic.
        topic: String,
        /// The partition.
        partition: Partition,
        /// The offset that is waited for.
        position: Offset,
        /// The end of the partition when the reading began.
        end: Offset,
    },
    /// A record is no event: somebody else writes to the topic.
    #[error("topic {topic}-{partition}: the record at offset {offset} is no event")]
    NoEvent {
        /// The topic.
        topic: String,
        /// The partition.
        partition: Partition,
        /// The record's offset.
        offset: Offset,
        /// What does not fit.
        #[source]
        cause: serde_json::Error,
    },
    /// An event can't be read.
    #[error("topic {topic}-{partition}: the event at offset {offset} can't be read")]
    Event {
        /// The topic.
        topic: String,
        /// The partition.
        partition: Partition,
        /// The record's offset.
        offset: Offset,
        /// Why.
        #[source]
        cause: EventError,
    },
    /// The versions of a stream are wrong.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// A state has no JSON form.
    #[error("stream {stream}: no JSON can be made of its state")]
    Json {
        /// The stream's id.
        stream: String,
        /// What serde says.
        #[source]
        cause: serde_json::Error,
    },
}

//! What the journal keeps of groups: the same things as Kafka's `__consumer_offsets`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::engine::Millis;
use crate::log::Marker;

/// What a restart has to know of groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// Number of the next member id, so that none is given twice.
    NextMemberId(u64),
    /// A generation and its members, as of a completed rebalance.
    Generation(Generation),
    /// A group was deleted with all that it had.
    Deleted {
        /// The group.
        group: String,
    },
    /// An offset was committed, or is to be when its transaction commits.
    Offset {
        /// The group.
        group: String,
        /// Topic of the offset.
        topic: String,
        /// Partition of the offset.
        partition: i32,
        /// The offset and what came with it.
        committed: Committed,
        /// Producer id and epoch if it is part of a transaction.
        producer: Option<(i64, i16)>,
    },
    /// An offset was deleted, committed or not.
    OffsetDeleted {
        /// The group.
        group: String,
        /// Topic of the offset.
        topic: String,
        /// Partition of the offset.
        partition: i32,
    },
    /// The offsets of a transaction were decided.
    Decided {
        /// The group.
        group: String,
        /// Producer id and epoch of the marker.
        producer: (i64, i16),
        /// How the transaction ended.
        marker: Marker,
        /// When the marker came.
        at: Millis,
    },
}

/// A generation of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The group.
    pub group: String,
    /// Number of the generation.
    pub generation: i32,
    /// What kind of protocol the members speak, e.g. `consumer`.
    pub protocol_type: Option<String>,
    /// The protocol that they agreed on, e.g. `range`.
    pub protocol: Option<String>,
    /// Id of the leader.
    pub leader: Option<String>,
    /// When the group came to this generation's state.
    pub since: Millis,
    /// The members.
    pub members: Vec<StoredMember>,
}

/// A member of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMember {
    /// Id that the coordinator gave it.
    pub id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// `client.id` of its client.
    pub client_id: String,
    /// Where its client is.
    pub client_host: String,
    /// How long it may take to join again, in milliseconds.
    pub rebalance_timeout: Millis,
    /// How long it may be silent, in milliseconds.
    pub session_timeout: Millis,
    /// The agreed protocol's metadata.
    pub metadata: Bytes,
    /// What the leader assigned to it.
    pub assignment: Bytes,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The offset.
    pub offset: i64,
    /// Leader epoch of the last record before it, or -1.
    pub leader_epoch: i32,
    /// What the client wanted to be kept with it.
    pub metadata: String,
    /// When it was committed.
    pub at: Millis,
    /// Its place among all commits of the broker: of two, the later one counts.
    pub sequence: u64,
}

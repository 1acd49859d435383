//! How far the log was published: what is stored in Kafka of a source that reads it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::lsn::Lsn;
use super::relation::SchemaVersion;
use crate::postgres::DatabaseIdentity;

/// The form of a position; a higher one is a newer program's.
pub(crate) const POSITION_VERSION: u32 = 1;

/// How far a source that reads PostgreSQL's log has come.
///
/// It names what it was taken from, so that it is never used on something else. A transaction lies
/// before `lsn` or after it, never across, unless `part` says how much of it was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// The form of this position.
    pub v: u32,
    /// Which database.
    pub identity: DatabaseIdentity,
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: PublicationMark,
    /// All transactions that end here or before are published; `None` before the slot was made.
    pub lsn: Option<Lsn>,
    /// How much was published of the transaction that comes next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// What is left to read of the tables themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotProgress>,
    /// The shapes of the tables seen so far, by the tables' object ids.
    #[serde(default, with = "shared")]
    pub schemas: Arc<BTreeMap<u32, SchemaVersion>>,
}

/// Which publication, and what it published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicationMark {
    /// Its name.
    pub name: String,
    /// Its object id: another one of the same name was made anew.
    pub oid: u32,
    /// Made of its tables, columns, filters and operations.
    pub fingerprint: Uuid,
}

/// A beginning of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which transaction: where its commit record lies.
    pub commit_lsn: Lsn,
    /// How many of its changes are published.
    pub ordinal: u64,
}

/// The tables that are not read to their end, the one in hand first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotProgress {
    /// Tables, by their object ids.
    pub tables: Vec<u32>,
    /// No row of them was published before: changes that the view contains are left out, since
    /// nobody knows the row that they change.
    #[serde(default)]
    pub fresh: bool,
    /// The key of the last row read of the first one, as PostgreSQL prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<String>>,
}

impl LogPosition {
    /// Returns where the log goes on.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn.unwrap_or_default()
    }
}

/// A value behind an `Arc`, stored as itself.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &Arc<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}

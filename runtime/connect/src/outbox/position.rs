//! Where a polling relay stands: what was visible when it looked, never a row.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::postgres::DatabaseIdentity;

/// Before everything: no transaction is visible in it.
pub(crate) const NOTHING: &str = "1:1:";

/// The position of a [`PollingOutbox`](super::PollingOutbox).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxPosition {
    /// Which database.
    #[serde(flatten)]
    pub database: DatabaseIdentity,
    /// Which outbox in it.
    pub outbox: Uuid,
    /// Which of several relays: index and number.
    pub shard: (u32, u32),
    /// The session that committed it; the database knows it and those since, so that one which was
    /// restored from a backup does not pass for the one that the position was taken from. Without
    /// it, as an operator may write it, this is not checked.
    #[serde(default)]
    pub token: Option<Uuid>,
    /// How much had been written to the log of the server: a server that has less lost something.
    pub lsn: u64,
    /// A snapshot: what is visible in it was published.
    pub base: String,
    /// A later snapshot, of which a part was published: what is visible in it and not in `base`, up
    /// to `last_id`.
    pub target: Option<String>,
    /// The last row of that part.
    pub last_id: i64,
    /// The last request to publish dead events that was fulfilled.
    pub ticket: i64,
}

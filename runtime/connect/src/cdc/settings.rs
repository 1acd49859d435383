//! What can be set for a source that reads the log.

use std::time::Duration;

use tokio_postgres::Config;

use super::error::ConfigError;

/// What to do with a transaction that is too large for one Kafka transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LargeTransaction {
    /// Stop and say so. All rows of a transaction become visible at once, or it is not published.
    Halt {
        /// More records than that are too many.
        records: u64,
        /// More bytes of keys and values than that are too many.
        bytes: u64,
    },
    /// Publish it in parts, each exactly once and in order. A reader may see a part of it for a
    /// while.
    Split {
        /// Records of a part, roughly.
        records: u64,
        /// Bytes of a part, roughly.
        bytes: u64,
        /// How long a part may take: less than Kafka's transaction timeout.
        time: Duration,
    },
}

impl Default for LargeTransaction {
    /// Halt at a million records or 256 MiB.
    fn default() -> Self {
        Self::Halt { records: 1_000_000, bytes: 256 << 20 }
    }
}

impl LargeTransaction {
    /// Split at 50,000 records, 16 MiB or two seconds.
    #[must_use]
    pub fn split() -> Self {
        Self::Split { records: 50_000, bytes: 16 << 20, time: Duration::from_secs(2) }
    }
}

/// What to do where something that the source relies on was altered by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnChange {
    /// Go on with it as it is now, with a warning in the log.
    #[default]
    Accept,
    /// Stop and say what changed.
    Halt,
}

/// When to note progress, and let PostgreSQL remove its log, though nothing was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdlePositions {
    /// After this time, if the log moved at all.
    pub interval: Duration,
    /// After so many bytes of log.
    pub wal_bytes: u64,
}

impl Default for IdlePositions {
    /// 60 s, 64 MiB.
    fn default() -> Self {
        Self { interval: Duration::from_secs(60), wal_bytes: 64 << 20 }
    }
}

/// What sources that read the log have in common.
#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    pub(crate) postgres: Config,
    pub(crate) slot: String,
    pub(crate) publication: String,
    pub(crate) idle: IdlePositions,
    pub(crate) large: LargeTransaction,
    pub(crate) on_publication_change: OnChange,
    pub(crate) on_schema_change: OnChange,
    /// Largest message of the log, which is a row.
    pub(crate) row_bytes_max: usize,
    /// How often PostgreSQL is told what it may remove.
    pub(crate) status_interval: Duration,
    /// Ends the session that holds the slot, instead of waiting for it.
    pub(crate) take_over: bool,
    /// Makes a slot that standbys keep too (PostgreSQL 17).
    pub(crate) failover: bool,
    /// Reads the tables before the log.
    pub(crate) snapshot: Snapshot,
}

/// Whether rows that are there already are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Snapshot {
    /// No: only changes from now on.
    #[default]
    Never,
    /// Yes, each once, as records with `op` `r`, before the changes that come after.
    Initial {
        /// Rows read at once, at most.
        chunk: u32,
        /// For how long one view of the database is held: PostgreSQL can't vacuum what is in it.
        view: Duration,
    },
}

impl Snapshot {
    /// Chunks of 5000 rows, a new view every 10 minutes.
    #[must_use]
    pub fn initial() -> Self {
        Self::Initial { chunk: 5000, view: Duration::from_secs(600) }
    }
}

impl LogSettings {
    pub(crate) fn new(
        postgres: Config,
        slot: &str,
        publication: &str,
    ) -> Result<Self, ConfigError> {
        let slot_bytes = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if slot.is_empty() || slot.len() > 63 || !slot.bytes().all(slot_bytes) {
            return Err(ConfigError::Slot(slot.to_owned()));
        }
        if publication.is_empty() || publication.len() > 63 || publication.contains('\0') {
            return Err(ConfigError::Publication(publication.to_owned()));
        }
        Ok(Self {
            postgres,
            slot: slot.to_owned(),
            publication: publication.to_owned(),
            idle: IdlePositions::default(),
            large: LargeTransaction::default(),
            on_publication_change: OnChange::Accept,
            on_schema_change: OnChange::Accept,
            row_bytes_max: 64 << 20,
            status_interval: Duration::from_secs(1),
            take_over: false,
            failover: false,
            snapshot: Snapshot::Never,
        })
    }
}

//! How a store whose entries expire is laid out by time.
//!
//! ```text
//!   stored key     = segment (8) | changelog key
//!   changelog key  = key | window start (8) | sequence (4)      window stores
//!                  = key | session end (8) | session start (8)  session stores
//!   clock row      = ""  ->  observed stream time (8) | last sequence (4)
//! ```
//!
//! A segment is `time / interval`, big-endian with its sign bit turned, so that byte order is the
//! order of time: a point read stays one look-up, and everything that expired lies in one range
//! that is deleted without being read. The changelog key is that of Kafka Streams.

use super::StoreKind;
use crate::record::{StreamTime, Timestamp};

/// Bytes of the segment in front of a stored key.
pub(crate) const PREFIX_BYTES: usize = 8;
/// The key of the clock row. No entry has it: each begins with a segment.
pub(crate) const CLOCK_KEY: &[u8] = b"";
const CLOCK_BYTES: usize = 12;
/// The shortest time that a segment covers, in milliseconds, unless told otherwise.
const INTERVAL_MIN_MS: i64 = 60_000;

/// How long entries are kept, and in which portions they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// An entry whose time is not later than the store's stream time less this many milliseconds is
    /// not read any more.
    pub retention_ms: i64,
    /// Milliseconds that a segment covers. Segments are deleted as a whole.
    pub interval_ms: i64,
}

impl Segments {
    /// Divides a retention as Kafka Streams does: two segments, but none of less than a minute.
    #[must_use]
    pub const fn of_retention(retention_ms: i64) -> Self {
        let half = retention_ms / 2;
        let interval_ms = if half > INTERVAL_MIN_MS { half } else { INTERVAL_MIN_MS };
        Self { retention_ms, interval_ms }
    }

    /// Divides the history of a versioned store as Kafka Streams does: the longer, the more
    /// segments, up to 24.
    #[must_use]
    pub const fn of_history(retention_ms: i64) -> Self {
        let (parts, shortest) = match retention_ms {
            ..=60_000 => (3, 2_000),
            60_001..=300_000 => (5, 20_000),
            300_001..=3_600_000 => (12, 60_000),
            3_600_001.. => (24, 300_000),
        };
        let part = retention_ms / parts;
        Self { retention_ms, interval_ms: if part > shortest { part } else { shortest } }
    }

    /// Returns the segment of an instant.
    pub(crate) fn segment(self, time: i64) -> i64 {
        time / self.interval_ms.max(1)
    }

    /// Returns the oldest segment that is kept at a stream time; `None` before the first entry.
    pub(crate) fn first_live(self, observed: StreamTime) -> Option<i64> {
        Some(self.segment(observed.get()?.0.saturating_sub(self.retention_ms)))
    }

    /// Returns the earliest time that is read at a stream time.
    pub(crate) fn first_readable(self, observed: StreamTime) -> i64 {
        observed.as_millis().saturating_sub(self.retention_ms).saturating_add(1)
    }
}

/// Returns the bytes with which the stored keys of a segment begin.
pub(crate) const fn prefix(segment: i64) -> [u8; PREFIX_BYTES] {
    (segment ^ i64::MIN).to_be_bytes()
}

/// Reads the segment of a stored key.
pub(crate) fn segment_of(stored_key: &[u8]) -> Option<i64> {
    stored_key.first_chunk().map(|bytes| i64::from_be_bytes(*bytes) ^ i64::MIN)
}

/// What a segmented store knows of time: the newest time that an entry was ever written with, and
/// how many entries were told apart by a sequence number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    pub(crate) observed: StreamTime,
    pub(crate) sequence: u32,
}

impl Clock {
    /// Takes a logged write into account. Null in a store that keeps duplicates has a number, and
    /// is no entry.
    pub(crate) fn write(&mut self, kind: StoreKind, (key, time): (&[u8], i64), is_delete: bool) {
        if !(is_delete && kind.retains_duplicates()) {
            self.advance(time);
        }
        self.sequence = kind.sequence_of(key);
    }

    /// Takes an entry into account.
    pub(crate) fn advance(&mut self, time: i64) {
        if time >= 0 {
            self.observed.advance(Timestamp(time));
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; CLOCK_BYTES] {
        let mut bytes = [0; CLOCK_BYTES];
        let (observed, sequence) = bytes.split_at_mut(8);
        observed.copy_from_slice(&self.observed.as_millis().to_be_bytes());
        sequence.copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }

    /// Reads the clock row; `None` if these bytes are none.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (observed, sequence) = bytes.split_first_chunk::<8>()?;
        let sequence = u32::from_be_bytes(sequence.try_into().ok()?);
        Some(Self { observed: StreamTime::from_millis(i64::from_be_bytes(*observed)), sequence })
    }
}

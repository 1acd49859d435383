//! Points of the past, for replays.

use tidemill::record::Timestamp;

use super::Version;

/// How far a stream is folded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Until {
    /// All of it.
    #[default]
    End,
    /// Up to this version, it included.
    Version(Version),
    /// Up to the last event before the first one that is later than this.
    Time(Timestamp),
}

impl Until {
    /// Returns true if this event, and all after it, do not belong to it.
    #[must_use]
    pub fn is_past(self, version: Version, at: Timestamp) -> bool {
        match self {
            Self::End => false,
            Self::Version(last) => version > last,
            Self::Time(last) => at > last,
        }
    }
}

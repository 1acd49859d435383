//! Record timestamps and the stream time that they drive.

use std::fmt;

/// Milliseconds since the Unix epoch. Negative means that the log has no timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The largest timestamp seen so far; unknown before the first. It never decreases (INV-9).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamTime(Option<Timestamp>);

impl StreamTime {
    /// Before the first record.
    pub const UNKNOWN: Self = Self(None);

    /// Takes a timestamp into account and returns the stream time after it.
    pub fn advance(&mut self, to: Timestamp) -> Timestamp {
        let after = self.0.map_or(to, |now| now.max(to));
        assert!(self.0.is_none_or(|now| now <= after), "INV-9: stream time went back to {after}");
        self.0 = Some(after);
        after
    }

    /// Returns the time, or `None` before the first record.
    #[must_use]
    pub fn get(self) -> Option<Timestamp> {
        self.0
    }

    /// Returns the time in milliseconds, -1 if unknown: the form that Kafka Streams writes.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0.map_or(-1, |time| time.0)
    }

    /// Reads the form that [`StreamTime::as_millis`] writes; any negative number is unknown.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self((millis >= 0).then_some(Timestamp(millis)))
    }
}

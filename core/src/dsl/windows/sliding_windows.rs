//! Windows that move with the records of a key.

use std::time::Duration;

use super::{millis, too_long};

/// Windows of all records of a key that are at most a certain time apart (KIP-450):
/// `[start, start + difference]`, both ends included.
///
/// There is a window for each different set of records: one ends with each record, and one begins
/// one millisecond after it as soon as there is a record in it. Records earlier than `difference`
/// after the epoch share the window that begins there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlidingWindows {
    difference: Duration,
    grace: Duration,
}

impl SlidingWindows {
    /// Windows of records that are at most `difference` apart, in whole milliseconds, which close
    /// as soon as stream time has passed their end.
    #[must_use]
    pub fn of_time_difference_with_no_grace(difference: Duration) -> Self {
        Self::of_time_difference_and_grace(difference, Duration::ZERO)
    }

    /// Windows of records that are at most `difference` apart, which close when stream time has
    /// passed their end by more than `after_window_end`, both in whole milliseconds.
    #[must_use]
    pub fn of_time_difference_and_grace(difference: Duration, after_window_end: Duration) -> Self {
        Self { difference, grace: after_window_end }
    }

    /// Returns the time between the two ends of a window, in milliseconds.
    #[must_use]
    pub fn time_difference_ms(&self) -> i64 {
        millis(self.difference)
    }

    /// Returns how long a window takes records after its end, in milliseconds of stream time.
    #[must_use]
    pub fn grace_period_ms(&self) -> i64 {
        millis(self.grace)
    }

    /// Returns what is wrong with the definition.
    pub(in crate::dsl) fn mistake(&self) -> Option<String> {
        too_long("time difference", self.difference)
            .or_else(|| too_long("grace period", self.grace))
    }
}

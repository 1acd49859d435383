//! Windows that last as long as a key is active.

use std::time::Duration;

use super::{millis, too_long};

/// Windows that last as long as a key is active: from its first record to the last one before a
/// pause of more than the gap. Both ends are included.
///
/// A record that comes between two sessions, and is near enough to both, makes them one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionWindows {
    gap: Duration,
    grace: Duration,
}

impl SessionWindows {
    /// Sessions that end with a pause of more than `inactivity_gap`, in whole milliseconds. A gap
    /// below a millisecond is a mistake that building the topology reports.
    #[must_use]
    pub fn of_inactivity_gap_with_no_grace(inactivity_gap: Duration) -> Self {
        Self::of_inactivity_gap_and_grace(inactivity_gap, Duration::ZERO)
    }

    /// Sessions that end with a pause of more than `inactivity_gap` and close when stream time has
    /// passed their end by more than the gap and `after_window_end`, both in whole milliseconds.
    #[must_use]
    pub fn of_inactivity_gap_and_grace(
        inactivity_gap: Duration,
        after_window_end: Duration,
    ) -> Self {
        Self { gap: inactivity_gap, grace: after_window_end }
    }

    /// Returns the longest pause within a session, in milliseconds.
    #[must_use]
    pub fn inactivity_gap_ms(&self) -> i64 {
        millis(self.gap)
    }

    /// Returns how long a session takes records after its end and the gap, in milliseconds of
    /// stream time.
    #[must_use]
    pub fn grace_period_ms(&self) -> i64 {
        millis(self.grace)
    }

    /// Returns what is wrong with the definition.
    pub(in crate::dsl) fn mistake(&self) -> Option<String> {
        if self.inactivity_gap_ms() == 0 {
            let gap = self.gap;
            return Some(format!("sessions with a gap of {gap:?} end at once: at least 1 ms"));
        }
        too_long("inactivity gap", self.gap).or_else(|| too_long("grace period", self.grace))
    }
}

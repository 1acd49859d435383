//! How far apart two records may be that are joined.

use std::time::Duration;

use crate::topology::TopologyError;

/// How far apart in time two records may be that are joined, and how late they may come
/// (`JoinWindows` of Kafka Streams).
///
/// A record of the left stream at `t` is joined with those of the right stream between `t - before`
/// and `t + after`, both included. Times are in milliseconds; what is finer is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinWindows {
    pub(super) before_ms: i64,
    pub(super) after_ms: i64,
    pub(super) grace_ms: i64,
}

impl JoinWindows {
    /// Joins records that are at most `difference` apart. A record that comes when the window of a
    /// waiting one is over is too late for it.
    #[must_use]
    pub fn of_time_difference_with_no_grace(difference: Duration) -> Self {
        Self::of_time_difference_and_grace(difference, Duration::ZERO)
    }

    /// As [`JoinWindows::of_time_difference_with_no_grace`], but records may come out of order by
    /// `grace`, in stream time. A left or outer join holds back the results of records without a
    /// match for that long.
    #[must_use]
    pub fn of_time_difference_and_grace(difference: Duration, grace: Duration) -> Self {
        let difference = millis(difference);
        Self { before_ms: difference, after_ms: difference, grace_ms: millis(grace) }
    }

    /// Sets how much earlier than the left record the right one may be.
    #[must_use]
    pub fn before(self, difference: Duration) -> Self {
        self.before_ms(millis(difference))
    }

    /// Sets how much later than the left record the right one may be.
    #[must_use]
    pub fn after(self, difference: Duration) -> Self {
        self.after_ms(millis(difference))
    }

    /// As [`JoinWindows::before`]; a negative number of milliseconds says how much later than the
    /// left record the right one has to be. With [`JoinWindows::after`] it must not be below zero.
    #[must_use]
    pub fn before_ms(self, difference_ms: i64) -> Self {
        Self { before_ms: difference_ms, ..self }
    }

    /// As [`JoinWindows::after`]; a negative number of milliseconds says how much earlier than the
    /// left record the right one has to be. With [`JoinWindows::before`] it must not be below zero.
    #[must_use]
    pub fn after_ms(self, difference_ms: i64) -> Self {
        Self { after_ms: difference_ms, ..self }
    }

    pub(super) fn size_ms(self) -> i64 {
        self.before_ms.saturating_add(self.after_ms)
    }

    /// How long records are kept to be joined.
    pub(super) fn retention_ms(self) -> i64 {
        self.size_ms().saturating_add(self.grace_ms)
    }

    pub(super) fn check(self, node: &str) -> Result<(), TopologyError> {
        if self.size_ms() >= 0 {
            return Ok(());
        }
        let Self { before_ms, after_ms, .. } = self;
        Err(TopologyError::JoinWindows { node: node.to_owned(), before_ms, after_ms })
    }
}

/// Returns the milliseconds of a duration, or the largest number of them.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

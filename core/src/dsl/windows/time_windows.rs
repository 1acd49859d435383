//! Windows of one size, aligned with the epoch.

use std::time::Duration;

use super::{millis, too_long};
use crate::record::Timestamp;
use crate::window::Window;

/// Windows of one size that begin every so often, counted from the epoch: `[start, start + size)`.
///
/// *Tumbling* windows follow one another; with a smaller step, [`TimeWindows::advance_by`], they
/// are *hopping*, and a record is in several of them. No window begins before the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWindows {
    size: Duration,
    advance: Duration,
    grace: Duration,
}

impl TimeWindows {
    /// Windows of `size`, in whole milliseconds, that close as soon as stream time reaches their
    /// end. A size below a millisecond is a mistake that building the topology reports.
    #[must_use]
    pub fn of_size_with_no_grace(size: Duration) -> Self {
        Self::of_size_and_grace(size, Duration::ZERO)
    }

    /// Windows of `size` that close when stream time has passed their end by `after_window_end`,
    /// both in whole milliseconds.
    #[must_use]
    pub fn of_size_and_grace(size: Duration, after_window_end: Duration) -> Self {
        Self { size, advance: size, grace: after_window_end }
    }

    /// Has a window begin every `advance`: at least a millisecond, at most the size. Default: the
    /// size.
    #[must_use]
    pub fn advance_by(self, advance: Duration) -> Self {
        Self { advance, ..self }
    }

    /// Returns the size in milliseconds.
    #[must_use]
    pub fn size_ms(&self) -> i64 {
        millis(self.size)
    }

    /// Returns from the beginning of one window to that of the next, in milliseconds.
    #[must_use]
    pub fn advance_ms(&self) -> i64 {
        millis(self.advance)
    }

    /// Returns how long a window takes records after its end, in milliseconds of stream time.
    #[must_use]
    pub fn grace_period_ms(&self) -> i64 {
        millis(self.grace)
    }

    /// Returns the windows that a record of this time belongs to, the earliest first.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use tidemill_core::dsl::TimeWindows;
    /// use tidemill_core::record::Timestamp;
    ///
    /// let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
    /// let windows = windows.advance_by(Duration::from_millis(5));
    /// let starts: Vec<i64> = windows.windows_for(Timestamp(12)).map(|w| w.start.0).collect();
    /// assert_eq!(starts, [5, 10]);
    /// ```
    pub fn windows_for(&self, timestamp: Timestamp) -> impl Iterator<Item = Window> + use<> {
        self.aligned_for(timestamp)
    }

    pub(super) fn aligned_for(&self, timestamp: Timestamp) -> AlignedWindows {
        // both are at least 1 in a topology that was built
        let (size, advance) = (self.size_ms().max(1), self.advance_ms().max(1));
        let earliest = timestamp.0.saturating_sub(size).saturating_add(advance).max(0);
        let next = Some(earliest / advance * advance);
        AlignedWindows { next, advance: Some(advance), last: timestamp.0, size }
    }

    /// Returns what is wrong with the definition.
    pub(in crate::dsl) fn mistake(&self) -> Option<String> {
        let (size, advance) = (self.size, self.advance);
        if self.size_ms() == 0 {
            return Some(format!("windows of {size:?} have no size: at least 1 ms is needed"));
        }
        if self.advance_ms() == 0 || advance > size {
            return Some(format!(
                "windows of {size:?} can't advance by {advance:?}: at least 1 ms and at most their \
                 size"
            ));
        }
        too_long("size", size).or_else(|| too_long("grace period", self.grace))
    }
}

/// Windows of one size, one after the other.
#[derive(Debug, Clone)]
pub(super) struct AlignedWindows {
    next: Option<i64>,
    /// `None`: there is one window only.
    advance: Option<i64>,
    /// No window begins later.
    last: i64,
    size: i64,
}

impl AlignedWindows {
    /// The one window that begins at `start` and never ends, if that is not too late.
    pub(super) fn unlimited(start: Timestamp, timestamp: Timestamp) -> Self {
        Self { next: Some(start.0), advance: None, last: timestamp.0, size: i64::MAX }
    }
}

impl Iterator for AlignedWindows {
    type Item = Window;

    fn next(&mut self) -> Option<Window> {
        let start = self.next.filter(|start| *start <= self.last)?;
        self.next = self.advance.and_then(|advance| start.checked_add(advance));
        Some(Window::of_size(Timestamp(start), self.size))
    }
}

//! One window that never ends.

use super::time_windows::AlignedWindows;
use crate::record::Timestamp;
use crate::window::Window;

/// One window that never ends, for records from a certain time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnlimitedWindows {
    start: Timestamp,
}

impl UnlimitedWindows {
    /// The window from the epoch on.
    #[must_use]
    pub fn of() -> Self {
        Self { start: Timestamp(0) }
    }

    /// Begins the window at `start`. A time before the epoch is a mistake that building the
    /// topology reports.
    #[must_use]
    pub fn start_on(self, start: Timestamp) -> Self {
        Self { start }
    }

    /// Returns the window if a record of this time belongs to it.
    pub fn windows_for(&self, timestamp: Timestamp) -> impl Iterator<Item = Window> + use<> {
        self.aligned_for(timestamp)
    }

    pub(super) fn aligned_for(&self, timestamp: Timestamp) -> AlignedWindows {
        AlignedWindows::unlimited(self.start, timestamp)
    }

    /// Returns what is wrong with the definition.
    pub(in crate::dsl) fn mistake(&self) -> Option<String> {
        let start = self.start;
        (start.0 < 0).then(|| format!("a window can't begin before the epoch, at {start} ms"))
    }
}

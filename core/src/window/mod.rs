//! Windows of time, keys that belong to one, and their serdes.

mod serde;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::record::Timestamp;

pub use serde::{SessionWindowedSerde, TimeWindowedSerde};

/// A span of time, in milliseconds since the Unix epoch.
///
/// Whether `end` belongs to it depends on the kind of window: it does for session windows and
/// sliding windows, it does not for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// The first instant.
    pub start: Timestamp,
    /// The last instant, or the one after it.
    pub end: Timestamp,
}

impl Window {
    /// Makes a window.
    #[must_use]
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// Makes the window of a size that begins at `start`. An end beyond the largest timestamp
    /// becomes the largest, as in Kafka Streams.
    #[must_use]
    pub const fn of_size(start: Timestamp, size_ms: i64) -> Self {
        Self { start, end: Timestamp(start.0.saturating_add(size_ms)) }
    }
}

/// A key in a window: what windowed tables are keyed by (`Windowed` in Kafka Streams).
///
/// It is shown as `[key@start/end]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Windowed<K> {
    /// The key without its window.
    pub key: K,
    /// The window.
    pub window: Window,
}

impl<K> Windowed<K> {
    /// Puts a key into a window.
    pub const fn new(key: K, window: Window) -> Self {
        Self { key, window }
    }
}

impl<K: fmt::Display> fmt::Display for Windowed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, window: Window { start, end } } = self;
        write!(f, "[{key}@{start}/{end}]")
    }
}

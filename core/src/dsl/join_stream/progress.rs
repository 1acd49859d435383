//! What both sides of a left or outer join know of time, in one task.

use crate::record::Timestamp;

/// What is known of the earliest record that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Earliest {
    /// Nobody has looked since the task began, or since something went wrong.
    Unknown,
    /// Nothing waits.
    None,
    /// As Kafka Streams counts it: the last one that a look at the store passed, so that the look
    /// after it may come later than it could.
    At(i64),
}

/// Stream time of the join, and when to look for records whose window is over.
#[derive(Debug)]
pub(super) struct Progress {
    stream_time: i64,
    earliest: Earliest,
    next_look_ms: i64,
}

impl Default for Progress {
    fn default() -> Self {
        Self { stream_time: -1, earliest: Earliest::Unknown, next_look_ms: 0 }
    }
}

impl Progress {
    /// Notes a record; returns whether no later one was seen.
    pub(super) fn advance(&mut self, timestamp: Timestamp) -> bool {
        self.stream_time = self.stream_time.max(timestamp.0);
        self.stream_time == timestamp.0
    }

    /// Returns whether a moment lies before the stream time.
    pub(super) fn is_past(&self, moment: i64) -> bool {
        moment < self.stream_time
    }

    /// Notes that a record waits.
    pub(super) fn waits(&mut self, timestamp: Timestamp) {
        self.earliest = match self.earliest {
            Earliest::Unknown | Earliest::None => Earliest::At(timestamp.0),
            Earliest::At(earliest) => Earliest::At(earliest.min(timestamp.0)),
        };
    }

    /// Returns whether to look for records whose window is over, `length_ms` after them, and
    /// begins such a look. There is one in `interval_ms` of the wall clock at most.
    pub(super) fn begin_look(
        &mut self,
        length_ms: i64,
        wall_clock: Timestamp,
        interval_ms: i64,
    ) -> bool {
        let over = match self.earliest {
            Earliest::Unknown => true,
            Earliest::None => false,
            Earliest::At(earliest) => self.is_past(earliest.saturating_add(length_ms)),
        };
        if !over || wall_clock.0 < self.next_look_ms {
            return false;
        }
        self.next_look_ms = wall_clock.0.saturating_add(interval_ms);
        self.earliest = Earliest::None;
        true
    }

    /// Notes the record that a look has come to.
    pub(super) fn looks_at(&mut self, timestamp: Timestamp) {
        self.earliest = Earliest::At(timestamp.0);
    }

    /// Notes that a look did not come to its end.
    pub(super) fn interrupt_look(&mut self) {
        self.earliest = Earliest::Unknown;
    }
}

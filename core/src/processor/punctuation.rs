//! Calls into a processor at instants of stream time or wall-clock time.

use std::time::Duration;

use crate::record::Timestamp;

/// Which clock drives a punctuation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PunctuationType {
    /// The task's stream time: advances with the records only.
    StreamTime,
    /// The wall clock of the machine.
    WallClockTime,
}

/// Names a scheduled punctuation, for
/// [`ProcessorContext::cancel`](super::ProcessorContext::cancel).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PunctuationHandle(u64);

/// A punctuation that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Punctuation {
    /// Which of the processor's punctuations.
    pub handle: PunctuationHandle,
    /// The time of its clock, in milliseconds since the Unix epoch.
    pub timestamp: Timestamp,
}

#[derive(Debug)]
struct Scheduled {
    handle: PunctuationHandle,
    node: usize,
    kind: PunctuationType,
    interval_ms: i64,
    next: i64,
}

/// The punctuations of a task. Missed instants become one call.
#[derive(Debug, Default)]
pub(crate) struct PunctuationQueue {
    scheduled: Vec<Scheduled>,
    handles: u64,
}

impl PunctuationQueue {
    /// Stream-time punctuations fire as soon as stream time is known and then at multiples of the
    /// interval; wall-clock ones an interval after `now` (KIP-138).
    pub(crate) fn schedule(
        &mut self,
        node: usize,
        interval: Duration,
        kind: PunctuationType,
        now: Timestamp,
    ) -> PunctuationHandle {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let next = match kind {
            PunctuationType::StreamTime => 0,
            PunctuationType::WallClockTime => now.0.saturating_add(interval_ms),
        };
        self.handles += 1;
        let handle = PunctuationHandle(self.handles);
        self.scheduled.push(Scheduled { handle, node, kind, interval_ms, next });
        handle
    }

    pub(crate) fn cancel(&mut self, handle: PunctuationHandle) {
        self.scheduled.retain(|scheduled| scheduled.handle != handle);
    }

    /// Takes the earliest punctuation that is due and schedules its next instant after `now`.
    /// Advancing before the call means that a cancellation during the call sticks (KAFKA-6748).
    pub(crate) fn take_due(
        &mut self,
        kind: PunctuationType,
        now: Timestamp,
    ) -> Option<(usize, Punctuation)> {
        let due = self
            .scheduled
            .iter_mut()
            .filter(|scheduled| scheduled.kind == kind && scheduled.next <= now.0)
            .min_by_key(|scheduled| scheduled.next)?;
        let missed = now.0.saturating_sub(due.next) / due.interval_ms;
        let steps = missed.saturating_add(1).saturating_mul(due.interval_ms);
        due.next = due.next.saturating_add(steps);
        Some((due.node, Punctuation { handle: due.handle, timestamp: now }))
    }

    /// Returns when the next wall-clock punctuation is due.
    pub(crate) fn next_wall_clock(&self) -> Option<Timestamp> {
        self.scheduled
            .iter()
            .filter(|scheduled| scheduled.kind == PunctuationType::WallClockTime)
            .map(|scheduled| Timestamp(scheduled.next))
            .min()
    }
}

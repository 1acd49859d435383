//! How far an aggregation of windows has come: its stream time, and what it has emitted.

use crate::processor::ProcessorContext;
use crate::record::Timestamp;
use crate::store::Segments;

/// The stream time of one aggregation: the largest timestamp that it has seen, not the task's. It
/// is kept with the committed offsets, so that what is late does not depend on restarts.
///
/// Kafka Streams forgets it with each restart, and then takes for a while what is late.
#[derive(Debug)]
pub(in crate::dsl) struct Progress {
    key: String,
    /// -1 before the first record.
    observed: i64,
    loaded: bool,
}

impl Progress {
    pub(in crate::dsl) fn new(node: &str) -> Self {
        Self { key: format!("tidemill:time:{node}"), observed: -1, loaded: false }
    }

    /// Takes a record into account; returns the stream time, and whether it has advanced.
    pub(in crate::dsl) fn observe<K, V>(
        &mut self,
        context: &ProcessorContext<'_, '_, K, V>,
        timestamp: Timestamp,
    ) -> (i64, bool) {
        if !self.loaded {
            self.observed = context.processor_metadata(&self.key).unwrap_or(-1);
            self.loaded = true;
        }
        let before = self.observed;
        self.observed = before.max(timestamp.0);
        (self.observed, self.observed > before)
    }

    /// Keeps the time with the offsets that are about to be committed.
    pub(in crate::dsl) fn keep<K, V>(&self, context: &mut ProcessorContext<'_, '_, K, V>) {
        if self.observed >= 0 {
            context.keep_processor_metadata(&self.key, self.observed);
        }
    }
}

/// Which windows of a store have closed, by the times that the store sorts them by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed {
    /// The earliest, inclusive.
    pub(super) from: i64,
    /// The latest, inclusive.
    pub(super) to: i64,
}

/// What an aggregation that emits on close has emitted (KIP-825).
///
/// How far that goes is kept with the committed offsets under the store's name, as in Kafka
/// Streams.
#[derive(Debug)]
pub(super) struct Emission {
    store: String,
    segments: Segments,
    /// When the windows that were emitted last closed.
    emitted: Option<i64>,
    loaded: bool,
    /// The wall-clock time before which nothing is looked for.
    next_look: i64,
}

impl Emission {
    pub(super) fn new(store: &str, segments: Segments) -> Self {
        Self { store: store.to_owned(), segments, emitted: None, loaded: false, next_look: 0 }
    }

    /// Returns the windows to emit when those up to `close_time` are closed. `range` says which
    /// these are, given what was emitted before; `None` if there can be none.
    ///
    /// To look for them takes a scan, so it is done once in an interval of wall-clock time
    /// (`emit.interval.ms.kstreams.windowed.aggregation`), but not too late: before the store drops
    /// what it keeps for `observed`, everything in it has been emitted.
    pub(super) fn due<K, V>(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, V>,
        (close_time, observed): (i64, i64),
        range: impl Fn(Option<i64>) -> Option<Closed>,
    ) -> Option<Closed> {
        if !self.loaded {
            self.emitted = context.processor_metadata(&self.store);
            self.loaded = true;
        }
        let now = context.current_system_time().0;
        if now < self.next_look && !self.drops_unemitted(observed, &range) {
            return None;
        }
        let interval = i64::try_from(context.emit_interval().as_millis()).unwrap_or(i64::MAX);
        self.next_look = now.saturating_add(interval);
        if self.emitted.is_some_and(|emitted| emitted >= close_time) {
            return None;
        }
        let closed = range(self.emitted)?;
        self.emitted = Some(close_time);
        context.keep_processor_metadata(&self.store, close_time);
        Some(closed)
    }

    /// Returns whether a write at stream time `observed` makes the store drop a segment that may
    /// hold windows which were not emitted.
    fn drops_unemitted(
        &self,
        observed: i64,
        range: impl Fn(Option<i64>) -> Option<Closed>,
    ) -> bool {
        let first_kept = observed.saturating_sub(self.segments.retention_ms);
        let interval = self.segments.interval_ms.max(1);
        range(self.emitted).is_some_and(|closed| closed.from / interval < first_kept / interval)
    }
}

//! What a definition of windows says of the store and the keys of its aggregations.

use std::sync::Arc;
use std::time::Duration;

use super::aggregate_aligned::Aligned;
use super::{EmitStrategy, SessionWindows, SlidingWindows, millis};
use crate::serdes::SharedSerde;
use crate::store::{Segments, StoreKind, WindowSpec};
use crate::window::{SessionWindowedSerde, TimeWindowedSerde, Windowed};

/// Of a store whose segments hold one window of each key.
const SEGMENTS_MAX: i64 = 64;

/// A definition of windows, as the store of an aggregation sees it.
#[derive(Debug)]
pub(super) struct Shape {
    /// `None`: sessions.
    size_ms: Option<i64>,
    /// The least time that the store has to keep a window for its late records.
    retention_min: i64,
    /// How long after its end a window closes.
    pub(super) closes_after: i64,
    /// The least time from the start of one window to that of the next.
    advance: Option<i64>,
    mistake: Option<String>,
}

impl Shape {
    pub(super) fn of_aligned(windows: &Aligned, emit: EmitStrategy) -> Self {
        let (size, grace) = (windows.size_ms(), windows.grace_ms());
        let never = matches!((windows, emit), (Aligned::Unlimited(_), EmitStrategy::OnWindowClose));
        let never = never.then_some("unlimited windows never close: they have no final results");
        Self {
            size_ms: Some(size),
            retention_min: size.saturating_add(grace),
            closes_after: grace,
            advance: windows.advance_ms(),
            mistake: never.map(str::to_owned).or_else(|| windows.mistake()),
        }
    }

    pub(super) fn of_sliding(windows: &SlidingWindows) -> Self {
        let (difference, grace) = (windows.time_difference_ms(), windows.grace_period_ms());
        Self {
            size_ms: Some(difference),
            // the windows that a late record's are made of are up to twice as old; without any
            // retention, a window would not be found by the next record of the same time
            retention_min: difference.saturating_mul(2).saturating_add(grace).max(1),
            closes_after: grace,
            advance: None,
            mistake: windows.mistake(),
        }
    }

    pub(super) fn of_sessions(windows: &SessionWindows) -> Self {
        let (gap, grace) = (windows.inactivity_gap_ms(), windows.grace_period_ms());
        Self {
            size_ms: None,
            retention_min: gap.saturating_add(grace),
            // a record that far behind the end may still make it longer
            closes_after: gap.saturating_add(grace),
            advance: None,
            mistake: windows.mistake(),
        }
    }

    /// Returns how the entries of the store expire, with the retention that was asked for.
    pub(super) fn segments(&self, retention: Option<Duration>, emit: EmitStrategy) -> Segments {
        let segments = Segments::of_retention(retention.map_or(self.retention_min, millis));
        match (emit, self.advance) {
            // windows that close together then lie together and are found in order
            (EmitStrategy::OnWindowClose, Some(advance))
                if segments.retention_ms / advance.max(1) <= SEGMENTS_MAX =>
            {
                Segments { interval_ms: advance, ..segments }
            }
            _ => segments,
        }
    }

    /// Returns whether the store has the windows of all keys in the order of their starts.
    pub(super) fn is_sorted(&self, segments: Segments) -> bool {
        self.advance == Some(segments.interval_ms)
    }

    pub(super) fn store_kind(&self, segments: Segments) -> StoreKind {
        match self.size_ms {
            Some(size_ms) => {
                let retain_duplicates = false;
                StoreKind::TimestampedWindow(WindowSpec { size_ms, segments, retain_duplicates })
            }
            None => StoreKind::Session(segments),
        }
    }

    /// Returns the serde of the table's keys in topics.
    pub(super) fn key_serde<K: 'static>(&self, keys: &SharedSerde<K>) -> SharedSerde<Windowed<K>> {
        match self.size_ms {
            Some(size_ms) => Arc::new(TimeWindowedSerde::new(Arc::clone(keys), size_ms)),
            None => Arc::new(SessionWindowedSerde::new(Arc::clone(keys))),
        }
    }

    /// Returns what is wrong with the definition, or with the retention of its store.
    pub(super) fn mistake(&self, retention: Option<Duration>) -> Option<String> {
        let too_short = || {
            let (asked, least) = (millis(retention?), self.retention_min);
            (asked < least).then(|| {
                format!(
                    "a retention of {asked} ms drops windows that still take records: at least \
                     {least} ms are needed"
                )
            })
        };
        self.mistake.clone().or_else(too_short)
    }
}

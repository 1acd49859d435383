//! The processor behind the aggregations of sliding windows.
//!
//! ```text
//!   record at t, difference d:   [t - d, t]  its left window, ends with it
//!                                [t + 1, t + 1 + d]  its right window, begins after it
//! ```
//!
//! Each window that has the record in it takes it. Then those are made that are missing: the right
//! window of the record before it, which has it as the first one; its left window, with what the
//! window before that has of it; its right window, if there are later records.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::SlidingWindows;
use super::progress::Closed;
use super::running::{ClosedWindows, Rules, Running, as_updated};
use crate::BoxError;
use crate::dsl::Change;
use crate::processor::{Processor, ProcessorContext};
use crate::record::{Headers, Record, Timestamp};
use crate::store::{Update, last_own_window, own_windows};
use crate::window::{Window, Windowed};

impl ClosedWindows for SlidingWindows {
    fn closed(&self, close_time: i64, emitted: Option<i64>) -> Option<Closed> {
        let difference = self.time_difference_ms();
        // the end belongs to the window
        let to = close_time.checked_sub(difference)?.checked_sub(1).filter(|to| *to >= 0)?;
        let from = emitted.map_or(0, |emitted| emitted.saturating_sub(difference).max(0));
        Some(Closed { from, to })
    }
}

/// A value and when its window was last updated: the time of the latest record in it.
type Stamped<A> = (A, Timestamp);

/// What was found around a record.
struct Around<A> {
    /// The latest window that ends before the record.
    left: Option<A>,
    left_exists: bool,
    /// The latest window that goes beyond the record, as it was without it.
    right: Option<Stamped<A>>,
    right_exists: bool,
    /// The record before this one.
    previous: Option<i64>,
    starts: BTreeSet<i64>,
}

impl<A> Default for Around<A> {
    fn default() -> Self {
        Self {
            left: None,
            left_exists: false,
            right: None,
            right_exists: false,
            previous: None,
            starts: BTreeSet::new(),
        }
    }
}

/// An aggregation of such windows in a task.
pub(super) struct SlidingAggregate<K, V, A, F> {
    rules: Arc<Rules<K, V, SlidingWindows, F>>,
    running: Option<Running<K, A>>,
}

impl<K, V, A, F> SlidingAggregate<K, V, A, F> {
    pub(super) fn new(rules: Arc<Rules<K, V, SlidingWindows, F>>) -> Self {
        Self { rules, running: None }
    }
}

impl<K, V, A, F> Processor<K, V, Windowed<K>, Change<A>> for SlidingAggregate<K, V, A, F>
where
    K: Clone + 'static,
    V: Clone + 'static,
    A: Clone + 'static,
    F: Fn(&K, V, Option<A>) -> Result<Option<A>, BoxError>,
{
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, Windowed<K>, Change<A>>,
    ) -> Result<(), BoxError> {
        self.running = Some(Running::open(context, &self.rules)?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, Windowed<K>, Change<A>>,
        record: Record<K, V>,
    ) -> Result<(), BoxError> {
        let Rules { key_serde, value_serde, windows, .. } = &*self.rules;
        let running = self.running.as_mut().expect("a processor is initialised first");
        if key_serde.is_null(&record.key) || value_serde.is_null(&record.value) {
            context.note_dropped();
            return Ok(());
        }
        let timestamp = record.timestamp.0;
        if timestamp < 0 {
            return Err(
                format!("sliding windows take no timestamp before the epoch: {timestamp}").into()
            );
        }
        let (observed, advanced) = running.progress.observe(context, record.timestamp);
        let times = (observed.saturating_sub(windows.grace_period_ms()), observed);
        let difference = windows.time_difference_ms();
        if timestamp.saturating_add(difference) < times.0 {
            context.note_dropped();
            return Ok(());
        }
        let mut adding = Adding {
            rules: &self.rules,
            running,
            close_time: times.0,
            key: Windowed::new(record.key, Window::new(Timestamp(0), Timestamp(0))),
            value: record.value,
            timestamp: record.timestamp,
            headers: record.headers,
        };
        if timestamp < difference {
            // nothing closes then: as in Kafka Streams, which does not look for it here
            return adding.early(context);
        }
        if advanced {
            adding.running.emit_closed(context, windows, times, &adding.headers, as_updated)?;
        }
        adding.anywhere(context)?;
        if !advanced {
            adding.running.emit_closed(context, windows, times, &adding.headers, as_updated)?;
        }
        Ok(())
    }

    fn flush(
        &mut self,
        context: &mut ProcessorContext<'_, '_, Windowed<K>, Change<A>>,
    ) -> Result<(), BoxError> {
        let running = self.running.as_mut().expect("a processor is initialised first");
        running.flush(context, as_updated)
    }
}

/// A record on its way into its windows.
struct Adding<'a, K, V, A, F> {
    rules: &'a Rules<K, V, SlidingWindows, F>,
    running: &'a mut Running<K, A>,
    close_time: i64,
    /// Its window changes from one write to the next.
    key: Windowed<K>,
    value: V,
    timestamp: Timestamp,
    headers: Headers,
}

impl<K, V, A, F> Adding<'_, K, V, A, F>
where
    K: Clone + 'static,
    V: Clone + 'static,
    A: Clone + 'static,
    F: Fn(&K, V, Option<A>) -> Result<Option<A>, BoxError>,
{
    /// Adds a record that has its own left window.
    fn anywhere(
        &mut self,
        context: &mut ProcessorContext<'_, '_, Windowed<K>, Change<A>>,
    ) -> Result<(), BoxError> {
        let (at, difference) = (self.timestamp.0, self.rules.windows.time_difference_ms());
        let left = at - difference;
        let mut around = Around::default();
        for (window, value, updated) in
            own_windows(&self.running.core, &self.key.key, left..=at.saturating_add(1))?
        {
            let start = window.start.0;
            around.starts.insert(start);
            if start > at {
                around.right_exists = true;
                continue;
            }
            if start > left && around.right.is_none() {
                around.right = Some((value.clone(), updated));
            }
            self.add(context, start, Some((value, updated)))?;
            if start == left {
                around.left_exists = true;
                if updated.0 >= at {
                    // there was a record of this time before: it has made them all
                    return Ok(());
                }
                around.previous = Some(updated.0);
            }
        }
        let before = left.saturating_sub(difference).max(0);
        if let Some((window, value, updated)) =
            last_own_window(&self.running.core, &self.key.key, before..=left.saturating_sub(1))?
        {
            around.starts.insert(window.start.0);
            around.left = Some(value);
            around.previous = Some(updated.0);
        }
        self.make_missing(context, around)
    }

    /// Makes the windows that no record before has made.
    fn make_missing(
        &mut self,
        context: &mut ProcessorContext<'_, '_, Windowed<K>, Change<A>>,
        around: Around<A>,
    ) -> Result<(), BoxError> {
        let (at, difference) = (self.timestamp.0, self.rules.windows.time_difference_ms());
        let Around { left, left_exists, right, right_exists, previous, starts } = around;
        let next = previous.map(|previous| previous.saturating_add(1));
        let missing = |next: &i64| !starts.contains(next) && next.saturating_add(difference) >= at;
        if let Some(next) = next.filter(missing) {
            self.add(context, next, None)?;
        }
        if !left_exists {
            let overlaps = previous.is_some_and(|previous| at - difference <= previous);
            let left = left.filter(|_| overlaps).map(|value| (value, self.timestamp));
            self.add(context, at - difference, left)?;
        }
        if !right_exists {
            self.make_right(context, right)?;
        }
        Ok(())
    }

    /// Makes the record's right window if there are later records: those that `right` has beyond
    /// it.
    fn make_right(
        &mut self,
        context: &mut ProcessorContext<'_, '_, Windowed<K>, Change<A>>,
        right: Option<Stamped<A>>,
    ) -> Result<(), BoxError> {
        let at = self.timestamp;
        let Some((value, updated)) = right.filter(|(_, updated)| *updated > at) else {
            return Ok(());
        };
        self.write(context, at.0.saturating_add(1), Some(value), updated)
    }

    /// Adds a record that is too early for a left window: those share the window that begins at the
    /// epoch.
    fn early(
        &mut self,
        context: &mut ProcessorContext<'_, '_, Windowed<K>, Change<A>>,
    ) -> Result<(), BoxError> {
        let at = self.timestamp.0;
        let mut around = Around::default();
        let mut combined: Option<Stamped<A>> = None;
        let mut found = own_windows(&self.running.core, &self.key.key, 0..=at.saturating_add(1))?;
        // the earliest first
        found.reverse();
        for (window, value, updated) in found {
            let start = window.start.0;
            around.starts.insert(start);
            if start == 0 {
                around.previous = Some(updated.0).filter(|updated| *updated < at);
                combined = Some((value, updated));
            } else if start <= at {
                around.right = Some((value.clone(), updated));
                self.add(context, start, Some((value, updated)))?;
            } else {
                around.right_exists = true;
            }
        }
        if around.right.is_none() {
            // what the shared window has of later records
            around.right = combined.clone();
        }
        if !around.right_exists {
            self.make_right(context, around.right)?;
        }
        let next = around.previous.map(|previous| previous + 1);
        if let Some(next) = next.filter(|next| !around.starts.contains(next)) {
            self.add(context, next, None)?;
        }
        self.add(context, 0, combined)
    }

    /// Adds the record to a window that has this value so far, if it is not closed.
    fn add(
        &mut self,
        context: &mut ProcessorContext<'_, '_, Windowed<K>, Change<A>>,
        start: i64,
        before: Option<Stamped<A>>,
    ) -> Result<(), BoxError> {
        let end = start.saturating_add(self.rules.windows.time_difference_ms());
        if end < self.close_time {
            context.note_dropped();
            return Ok(());
        }
        let timestamp = before.as_ref().map_or(self.timestamp, |(_, at)| self.timestamp.max(*at));
        let before = before.map(|(value, _)| value);
        let after = (self.rules.apply)(&self.key.key, self.value.clone(), before)?;
        self.write(context, start, after, timestamp)
    }

    fn write(
        &mut self,
        context: &mut ProcessorContext<'_, '_, Windowed<K>, Change<A>>,
        start: i64,
        value: Option<A>,
        timestamp: Timestamp,
    ) -> Result<(), BoxError> {
        let difference = self.rules.windows.time_difference_ms();
        self.key.window = Window::of_size(Timestamp(start), difference);
        // a deletion has no value to carry a timestamp: its tombstone takes the record's
        let stored = if value.is_some() { timestamp } else { self.timestamp };
        let mut core = self.running.core.borrow_mut();
        let update = core.replace(&self.key, value, stored, &self.headers)?;
        drop(core);
        let update = update.map(|update| Update { timestamp, ..update });
        self.running.forward(context, &self.key, update)
    }
}

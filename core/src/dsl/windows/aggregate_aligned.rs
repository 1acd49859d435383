//! The processor behind the aggregations of tumbling, hopping and unlimited windows.

use std::sync::Arc;

use super::progress::Closed;
use super::running::{ClosedWindows, Rules, Running, as_updated};
use super::time_windows::AlignedWindows;
use super::{TimeWindows, UnlimitedWindows};
use crate::BoxError;
use crate::dsl::Change;
use crate::processor::{Processor, ProcessorContext};
use crate::record::{Record, Timestamp};
use crate::window::Windowed;

/// Windows that do not depend on the records.
#[derive(Debug, Clone, Copy)]
pub(in crate::dsl) enum Aligned {
    Time(TimeWindows),
    Unlimited(UnlimitedWindows),
}

impl Aligned {
    fn windows_for(&self, timestamp: Timestamp) -> AlignedWindows {
        match self {
            Self::Time(windows) => windows.aligned_for(timestamp),
            Self::Unlimited(windows) => windows.aligned_for(timestamp),
        }
    }

    pub(super) fn size_ms(&self) -> i64 {
        match self {
            Self::Time(windows) => windows.size_ms(),
            Self::Unlimited(_) => i64::MAX,
        }
    }

    /// Returns from the start of one window to that of the next; `None` if there is one only.
    pub(super) fn advance_ms(&self) -> Option<i64> {
        match self {
            Self::Time(windows) => Some(windows.advance_ms()),
            Self::Unlimited(_) => None,
        }
    }

    pub(super) fn grace_ms(&self) -> i64 {
        match self {
            Self::Time(windows) => windows.grace_period_ms(),
            Self::Unlimited(_) => 0,
        }
    }

    pub(super) fn mistake(&self) -> Option<String> {
        match self {
            Self::Time(windows) => windows.mistake(),
            Self::Unlimited(windows) => windows.mistake(),
        }
    }
}

impl ClosedWindows for Aligned {
    fn closed(&self, close_time: i64, emitted: Option<i64>) -> Option<Closed> {
        let size = self.size_ms();
        let to = close_time.checked_sub(size).filter(|to| *to >= 0)?;
        let Some(emitted) = emitted else { return Some(Closed { from: 0, to }) };
        // the one that began here was emitted
        let last = emitted.saturating_sub(size).max(0);
        let windows = |at| self.windows_for(Timestamp(at));
        (!windows(to).eq(windows(last))).then_some(Closed { from: last + 1, to })
    }
}

/// An aggregation of such windows in a task.
pub(super) struct AlignedAggregate<K, V, A, F> {
    rules: Arc<Rules<K, V, Aligned, F>>,
    running: Option<Running<K, A>>,
}

impl<K, V, A, F> AlignedAggregate<K, V, A, F> {
    pub(super) fn new(rules: Arc<Rules<K, V, Aligned, F>>) -> Self {
        Self { rules, running: None }
    }
}

impl<K, V, A, F> Processor<K, V, Windowed<K>, Change<A>> for AlignedAggregate<K, V, A, F>
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
        let Rules { key_serde, windows, fallible, apply, .. } = &*self.rules;
        let running = self.running.as_mut().expect("a processor is initialised first");
        let Record { key, value, timestamp, headers } = record;
        if key_serde.is_null(&key) {
            context.note_dropped();
            return Ok(());
        }
        let (observed, advanced) = running.progress.observe(context, timestamp);
        let close_time = observed.saturating_sub(windows.grace_ms());
        let times = (close_time, observed);
        if advanced {
            running.emit_closed(context, windows, times, &headers, as_updated)?;
        }
        let mut value = Some(value);
        let mut matched = windows.windows_for(timestamp).peekable();
        let Some(first) = matched.peek().copied() else { return Ok(()) };
        let mut windowed = Windowed::new(key, first);
        while let Some(window) = matched.next() {
            if window.end.0 <= close_time {
                context.note_dropped();
                continue;
            }
            windowed.window = window;
            // the last window takes the value itself
            let next = if matched.peek().is_some() { value.clone() } else { value.take() };
            let Some(next) = next else { continue };
            let key = &windowed.key;
            let add = |before| apply(key, next, before);
            let mut core = running.core.borrow_mut();
            let update = core.update(&windowed, timestamp, &headers, *fallible, add)?;
            drop(core);
            running.forward(context, &windowed, update)?;
        }
        if !advanced {
            running.emit_closed(context, windows, times, &headers, as_updated)?;
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

//! The processor behind the aggregations of sessions.

use std::sync::Arc;

use super::SessionWindows;
use super::progress::Closed;
use super::running::{ClosedWindows, Rules, Running};
use crate::BoxError;
use crate::dsl::Change;
use crate::processor::{Processor, ProcessorContext};
use crate::record::{Headers, Record, Timestamp};
use crate::store::{Update, own_sessions};
use crate::window::{Window, Windowed};

/// How sessions are computed: of a record, and of other sessions.
pub(super) struct SessionApply<F, M> {
    /// Adds a record's value to that of its session, if there was one.
    pub(super) add: F,
    /// Adds a session's value to that of the sessions before it, if there were any.
    pub(super) merge: M,
}

impl ClosedWindows for SessionWindows {
    fn closed(&self, close_time: i64, emitted: Option<i64>) -> Option<Closed> {
        // the end belongs to the session
        let to = close_time.checked_sub(1).filter(|to| *to >= 0)?;
        let from = emitted.unwrap_or(0).max(0);
        (from <= to).then_some(Closed { from, to })
    }
}

/// An aggregation of sessions in a task.
pub(super) struct SessionAggregate<K, V, A, F, M> {
    rules: Arc<Rules<K, V, SessionWindows, SessionApply<F, M>>>,
    running: Option<Running<K, A>>,
}

impl<K, V, A, F, M> SessionAggregate<K, V, A, F, M> {
    pub(super) fn new(rules: Arc<Rules<K, V, SessionWindows, SessionApply<F, M>>>) -> Self {
        Self { rules, running: None }
    }
}

/// A session is forwarded with the time of its end.
fn at_its_end<K>(key: &Windowed<K>, _: Timestamp) -> Timestamp {
    key.window.end
}

impl<K, V, A, F, M> Processor<K, V, Windowed<K>, Change<A>> for SessionAggregate<K, V, A, F, M>
where
    K: Clone + 'static,
    V: 'static,
    A: Clone + 'static,
    F: Fn(&K, V, Option<A>) -> Result<Option<A>, BoxError>,
    M: Fn(&K, Option<A>, A) -> Result<Option<A>, BoxError>,
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
        let Rules { key_serde, windows, .. } = &*self.rules;
        let running = self.running.as_mut().expect("a processor is initialised first");
        if key_serde.is_null(&record.key) {
            context.note_dropped();
            return Ok(());
        }
        let (observed, advanced) = running.progress.observe(context, record.timestamp);
        let patience = windows.grace_period_ms().saturating_add(windows.inactivity_gap_ms());
        let times = (observed.saturating_sub(patience), observed);
        let headers = record.headers.clone();
        if advanced {
            running.emit_closed(context, windows, times, &headers, at_its_end)?;
        }
        self.add(context, record, times.0)?;
        if !advanced {
            let running = self.running.as_mut().expect("a processor is initialised first");
            running.emit_closed(context, windows, times, &headers, at_its_end)?;
        }
        Ok(())
    }

    fn flush(
        &mut self,
        context: &mut ProcessorContext<'_, '_, Windowed<K>, Change<A>>,
    ) -> Result<(), BoxError> {
        let running = self.running.as_mut().expect("a processor is initialised first");
        running.flush(context, at_its_end)
    }
}

impl<K, V, A, F, M> SessionAggregate<K, V, A, F, M>
where
    K: Clone + 'static,
    A: Clone + 'static,
    F: Fn(&K, V, Option<A>) -> Result<Option<A>, BoxError>,
    M: Fn(&K, Option<A>, A) -> Result<Option<A>, BoxError>,
{
    /// Makes one session of the record and those that it touches.
    fn add(
        &self,
        context: &mut ProcessorContext<'_, '_, Windowed<K>, Change<A>>,
        record: Record<K, V>,
        close_time: i64,
    ) -> Result<(), BoxError> {
        let Rules { windows, apply: SessionApply { add, merge }, .. } = &*self.rules;
        let running = self.running.as_ref().expect("a processor is initialised first");
        let Record { key, value, timestamp, headers } = record;
        let gap = windows.inactivity_gap_ms();
        let (from, to) = (timestamp.0.saturating_sub(gap), timestamp.0.saturating_add(gap));
        let touched = own_sessions(&running.core, &key, (from, to))?;
        let mut window = Window::new(timestamp, timestamp);
        for (other, ..) in &touched {
            window = Window::new(window.start.min(other.start), window.end.max(other.end));
        }
        if window.end.0 < close_time {
            context.note_dropped();
            return Ok(());
        }
        let mut merged = None;
        let mut replaced = Vec::with_capacity(touched.len());
        for (other, value, _) in touched {
            merged = merge(&key, merged, value)?;
            replaced.push(other);
        }
        let after = add(&key, value, merged)?;
        let mut written = Windowed::new(key, window);
        if window != Window::new(timestamp, timestamp) {
            for other in replaced {
                written.window = other;
                self.write(context, &written, None, timestamp, &headers)?;
            }
        }
        written.window = window;
        self.write(context, &written, after, timestamp, &headers)
    }

    fn write(
        &self,
        context: &mut ProcessorContext<'_, '_, Windowed<K>, Change<A>>,
        key: &Windowed<K>,
        value: Option<A>,
        timestamp: Timestamp,
        headers: &Headers,
    ) -> Result<(), BoxError> {
        let running = self.running.as_ref().expect("a processor is initialised first");
        let update = running.core.borrow_mut().replace(key, value, timestamp, headers)?;
        // without a cache, Kafka Streams forwards a session without the record's headers
        let update = update.map(|update| Update {
            timestamp: key.window.end,
            headers: Headers::new(),
            ..update
        });
        running.forward(context, key, update)
    }
}

//! What the three kinds of windowed aggregations have in common while they run.

use std::cell::RefCell;
use std::rc::Rc;

use super::EmitStrategy;
use super::progress::{Closed, Emission, Progress};
use crate::BoxError;
use crate::dsl::Change;
use crate::dsl::table::change;
use crate::processor::ProcessorContext;
use crate::record::{Headers, Record, Timestamp};
use crate::serdes::SharedSerde;
use crate::store::{Segments, StoreCore, Update};
use crate::window::Windowed;

/// What the instances of a windowed aggregation share.
pub(super) struct Rules<K, V, W, F> {
    pub(super) node: String,
    pub(super) store: String,
    pub(super) segments: Segments,
    /// Whether the store has the windows of all keys in the order of their starts.
    pub(super) sorted: bool,
    pub(super) key_serde: SharedSerde<K>,
    pub(super) value_serde: SharedSerde<V>,
    pub(super) windows: W,
    pub(super) emit: EmitStrategy,
    /// Whether somebody below asked for old values.
    pub(super) send_old_values: bool,
    /// Whether `apply` may fail: the value before is then kept aside by a clone.
    pub(super) fallible: bool,
    /// How values are added to a window's.
    pub(super) apply: F,
}

impl<K, V> Rules<K, V, (), ()> {
    /// Completes the rules with the windows and what is done in them.
    pub(super) fn of<W, F>(self, windows: W, apply: F) -> Rules<K, V, W, F> {
        let Self { node, store, segments, sorted, .. } = self;
        let Self { key_serde, value_serde, emit, send_old_values, fallible, .. } = self;
        Rules {
            node,
            store,
            segments,
            sorted,
            key_serde,
            value_serde,
            windows,
            emit,
            send_old_values,
            fallible,
            apply,
        }
    }
}

/// Which of the windows of a definition have closed.
pub(super) trait ClosedWindows {
    /// Returns the times of the windows that close at `close_time` or did before, without those
    /// that had closed at `emitted`; `None` if it is known that there are none.
    fn closed(&self, close_time: i64, emitted: Option<i64>) -> Option<Closed>;
}

pub(super) type WindowCore<K, A> = Rc<RefCell<StoreCore<Windowed<K>, A>>>;

/// Context of an aggregation.
pub(super) type Context<'a, 'c, 't, K, A> =
    &'a mut ProcessorContext<'c, 't, Windowed<K>, Change<A>>;

/// An aggregation in a task.
pub(super) struct Running<K, A> {
    pub(super) core: WindowCore<K, A>,
    pub(super) progress: Progress,
    emission: Option<Emission>,
    sorted: bool,
}

impl<K: Clone + 'static, A: Clone + 'static> Running<K, A> {
    pub(super) fn open<V, W, F>(
        context: Context<'_, '_, '_, K, A>,
        rules: &Rules<K, V, W, F>,
    ) -> Result<Self, BoxError> {
        let core: WindowCore<K, A> = context.core(&rules.store)?;
        core.borrow_mut().send_old_values |= rules.send_old_values;
        let emission = match rules.emit {
            EmitStrategy::OnWindowUpdate => None,
            EmitStrategy::OnWindowClose => Some(Emission::new(&rules.store, rules.segments)),
        };
        let progress = Progress::new(&rules.node);
        Ok(Self { core, progress, emission, sorted: rules.sorted })
    }

    /// Forwards a change, unless only final results are.
    pub(super) fn forward(
        &self,
        context: Context<'_, '_, '_, K, A>,
        key: &Windowed<K>,
        update: Option<Update<(), A>>,
    ) -> Result<(), BoxError> {
        match update {
            Some(update) if self.emission.is_none() => {
                context.forward(change(update.of(key.clone())))
            }
            _ => Ok(()),
        }
    }

    /// Forwards the windows that have closed, if it is time to look for them. `stamped` is given
    /// each with the timestamp of its last update and says which one it is forwarded with.
    pub(super) fn emit_closed(
        &mut self,
        context: Context<'_, '_, '_, K, A>,
        windows: &impl ClosedWindows,
        times: (i64, i64),
        headers: &Headers,
        stamped: fn(&Windowed<K>, Timestamp) -> Timestamp,
    ) -> Result<(), BoxError> {
        let Some(emission) = &mut self.emission else { return Ok(()) };
        let range = |emitted| windows.closed(times.0, emitted);
        let Some(Closed { from, to }) = emission.due(context, times, range) else { return Ok(()) };
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let times = from..=to;
            let mut core = self.core.borrow_mut();
            let page = core.closed(&times, self.sorted, after.as_deref())?;
            drop(core);
            for (key, value, timestamp) in page.windows {
                let timestamp = stamped(&key, timestamp);
                let value = Change { new: Some(value), old: None };
                let headers = headers.clone();
                context.forward(Record { key, value, timestamp, headers })?;
            }
            after = page.resume_after;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Forwards what caching held back, and keeps the time.
    pub(super) fn flush(
        &mut self,
        context: Context<'_, '_, '_, K, A>,
        stamped: fn(&Windowed<K>, Timestamp) -> Timestamp,
    ) -> Result<(), BoxError> {
        self.progress.keep(context);
        let updates = self.core.borrow_mut().take_unforwarded()?;
        for update in updates {
            let timestamp = stamped(&update.key, update.timestamp);
            context.forward_of(update.origin, change(Update { timestamp, ..update }))?;
        }
        Ok(())
    }
}

/// A window is forwarded with the timestamp of its last update.
pub(super) fn as_updated<K>(_: &Windowed<K>, timestamp: Timestamp) -> Timestamp {
    timestamp
}

//! One side of a join: its own records with what the other stream's store has.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use super::JoinWindows;
use super::progress::Progress;
use super::waiting::{LeftOrRight, WaitingKey};
use crate::BoxError;
use crate::processor::{Processor, ProcessorContext};
use crate::record::{Headers, Record, Timestamp};
use crate::serdes::SharedSerde;
use crate::store::{KeyValueStore, WindowStore};

/// Which stream a side takes its records from.
pub(super) trait Side<V, VO> {
    /// Values of this stream.
    type This: Clone + 'static;
    /// Values of the other one.
    type Other: Clone + 'static;
    const LEFT: bool;

    fn into_either(value: Self::This) -> LeftOrRight<V, VO>;

    /// Puts a value and what was found for it in the order of the streams.
    fn in_order<'a>(
        this: &'a Self::This,
        found: Option<&'a Self::Other>,
    ) -> (Option<&'a V>, Option<&'a VO>);

    /// Returns how much earlier and later the other stream's records may be.
    fn reach(windows: JoinWindows) -> (i64, i64);
}

/// The side of the stream that the join is called on.
pub(super) struct LeftSide;

/// The side of the other stream.
pub(super) struct RightSide;

impl<V: Clone + 'static, VO: Clone + 'static> Side<V, VO> for LeftSide {
    type This = V;
    type Other = VO;
    const LEFT: bool = true;

    fn into_either(value: V) -> LeftOrRight<V, VO> {
        LeftOrRight::Left(value)
    }

    fn in_order<'a>(this: &'a V, found: Option<&'a VO>) -> (Option<&'a V>, Option<&'a VO>) {
        (Some(this), found)
    }

    fn reach(windows: JoinWindows) -> (i64, i64) {
        (windows.before_ms, windows.after_ms)
    }
}

impl<V: Clone + 'static, VO: Clone + 'static> Side<V, VO> for RightSide {
    type This = VO;
    type Other = V;
    const LEFT: bool = false;

    fn into_either(value: VO) -> LeftOrRight<V, VO> {
        LeftOrRight::Right(value)
    }

    fn in_order<'a>(this: &'a VO, found: Option<&'a V>) -> (Option<&'a V>, Option<&'a VO>) {
        (found, Some(this))
    }

    fn reach(windows: JoinWindows) -> (i64, i64) {
        (windows.after_ms, windows.before_ms)
    }
}

/// What the instances of a side share.
pub(super) struct SideRules<K, T, J> {
    pub(super) windows: JoinWindows,
    /// Whether a record of this side without a match has a result.
    pub(super) outer: bool,
    /// The store of the other stream.
    pub(super) other_store: String,
    /// The store that both sides of a left or outer join share.
    pub(super) waiting_store: Option<String>,
    pub(super) keys: SharedSerde<K>,
    pub(super) values: SharedSerde<T>,
    /// Makes the result of both values; `None` if there is none.
    pub(super) joiner: Arc<J>,
}

/// The shared parts of a left or outer join, in one task.
struct Waiting<K, V, VO> {
    store: KeyValueStore<WaitingKey<K>, Vec<LeftOrRight<V, VO>>>,
    progress: Rc<RefCell<Progress>>,
}

/// Joins the records of one stream with those that the other one's store has.
pub(super) struct JoinSide<S: Side<V, VO>, K, V, VO, J> {
    rules: Arc<SideRules<K, S::This, J>>,
    others: Option<WindowStore<K, S::Other>>,
    waiting: Option<Waiting<K, V, VO>>,
    side: PhantomData<S>,
}

impl<S: Side<V, VO>, K, V, VO, J> JoinSide<S, K, V, VO, J> {
    pub(super) fn new(rules: Arc<SideRules<K, S::This, J>>) -> Self {
        Self { rules, others: None, waiting: None, side: PhantomData }
    }
}

impl<S, K, V, VO, J> JoinSide<S, K, V, VO, J>
where
    S: Side<V, VO>,
    K: Clone + 'static,
    V: Clone + 'static,
    VO: Clone + 'static,
{
    /// Forwards the results of the records that wait and whose window is over.
    ///
    /// They are forwarded with the headers of the record in process, as in Kafka Streams.
    fn release<R: Clone + 'static>(
        &self,
        context: &mut ProcessorContext<'_, '_, K, R>,
        headers: &Headers,
    ) -> Result<(), BoxError>
    where
        J: Fn(&K, Option<&V>, Option<&VO>) -> Result<Option<R>, BoxError>,
    {
        let Some(Waiting { store, progress }) = &self.waiting else { return Ok(()) };
        let JoinWindows { before_ms, after_ms, grace_ms } = self.rules.windows;
        let (_, later_ms) = S::reach(self.rules.windows);
        let interval = i64::try_from(context.emit_interval().as_millis()).unwrap_or(i64::MAX);
        let now = context.current_system_time();
        let length_ms = later_ms.saturating_add(grace_ms);
        if !progress.borrow_mut().begin_look(length_ms, now, interval) {
            return Ok(());
        }
        // each side's records are in the order of time: behind an open window all are open
        let (mut left_open, mut right_open) = (false, false);
        for entry in store.all()? {
            let (waiting, values) = entry?;
            let WaitingKey { timestamp, left, .. } = waiting;
            progress.borrow_mut().looks_at(timestamp);
            if left_open && right_open {
                break;
            }
            let length_ms = if left { after_ms } else { before_ms }.saturating_add(grace_ms);
            if !progress.borrow().is_past(timestamp.0.saturating_add(length_ms)) {
                *(if left { &mut left_open } else { &mut right_open }) = true;
                continue;
            }
            store.delete(&waiting)?;
            if let Err((rest, error)) = self.release_all(context, &waiting, values, headers) {
                // what the handler skips is one result, not those behind it
                progress.borrow_mut().interrupt_look();
                if !rest.is_empty() {
                    store.put(&waiting, rest)?;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Forwards the results of records of the same key and time; returns those behind one that
    /// fails.
    fn release_all<R: Clone + 'static>(
        &self,
        context: &mut ProcessorContext<'_, '_, K, R>,
        waiting: &WaitingKey<K>,
        values: Vec<LeftOrRight<V, VO>>,
        headers: &Headers,
    ) -> Result<(), (Vec<LeftOrRight<V, VO>>, BoxError)>
    where
        J: Fn(&K, Option<&V>, Option<&VO>) -> Result<Option<R>, BoxError>,
    {
        let WaitingKey { timestamp, key, .. } = waiting;
        let mut values = values.into_iter();
        while let Some(value) = values.next() {
            let (left, right) = match &value {
                LeftOrRight::Left(value) => (Some(value), None),
                LeftOrRight::Right(value) => (None, Some(value)),
            };
            let released = self.forward(context, key, (left, right), (*timestamp, headers));
            if let Err(error) = released {
                return Err((values.collect(), error));
            }
        }
        Ok(())
    }

    /// Forwards the result of two values, if there is one.
    fn forward<R: Clone + 'static>(
        &self,
        context: &mut ProcessorContext<'_, '_, K, R>,
        key: &K,
        (left, right): (Option<&V>, Option<&VO>),
        (timestamp, headers): (Timestamp, &Headers),
    ) -> Result<(), BoxError>
    where
        J: Fn(&K, Option<&V>, Option<&VO>) -> Result<Option<R>, BoxError>,
    {
        let Some(value) = (self.rules.joiner)(key, left, right)? else { return Ok(()) };
        let (key, headers) = (key.clone(), headers.clone());
        context.forward(Record { key, value, timestamp, headers })
    }

    /// Joins a record with all that the other stream has for it; returns whether there is any.
    fn join<R: Clone + 'static>(
        &self,
        context: &mut ProcessorContext<'_, '_, K, R>,
        record: &Record<K, S::This>,
        (from, to): (i64, i64),
    ) -> Result<bool, BoxError>
    where
        J: Fn(&K, Option<&V>, Option<&VO>) -> Result<Option<R>, BoxError>,
    {
        let Record { key, value, timestamp, headers } = record;
        let others = self.others.as_ref().expect("a processor is initialised first");
        let mut matched = false;
        for other in others.fetch_range(key, Timestamp(from)..=Timestamp(to))? {
            let (at, other) = other?;
            matched = true;
            if let Some(Waiting { store, .. }) = &self.waiting {
                let waiting = WaitingKey { timestamp: at, left: !S::LEFT, key: key.clone() };
                if store.get(&waiting)?.is_some() {
                    store.delete(&waiting)?;
                }
            }
            let both = S::in_order(value, Some(&other));
            self.forward(context, key, both, ((*timestamp).max(at), headers))?;
        }
        Ok(matched)
    }
}

impl<S, K, V, VO, R, J> Processor<K, S::This, K, R> for JoinSide<S, K, V, VO, J>
where
    S: Side<V, VO>,
    K: Clone + 'static,
    V: Clone + 'static,
    VO: Clone + 'static,
    R: Clone + 'static,
    J: Fn(&K, Option<&V>, Option<&VO>) -> Result<Option<R>, BoxError>,
{
    fn init(&mut self, context: &mut ProcessorContext<'_, '_, K, R>) -> Result<(), BoxError> {
        self.others = Some(context.window_store(&self.rules.other_store)?);
        if let Some(name) = &self.rules.waiting_store {
            let store = context.key_value_store(name)?;
            self.waiting = Some(Waiting { store, progress: context.shared_in_task(name)? });
        }
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, R>,
        record: Record<K, S::This>,
    ) -> Result<(), BoxError> {
        let SideRules { windows, outer, keys, values, .. } = &*self.rules;
        let at = record.timestamp;
        let progress = self.waiting.as_ref().map(|waiting| &waiting.progress);
        let newest = progress.is_some_and(|progress| progress.borrow_mut().advance(at));
        let no_key = keys.is_null(&record.key);
        if values.is_null(&record.value) || (no_key && !outer) {
            context.note_dropped();
            return Ok(());
        }
        if no_key {
            let alone = S::in_order(&record.value, None);
            return self.forward(context, &record.key, alone, (at, &record.headers));
        }
        if newest {
            self.release(context, &record.headers)?;
        }
        let (earlier_ms, later_ms) = S::reach(*windows);
        let from = at.0.saturating_sub(earlier_ms).max(0);
        let to = at.0.saturating_add(later_ms).max(0);
        if self.join(context, &record, (from, to))? || !outer {
            return Ok(());
        }
        let Some(Waiting { store, progress }) = &self.waiting else { return Ok(()) };
        if progress.borrow().is_past(to) {
            let alone = S::in_order(&record.value, None);
            return self.forward(context, &record.key, alone, (at, &record.headers));
        }
        progress.borrow_mut().waits(at);
        let waiting = WaitingKey { timestamp: at, left: S::LEFT, key: record.key };
        let mut values = store.get(&waiting)?.unwrap_or_default();
        values.push(S::into_either(record.value));
        store.put(&waiting, values)?;
        Ok(())
    }
}

//! The processor behind `count`, `reduce` and `aggregate`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::Change;
use super::table::change;
use crate::BoxError;
use crate::processor::{Processor, ProcessorContext};
use crate::record::Record;
use crate::serdes::SharedSerde;
use crate::store::StoreCore;

/// What the instances of an aggregation share.
pub(super) struct Aggregation<K, V, F> {
    pub(super) store: String,
    pub(super) key_serde: SharedSerde<K>,
    pub(super) value_serde: SharedSerde<V>,
    /// Whether `apply` may fail: the value before is then kept aside by a clone.
    pub(super) fallible: bool,
    /// Whether somebody below asked for old values.
    pub(super) send_old_values: bool,
    /// Makes the value after of key, record and the value before.
    pub(super) apply: F,
}

/// An aggregation in a task.
pub(super) struct Aggregate<K, V, A, F> {
    aggregation: Arc<Aggregation<K, V, F>>,
    store: Option<Rc<RefCell<StoreCore<K, A>>>>,
}

impl<K, V, A, F> Aggregate<K, V, A, F> {
    pub(super) fn new(aggregation: Arc<Aggregation<K, V, F>>) -> Self {
        Self { aggregation, store: None }
    }
}

impl<K, V, A, F> Processor<K, V, K, Change<A>> for Aggregate<K, V, A, F>
where
    K: Clone + 'static,
    V: 'static,
    A: Clone + 'static,
    F: Fn(&K, V, Option<A>) -> Result<Option<A>, BoxError>,
{
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<A>>,
    ) -> Result<(), BoxError> {
        let store = context.core(&self.aggregation.store)?;
        store.borrow_mut().send_old_values |= self.aggregation.send_old_values;
        self.store = Some(store);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<A>>,
        record: Record<K, V>,
    ) -> Result<(), BoxError> {
        let Aggregation { key_serde, value_serde, fallible, apply, .. } = &*self.aggregation;
        let Record { key, value, timestamp, headers } = record;
        if key_serde.is_null(&key) || value_serde.is_null(&value) {
            context.note_dropped();
            return Ok(());
        }
        let store = self.store.as_ref().expect("a processor is initialised first");
        let update = store
            .borrow_mut()
            .update(&key, timestamp, &headers, *fallible, |before| apply(&key, value, before))?;
        match update {
            Some(update) => context.forward(change(update.of(key))),
            None => Ok(()),
        }
    }

    fn flush(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<A>>,
    ) -> Result<(), BoxError> {
        let store = self.store.as_ref().expect("a processor is initialised first");
        let updates = store.borrow_mut().take_unforwarded()?;
        for update in updates {
            context.forward_of(update.origin, change(update))?;
        }
        Ok(())
    }
}

//! Keeps the records of one stream for the other one to find.

use std::sync::Arc;

use crate::BoxError;
use crate::processor::{Processor, ProcessorContext};
use crate::record::Record;
use crate::serdes::SharedSerde;
use crate::store::WindowStore;

/// What the instances share.
pub(super) struct KeepRules<K> {
    pub(super) store: String,
    pub(super) keys: SharedSerde<K>,
}

/// Hands each record on, and keeps it: in this order, so that a record of a stream that is joined
/// with itself does not find itself twice.
pub(super) struct Keep<K, V> {
    rules: Arc<KeepRules<K>>,
    store: Option<WindowStore<K, V>>,
}

impl<K, V> Keep<K, V> {
    pub(super) fn new(rules: Arc<KeepRules<K>>) -> Self {
        Self { rules, store: None }
    }
}

impl<K, V> Processor<K, V, K, V> for Keep<K, V>
where
    K: Clone + 'static,
    V: Clone + 'static,
{
    fn init(&mut self, context: &mut ProcessorContext<'_, '_, K, V>) -> Result<(), BoxError> {
        self.store = Some(context.window_store(&self.rules.store)?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, V>,
        record: Record<K, V>,
    ) -> Result<(), BoxError> {
        context.forward(record.clone())?;
        let Record { key, value, timestamp, headers } = record;
        if !self.rules.keys.is_null(&key) {
            let store = self.store.as_ref().expect("a processor is initialised first");
            store.put_logged(&key, value, timestamp, &headers)?;
        }
        Ok(())
    }
}

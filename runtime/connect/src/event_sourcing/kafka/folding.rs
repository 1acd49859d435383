//! The operator that folds an events topic.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidemill::BoxError;
use tidemill::processor::{FixedKeyProcessor, FixedKeyProcessorContext, FixedKeyRecord};
use tidemill::store::KeyValueStore;

use super::options::EventSourced;
use super::stored::check_schema;
use crate::event_sourcing::{Decider, EventEnvelope, Recorded, Stream, VersionCheck};

/// The value of a folding operator's store, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Folded<S> {
    /// [`Decider::STATE_SCHEMA`] of the program that folded it.
    pub schema: u32,
    /// How far.
    pub check: VersionCheck,
    /// The fold.
    pub state: S,
}

/// One task's folds.
pub(super) struct Folding<D: Decider> {
    rules: Arc<EventSourced>,
    store: Option<KeyValueStore<String, Folded<D::State>>>,
    decider: PhantomData<fn() -> D>,
}

impl<D: Decider> Folding<D> {
    pub(super) fn new(rules: Arc<EventSourced>) -> Self {
        Self { rules, store: None, decider: PhantomData }
    }
}

impl<D: Decider> FixedKeyProcessor<String, EventEnvelope, Stream<D::State>> for Folding<D> {
    fn init(
        &mut self,
        context: &mut FixedKeyProcessorContext<'_, '_, '_, String, Stream<D::State>>,
    ) -> Result<(), BoxError> {
        self.store = Some(context.key_value_store(&self.rules.store)?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut FixedKeyProcessorContext<'_, '_, '_, String, Stream<D::State>>,
        record: FixedKeyRecord<String, EventEnvelope>,
    ) -> Result<(), BoxError> {
        let store = self.store.as_ref().expect("a processor is initialised first");
        let Folded { schema, mut check, state } = store.get(record.key())?.unwrap_or_else(|| {
            Folded { schema: D::STATE_SCHEMA, check: VersionCheck::default(), state: D::initial() }
        });
        check_schema::<D>(&self.rules.store, schema)?;
        let (version, event_id) = (record.value().version, record.value().event_id);
        if !check.observe(record.key(), version, event_id)? {
            return Ok(());
        }
        let Recorded { event, .. } = self.rules.upcasters.read(record.value().clone())?;
        let state = D::evolve(state, &event);
        store.put(record.key(), Folded { schema, check, state: state.clone() })?;
        context.forward(record.with_value(Stream { version, state }))
    }
}

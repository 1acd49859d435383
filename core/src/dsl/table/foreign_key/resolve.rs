//! The row's side again: joins an answer with the row, if it is still the row that asked.

use std::sync::Arc;

use super::subscribe::{PseudoTopics, value_hash};
use super::wire::Response;
use crate::BoxError;
use crate::dsl::table::{ReadTable, View};
use crate::processor::{Processor, ProcessorContext};
use crate::record::Record;
use crate::serdes::SharedSerde;

/// What the instances share.
pub(super) struct ResolveRules<V, F> {
    /// Name of the registration topic, without the application's id.
    pub(super) topic: String,
    pub(super) values: SharedSerde<V>,
    /// Makes the result of a row and what the foreign table has; `None` if there is none.
    pub(super) joiner: F,
}

/// Makes results of responses.
pub(super) struct Resolve<K, V, F> {
    rules: Arc<ResolveRules<V, F>>,
    topics: PseudoTopics,
    view: View<K, V>,
    rows: Option<Box<dyn ReadTable<K, V>>>,
}

impl<K, V, F> Resolve<K, V, F> {
    pub(super) fn new(rules: Arc<ResolveRules<V, F>>, view: View<K, V>) -> Self {
        Self { rules, topics: PseudoTopics::default(), view, rows: None }
    }
}

impl<K, V, VO, R, F> Processor<K, Response<VO>, K, Option<R>> for Resolve<K, V, F>
where
    K: Clone + 'static,
    V: 'static,
    VO: 'static,
    R: Clone + 'static,
    F: Fn(&K, &V, Option<&VO>) -> Result<Option<R>, BoxError>,
{
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Option<R>>,
    ) -> Result<(), BoxError> {
        self.topics = PseudoTopics::new(context.application_id(), &self.rules.topic);
        self.rows = Some((self.view.open)(context)?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Option<R>>,
        record: Record<K, Response<VO>>,
    ) -> Result<(), BoxError> {
        let ResolveRules { values, joiner, .. } = &*self.rules;
        let Record { key, value: response, timestamp, headers } = record;
        let rows = self.rows.as_ref().expect("a processor is initialised first");
        let mut result = None;
        rows.read(&key, &mut |row| {
            let Some((row, _)) = row else {
                // the answer to a deletion of the row
                result = response.hash.is_none().then_some(None);
                return Ok(());
            };
            if response.hash == Some(value_hash(values, &self.topics.value_hash, row)?) {
                result = Some(joiner(&key, row, response.foreign_value.as_ref())?);
            }
            Ok(())
        })?;
        match result {
            Some(value) => context.forward(Record { key, value, timestamp, headers }),
            None => {
                // the row has changed since it asked; the answer to that is on its way
                context.note_dropped();
                Ok(())
            }
        }
    }
}

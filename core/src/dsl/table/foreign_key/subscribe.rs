//! The row's side: tells the foreign table's side which rows want to know of which keys.

use std::sync::Arc;

use super::hash::{Hash, hash128};
use super::wire::{Instruction, Subscription};
use crate::BoxError;
use crate::dsl::Change;
use crate::processor::{Processor, ProcessorContext};
use crate::record::Record;
use crate::serdes::{Encoded, SharedSerde};

/// Finds a row's foreign key; `None` if it has none.
pub(super) type Extract<K, V, KO> =
    dyn Fn(&K, &V) -> Result<Option<KO>, BoxError> + Send + Sync + 'static;

/// What the instances share.
pub(super) struct SubscribeRules<K, V, KO> {
    /// Name of the registration topic, without the application's id.
    pub(super) topic: String,
    pub(super) left: bool,
    pub(super) extract: Arc<Extract<K, V, KO>>,
    pub(super) keys: SharedSerde<K>,
    pub(super) values: SharedSerde<V>,
    pub(super) foreign_keys: SharedSerde<KO>,
}

/// Names that serdes see where bytes do not come from, or go to, a topic (for schema registries).
#[derive(Debug, Default)]
pub(super) struct PseudoTopics {
    pub(super) primary_key: String,
    pub(super) foreign_key: String,
    pub(super) value_hash: String,
}

impl PseudoTopics {
    pub(super) fn new(application_id: &str, topic: &str) -> Self {
        let of = |what| format!("{application_id}-{topic}-{what}");
        Self { primary_key: of("pk"), foreign_key: of("fk"), value_hash: of("vh") }
    }
}

/// Turns changes of rows into subscriptions.
pub(super) struct Subscribe<K, V, KO> {
    rules: Arc<SubscribeRules<K, V, KO>>,
    topics: PseudoTopics,
}

impl<K, V, KO> Subscribe<K, V, KO> {
    pub(super) fn new(rules: Arc<SubscribeRules<K, V, KO>>) -> Self {
        Self { rules, topics: PseudoTopics::default() }
    }
}

/// A foreign key with its bytes.
struct Foreign<KO> {
    key: KO,
    bytes: Vec<u8>,
}

impl<K: 'static, V: 'static, KO: 'static> Subscribe<K, V, KO> {
    /// Returns the foreign key that a value has.
    fn foreign(&self, key: &K, value: Option<&V>) -> Result<Option<Foreign<KO>>, BoxError> {
        let Some(value) = value else { return Ok(None) };
        let Some(key) = (self.rules.extract)(key, value)? else { return Ok(None) };
        let mut bytes = Vec::new();
        match self.rules.foreign_keys.serialize(&self.topics.foreign_key, &key, &mut bytes) {
            Ok(Encoded::Bytes) => Ok(Some(Foreign { key, bytes })),
            Ok(Encoded::Null) => Ok(None),
            Err(cause) => Err(format!("could not serialize the foreign key: {cause}").into()),
        }
    }

    fn hash(&self, value: Option<&V>) -> Result<Option<Hash>, BoxError> {
        let Some(value) = value else { return Ok(None) };
        value_hash(&self.rules.values, &self.topics.value_hash, value).map(Some)
    }
}

/// Returns the hash that tells a row's value from others.
pub(super) fn value_hash<V: 'static>(
    values: &SharedSerde<V>,
    topic: &str,
    value: &V,
) -> Result<Hash, BoxError> {
    let mut bytes = Vec::new();
    values
        .serialize(topic, value, &mut bytes)
        .map_err(|cause| format!("could not serialize the value for its hash: {cause}"))?;
    Ok(hash128(&bytes))
}

/// What is sent: to the foreign key of the old value, and to that of the new one.
struct Plan {
    old: Option<Instruction>,
    new: Option<Instruction>,
}

/// Decides for an inner join. A row that leaves a foreign key with nothing after it has its result
/// deleted; one that had none before has no result to delete.
fn inner(had: bool, has: bool, changed: bool) -> Plan {
    use Instruction::{
        DeleteKeyAndPropagate, DeleteKeyNoPropagate, PropagateNullIfNoForeignValue,
        PropagateOnlyIfForeignValue,
    };
    match (had, has) {
        (true, true) if changed => {
            let new = Some(PropagateNullIfNoForeignValue);
            Plan { old: Some(DeleteKeyNoPropagate), new }
        }
        (_, true) => Plan { old: None, new: Some(PropagateOnlyIfForeignValue) },
        (true, false) => Plan { old: Some(DeleteKeyAndPropagate), new: None },
        (false, false) => Plan { old: None, new: None },
    }
}

/// Decides for a left join. There is an answer in any case, also for a row without a foreign key:
/// it goes round through the topics like all others, so that it can't overtake one of them.
fn left(had: bool, changed: bool) -> Plan {
    let old = (had && changed).then_some(Instruction::DeleteKeyNoPropagate);
    Plan { old, new: Some(Instruction::PropagateNullIfNoForeignValue) }
}

impl<K, V, KO> Processor<K, Change<V>, Option<KO>, Subscription> for Subscribe<K, V, KO>
where
    K: Clone + 'static,
    V: Clone + 'static,
    KO: Clone + 'static,
{
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, Option<KO>, Subscription>,
    ) -> Result<(), BoxError> {
        self.topics = PseudoTopics::new(context.application_id(), &self.rules.topic);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, Option<KO>, Subscription>,
        record: Record<K, Change<V>>,
    ) -> Result<(), BoxError> {
        let Record { key, value: Change { new, old }, timestamp, headers } = record;
        if context.is_out_of_order() {
            context.note_dropped();
            return Ok(());
        }
        if new.is_none() && old.is_none() {
            return Ok(());
        }
        let before = self.foreign(&key, old.as_ref())?;
        let after = self.foreign(&key, new.as_ref())?;
        let bytes = |foreign: &Option<Foreign<KO>>| foreign.as_ref().map(|f| f.bytes.clone());
        let changed = bytes(&before) != bytes(&after);
        let plan = if self.rules.left {
            left(before.is_some(), changed)
        } else {
            if new.is_some() && after.is_none() {
                context.note_dropped();
            }
            inner(before.is_some(), after.is_some(), changed)
        };
        let hash = self.hash(new.as_ref())?;
        let mut primary_key = Vec::new();
        self.rules
            .keys
            .serialize(&self.topics.primary_key, &key, &mut primary_key)
            .map_err(|cause| format!("could not serialize the key: {cause}"))?;
        // the partition of the record that is in process, or was when the change was held back
        let primary_partition = Some(context.task_id().partition);
        for (foreign, instruction) in [(before, plan.old), (after, plan.new)] {
            let Some(instruction) = instruction else { continue };
            let primary_key = primary_key.clone();
            let value = Subscription { hash, instruction, primary_key, primary_partition };
            let key = foreign.map(|foreign| foreign.key);
            context.forward(Record { key, value, timestamp, headers: headers.clone() })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(plan: Plan) -> (Option<u8>, Option<u8>) {
        (plan.old.map(|i| i as u8), plan.new.map(|i| i as u8))
    }

    #[test]
    fn an_inner_join_deletes_a_result_exactly_when_there_may_be_one() {
        assert_eq!(sent(inner(false, true, true)), (None, Some(3)), "a new row");
        assert_eq!(sent(inner(true, true, false)), (None, Some(3)), "the same foreign key");
        assert_eq!(sent(inner(true, true, true)), (Some(0), Some(2)), "another foreign key");
        assert_eq!(sent(inner(true, false, true)), (Some(1), None), "no foreign key any more");
        assert_eq!(sent(inner(false, false, false)), (None, None), "never one");
    }

    #[test]
    fn a_left_join_answers_once_whatever_happens() {
        assert_eq!(sent(left(false, true)), (None, Some(2)), "a new row");
        assert_eq!(sent(left(true, false)), (None, Some(2)), "the same foreign key");
        assert_eq!(sent(left(true, true)), (Some(0), Some(2)), "another foreign key, or none");
        assert_eq!(sent(left(false, false)), (None, Some(2)), "never one");
    }
}

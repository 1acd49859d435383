//! The foreign table's side: remembers who subscribed to which key, and answers.

use std::sync::Arc;

use super::subscribe::PseudoTopics;
use super::wire::{Instruction, Response, Subscription, combined_key, prefix};
use crate::BoxError;
use crate::dsl::Change;
use crate::dsl::table::{ReadTable, View};
use crate::processor::{Processor, ProcessorContext};
use crate::record::{Headers, Record, Timestamp};
use crate::serdes::{Encoded, SharedSerde};
use crate::store::{TimestampedKeyValueStore, ValueAndTimestamp};

/// What the instances share.
pub(super) struct ForeignRules<K, KO> {
    /// Name of the registration topic, without the application's id.
    pub(super) topic: String,
    /// Name of the store of subscriptions.
    pub(super) store: String,
    pub(super) keys: SharedSerde<K>,
    pub(super) foreign_keys: SharedSerde<KO>,
}

type Subscriptions = TimestampedKeyValueStore<Vec<u8>, Subscription>;

/// What a processor of this side works with, in one task.
struct Side<K, KO> {
    rules: Arc<ForeignRules<K, KO>>,
    topics: PseudoTopics,
}

impl<K: 'static, KO: 'static> Side<K, KO> {
    fn new(rules: &Arc<ForeignRules<K, KO>>) -> Self {
        Self { rules: Arc::clone(rules), topics: PseudoTopics::default() }
    }

    fn init<A, B>(&mut self, context: &ProcessorContext<'_, '_, A, B>) {
        self.topics = PseudoTopics::new(context.application_id(), &self.rules.topic);
    }

    /// Returns the bytes of a foreign key; `None` if it stands for null.
    fn foreign_key(&self, key: &KO) -> Result<Option<Vec<u8>>, BoxError> {
        let mut bytes = Vec::new();
        match self.rules.foreign_keys.serialize(&self.topics.foreign_key, key, &mut bytes) {
            Ok(Encoded::Bytes) => Ok(Some(bytes)),
            Ok(Encoded::Null) => Ok(None),
            Err(cause) => Err(format!("could not serialize the foreign key: {cause}").into()),
        }
    }

    /// Makes the answer to a subscription.
    fn response<VO>(
        &self,
        subscription: &Subscription,
        foreign_value: Option<VO>,
        (timestamp, headers): (Timestamp, Headers),
    ) -> Result<Record<K, Response<VO>>, BoxError> {
        let bytes = Some(&*subscription.primary_key);
        let key = self.rules.keys.deserialize(&self.topics.primary_key, bytes);
        let key = key.map_err(|cause| format!("could not deserialize the primary key: {cause}"))?;
        let Subscription { hash, primary_partition, .. } = *subscription;
        let value = Response { hash, foreign_value, primary_partition };
        Ok(Record { key, value, timestamp, headers })
    }
}

/// Keeps subscriptions, and hands them on.
pub(super) struct Receive<K, KO> {
    side: Side<K, KO>,
    store: Option<Subscriptions>,
}

impl<K: 'static, KO: 'static> Receive<K, KO> {
    pub(super) fn new(rules: &Arc<ForeignRules<K, KO>>) -> Self {
        Self { side: Side::new(rules), store: None }
    }
}

impl<K, KO> Processor<Option<KO>, Subscription, Option<KO>, Subscription> for Receive<K, KO>
where
    K: 'static,
    KO: Clone + 'static,
{
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, Option<KO>, Subscription>,
    ) -> Result<(), BoxError> {
        self.side.init(context);
        self.store = Some(context.timestamped_key_value_store(&self.side.rules.store)?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, Option<KO>, Subscription>,
        record: Record<Option<KO>, Subscription>,
    ) -> Result<(), BoxError> {
        let foreign = match &record.key {
            Some(key) => self.side.foreign_key(key)?,
            None => None,
        };
        let subscription = &record.value;
        let Some(foreign) = foreign else {
            if subscription.instruction == Instruction::PropagateNullIfNoForeignValue {
                return context.forward(record);
            }
            context.note_dropped();
            return Ok(());
        };
        let key = combined_key(&foreign, &subscription.primary_key)?;
        let store = self.store.as_ref().expect("a processor is initialised first");
        store.log_with(&record.headers);
        if subscription.instruction.deletes() {
            store.delete(&key)?;
        } else {
            let (value, timestamp) = (subscription.clone(), record.timestamp);
            store.put(&key, ValueAndTimestamp { value, timestamp })?;
        }
        context.forward(record)
    }
}

/// Answers a subscription with what the foreign table has now.
pub(super) struct Answer<K, KO, VO> {
    side: Side<K, KO>,
    view: View<KO, VO>,
    table: Option<Box<dyn ReadTable<KO, VO>>>,
}

impl<K: 'static, KO: 'static, VO> Answer<K, KO, VO> {
    pub(super) fn new(rules: &Arc<ForeignRules<K, KO>>, view: View<KO, VO>) -> Self {
        Self { side: Side::new(rules), view, table: None }
    }
}

impl<K, KO, VO> Processor<Option<KO>, Subscription, K, Response<VO>> for Answer<K, KO, VO>
where
    K: Clone + 'static,
    KO: 'static,
    VO: Clone + 'static,
{
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Response<VO>>,
    ) -> Result<(), BoxError> {
        self.side.init(context);
        self.table = Some((self.view.open)(context)?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Response<VO>>,
        record: Record<Option<KO>, Subscription>,
    ) -> Result<(), BoxError> {
        let Record { key, value: subscription, timestamp, headers } = record;
        let (mut found, mut at) = (None, timestamp);
        if let Some(key) = key.filter(|key| !self.side.rules.foreign_keys.is_null(key)) {
            let table = self.table.as_ref().expect("a processor is initialised first");
            table.read(&key, &mut |current| {
                if let Some((value, updated)) = current {
                    found = Some(value.clone());
                    at = at.max(updated);
                }
                Ok(())
            })?;
        }
        let answers = match subscription.instruction {
            Instruction::DeleteKeyNoPropagate => false,
            Instruction::DeleteKeyAndPropagate => {
                found = None;
                true
            }
            Instruction::PropagateNullIfNoForeignValue => true,
            Instruction::PropagateOnlyIfForeignValue => found.is_some(),
        };
        if !answers {
            return Ok(());
        }
        context.forward(self.side.response(&subscription, found, (at, headers))?)
    }
}

/// Tells all who subscribed to a key that its value changed.
pub(super) struct Announce<K, KO> {
    side: Side<K, KO>,
    store: Option<Subscriptions>,
}

impl<K: 'static, KO: 'static> Announce<K, KO> {
    pub(super) fn new(rules: &Arc<ForeignRules<K, KO>>) -> Self {
        Self { side: Side::new(rules), store: None }
    }
}

impl<K, KO, VO> Processor<KO, Change<VO>, K, Response<VO>> for Announce<K, KO>
where
    K: Clone + 'static,
    KO: 'static,
    VO: Clone + 'static,
{
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Response<VO>>,
    ) -> Result<(), BoxError> {
        self.side.init(context);
        self.store = Some(context.timestamped_key_value_store(&self.side.rules.store)?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Response<VO>>,
        record: Record<KO, Change<VO>>,
    ) -> Result<(), BoxError> {
        let Record { key, value: change, timestamp, headers } = record;
        let Some(foreign) = self.side.foreign_key(&key)? else {
            context.note_dropped();
            return Ok(());
        };
        if context.is_out_of_order() {
            context.note_dropped();
            return Ok(());
        }
        let store = self.store.as_ref().expect("a processor is initialised first");
        for entry in store.starting_with(prefix(&foreign)?) {
            let (_, subscription) = entry?;
            let about = (timestamp, headers.clone());
            context.forward(self.side.response(&subscription, change.new.clone(), about)?)?;
        }
        Ok(())
    }
}

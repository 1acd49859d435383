//! `in_revision_order`: each revision passes after the one before it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::parked::{Parked, ParkedKey, ParkedKeySerde, ParkedSerde};
use super::{Extract, ParkingFull, RevisionOrder, revision_of_value};
use crate::BoxError;
use crate::dsl::{KStream, Materialized};
use crate::processor::{Processor, ProcessorContext};
use crate::record::{Offset, OwnedRecord, Partition, Record, Timestamp};
use crate::revision::{
    Place, RevisionError, RevisionProgress, RevisionProgressSerde, Revisioned, place,
};
use crate::serdes::{Encoded, SharedSerde};
use crate::store::{
    KeyValueStore, StoreCore, StoreKind, StoreSpec, TimestampedKeyValueStore, ValueAndTimestamp,
};

const REVISION_ORDER: &str = "KSTREAM-REVISION-ORDER-";

impl<K: Clone + 'static, V: Clone + 'static> KStream<K, V> {
    /// Lets each revision of a key pass once and in order, with none left out: `last + 1` passes,
    /// what is older is ignored and counted, and what comes after a gap waits until the gap is
    /// filled, or goes to the processing handler ([`RevisionOrder::reject_gaps`]).
    ///
    /// This is for events that carry a change (`Deposited { amount }`), of which none may be missed
    /// and none be applied twice. It takes revisions that are dense, like a counter that is
    /// increased in the transaction of the change; those made of timestamps are not.
    ///
    /// * The store holds the [`RevisionProgress`] of each key, a second one, `<name>-parked`, the
    ///   records that wait. A record that waited is forwarded with its own timestamp and headers.
    /// * Records with a null key are dropped and counted.
    /// * A tombstone takes part in the order like any other record, so it needs a revision
    ///   ([`KStream::try_in_revision_order`]), and a key that is made anew goes on counting.
    /// * A record without a revision goes to the processing handler.
    ///
    /// ```
    /// use tidemill_core::dsl::{Materialized, ParkingFull, RevisionOrder, StreamsBuilder};
    /// use tidemill_core::serdes::{i64, string};
    /// use tidemill_core::topology::{Consumed, Produced};
    /// # use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
    ///
    /// let builder = StreamsBuilder::new();
    /// builder
    ///     .stream::<String, i64>("numbered", Consumed::with(string(), i64()))
    ///     .try_in_revision_order(
    ///         |record| Ok(Some(record.value)),
    ///         RevisionOrder::starting_at(1, string(), i64()).park_up_to(10, ParkingFull::Reject),
    ///         Materialized::as_("progress"),
    ///     )
    ///     .to("in-order", Produced::with(string(), i64()));
    /// let driver = TopologyTestDriver::new(builder.build()?, DriverConfig::default())?;
    /// let mut numbered = driver.create_input_topic("numbered", string(), i64())?;
    /// for revision in [1, 4, 3, 3, 1, 2] {
    ///     numbered.pipe_input("a".to_owned(), revision)?;
    /// }
    /// let mut in_order = driver.create_output_topic("in-order", string(), i64())?;
    /// let seen: Vec<_> =
    ///     in_order.read_key_values_to_list()?.into_iter().map(|(_, revision)| revision).collect();
    /// assert_eq!(seen, [1, 2, 3, 4]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_revision_order(
        &self,
        order: RevisionOrder<K, V>,
        materialized: Materialized<K, RevisionProgress>,
    ) -> Self
    where
        V: Revisioned,
    {
        self.add_ordered(Arc::new(revision_of_value), order, materialized)
    }

    /// As [`KStream::in_revision_order`], with a closure that finds the revision: in the value, the
    /// key or a header.
    pub fn try_in_revision_order(
        &self,
        revision: impl Fn(&Record<K, V>) -> Result<Option<i64>, BoxError> + Send + Sync + 'static,
        order: RevisionOrder<K, V>,
        materialized: Materialized<K, RevisionProgress>,
    ) -> Self {
        self.add_ordered(Arc::new(revision), order, materialized)
    }

    fn add_ordered(
        &self,
        revision: Extract<K, V>,
        order: RevisionOrder<K, V>,
        mut materialized: Materialized<K, RevisionProgress>,
    ) -> Self {
        let RevisionOrder { key_serde, value_serde, name, first, parking } = order;
        let (store, node) = self.name_with_store(materialized.name.take(), REVISION_ORDER);
        materialized.refuse_versions(&mut self.graph().borrow_mut(), &node);
        let parent = self.together(name.as_deref().unwrap_or(&store), &key_serde, &value_serde);
        let keys = materialized.key_serde.take().unwrap_or_else(|| Arc::clone(&key_serde));
        let (limit, full) = parking.unwrap_or((0, ParkingFull::Reject));
        let parked = parking.map(|_| format!("{store}-parked"));
        let rules = Arc::new(OrderRules {
            store,
            parked,
            key_serde,
            value_serde,
            first,
            limit,
            full,
            revision,
        });
        let id =
            self.graph().borrow_mut().add(&[parent], node.clone(), move |topology, parents| {
                let OrderRules { store, parked, .. } = &*rules;
                let values = materialized.value_serde.take();
                let values = values.unwrap_or_else(|| Arc::new(RevisionProgressSerde));
                let own = materialized.own_store(store, keys, values);
                let beside = parked
                    .as_deref()
                    .map(|parked| materialized.store_beside(parked, ParkedKeySerde, ParkedSerde));
                let rules = Arc::clone(&rules);
                topology.add_processor(&node, move || Ordered::new(Arc::clone(&rules)), parents)?;
                topology.add_state_store(own, &[&node])?;
                beside.map_or(Ok(()), |store| topology.add_state_store(store, &[&node]).map(|_| ()))
            });
        KStream::new(self.shared_graph(), id, false)
    }
}

/// What the instances share.
struct OrderRules<K, V> {
    store: String,
    /// The store of the records that wait; `None` if none waits.
    parked: Option<String>,
    key_serde: SharedSerde<K>,
    value_serde: SharedSerde<V>,
    first: Option<i64>,
    limit: u32,
    full: ParkingFull,
    revision: Extract<K, V>,
}

/// Lets the revisions of a key pass one after the other.
struct Ordered<K, V> {
    rules: Arc<OrderRules<K, V>>,
    opened: Option<Opened<K>>,
}

struct Opened<K> {
    core: Rc<RefCell<StoreCore<K, RevisionProgress>>>,
    store: TimestampedKeyValueStore<K, RevisionProgress>,
    parked: Option<Parking>,
}

/// The records that wait.
struct Parking {
    store: KeyValueStore<ParkedKey, Parked>,
    /// What the value's serde is told.
    changelog: String,
}

impl<K, V> Ordered<K, V> {
    fn new(rules: Arc<OrderRules<K, V>>) -> Self {
        Self { rules, opened: None }
    }
}

impl<K: Clone + 'static, V: Clone + 'static> Processor<K, V, K, V> for Ordered<K, V> {
    fn init(&mut self, context: &mut ProcessorContext<'_, '_, K, V>) -> Result<(), BoxError> {
        let core = context.core(&self.rules.store)?;
        let store = TimestampedKeyValueStore::new(Rc::clone(&core));
        let parked = self.rules.parked.as_deref();
        let parked = parked.map(|name| -> Result<_, BoxError> {
            let spec = StoreSpec::new(name, StoreKind::KeyValue);
            let changelog = spec.changelog_topic(context.application_id());
            Ok(Parking { store: context.key_value_store(name)?, changelog })
        });
        let parked = parked.transpose()?;
        self.opened = Some(Opened { core, store, parked });
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, V>,
        record: Record<K, V>,
    ) -> Result<(), BoxError> {
        let rules = &*self.rules;
        if rules.key_serde.is_null(&record.key) {
            context.note_dropped();
            return Ok(());
        }
        let revision = (rules.revision)(&record)?.ok_or(RevisionError::Missing)?;
        let opened = self.opened.as_ref().expect("a processor is initialised first");
        let progress = opened.store.get(&record.key)?.map(|stored| stored.value);
        let progress = progress.unwrap_or(RevisionProgress::new(None, 0));
        let turn = Turn { rules, opened, context, key: record.key.clone(), progress };
        match place(progress.last(), rules.first, revision) {
            Place::Old => {
                turn.context.note_ignored();
                Ok(())
            }
            Place::Next => turn.pass(record, revision),
            Place::After(expected) => turn.wait(record, revision, expected),
        }
    }
}

/// A record that waited, as it is to be forwarded and as it was read.
type Waited<K, V> = (Record<K, V>, Parked);

/// What is done for one record.
struct Turn<'a, 'c, 't, K, V> {
    rules: &'a OrderRules<K, V>,
    opened: &'a Opened<K>,
    context: &'a mut ProcessorContext<'c, 't, K, V>,
    key: K,
    progress: RevisionProgress,
}

impl<K: Clone + 'static, V: Clone + 'static> Turn<'_, '_, '_, K, V> {
    /// Forwards a record and those that waited for it.
    fn pass(mut self, record: Record<K, V>, revision: i64) -> Result<(), BoxError> {
        self.context.forward(record)?;
        let waiting = self.progress.parked();
        self.progress = RevisionProgress::new(Some(revision), waiting);
        self.release()
    }

    /// Forwards parked records up to the next gap, and notes how far they went.
    fn release(mut self) -> Result<(), BoxError> {
        while let Some(revision) = self.progress.last().and_then(|last| last.checked_add(1)) {
            if self.progress.parked() == 0 {
                break;
            }
            let Some((record, parked)) = self.unpark(revision)? else { break };
            let waiting = self.progress.parked() - 1;
            self.progress = RevisionProgress::new(Some(revision), waiting);
            let Parked { topic, partition, record: raw } = &parked;
            // without a topic it was made by a punctuation or a commit
            let source = (!topic.is_empty()).then_some((&**topic, *partition, raw));
            self.context.forward_on_behalf(source, record)?;
        }
        self.note()
    }

    /// Parks a record, unless it is parked already.
    fn wait(mut self, record: Record<K, V>, revision: i64, expected: i64) -> Result<(), BoxError> {
        let Some(Parking { store, changelog }) = &self.opened.parked else {
            return Err(RevisionError::Gap { expected, found: revision }.into());
        };
        let place = self.parked_key(revision)?;
        if store.get(&place)?.is_some() {
            self.context.note_ignored();
            return Ok(());
        }
        let parked = self.progress.parked();
        let full = parked >= self.rules.limit;
        if full && self.rules.full == ParkingFull::Reject {
            return Err(RevisionError::ParkingFull { expected, found: revision, parked }.into());
        }
        store.put(&place, self.to_parked(record, changelog)?)?;
        self.progress = RevisionProgress::new(self.progress.last(), parked.saturating_add(1));
        if full { self.skip_gap(expected) } else { self.note() }
    }

    /// Gives up what is missing before the first parked record.
    fn skip_gap(mut self, expected: i64) -> Result<(), BoxError> {
        let Some(Parking { store, .. }) = &self.opened.parked else { return self.note() };
        let range = self.parked_key(expected)?..=self.parked_key(i64::MAX)?;
        if let Some(first) = store.range(range)?.next() {
            let (first, _) = first?;
            // larger than what was expected, so there is one before it
            let before = first.revision.checked_sub(1);
            self.progress = RevisionProgress::new(before, self.progress.parked());
        }
        self.release()
    }

    /// Takes a parked record out.
    fn unpark(&self, revision: i64) -> Result<Option<Waited<K, V>>, BoxError> {
        let Some(Parking { store, changelog }) = &self.opened.parked else { return Ok(None) };
        let Some(parked) = store.delete(&self.parked_key(revision)?)? else { return Ok(None) };
        let OwnedRecord { value, timestamp, headers, .. } = &parked.record;
        let value = self.rules.value_serde.deserialize(changelog, value.as_deref())?;
        let (key, headers) = (self.key.clone(), headers.clone());
        Ok(Some((Record { key, value, timestamp: *timestamp, headers }, parked)))
    }

    fn note(self) -> Result<(), BoxError> {
        let timestamp = self.context.current_stream_time();
        let timestamp = timestamp.unwrap_or(Timestamp(-1));
        let value = self.progress;
        Ok(self.opened.store.put(&self.key, ValueAndTimestamp { value, timestamp })?)
    }

    fn parked_key(&self, revision: i64) -> Result<ParkedKey, BoxError> {
        Ok(ParkedKey { key: self.opened.core.borrow().key_bytes(&self.key)?, revision })
    }

    fn to_parked(&self, record: Record<K, V>, changelog: &str) -> Result<Parked, BoxError> {
        let source = self.context.record_metadata();
        let (topic, partition, offset) = match source {
            Some(source) => (source.topic.to_owned(), source.partition, source.offset),
            None => (String::new(), Partition(-1), Offset(-1)),
        };
        let mut value = Vec::new();
        let encoded = self.rules.value_serde.serialize(changelog, &record.value, &mut value)?;
        let record = OwnedRecord {
            offset,
            timestamp: record.timestamp,
            key: Some(self.opened.core.borrow().key_bytes(&self.key)?),
            value: (encoded == Encoded::Bytes).then_some(value),
            headers: record.headers,
        };
        Ok(Parked { topic, partition, record })
    }
}

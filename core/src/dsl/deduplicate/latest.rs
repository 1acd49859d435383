//! `deduplicate_by_revision`: the last writer wins.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::expiry::{Due, DueSerde, ExpiryIndex, Present};
use super::{Deduplicated, Extract, revision_of_value};
use crate::BoxError;
use crate::dsl::{KStream, Materialized};
use crate::processor::{Processor, ProcessorContext};
use crate::record::{Record, Timestamp};
use crate::revision::{LastRevision, LastRevisionSerde, RevisionError, Revisioned, Verdict, judge};
use crate::serdes::SharedSerde;
use crate::store::{StoreCore, TimestampedKeyValueStore, ValueAndTimestamp};

impl<K: Clone + 'static, V: Clone + 'static> KStream<K, V> {
    /// Lets a record pass if its revision is larger than that of every record of its key before.
    /// Others are ignored and counted: they were sent again, or were overtaken.
    ///
    /// The last writer wins, and what it overtook is never seen. That is right for events that
    /// carry the whole state (`PriceUpdated { price }`) and wrong for those that carry a change
    /// (`Deposited { amount }`): for these see [`KStream::in_revision_order`] and
    /// [`KStream::deduplicate_by_id`].
    ///
    /// * The store holds the [`LastRevision`] of each key; its caching has no effect.
    /// * Records with a null key are dropped and counted.
    /// * A tombstone (a value that is null to its serde) passes and leaves the revision behind: a
    ///   key that is made anew goes on with a larger revision, and what is older than the deletion
    ///   stays out. A tombstone without a revision counts as the newest record, because nothing
    ///   tells when it was made: send tombstones with a revision in a header where they may be late
    ///   ([`KStream::try_deduplicate_by_revision`]).
    /// * A value without a revision goes to the processing handler.
    /// * Nothing is forgotten unless [`Deduplicated::forget_after`] says so.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use tidemill_core::dsl::{Deduplicated, Materialized, StreamsBuilder};
    /// use tidemill_core::revision::Revisioned;
    /// use tidemill_core::serdes::{json, string};
    /// use tidemill_core::topology::{Consumed, Produced};
    /// # use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
    ///
    /// #[derive(Clone, Serialize, Deserialize)]
    /// struct PriceUpdated {
    ///     cents: i64,
    ///     #[serde(with = "tidemill_core::revision::text")]
    ///     revision: i64,
    /// }
    ///
    /// impl Revisioned for PriceUpdated {
    ///     fn revision(&self) -> Option<i64> {
    ///         Some(self.revision)
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// builder
    ///     .stream::<String, PriceUpdated>("prices", Consumed::with(string(), json()))
    ///     .deduplicate_by_revision(
    ///         Deduplicated::with(string(), json()),
    ///         Materialized::as_("price-revisions"),
    ///     )
    ///     .to("news", Produced::with(string(), json()));
    /// let topology = builder.build()?;
    ///
    /// let driver = TopologyTestDriver::new(&topology, DriverConfig::default())?;
    /// let mut prices = driver.create_input_topic("prices", string(), json())?;
    /// for (cents, revision) in [(200, 2), (100, 3), (100, 3), (200, 2)] {
    ///     prices.pipe_input("tea".to_owned(), PriceUpdated { cents, revision })?;
    /// }
    /// let mut news = driver.create_output_topic("news", string(), json::<PriceUpdated>())?;
    /// let seen: Vec<_> =
    ///     news.read_key_values_to_list()?.iter().map(|(_, update)| update.revision).collect();
    /// assert_eq!(seen, [2, 3]);
    /// assert_eq!(driver.ignored()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn deduplicate_by_revision(
        &self,
        deduplicated: Deduplicated<K, V>,
        materialized: Materialized<K, LastRevision>,
    ) -> Self
    where
        V: Revisioned,
    {
        self.add_latest(Arc::new(revision_of_value), deduplicated, materialized)
    }

    /// As [`KStream::deduplicate_by_revision`], with a closure that finds the revision: in the
    /// value, the key or a header.
    pub fn try_deduplicate_by_revision(
        &self,
        revision: impl Fn(&Record<K, V>) -> Result<Option<i64>, BoxError> + Send + Sync + 'static,
        deduplicated: Deduplicated<K, V>,
        materialized: Materialized<K, LastRevision>,
    ) -> Self {
        self.add_latest(Arc::new(revision), deduplicated, materialized)
    }

    fn add_latest(
        &self,
        revision: Extract<K, V>,
        options: Deduplicated<K, V>,
        mut materialized: Materialized<K, LastRevision>,
    ) -> Self {
        let Deduplicated { key_serde, value_serde, name, .. } = &options;
        let (store, node) = self.name_with_store(materialized.name.take(), super::DEDUPLICATE);
        materialized.refuse_versions(&mut self.graph().borrow_mut(), &node);
        let parent = self.together(name.as_deref().unwrap_or(&store), key_serde, value_serde);
        let forgets = options.forget_after.is_some() || options.forget_deleted_after.is_some();
        let index = forgets.then(|| format!("{store}-expiry"));
        let keys = materialized.key_serde.take().unwrap_or_else(|| Arc::clone(key_serde));
        let rules = Arc::new(Rules {
            store,
            index,
            key_serde: options.key_serde,
            value_serde: options.value_serde,
            forget_after: options.forget_after,
            forget_deleted_after: options.forget_deleted_after,
            revision,
        });
        let id =
            self.graph().borrow_mut().add(&[parent], node.clone(), move |topology, parents| {
                let Rules { store, index, .. } = &*rules;
                let values = materialized.value_serde.take();
                let values = values.unwrap_or_else(|| Arc::new(LastRevisionSerde));
                let own = materialized.own_store(store, keys, values);
                let beside = index
                    .as_deref()
                    .map(|index| materialized.store_beside(index, DueSerde, Present));
                let rules = Arc::clone(&rules);
                topology.add_processor(&node, move || Latest::new(Arc::clone(&rules)), parents)?;
                topology.add_state_store(own, &[&node])?;
                beside.map_or(Ok(()), |store| topology.add_state_store(store, &[&node]).map(|_| ()))
            });
        KStream::new(self.shared_graph(), id, false)
    }
}

/// What the instances share.
struct Rules<K, V> {
    store: String,
    /// The expiry index; `None` if nothing is ever forgotten.
    index: Option<String>,
    key_serde: SharedSerde<K>,
    value_serde: SharedSerde<V>,
    forget_after: Option<i64>,
    forget_deleted_after: Option<i64>,
    revision: Extract<K, V>,
}

impl<K, V> Rules<K, V> {
    /// Returns the last instant of stream time at which an entry is known.
    fn known_until(&self, entry: &LastRevision, seen: Timestamp) -> Option<Timestamp> {
        let deleted = self.forget_deleted_after.filter(|_| entry.is_deleted());
        let time = deleted.or(self.forget_after)?;
        Some(Timestamp(seen.0.saturating_add(time)))
    }
}

/// Lets records pass whose revision is larger than all before of their key.
struct Latest<K, V> {
    rules: Arc<Rules<K, V>>,
    opened: Option<Opened<K>>,
}

struct Opened<K> {
    core: Rc<RefCell<StoreCore<K, LastRevision>>>,
    store: TimestampedKeyValueStore<K, LastRevision>,
    index: Option<ExpiryIndex>,
}

impl<K, V> Latest<K, V> {
    fn new(rules: Arc<Rules<K, V>>) -> Self {
        Self { rules, opened: None }
    }
}

impl<K: 'static> Opened<K> {
    /// Writes a key's entry, and has it looked at in time.
    fn put<V>(
        &mut self,
        rules: &Rules<K, V>,
        key: &K,
        mut entry: LastRevision,
        seen: Timestamp,
    ) -> Result<(), BoxError> {
        if let (Some(index), Some(until)) = (&mut self.index, rules.known_until(&entry, seen)) {
            // an earlier look finds out that it was too early
            if entry.armed.is_none_or(|armed| armed > until) {
                let bytes = self.core.borrow().key_bytes(key)?;
                if let Some(armed) = entry.armed {
                    index.disarm(armed, bytes.clone())?;
                }
                index.arm(until, bytes)?;
                entry.armed = Some(until);
            }
        }
        Ok(self.store.put(key, ValueAndTimestamp { value: entry, timestamp: seen })?)
    }

    /// Looks at a key whose time may be over.
    fn look<V>(&mut self, rules: &Rules<K, V>, due: Due, now: Timestamp) -> Result<(), BoxError> {
        let key = self.core.borrow().key_from(&due.key)?;
        let Some(found) = self.store.get(&key)? else { return Ok(()) };
        let ValueAndTimestamp { value: entry, timestamp: seen } = found;
        if entry.armed != Some(due.at) {
            return Ok(());
        }
        if rules.known_until(&entry, seen).is_some_and(|until| until < now) {
            self.store.delete(&key)?;
            return Ok(());
        }
        self.put(rules, &key, entry.armed_at(None), seen)
    }
}

impl<K: Clone + 'static, V: Clone + 'static> Processor<K, V, K, V> for Latest<K, V> {
    fn init(&mut self, context: &mut ProcessorContext<'_, '_, K, V>) -> Result<(), BoxError> {
        let core = context.core(&self.rules.store)?;
        let store = TimestampedKeyValueStore::new(Rc::clone(&core));
        let index = self.rules.index.as_deref();
        let index = index.map(|index| ExpiryIndex::open(context, index)).transpose()?;
        self.opened = Some(Opened { core, store, index });
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
        let revision = (rules.revision)(&record)?;
        let deletes = rules.value_serde.is_null(&record.value);
        if revision.is_none() && !deletes {
            return Err(RevisionError::Missing.into());
        }
        let opened = self.opened.as_mut().expect("a processor is initialised first");
        let now = context.current_stream_time().unwrap_or(record.timestamp);
        let stored = opened.store.get(&record.key)?;
        let armed = stored.as_ref().and_then(|stored| stored.value.armed);
        // an entry whose time is over is as good as gone, whenever it is looked at
        let known = stored.filter(|stored| {
            rules.known_until(&stored.value, stored.timestamp).is_none_or(|until| until >= now)
        });
        match judge(known.as_ref().map(|known| known.value), revision, deletes) {
            Verdict::Pass(None) => {}
            Verdict::Pass(Some(entry)) => {
                let entry = entry.armed_at(armed);
                opened.put(rules, &record.key, entry, now)?;
            }
            Verdict::Ignore => {
                context.note_ignored();
                if let Some(known) = known.filter(|known| {
                    known.timestamp < now && rules.known_until(&known.value, now).is_some()
                }) {
                    opened.put(rules, &record.key, known.value, now)?;
                }
                return Ok(());
            }
        }
        context.forward(record)
    }

    fn flush(&mut self, context: &mut ProcessorContext<'_, '_, K, V>) -> Result<(), BoxError> {
        let opened = self.opened.as_mut().expect("a processor is initialised first");
        let Some(now) = context.current_stream_time() else { return Ok(()) };
        let Some(index) = &mut opened.index else { return Ok(()) };
        for due in index.take_due(now)? {
            opened.look(&self.rules, due, now)?;
        }
        Ok(())
    }
}

//! `deduplicate_by_id`: the first record of an id passes.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::expiry::{Due, DueSerde, ExpiryIndex, Present};
use super::{DeduplicationWindow, LateRecords};
use crate::BoxError;
use crate::dsl::{KStream, Materialized};
use crate::processor::{Processor, ProcessorContext};
use crate::record::{Record, Timestamp};
use crate::serdes::SharedSerde;
use crate::store::{StoreCore, TimestampedKeyValueStore, ValueAndTimestamp};
use crate::topology::TopologyError;

impl<K: Clone + 'static, V: Clone + 'static> KStream<K, V> {
    /// Lets the first record of each id pass; records with an id that was seen within the window
    /// are ignored and counted. For events whose order says nothing, or that have no revision.
    ///
    /// The window is one of stream time. A record that is older than the window is dropped and
    /// counted, because its id may be forgotten already ([`LateRecords`]): so no record passes
    /// twice as long as it is sent again with its own timestamp, however late that is; if it is
    /// sent again with a new timestamp, it must come within the window.
    ///
    /// * `materialized` must have a serde of the id (`with_key_serde`). The store holds, for each
    ///   id of the window, the stream time at which it was seen first.
    /// * Records whose id is null to that serde are dropped and counted.
    /// * Ids are compared within a partition. A record that is sent again must come to the same
    ///   one, that is, with the same key; otherwise [`KStream::repartition`] by the id before.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
    /// # use tidemill_core::dsl::{DeduplicationWindow, Materialized, StreamsBuilder};
    /// # use tidemill_core::serdes::string;
    /// # use tidemill_core::topology::{Consumed, Produced};
    /// let builder = StreamsBuilder::new();
    /// builder
    ///     .stream::<String, String>("orders", Consumed::with(string(), string()))
    ///     .deduplicate_by_id(
    ///         |order| order.clone(),
    ///         DeduplicationWindow::of(Duration::from_secs(3600)),
    ///         Materialized::as_("order-ids").with_key_serde(string()),
    ///     )
    ///     .to("once", Produced::with(string(), string()));
    /// # let driver = TopologyTestDriver::new(builder.build()?, DriverConfig::default())?;
    /// # let mut orders = driver.create_input_topic("orders", string(), string())?;
    /// # for id in ["a", "b", "a"] {
    /// #     orders.pipe_input("k".to_owned(), id.to_owned())?;
    /// # }
    /// # let once = driver.create_output_topic("once", string(), string())?;
    /// # assert_eq!((once.queue_size(), driver.ignored()?), (2, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn deduplicate_by_id<I: 'static>(
        &self,
        id: impl Fn(&V) -> I + Send + Sync + 'static,
        window: DeduplicationWindow,
        materialized: Materialized<I, ()>,
    ) -> Self {
        self.try_deduplicate_by_id(move |value| Ok(id(value)), window, materialized)
    }

    /// As [`KStream::deduplicate_by_id`], with a closure that can fail.
    pub fn try_deduplicate_by_id<I: 'static>(
        &self,
        id: impl Fn(&V) -> Result<I, BoxError> + Send + Sync + 'static,
        window: DeduplicationWindow,
        mut materialized: Materialized<I, ()>,
    ) -> Self {
        let (store, node) = self.name_with_store(materialized.name.take(), super::DEDUPLICATE);
        materialized.refuse_versions(&mut self.graph().borrow_mut(), &node);
        let parents = [self.id];
        let added =
            self.graph().borrow_mut().add(&parents, node.clone(), move |topology, parents| {
                let id_serde = materialized.key_serde.take();
                let id_serde = id_serde.ok_or_else(|| TopologyError::MissingSerde {
                    node: node.clone(),
                    what: "key",
                })?;
                let values = materialized.value_serde.take().unwrap_or_else(|| Arc::new(Present));
                let index = format!("{store}-expiry");
                let own = materialized.own_store(&store, Arc::clone(&id_serde), values);
                let beside = materialized.store_beside(&index, DueSerde, Present);
                let rules = Arc::new(IdRules { store, index, id_serde, window, id });
                let supplier = move || ById::new(Arc::clone(&rules));
                topology.add_processor::<K, V, K, V, _>(&node, supplier, parents)?;
                topology.add_state_store(own, &[&node])?;
                topology.add_state_store(beside, &[&node]).map(|_| ())
            });
        self.sibling(added)
    }
}

/// What the instances share.
struct IdRules<I, F> {
    store: String,
    index: String,
    id_serde: SharedSerde<I>,
    window: DeduplicationWindow,
    id: F,
}

impl<I, F> IdRules<I, F> {
    /// Returns the last instant of stream time at which an id is remembered.
    fn known_until(&self, seen: Timestamp) -> Timestamp {
        Timestamp(seen.0.saturating_add(self.window.millis))
    }
}

/// Lets the first record of each id pass.
struct ById<I, F> {
    rules: Arc<IdRules<I, F>>,
    opened: Option<Opened<I>>,
}

struct Opened<I> {
    core: Rc<RefCell<StoreCore<I, ()>>>,
    /// For each id the stream time at which it was seen first.
    store: TimestampedKeyValueStore<I, ()>,
    index: ExpiryIndex,
}

impl<I, F> ById<I, F> {
    fn new(rules: Arc<IdRules<I, F>>) -> Self {
        Self { rules, opened: None }
    }
}

impl<I: 'static> Opened<I> {
    /// Looks at an id whose time may be over. It is not if the window has grown meanwhile, or if
    /// the id was forgotten by time and seen again before anybody looked.
    fn look<F>(&mut self, rules: &IdRules<I, F>, due: Due, now: Timestamp) -> Result<(), BoxError> {
        let id = self.core.borrow().key_from(&due.key)?;
        let Some(found) = self.store.get(&id)? else { return Ok(()) };
        let until = rules.known_until(found.timestamp);
        if until >= now {
            return self.index.arm(until, due.key);
        }
        self.store.delete(&id)?;
        Ok(())
    }
}

impl<K, V, I, F> Processor<K, V, K, V> for ById<I, F>
where
    K: Clone + 'static,
    V: Clone + 'static,
    I: 'static,
    F: Fn(&V) -> Result<I, BoxError>,
{
    fn init(&mut self, context: &mut ProcessorContext<'_, '_, K, V>) -> Result<(), BoxError> {
        let core = context.core(&self.rules.store)?;
        let store = TimestampedKeyValueStore::new(Rc::clone(&core));
        let index = ExpiryIndex::open(context, &self.rules.index)?;
        self.opened = Some(Opened { core, store, index });
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, V>,
        record: Record<K, V>,
    ) -> Result<(), BoxError> {
        let rules = &*self.rules;
        let id = (rules.id)(&record.value)?;
        if rules.id_serde.is_null(&id) {
            context.note_dropped();
            return Ok(());
        }
        let Opened { core, store, index } =
            self.opened.as_mut().expect("a processor is initialised first");
        let now = context.current_stream_time().unwrap_or(record.timestamp);
        let found = store.get(&id)?;
        if found.is_some_and(|found| rules.known_until(found.timestamp) >= now) {
            context.note_ignored();
            return Ok(());
        }
        let late = rules.known_until(record.timestamp) < now;
        if late && rules.window.late == LateRecords::Drop {
            context.note_dropped();
            return Ok(());
        }
        let bytes = core.borrow().key_bytes(&id)?;
        index.arm(rules.known_until(now), bytes)?;
        store.put(&id, ValueAndTimestamp { value: (), timestamp: now })?;
        context.forward(record)
    }

    fn flush(&mut self, context: &mut ProcessorContext<'_, '_, K, V>) -> Result<(), BoxError> {
        let opened = self.opened.as_mut().expect("a processor is initialised first");
        let Some(now) = context.current_stream_time() else { return Ok(()) };
        for due in opened.index.take_due(now)? {
            opened.look(&self.rules, due, now)?;
        }
        Ok(())
    }
}

//! Tables of a topic or a stream: each record is the new value of its key.
//!
//! Records that are older than what a key has are applied all the same, as in Kafka Streams: a
//! table follows its topic's offsets. [`Materialized::with_revision`] guards it by revisions.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::guard::Guard;
use super::node::Flag;
use super::store::TableStore;
use super::{Change, KTable, TableNode, TableParts, View};
use crate::BoxError;
use crate::dsl::graph::SourceSpec;
use crate::dsl::{KStream, Materialized, Repartitioned, StreamsBuilder, repartition};
use crate::processor::{Processor, ProcessorContext};
use crate::record::Record;
use crate::serdes::{SharedSerde, optional};
use crate::topology::{
    Consumed, FailOnInvalidTimestamp, RecordTimes, StoreBuilder, TimestampExtractor, Topology,
    TopologyError, TypeInfo,
};

const SOURCE: &str = "KSTREAM-SOURCE-";
const TABLE_SOURCE: &str = "KTABLE-SOURCE-";
const TO_TABLE: &str = "KSTREAM-TOTABLE-";
const STATE_STORE: &str = "STATE-STORE-";

/// A source, and what was asked of it.
#[derive(Clone)]
pub(super) struct SourceNode {
    store: String,
    versioned: bool,
    materialized: Flag,
    old_values: Flag,
}

impl SourceNode {
    pub(super) fn new(store: &str, queryable: bool) -> Self {
        let node = Self {
            store: store.to_owned(),
            versioned: false,
            materialized: Flag::default(),
            old_values: Flag::default(),
        };
        if queryable {
            node.materialized.set();
        }
        node
    }
}

impl SourceNode {
    /// Keeps versions if that is asked for.
    pub(super) fn of<K, V>(self, materialized: &Materialized<K, V>) -> Self {
        Self { versioned: materialized.is_versioned(), ..self }
    }
}

impl<K: 'static, V: Clone + 'static> TableNode<K, V> for SourceNode {
    fn send_old_values(&self, force: bool) -> bool {
        if force {
            self.materialized.set();
        }
        if self.materialized.is_set() {
            self.old_values.set();
        }
        self.old_values.is_set()
    }

    fn is_versioned(&self) -> bool {
        self.versioned
    }

    fn view(&self) -> View<K, V> {
        self.materialized.set();
        if self.versioned { View::of_versions(&self.store) } else { View::of_store(&self.store) }
    }
}

impl StreamsBuilder {
    /// Reads a topic as a table: each record is the new value of its key, a null value deletes it.
    /// Records without a key are dropped and counted.
    ///
    /// A timestamp extractor of `consumed` is asked about records that have key and value.
    ///
    /// The table has a store if `materialized` names one, or if somebody reads from the table. A
    /// serde that `materialized` does not give is that of the topic.
    ///
    /// ```
    /// # use tidemill_core::dsl::{Joined, Materialized, StreamsBuilder};
    /// # use tidemill_core::serdes::string;
    /// # use tidemill_core::topology::{Consumed, Produced};
    /// let builder = StreamsBuilder::new();
    /// let names = builder.table(
    ///     "customers",
    ///     Consumed::with(string(), string()),
    ///     Materialized::as_("names"),
    /// );
    /// builder
    ///     .stream("orders", Consumed::with(string(), string()))
    ///     .join_table(&names, |order, name| format!("{order} for {name}"), Joined::default())
    ///     .to("labels", Produced::with(string(), string()));
    /// # builder.build().unwrap();
    /// ```
    pub fn table<K, V>(
        &self,
        topic: &str,
        mut consumed: Consumed<K, V>,
        mut materialized: Materialized<K, V>,
    ) -> KTable<K, V>
    where
        K: Clone + 'static,
        V: Clone + 'static,
    {
        let graph = self.shared_graph();
        let queryable = materialized.name.clone();
        let mut open = graph.borrow_mut();
        let store = match materialized.name.take() {
            Some(name) => name,
            None => open.name_or_generate(None, &format!("{topic}-{STATE_STORE}")),
        };
        let given = consumed.name.take();
        let suffixed = given.as_ref().map(|name| format!("{name}-source"));
        let source = open.name_or_generate(suffixed, SOURCE);
        let name = open.name_or_generate(given, TABLE_SOURCE);
        let node = SourceNode::new(&store, queryable.is_some()).of(&materialized);
        let spec = SourceSpec {
            topics: [topic.to_owned()].into(),
            types: TypeInfo::of::<Option<K>, Option<V>>(),
            auto_offset_reset: consumed.auto_offset_reset,
        };
        let (keys, values) = (Arc::clone(&consumed.key_serde), Arc::clone(&consumed.value_serde));
        let read_keys: SharedSerde<Option<K>> = Arc::new(optional(Arc::clone(&keys)));
        let read_values: SharedSerde<Option<V>> = Arc::new(optional(Arc::clone(&values)));
        let guard = Guard::of(&mut materialized, &store, (&read_keys, &read_values));
        let read = Consumed {
            key_serde: read_keys,
            value_serde: read_values,
            name: None,
            auto_offset_reset: consumed.auto_offset_reset,
            timestamp_extractor: consumed.timestamp_extractor.take().map(of_present),
        };
        let topic = topic.to_owned();
        // what is guarded is not what the topic has
        let reuse = guard.is_none().then(|| (open.reuse_source_topics(), topic.clone()));
        let source_id = open.add_source(source.clone(), spec, move |topology, _| {
            topology.add_source(&source, read, &[&topic]).map(|_| ())
        });
        drop(open);
        let mut parent = source_id;
        if let Some(guard) = guard {
            let changes = KStream::new(Rc::clone(&graph), source_id, false);
            parent = guard.attach(&changes, &name, Option::as_ref);
        }
        let null = Arc::clone(&keys);
        let (keys, values) = (Some(keys), Some(values));
        let spec = TableSpec { node, keys, values, materialized, queryable, reuse };
        let (parts, source) = (spec.parts(), spec.node.clone());
        let key_of = move |key: Option<K>| key.filter(|key| !null.is_null(key));
        let id = graph.borrow_mut().add(&[parent], name.clone(), move |topology, parents| {
            spec.write(topology, (&name, parents), key_of, |value| value)
        });
        KTable::new(graph, id, Rc::new(source), parts)
    }
}

impl<K: Clone + 'static, V: Clone + 'static> KStream<K, V> {
    /// Takes the stream for a table: each record is the new value of its key (KIP-523). Of a stream
    /// of `Option`s a `None` deletes the key. Records without a key are dropped and counted.
    ///
    /// `materialized` must have both serdes. If the key may have changed since the source, there is
    /// a repartition topic in between.
    pub fn to_table<T: Clone + 'static>(&self, mut materialized: Materialized<K, T>) -> KTable<K, T>
    where
        V: TableValue<T>,
    {
        let graph = self.shared_graph();
        let queryable = materialized.name.clone();
        let name = self.name_operator(None, TO_TABLE);
        let store = match materialized.name.take() {
            Some(name) => name,
            None => {
                let prefix = format!("{TO_TABLE}{STATE_STORE}");
                graph.borrow_mut().name_or_generate(None, &prefix)
            }
        };
        let node = SourceNode::new(&store, queryable.is_some()).of(&materialized);
        let serdes = (materialized.key_serde.clone(), materialized.value_serde.clone());
        let (Some(keys), Some(values)) = serdes else {
            let what = if materialized.key_serde.is_none() { "key" } else { "value" };
            graph.borrow_mut().fail(TopologyError::MissingSerde { node: name, what });
            let parts =
                TableParts { key_serde: None, value_serde: None, queryable_store_name: queryable };
            return KTable::new(graph, self.id, Rc::new(node), parts);
        };
        let mut parent = self.id;
        if self.repartition_required {
            let options = Repartitioned::from_serdes(Arc::clone(&keys), V::serde(&values));
            parent = repartition::add(&mut graph.borrow_mut(), self.id, &name, options);
        }
        if let Some(guard) = Guard::of(&mut materialized, &store, (&keys, &V::serde(&values))) {
            let together = KStream::new(Rc::clone(&graph), parent, false);
            parent = guard.attach(&together, &name, V::as_value);
        }
        let null = Arc::clone(&keys);
        let (keys, values) = (Some(keys), Some(values));
        let reuse = None;
        let spec = TableSpec { node, keys, values, materialized, queryable, reuse };
        let (parts, source) = (spec.parts(), spec.node.clone());
        let key_of = move |key: K| (!null.is_null(&key)).then_some(key);
        let id = graph.borrow_mut().add(&[parent], name.clone(), move |topology, parents| {
            spec.write(topology, (&name, parents), key_of, V::into_value)
        });
        KTable::new(graph, id, Rc::new(source), parts)
    }
}

/// Asks the extractor about records with key and value; others keep their own timestamp.
pub(in crate::dsl) fn of_present<K: 'static, V: 'static>(
    extractor: Arc<dyn TimestampExtractor<K, V>>,
) -> Arc<dyn TimestampExtractor<Option<K>, Option<V>>> {
    Arc::new(move |key: &Option<K>, value: &Option<V>, times: &RecordTimes| match (key, value) {
        (Some(key), Some(value)) => extractor.extract(key, value, times),
        _ => FailOnInvalidTimestamp.extract(key, value, times),
    })
}

/// A stream's value as that of a table of `T`: `T` itself, or `Option<T>` whose `None` deletes.
pub trait TableValue<T>: Sized {
    /// Returns the value; `None` deletes the key.
    fn into_value(self) -> Option<T>;

    /// Looks at the value.
    fn as_value(&self) -> Option<&T>;

    /// Returns the serde of this type, for a repartition topic.
    fn serde(values: &SharedSerde<T>) -> SharedSerde<Self>;
}

impl<T> TableValue<T> for T {
    fn into_value(self) -> Option<T> {
        Some(self)
    }

    fn as_value(&self) -> Option<&T> {
        Some(self)
    }

    fn serde(values: &SharedSerde<T>) -> SharedSerde<T> {
        Arc::clone(values)
    }
}

impl<T: 'static> TableValue<T> for Option<T> {
    fn into_value(self) -> Option<T> {
        self
    }

    fn as_value(&self) -> Option<&T> {
        self.as_ref()
    }

    fn serde(values: &SharedSerde<T>) -> SharedSerde<Option<T>> {
        Arc::new(optional(Arc::clone(values)))
    }
}

/// A table of a topic or a stream, to be written when all is known.
pub(super) struct TableSpec<K, V> {
    pub(super) node: SourceNode,
    /// For what `materialized` leaves open; `None` if that is known nowhere.
    pub(super) keys: Option<SharedSerde<K>>,
    pub(super) values: Option<SharedSerde<V>>,
    pub(super) materialized: Materialized<K, V>,
    pub(super) queryable: Option<String>,
    /// Whether the topic that the table reads is its changelog, and its name.
    pub(super) reuse: Option<(Rc<Cell<bool>>, String)>,
}

impl<K: Clone + 'static, V: Clone + 'static> TableSpec<K, V> {
    fn parts(&self) -> TableParts<K, V> {
        TableParts {
            key_serde: self.materialized.key_serde.clone().or_else(|| self.keys.clone()),
            value_serde: self.materialized.value_serde.clone().or_else(|| self.values.clone()),
            queryable_store_name: self.queryable.clone(),
        }
    }

    /// Adds a table of what an operator of another table gives.
    pub(super) fn attach(self, changes: &KStream<K, Option<V>>, name: String) -> KTable<K, V> {
        let (parts, source) = (self.parts(), self.node.clone());
        let node = name.clone();
        let graph = changes.shared_graph();
        let id = graph.borrow_mut().add(&[changes.id], name, move |topology, parents| {
            self.write(topology, (&node, parents), Some, |value: Option<V>| value)
        });
        KTable::new(graph, id, Rc::new(source), parts)
    }

    fn write<KIn: Clone + 'static, VIn: Clone + 'static>(
        self,
        topology: &mut Topology,
        (name, parents): (&str, &[&str]),
        key_of: impl Fn(KIn) -> Option<K> + Send + Sync + 'static,
        value_of: impl Fn(VIn) -> Option<V> + Send + Sync + 'static,
    ) -> Result<(), TopologyError> {
        let TableParts { key_serde, value_serde, .. } = self.parts();
        let Self {
            node: SourceNode { store, versioned, materialized, old_values },
            materialized: kept,
            reuse,
            ..
        } = self;
        let stored = materialized.is_set().then(|| store.clone());
        let send_old = old_values.is_set();
        let rules = Rules { store: stored, versioned, send_old, key_of, value_of };
        let rules = Arc::new(rules);
        let supplier = move || TableSource { rules: Arc::clone(&rules), store: None };
        topology.add_processor(name, supplier, parents)?;
        if !materialized.is_set() {
            return Ok(());
        }
        let missing = |what| TopologyError::MissingSerde { node: name.to_owned(), what };
        let keys = key_serde.ok_or_else(|| missing("key"))?;
        let values = value_serde.ok_or_else(|| missing("value"))?;
        let mut spec = kept.spec(&store);
        if let Some((_, topic)) = reuse.filter(|(reuse, _)| reuse.get()) {
            spec.logging = false;
            spec.source_topic = Some(topic);
        }
        let builder = StoreBuilder::from_parts(spec, keys, values);
        topology.add_state_store(builder, &[name]).map(|_| ())
    }
}

/// What the instances share.
struct Rules<FK, FV> {
    store: Option<String>,
    versioned: bool,
    send_old: bool,
    key_of: FK,
    value_of: FV,
}

/// Turns records into changes of a table.
struct TableSource<K, V, FK, FV> {
    rules: Arc<Rules<FK, FV>>,
    store: Option<TableStore<K, V>>,
}

impl<KIn, VIn, K, V, FK, FV> Processor<KIn, VIn, K, Change<V>> for TableSource<K, V, FK, FV>
where
    K: Clone + 'static,
    V: Clone + 'static,
    FK: Fn(KIn) -> Option<K>,
    FV: Fn(VIn) -> Option<V>,
{
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<V>>,
    ) -> Result<(), BoxError> {
        let Rules { store, versioned, send_old, .. } = &*self.rules;
        let open = |name: &String| match versioned {
            true => TableStore::open_versioned(context, name, *send_old),
            false => TableStore::open(context, name, *send_old),
        };
        self.store = store.as_ref().map(open).transpose()?;
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<V>>,
        record: Record<KIn, VIn>,
    ) -> Result<(), BoxError> {
        let Record { key, value, timestamp, headers } = record;
        let Some(key) = (self.rules.key_of)(key) else {
            context.note_dropped();
            return Ok(());
        };
        let value = (self.rules.value_of)(value);
        match &self.store {
            Some(store) => store.write(context, (key, value), timestamp, headers),
            None => {
                let change = Change { new: value, old: None };
                context.forward(Record { key, value: change, timestamp, headers })
            }
        }
    }

    fn flush(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<V>>,
    ) -> Result<(), BoxError> {
        self.store.as_ref().map_or(Ok(()), |store| store.flush(context))
    }
}

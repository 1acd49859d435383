//! Aggregations: records of a key become one value.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::aggregate::{Aggregate, Aggregation};
use super::graph::GraphId;
use super::table::{StoreNode, TableParts};
use super::{KStream, KTable, Materialized, Named, Repartitioned, WindowDefinition, repartition};
use crate::BoxError;
use crate::serdes::{self, Serde, SharedSerde};
use crate::topology::{StoreBuilder, TopologyError};

pub(super) const AGGREGATE: &str = "KSTREAM-AGGREGATE-";
pub(super) const REDUCE: &str = "KSTREAM-REDUCE-";

/// How records are grouped: serdes, and the name of the repartition topic if one is needed.
pub struct Grouped<K, V> {
    pub(super) key_serde: SharedSerde<K>,
    pub(super) value_serde: SharedSerde<V>,
    pub(super) name: Option<String>,
}

impl<K, V> Grouped<K, V> {
    /// Writes and reads a repartition topic with these serdes. The key's serde is also the store's,
    /// and both say which keys and values are null.
    pub fn with(key_serde: impl Serde<K>, value_serde: impl Serde<V>) -> Self {
        Self { key_serde: Arc::new(key_serde), value_serde: Arc::new(value_serde), name: None }
    }

    /// Names the repartition topic, `<application.id>-<name>-repartition`, and with
    /// [`KStream::group_by`] also the operator. Aggregations of a stream whose grouping is named
    /// share one topic.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    pub(super) fn or_name(mut self, name: Option<String>) -> Self {
        self.name = self.name.or(name);
        self
    }
}

impl<K, V> Clone for Grouped<K, V> {
    fn clone(&self) -> Self {
        Self {
            key_serde: Arc::clone(&self.key_serde),
            value_serde: Arc::clone(&self.value_serde),
            name: self.name.clone(),
        }
    }
}

impl<K, V> fmt::Debug for Grouped<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grouped").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where an aggregation is put.
pub(super) struct Place {
    pub(super) node: String,
    pub(super) store: String,
    /// The store's name if it was given.
    pub(super) queryable: Option<String>,
    pub(super) parent: GraphId,
}

/// Records grouped by key: what can be aggregated. As [`KStream`], a cheap handle.
///
/// Records whose key or value is null are dropped and counted. The timestamp of a result is the
/// largest of those of the records in it.
pub struct KGroupedStream<K, V> {
    pub(super) stream: KStream<K, V>,
    pub(super) grouped: Grouped<K, V>,
    /// The repartition topic, once an aggregation needed it.
    repartition: Rc<Cell<Option<GraphId>>>,
}

impl<K, V> Clone for KGroupedStream<K, V> {
    fn clone(&self) -> Self {
        Self {
            stream: self.stream.clone(),
            grouped: self.grouped.clone(),
            repartition: Rc::clone(&self.repartition),
        }
    }
}

impl<K, V> fmt::Debug for KGroupedStream<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KGroupedStream")
            .field("stream", &self.stream)
            .field("grouped", &self.grouped)
            .finish_non_exhaustive()
    }
}

impl<K: Clone + 'static, V: Clone + 'static> KGroupedStream<K, V> {
    pub(super) fn new(stream: KStream<K, V>, grouped: Grouped<K, V>) -> Self {
        Self { stream, grouped, repartition: Rc::default() }
    }

    /// Names the next operator. See [`KStream::named`].
    #[must_use]
    pub fn named(&self, name: impl Into<Named>) -> Self {
        Self { stream: self.stream.named(name), ..self.clone() }
    }

    /// Counts the records of each key.
    pub fn count(&self, mut materialized: Materialized<K, i64>) -> KTable<K, i64> {
        self.burn_number_of_count(&materialized);
        materialized.value_serde.get_or_insert_with(|| Arc::new(serdes::i64()));
        self.add(AGGREGATE, materialized, false, |_, _, before| Ok(Some(before.unwrap_or(0) + 1)))
    }

    /// Kafka Streams wastes a number on a count and keeps doing so for compatibility.
    pub(super) fn burn_number_of_count(&self, materialized: &Materialized<K, i64>) {
        if materialized.given && materialized.name.is_none() {
            self.stream.graph().borrow_mut().name_or_generate(None, AGGREGATE);
        }
    }

    /// Puts the records of each key into windows: [`TimeWindows`](super::TimeWindows),
    /// [`SlidingWindows`](super::SlidingWindows), [`SessionWindows`](super::SessionWindows) or
    /// [`UnlimitedWindows`](super::UnlimitedWindows).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
    /// use tidemill_core::dsl::{Grouped, Materialized, StreamsBuilder, TimeWindows};
    /// use tidemill_core::record::Timestamp;
    /// use tidemill_core::serdes::{i64, optional, string};
    /// use tidemill_core::topology::{Consumed, Produced};
    /// use tidemill_core::window::TimeWindowedSerde;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let minute = TimeWindows::of_size_with_no_grace(Duration::from_secs(60));
    /// let keys = || TimeWindowedSerde::new(string(), minute.size_ms());
    /// let builder = StreamsBuilder::new();
    /// builder
    ///     .stream("clicks", Consumed::with(string(), string()))
    ///     .group_by_key(Grouped::with(string(), string()))
    ///     .windowed_by(minute)
    ///     .count(Materialized::default())
    ///     .to_stream()
    ///     .to("per-minute", Produced::with(keys(), optional(i64())));
    ///
    /// let driver = TopologyTestDriver::new(builder.build()?, DriverConfig::default())?;
    /// let mut clicks = driver.create_input_topic("clicks", string(), string())?;
    /// let mut counts = driver.create_output_topic("per-minute", keys(), optional(i64()))?;
    /// for at in [1_000, 59_999, 60_000] {
    ///     clicks.pipe_input_at("ann".to_owned(), "/".to_owned(), Timestamp(at))?;
    /// }
    /// let counts = counts.read_records_to_list()?;
    /// let counts = counts.iter().map(|r| (r.key.to_string(), r.value));
    /// let expected = [("[ann@0/60000]", 1), ("[ann@0/60000]", 2), ("[ann@60000/120000]", 1)];
    /// assert!(counts.eq(expected.map(|(key, count)| (key.to_owned(), Some(count)))));
    /// # Ok(())
    /// # }
    /// ```
    pub fn windowed_by<W: WindowDefinition>(&self, windows: W) -> W::Stream<K, V> {
        windows.over(self.clone())
    }

    /// Reduces the values of each key to one of the same type: `reducer(so far, next)`. The first
    /// value is taken as it is. `None` deletes the key.
    pub fn reduce<R: Into<Option<V>>>(
        &self,
        reducer: impl Fn(V, V) -> R + Send + Sync + 'static,
        materialized: Materialized<K, V>,
    ) -> KTable<K, V> {
        self.reduce_by(false, move |before, value| Ok(reducer(before, value)), materialized)
    }

    /// As [`KGroupedStream::reduce`], with a closure that can fail; the value so far is cloned for
    /// each call.
    pub fn try_reduce<R: Into<Option<V>>>(
        &self,
        reducer: impl Fn(V, V) -> Result<R, BoxError> + Send + Sync + 'static,
        materialized: Materialized<K, V>,
    ) -> KTable<K, V> {
        self.reduce_by(true, reducer, materialized)
    }

    fn reduce_by<R: Into<Option<V>>>(
        &self,
        fallible: bool,
        reducer: impl Fn(V, V) -> Result<R, BoxError> + Send + Sync + 'static,
        mut materialized: Materialized<K, V>,
    ) -> KTable<K, V> {
        materialized.value_serde.get_or_insert_with(|| Arc::clone(&self.grouped.value_serde));
        self.add(REDUCE, materialized, fallible, move |_, value, before| match before {
            Some(before) => Ok(reducer(before, value)?.into()),
            None => Ok(Some(value)),
        })
    }

    /// Aggregates the values of each key: `aggregator(key, value, so far)`, beginning with
    /// `initializer()`. `None` deletes the key: the next record begins anew.
    ///
    /// `materialized` must have a value serde.
    pub fn aggregate<A: Clone + 'static, R: Into<Option<A>>>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
        materialized: Materialized<K, A>,
    ) -> KTable<K, A> {
        self.add(AGGREGATE, materialized, false, move |key, value, before| {
            Ok(aggregator(key, value, before.unwrap_or_else(&initializer)).into())
        })
    }

    /// As [`KGroupedStream::aggregate`], with a closure that can fail; the value so far is cloned
    /// for each call.
    pub fn try_aggregate<A: Clone + 'static, R: Into<Option<A>>>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, V, A) -> Result<R, BoxError> + Send + Sync + 'static,
        materialized: Materialized<K, A>,
    ) -> KTable<K, A> {
        self.add(AGGREGATE, materialized, true, move |key, value, before| {
            Ok(aggregator(key, value, before.unwrap_or_else(&initializer))?.into())
        })
    }

    /// Names an aggregation and its store, and adds a repartition topic before it if the key may
    /// have changed.
    pub(super) fn place<A>(&self, prefix: &str, materialized: &mut Materialized<K, A>) -> Place {
        let graph = self.stream.graph();
        let queryable = materialized.name.clone();
        let store = match materialized.name.take() {
            Some(name) => name,
            None => graph.borrow_mut().name_or_generate(None, &format!("{prefix}STATE-STORE-")),
        };
        let node = self.stream.name_operator(None, prefix);
        let parent = self.repartitioned(&store);
        materialized.refuse_revision(&mut graph.borrow_mut(), &node);
        Place { node, store, queryable, parent }
    }

    /// Adds the aggregation, and before it a repartition topic if the key may have changed.
    fn add<A: Clone + 'static>(
        &self,
        prefix: &str,
        mut materialized: Materialized<K, A>,
        fallible: bool,
        apply: impl Fn(&K, V, Option<A>) -> Result<Option<A>, BoxError> + Send + Sync + 'static,
    ) -> KTable<K, A> {
        let Place { node, store, queryable, parent } = self.place(prefix, &mut materialized);
        let mut graph = self.stream.graph().borrow_mut();
        let key_serde =
            materialized.key_serde.take().unwrap_or_else(|| Arc::clone(&self.grouped.key_serde));
        let table = StoreNode::new(&store);
        let parts = TableParts {
            key_serde: Some(Arc::clone(&key_serde)),
            value_serde: materialized.value_serde.clone(),
            queryable_store_name: queryable,
        };
        let old_values = table.old_values.clone();
        let (keys, values) =
            (Arc::clone(&self.grouped.key_serde), Arc::clone(&self.grouped.value_serde));
        let id = graph.add(&[parent], node.clone(), move |topology, parents| {
            let aggregation = Arc::new(Aggregation {
                store: store.clone(),
                key_serde: keys,
                value_serde: values,
                fallible,
                send_old_values: old_values.is_set(),
                apply,
            });
            let value_serde = materialized
                .value_serde
                .take()
                .ok_or_else(|| TopologyError::MissingSerde { node: node.clone(), what: "value" })?;
            let spec = materialized.spec(&store);
            let builder = StoreBuilder::from_parts(spec, key_serde, value_serde);
            let supplier = move || Aggregate::<K, V, A, _>::new(Arc::clone(&aggregation));
            topology.add_processor(&node, supplier, parents)?;
            topology.add_state_store(builder, &[&node]).map(|_| ())
        });
        drop(graph);
        KTable::new(self.stream.shared_graph(), id, Rc::new(table), parts)
    }

    /// Returns what tells this grouping from others: its handles have it in common.
    pub(super) fn identity(&self) -> *const () {
        Rc::as_ptr(&self.repartition).cast()
    }

    /// Consumes the numbers of a repartition topic that is there already, if one is needed.
    pub(super) fn burn_repartition(&self, store: &str) {
        if self.stream.repartition_required {
            let base = self.grouped.name.as_deref().unwrap_or(store);
            repartition::burn_numbers(&mut self.stream.graph().borrow_mut(), base);
        }
    }

    /// Returns the parent of an aggregation: the stream itself, or its repartition topic.
    pub(super) fn repartitioned(&self, store: &str) -> GraphId {
        if !self.stream.repartition_required {
            return self.stream.id;
        }
        let Grouped { key_serde, value_serde, name } = &self.grouped;
        let mut graph = self.stream.graph().borrow_mut();
        if let (Some(name), Some(existing)) = (name, self.repartition.get()) {
            repartition::burn_numbers(&mut graph, name);
            graph.attach(self.stream.id, existing);
            return existing;
        }
        let base = name.as_deref().unwrap_or(store);
        let options = Repartitioned::from_serdes(Arc::clone(key_serde), Arc::clone(value_serde));
        let id = repartition::add(&mut graph, self.stream.id, base, options);
        self.repartition.set(Some(id));
        id
    }
}

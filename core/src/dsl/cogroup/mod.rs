//! `cogroup`: several grouped streams, of different types perhaps, in one aggregate (KIP-150).

mod member;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::graph::{GraphId, SharedGraph};
use super::stateless::Stateless;
use super::table::{StoreNode, TableParts};
use super::{Change, KGroupedStream, KTable, Materialized, Named, WindowDefinition};
use crate::BoxError;
use crate::processor::ProcessorContext;
use crate::record::Record;
use crate::serdes::SharedSerde;
use crate::store::StoreSpec;
use crate::topology::{StoreBuilder, TopologyError};

use member::Grouping;
pub(super) use member::{Member, Place};

const AGGREGATE: &str = "COGROUPKSTREAM-AGGREGATE-";
const MERGE: &str = "COGROUPKSTREAM-MERGE-";

type MakeStore<K, K2, A> = Box<
    dyn FnOnce(
        &str,
        StoreSpec,
        SharedSerde<K>,
        SharedSerde<A>,
    ) -> Result<StoreBuilder<K2, A>, TopologyError>,
>;

type MakeKeySerde<K, K2> = Box<dyn Fn(&SharedSerde<K>) -> SharedSerde<K2>>;

type AddMember<K, A> = Box<dyn Fn(&dyn Member<K, A>, Place<A>) -> GraphId>;

/// What differs between aggregations with and without windows.
pub(super) struct How<K, K2, A> {
    /// Makes the serde of the table's keys.
    pub(super) key_serde: MakeKeySerde<K, K2>,
    /// Makes the common store of the first node's name, the spec, and the serdes.
    pub(super) store: MakeStore<K, K2, A>,
    /// Adds the aggregation of one stream.
    pub(super) add: AddMember<K, A>,
}

/// Grouped streams whose records of a key become one value of type `A`. As
/// [`KStream`](super::KStream), a cheap handle.
///
/// Records whose key or value is null are dropped and counted. The topics of all streams must have
/// the same number of partitions; a stream whose key may have changed goes through a repartition
/// topic of its own.
pub struct CogroupedKStream<K, A> {
    graph: SharedGraph,
    members: Vec<Rc<dyn Member<K, A>>>,
    key_serde: SharedSerde<K>,
    /// For the next operator.
    name: Option<String>,
}

impl<K, A> Clone for CogroupedKStream<K, A> {
    fn clone(&self) -> Self {
        Self {
            graph: Rc::clone(&self.graph),
            members: self.members.clone(),
            key_serde: Arc::clone(&self.key_serde),
            name: self.name.clone(),
        }
    }
}

impl<K, A> fmt::Debug for CogroupedKStream<K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CogroupedKStream")
            .field("streams", &self.members.len())
            .finish_non_exhaustive()
    }
}

impl<K: Clone + 'static, V: Clone + 'static> KGroupedStream<K, V> {
    /// Begins an aggregate of several streams: `aggregator(key, value, so far)` is for the records
    /// of this one. `None` deletes the key: the next record begins anew.
    ///
    /// ```
    /// use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
    /// use tidemill_core::dsl::{Grouped, Materialized, StreamsBuilder};
    /// use tidemill_core::serdes::{i64, optional, string};
    /// use tidemill_core::topology::{Consumed, Produced};
    ///
    /// let builder = StreamsBuilder::new();
    /// let paid = builder
    ///     .stream("payments", Consumed::with(string(), i64()))
    ///     .group_by_key(Grouped::with(string(), i64()));
    /// let spent = builder
    ///     .stream("purchases", Consumed::with(string(), string()))
    ///     .group_by_key(Grouped::with(string(), string()));
    /// paid.cogroup(|_, cents, balance: i64| balance + cents)
    ///     .cogroup(&spent, |_, article, balance| balance - 100 * article.len() as i64)
    ///     .aggregate(|| 0, Materialized::as_("balances").with_value_serde(i64()))
    ///     .to_stream()
    ///     .to("balances", Produced::with(string(), optional(i64())));
    ///
    /// let driver = TopologyTestDriver::new(&builder.build()?, DriverConfig::new("bank"))?;
    /// let mut payments = driver.create_input_topic("payments", string(), i64())?;
    /// let mut purchases = driver.create_input_topic("purchases", string(), string())?;
    /// payments.pipe_input("ann".into(), 1_000)?;
    /// purchases.pipe_input("ann".into(), "tea".into())?;
    /// let mut balances = driver.create_output_topic("balances", string(), optional(i64()))?;
    /// let expected = [("ann".to_owned(), Some(1_000)), ("ann".to_owned(), Some(700))];
    /// assert_eq!(balances.read_key_values_to_list()?, expected);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cogroup<A: Clone + 'static, R: Into<Option<A>>>(
        &self,
        aggregator: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
    ) -> CogroupedKStream<K, A> {
        self.alone().cogroup(self, aggregator)
    }

    /// As [`KGroupedStream::cogroup`], with a closure that can fail; the value so far is cloned for
    /// each call.
    pub fn try_cogroup<A: Clone + 'static, R: Into<Option<A>>>(
        &self,
        aggregator: impl Fn(&K, V, A) -> Result<R, BoxError> + Send + Sync + 'static,
    ) -> CogroupedKStream<K, A> {
        self.alone().try_cogroup(self, aggregator)
    }

    fn alone<A>(&self) -> CogroupedKStream<K, A> {
        CogroupedKStream {
            graph: self.stream.shared_graph(),
            members: Vec::new(),
            key_serde: Arc::clone(&self.grouped.key_serde),
            name: None,
        }
    }
}

impl<K: Clone + 'static, A: Clone + 'static> CogroupedKStream<K, A> {
    /// Adds a stream with its own aggregator. A stream that is in the aggregate already gets the
    /// new aggregator in place of its old one, as in Kafka Streams.
    #[must_use]
    pub fn cogroup<V: Clone + 'static, R: Into<Option<A>>>(
        &self,
        grouped: &KGroupedStream<K, V>,
        aggregator: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
    ) -> Self {
        let apply = move |key: &K, value: V, so_far: A| Ok(aggregator(key, value, so_far).into());
        self.with(Grouping::new(grouped, false, apply))
    }

    /// As [`CogroupedKStream::cogroup`], with a closure that can fail; the value so far is cloned
    /// for each call.
    #[must_use]
    pub fn try_cogroup<V: Clone + 'static, R: Into<Option<A>>>(
        &self,
        grouped: &KGroupedStream<K, V>,
        aggregator: impl Fn(&K, V, A) -> Result<R, BoxError> + Send + Sync + 'static,
    ) -> Self {
        let apply = move |key: &K, value: V, so_far: A| Ok(aggregator(key, value, so_far)?.into());
        self.with(Grouping::new(grouped, true, apply))
    }

    fn with(&self, member: impl Member<K, A> + 'static) -> Self {
        let mut cogrouped = self.clone();
        let member: Rc<dyn Member<K, A>> = Rc::new(member);
        let same = |known: &Rc<dyn Member<K, A>>| known.identity() == member.identity();
        match cogrouped.members.iter().position(same) {
            Some(place) => cogrouped.members[place] = member,
            None => cogrouped.members.push(member),
        }
        cogrouped
    }

    /// Names the next operator: its nodes are `<name>-cogroup-agg-<number>` for each stream, from
    /// 0, and `<name>-cogroup-merge`.
    #[must_use]
    pub fn named(&self, name: impl Into<Named>) -> Self {
        Self { name: Some(name.into().into_string()), ..self.clone() }
    }

    /// Puts the records of each key into windows. See [`KGroupedStream::windowed_by`].
    pub fn windowed_by<W: WindowDefinition>(&self, windows: W) -> W::Cogrouped<K, A> {
        windows.over_cogrouped(self.clone())
    }

    /// Aggregates the records of all streams by key, beginning with `initializer()`.
    ///
    /// `materialized` must have a value serde. The key's is by default that of the first stream.
    pub fn aggregate(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        materialized: Materialized<K, A>,
    ) -> KTable<K, A> {
        let how = How {
            key_serde: Box::new(Arc::clone),
            store: Box::new(|_, spec, keys, values| {
                Ok(StoreBuilder::from_parts(spec, keys, values))
            }),
            add: Box::new(|member, place| member.aggregate(place)),
        };
        self.aggregate_how(Arc::new(initializer), materialized, how)
    }

    /// Adds the aggregations of all streams, and what puts their results together.
    pub(super) fn aggregate_how<K2: Clone + 'static>(
        &self,
        initializer: Arc<dyn Fn() -> A + Send + Sync>,
        mut materialized: Materialized<K, A>,
        how: How<K, K2, A>,
    ) -> KTable<K2, A> {
        let queryable = materialized.name.take();
        let store = self.store_name(queryable.clone());
        let parents = self.parents(&store);
        let table = StoreNode::new(&store);
        let key_serde =
            materialized.key_serde.take().unwrap_or_else(|| Arc::clone(&self.key_serde));
        let parts = TableParts {
            key_serde: Some((how.key_serde)(&key_serde)),
            value_serde: materialized.value_serde.clone(),
            queryable_store_name: queryable,
        };
        let How { store: make_store, add, .. } = how;
        let mut definition = Some((key_serde, materialized, make_store));
        let mut nodes = Vec::new();
        for (index, (member, parent)) in self.members.iter().zip(parents).enumerate() {
            let node = self.name_node(&format!("-cogroup-agg-{index}"), AGGREGATE);
            if let Some((_, materialized, _)) = &definition {
                materialized.refuse_revision(&mut self.graph.borrow_mut(), &node);
            }
            let definition = definition.take();
            let (name, named) = (store.clone(), node.clone());
            let place = Place {
                node,
                store: store.clone(),
                parent,
                initializer: Arc::clone(&initializer),
                old_values: table.old_values.clone(),
                define: Box::new(move |topology| match definition {
                    None => {
                        topology.connect_processor_and_state_stores(&named, &[&name]).map(|_| ())
                    }
                    Some((keys, materialized, make_store)) => {
                        let values = materialized.value_serde.clone();
                        let missing =
                            || TopologyError::MissingSerde { node: named.clone(), what: "value" };
                        let values = values.ok_or_else(missing)?;
                        let spec = materialized.spec(&name);
                        let store = make_store(&named, spec, keys, values)?;
                        topology.add_state_store(store, &[&named]).map(|_| ())
                    }
                }),
            };
            nodes.push(add(&**member, place));
        }
        let merge = self.name_node("-cogroup-merge", MERGE);
        let pass = |context: &mut ProcessorContext<'_, '_, K2, Change<A>>,
                    record: Record<K2, Change<A>>| context.forward(record);
        let pass = Arc::new(pass);
        let id = self.graph.borrow_mut().add(&nodes, merge.clone(), move |topology, parents| {
            topology.add_processor(&merge, move || Stateless(Arc::clone(&pass)), parents)?;
            Ok(())
        });
        KTable::new(Rc::clone(&self.graph), id, Rc::new(table), parts)
    }

    fn store_name(&self, given: Option<String>) -> String {
        given.unwrap_or_else(|| {
            let prefix = format!("{AGGREGATE}STATE-STORE-");
            self.graph.borrow_mut().name_or_generate(None, &prefix)
        })
    }

    /// Returns the parents of the aggregations: the streams, or their repartition topics.
    fn parents(&self, store: &str) -> Vec<GraphId> {
        for member in &self.members {
            if !std::ptr::eq(&*member.graph(), &*self.graph) {
                let node = store.to_owned();
                self.graph.borrow_mut().fail(TopologyError::ForeignStream { node });
            }
        }
        self.members.iter().map(|member| member.parent(store)).collect()
    }

    fn name_node(&self, suffix: &str, prefix: &str) -> String {
        let given = self.name.as_ref().map(|name| format!("{name}{suffix}"));
        self.graph.borrow_mut().name_or_generate(given, prefix)
    }
}

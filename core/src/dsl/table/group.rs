//! `group_by` of a table: the rows of each group, as they come and go, in one value.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::changed::ChangedSerde;
use super::{Change, KTable, StoreNode, TableParts};
use crate::BoxError;
use crate::dsl::aggregate::{Aggregate, Aggregation};
use crate::dsl::graph::GraphId;
use crate::dsl::{Grouped, KStream, Materialized, Named};
use crate::record::Record;
use crate::serdes::{self, SharedSerde};
use crate::topology::{
    AutoOffsetReset, Consumed, Produced, RepartitionSpec, StoreBuilder, TopicName, TopologyError,
};

const SELECT: &str = "KTABLE-SELECT-";
const AGGREGATE: &str = "KTABLE-AGGREGATE-";
const REDUCE: &str = "KTABLE-REDUCE-";
const SINK: &str = "KSTREAM-SINK-";
const SOURCE: &str = "KSTREAM-SOURCE-";

/// The rows of a table under another key: what can be aggregated. As [`KTable`], a cheap handle.
///
/// When a row changes, its old value is subtracted from the group that it was in and its new value
/// added to the group that it is in now. Both travel through a repartition topic, in one record if
/// the group is the same (KIP-904). Where the groups differ there is a moment in between at which
/// the row is in neither.
pub struct KGroupedTable<K, V> {
    changes: KStream<K, Change<V>>,
    grouped: Grouped<K, V>,
    /// The repartition topic, once an aggregation needed it.
    repartition: Rc<Cell<Option<GraphId>>>,
}

impl<K, V> Clone for KGroupedTable<K, V> {
    fn clone(&self) -> Self {
        Self {
            changes: self.changes.clone(),
            grouped: self.grouped.clone(),
            repartition: Rc::clone(&self.repartition),
        }
    }
}

impl<K, V> fmt::Debug for KGroupedTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KGroupedTable").field("grouped", &self.grouped).finish_non_exhaustive()
    }
}

impl<K: Clone + 'static, V: Clone + 'static> KTable<K, V> {
    /// Groups the rows by a new key, each with a new value, for an aggregation. A row whose new key
    /// or value is null to the serdes of `grouped` is in no group.
    ///
    /// ```
    /// # use tidemill_core::dsl::{Grouped, Materialized, StreamsBuilder};
    /// # use tidemill_core::serdes::{i64, optional, string};
    /// # use tidemill_core::topology::{Consumed, Produced};
    /// let builder = StreamsBuilder::new();
    /// builder
    ///     .table("cities-of-users", Consumed::with(string(), string()), Materialized::default())
    ///     .group_by(|user, city| (city, user.clone()), Grouped::with(string(), string()))
    ///     .count(Materialized::as_("users-per-city"))
    ///     .to_stream()
    ///     .to("users-per-city", Produced::with(string(), optional(i64())));
    /// # builder.build().unwrap();
    /// ```
    pub fn group_by<K2, V2>(
        &self,
        selector: impl Fn(&K, V) -> (K2, V2) + Send + Sync + 'static,
        grouped: Grouped<K2, V2>,
    ) -> KGroupedTable<K2, V2>
    where
        K2: Clone + PartialEq + 'static,
        V2: Clone + 'static,
    {
        self.try_group_by(move |key, value| Ok(selector(key, value)), grouped)
    }

    /// As [`KTable::group_by`], with a closure that can fail.
    pub fn try_group_by<K2, V2>(
        &self,
        selector: impl Fn(&K, V) -> Result<(K2, V2), BoxError> + Send + Sync + 'static,
        grouped: Grouped<K2, V2>,
    ) -> KGroupedTable<K2, V2>
    where
        K2: Clone + PartialEq + 'static,
        V2: Clone + 'static,
    {
        let grouped = grouped.or_name(self.changes.given_name());
        let (keys, values) = (Arc::clone(&grouped.key_serde), Arc::clone(&grouped.value_serde));
        let pick = move |key: &K, value: Option<V>| -> Result<Option<(K2, V2)>, BoxError> {
            let Some(value) = value else { return Ok(None) };
            let (key, value) = selector(key, value)?;
            Ok((!keys.is_null(&key) && !values.is_null(&value)).then_some((key, value)))
        };
        let named = match &grouped.name {
            Some(name) => self.changes.named(name.clone()),
            None => self.changes.clone(),
        };
        let changes = named.attach(SELECT, false, move |context, record: Record<K, Change<V>>| {
            let Record { key, value: Change { new, old }, timestamp, headers } = record;
            if context.is_out_of_order() {
                context.note_dropped();
                return Ok(());
            }
            let (new, old) = (pick(&key, new)?, pick(&key, old)?);
            let mut forward = |key: K2, new: Option<V2>, old: Option<V2>| {
                let (value, headers) = (Change { new, old }, headers.clone());
                context.forward(Record { key, value, timestamp, headers })
            };
            match (new, old) {
                (Some((key, new)), Some((before, old))) if key == before => {
                    forward(key, Some(new), Some(old))
                }
                (new, old) => {
                    // the old one first: no group has the row twice
                    if let Some((key, old)) = old {
                        forward(key, None, Some(old))?;
                    }
                    new.map_or(Ok(()), |(key, new)| forward(key, Some(new), None))
                }
            }
        });
        self.send_old_values(true);
        KGroupedTable { changes, grouped, repartition: Rc::default() }
    }
}

impl<K: Clone + 'static, V: Clone + 'static> KGroupedTable<K, V> {
    /// Names the next operator. See [`KStream::named`].
    #[must_use]
    pub fn named(&self, name: impl Into<Named>) -> Self {
        Self { changes: self.changes.named(name), ..self.clone() }
    }

    /// Counts the rows of each group.
    pub fn count(&self, mut materialized: Materialized<K, i64>) -> KTable<K, i64> {
        materialized.value_serde.get_or_insert_with(|| Arc::new(serdes::i64()));
        self.aggregate(|| 0, |_, _, rows| rows + 1, |_, _, rows| rows - 1, materialized)
    }

    /// Reduces the values of each group to one of the same type: `adder(so far, new)`, and
    /// `subtractor(so far, old)` for a value that left. The first value is taken as it is. `None`
    /// deletes the group.
    pub fn reduce<R: Into<Option<V>>, S: Into<Option<V>>>(
        &self,
        adder: impl Fn(V, V) -> R + Send + Sync + 'static,
        subtractor: impl Fn(V, V) -> S + Send + Sync + 'static,
        mut materialized: Materialized<K, V>,
    ) -> KTable<K, V> {
        materialized.value_serde.get_or_insert_with(|| Arc::clone(&self.grouped.value_serde));
        self.add(REDUCE, materialized, move |_, change: Change<V>, before| {
            let left = match (before, change.old) {
                (Some(before), Some(old)) => subtractor(before, old).into(),
                (before, _) => before,
            };
            Ok(match (left, change.new) {
                (Some(left), Some(new)) => adder(left, new).into(),
                (None, Some(new)) => Some(new),
                (left, None) => left,
            })
        })
    }

    /// Aggregates the values of each group: `adder(key, value, so far)`, beginning with
    /// `initializer()`, and `subtractor(key, value, so far)` for a value that left. `None` deletes
    /// the group.
    ///
    /// `materialized` must have a value serde.
    pub fn aggregate<A: Clone + 'static, R: Into<Option<A>>, S: Into<Option<A>>>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        adder: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
        subtractor: impl Fn(&K, V, A) -> S + Send + Sync + 'static,
        materialized: Materialized<K, A>,
    ) -> KTable<K, A> {
        self.add(AGGREGATE, materialized, move |key, change: Change<V>, before| {
            let left = match (before, change.old) {
                (Some(before), Some(old)) => subtractor(key, old, before).into(),
                (before, _) => before,
            };
            Ok(match change.new {
                Some(new) => adder(key, new, left.unwrap_or_else(&initializer)).into(),
                None => left,
            })
        })
    }

    /// Adds the repartition topic and the aggregation.
    fn add<A, F>(
        &self,
        prefix: &str,
        mut materialized: Materialized<K, A>,
        apply: F,
    ) -> KTable<K, A>
    where
        A: Clone + 'static,
        F: Fn(&K, Change<V>, Option<A>) -> Result<Option<A>, BoxError> + Send + Sync + 'static,
    {
        let queryable = materialized.name.clone();
        let mut graph = self.changes.graph().borrow_mut();
        let store = match materialized.name.take() {
            Some(name) => name,
            // in Kafka Streams too, that of a reduction is called so
            None => graph.name_or_generate(None, &format!("{AGGREGATE}STATE-STORE-")),
        };
        let given = self.changes.given_name();
        let suffixed = |suffix| given.as_ref().map(|name| format!("{name}{suffix}"));
        let sink = graph.name_or_generate(suffixed("-sink"), SINK);
        let source = graph.name_or_generate(suffixed("-source"), SOURCE);
        let node = graph.name_or_generate(given, prefix);
        materialized.refuse_revision(&mut graph, &node);
        drop(graph);
        let parent = self.repartitioned(&store, sink, source);
        let Grouped { key_serde: keys, value_serde, .. } = self.grouped.clone();
        let changes: SharedSerde<Change<V>> = Arc::new(ChangedSerde::new(&value_serde));
        let key_serde = materialized.key_serde.take().unwrap_or_else(|| Arc::clone(&keys));
        let table = StoreNode::new(&store);
        let parts = TableParts {
            key_serde: Some(Arc::clone(&key_serde)),
            value_serde: materialized.value_serde.clone(),
            queryable_store_name: queryable,
        };
        let old_values = table.old_values.clone();
        let mut graph = self.changes.graph().borrow_mut();
        let id = graph.add(&[parent], node.clone(), move |topology, parents| {
            let aggregation = Arc::new(Aggregation {
                store: store.clone(),
                key_serde: keys,
                value_serde: changes,
                fallible: false,
                send_old_values: old_values.is_set(),
                apply,
            });
            let values = materialized
                .value_serde
                .take()
                .ok_or_else(|| TopologyError::MissingSerde { node: node.clone(), what: "value" })?;
            let builder = StoreBuilder::from_parts(materialized.spec(&store), key_serde, values);
            let supplier = move || Aggregate::<K, Change<V>, A, _>::new(Arc::clone(&aggregation));
            topology.add_processor(&node, supplier, parents)?;
            topology.add_state_store(builder, &[&node]).map(|_| ())
        });
        drop(graph);
        KTable::new(self.changes.shared_graph(), id, Rc::new(table), parts)
    }

    /// Returns the repartition topic; aggregations of a grouping that is named share one.
    fn repartitioned(&self, store: &str, sink: String, source: String) -> GraphId {
        let mut graph = self.changes.graph().borrow_mut();
        if let (Some(_), Some(existing)) = (&self.grouped.name, self.repartition.get()) {
            graph.attach(self.changes.id, existing);
            return existing;
        }
        let base = self.grouped.name.as_deref().unwrap_or(store);
        let topic = format!("{base}-repartition");
        let Grouped { key_serde, value_serde, .. } = self.grouped.clone();
        let changes: SharedSerde<Change<V>> = Arc::new(ChangedSerde::new(&value_serde));
        let id = graph.add(&[self.changes.id], source.clone(), move |topology, parents| {
            topology.add_repartition(RepartitionSpec { name: topic.clone(), partitions: None });
            let topic = TopicName::Internal(topic);
            let produced = Produced {
                key_serde: Arc::clone(&key_serde),
                value_serde: Arc::clone(&changes),
                name: None,
                partitioner: None,
                one_partition: false,
                windows_together: false,
            };
            topology.add_sink_to(&sink, topic.clone(), produced, parents)?;
            let consumed = Consumed {
                key_serde,
                value_serde: changes,
                name: None,
                // what was written before the first start of the reader is not to be skipped
                auto_offset_reset: Some(AutoOffsetReset::Earliest),
                timestamp_extractor: None,
            };
            topology.add_source_of(&source, consumed, vec![topic]).map(|_| ())
        });
        self.repartition.set(Some(id));
        id
    }
}

//! `join_table` and `left_join_table`: a stream's records with what a table has for their keys.

use std::fmt;
use std::sync::Arc;

use super::{KTable, ReadTable, View};
use crate::BoxError;
use crate::dsl::{KStream, Repartitioned, repartition};
use crate::processor::{Processor, ProcessorContext};
use crate::record::Record;
use crate::serdes::{Serde, SharedSerde};
use crate::topology::TopologyError;

const JOIN: &str = "KSTREAM-JOIN-";
const LEFT_JOIN: &str = "KSTREAM-LEFTJOIN-";

/// How a stream is joined with a table: the stream's serdes, and a name.
///
/// The serdes say which keys and values are null, and write the repartition topic that is needed if
/// the stream's key may have changed.
pub struct Joined<K, V> {
    key_serde: Option<SharedSerde<K>>,
    pub(in crate::dsl) value_serde: Option<SharedSerde<V>>,
    pub(in crate::dsl) name: Option<String>,
}

impl<K, V> Default for Joined<K, V> {
    /// No serdes: for streams without nulls that come as they are from a topic.
    fn default() -> Self {
        Self { key_serde: None, value_serde: None, name: None }
    }
}

impl<K, V> Joined<K, V> {
    /// Sets the serdes of the stream.
    pub fn with(key_serde: impl Serde<K>, value_serde: impl Serde<V>) -> Self {
        Self {
            key_serde: Some(Arc::new(key_serde)),
            value_serde: Some(Arc::new(value_serde)),
            name: None,
        }
    }

    /// Names the operator and, if there is one, the repartition topic.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl<K, V> fmt::Debug for Joined<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<K: Clone + 'static, V: Clone + 'static> KStream<K, V> {
    /// Joins each record with what the table has for its key at that moment; one that finds nothing
    /// is left out. Updates of the table alone make no output.
    ///
    /// Records with a null key or value are dropped and counted. The topics of both must have the
    /// same number of partitions.
    pub fn join_table<VT: Clone + 'static, R: Clone + 'static>(
        &self,
        table: &KTable<K, VT>,
        joiner: impl Fn(V, &VT) -> R + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, R> {
        self.try_join_table(table, move |_, value, found| Ok(joiner(value, found)), joined)
    }

    /// As [`KStream::join_table`], with a look at the key and a closure that can fail.
    pub fn try_join_table<VT: Clone + 'static, R: Clone + 'static>(
        &self,
        table: &KTable<K, VT>,
        joiner: impl Fn(&K, V, &VT) -> Result<R, BoxError> + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, R> {
        let join = move |key: &K, value: V, found: Option<&VT>| match found {
            Some(found) => joiner(key, value, found).map(Some),
            None => Ok(None),
        };
        self.join_view(table, (JOIN, false), join, joined)
    }

    /// As [`KStream::join_table`], but a record that finds nothing is joined with `None`. So is one
    /// with a null key (KIP-962).
    pub fn left_join_table<VT: Clone + 'static, R: Clone + 'static>(
        &self,
        table: &KTable<K, VT>,
        joiner: impl Fn(V, Option<&VT>) -> R + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, R> {
        self.try_left_join_table(table, move |_, value, found| Ok(joiner(value, found)), joined)
    }

    /// As [`KStream::left_join_table`], with a look at the key and a closure that can fail.
    pub fn try_left_join_table<VT: Clone + 'static, R: Clone + 'static>(
        &self,
        table: &KTable<K, VT>,
        joiner: impl Fn(&K, V, Option<&VT>) -> Result<R, BoxError> + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, R> {
        let join = move |key: &K, value: V, found: Option<&VT>| joiner(key, value, found).map(Some);
        self.join_view(table, (LEFT_JOIN, true), join, joined)
    }

    fn join_view<VT: Clone + 'static, R: Clone + 'static>(
        &self,
        table: &KTable<K, VT>,
        (prefix, left): (&str, bool),
        join: impl Fn(&K, V, Option<&VT>) -> Result<Option<R>, BoxError> + Send + Sync + 'static,
        mut joined: Joined<K, V>,
    ) -> KStream<K, R> {
        let graph = self.shared_graph();
        let given = joined.name.take().or_else(|| self.given_name());
        let mut parent = self.id;
        let mut mistake = None;
        if self.repartition_required {
            let base = given.clone().unwrap_or_else(|| graph.borrow().name_of(self.id));
            match (&joined.key_serde, &joined.value_serde) {
                (Some(keys), Some(values)) => {
                    let mut options =
                        Repartitioned::from_serdes(Arc::clone(keys), Arc::clone(values));
                    options.keep_null_keys = left;
                    parent = repartition::add(&mut graph.borrow_mut(), self.id, &base, options);
                }
                (None, _) => mistake = Some("key"),
                (_, None) => mistake = Some("value"),
            }
        }
        let name = graph.borrow_mut().name_or_generate(given, prefix);
        if let Some(what) = mistake {
            let node = name.clone();
            graph.borrow_mut().fail(TopologyError::MissingSerde { node, what });
        }
        if !table.is_of(&graph) {
            graph.borrow_mut().fail(TopologyError::ForeignStream { node: name.clone() });
        }
        let view = table.view();
        let rules = Arc::new(Rules { joined, left, join });
        let id = graph.borrow_mut().add(&[parent], name.clone(), move |topology, parents| {
            let stores: Vec<String> = view.stores.clone();
            let supplier = move || {
                let (rules, view) = (Arc::clone(&rules), view.clone());
                JoinTable { rules, view, table: None }
            };
            topology.add_processor(&name, supplier, parents)?;
            let stores: Vec<&str> = stores.iter().map(|store| &**store).collect();
            topology.connect_processor_and_state_stores(&name, &stores).map(|_| ())
        });
        if left {
            graph.borrow_mut().takes_null_keys(id);
        }
        KStream::new(graph, id, false)
    }
}

/// What the instances share.
struct Rules<K, V, F> {
    joined: Joined<K, V>,
    left: bool,
    join: F,
}

/// Joins a stream with a table.
struct JoinTable<K, V, VT, F> {
    rules: Arc<Rules<K, V, F>>,
    view: View<K, VT>,
    table: Option<Box<dyn ReadTable<K, VT>>>,
}

impl<K, V, VT, R, F> Processor<K, V, K, R> for JoinTable<K, V, VT, F>
where
    K: Clone + 'static,
    V: 'static,
    VT: Clone + 'static,
    R: Clone + 'static,
    F: Fn(&K, V, Option<&VT>) -> Result<Option<R>, BoxError>,
{
    fn init(&mut self, context: &mut ProcessorContext<'_, '_, K, R>) -> Result<(), BoxError> {
        self.table = Some((self.view.open)(context)?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, R>,
        record: Record<K, V>,
    ) -> Result<(), BoxError> {
        let Rules { joined, left, join } = &*self.rules;
        let Record { key, value, timestamp, headers } = record;
        let no_key = joined.key_serde.as_ref().is_some_and(|serde| serde.is_null(&key));
        let no_value = joined.value_serde.as_ref().is_some_and(|serde| serde.is_null(&value));
        if no_value || (no_key && !left) {
            context.note_dropped();
            return Ok(());
        }
        let (mut value, mut result) = (Some(value), None);
        let mut take = |found: Option<&VT>| {
            if let Some(value) = value.take() {
                result = join(&key, value, found)?;
            }
            Ok(())
        };
        if no_key {
            take(None)?;
        } else {
            let table = self.table.as_ref().expect("a processor is initialised first");
            table.read_as_of(&key, timestamp, &mut |found| take(found.map(|(value, _)| value)))?;
        }
        match result {
            Some(value) => context.forward(Record { key, value, timestamp, headers }),
            None => Ok(()),
        }
    }
}

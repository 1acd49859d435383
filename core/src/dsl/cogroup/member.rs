//! One of the streams of a cogroup: its own type of values, and how they are added to the others'.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::BoxError;
use crate::dsl::aggregate::{Aggregate, Aggregation};
use crate::dsl::graph::{GraphId, SharedGraph};
use crate::dsl::table::Flag;
use crate::dsl::windows::{CogroupedWindows, WindowedMember};
use crate::dsl::{Grouped, KGroupedStream};
use crate::topology::{Topology, TopologyError};

type Define = Box<dyn FnOnce(&mut Topology) -> Result<(), TopologyError>>;

/// Where the aggregation of one stream is put.
pub(in crate::dsl) struct Place<A> {
    pub(in crate::dsl) node: String,
    pub(in crate::dsl) store: String,
    pub(in crate::dsl) parent: GraphId,
    pub(in crate::dsl) initializer: Arc<dyn Fn() -> A + Send + Sync>,
    /// Whether somebody below asked for old values.
    pub(in crate::dsl) old_values: Flag,
    /// Declares the common store, or connects the node to it.
    pub(in crate::dsl) define: Define,
}

/// A grouped stream, whatever its values are.
pub(in crate::dsl) trait Member<K, A> {
    fn graph(&self) -> SharedGraph;

    /// Tells one grouped stream from another.
    fn identity(&self) -> *const ();

    /// Returns the stream, or the repartition topic that it has to go through.
    fn parent(&self, store: &str) -> GraphId;

    /// Adds the stream's records to the store.
    fn aggregate(&self, place: Place<A>) -> GraphId;

    /// Adds the stream's records to the store, by windows.
    fn aggregate_windowed(&self, place: Place<A>, windows: CogroupedWindows<K, A>) -> GraphId;
}

/// A grouped stream with its aggregator.
pub(super) struct Grouping<K, V, F> {
    grouped: KGroupedStream<K, V>,
    fallible: bool,
    apply: Arc<F>,
    /// The repartition topic, once it was needed: all aggregations of a cogroup read the same.
    parent: Rc<Cell<Option<GraphId>>>,
}

impl<K, V, F> Grouping<K, V, F> {
    pub(super) fn new<A>(grouped: &KGroupedStream<K, V>, fallible: bool, apply: F) -> Self
    where
        F: Fn(&K, V, A) -> Result<Option<A>, BoxError> + Send + Sync + 'static,
    {
        let (grouped, apply) = (grouped.clone(), Arc::new(apply));
        Self { grouped, fallible, apply, parent: Rc::default() }
    }
}

impl<K, V, A, F> Member<K, A> for Grouping<K, V, F>
where
    K: Clone + 'static,
    V: Clone + 'static,
    A: Clone + 'static,
    F: Fn(&K, V, A) -> Result<Option<A>, BoxError> + Send + Sync + 'static,
{
    fn graph(&self) -> SharedGraph {
        self.grouped.stream.shared_graph()
    }

    fn identity(&self) -> *const () {
        self.grouped.identity()
    }

    fn parent(&self, store: &str) -> GraphId {
        if let Some(parent) = self.parent.get() {
            self.grouped.burn_repartition(store);
            return parent;
        }
        let parent = self.grouped.repartitioned(store);
        self.parent.set(Some(parent));
        parent
    }

    fn aggregate(&self, place: Place<A>) -> GraphId {
        let Place { node, store, parent, initializer, old_values, define } = place;
        let Grouped { key_serde: keys, value_serde: values, .. } = self.grouped.grouped.clone();
        let (fallible, apply) = (self.fallible, Arc::clone(&self.apply));
        let apply = move |key: &K, value: V, before: Option<A>| {
            apply(key, value, before.unwrap_or_else(|| initializer()))
        };
        let mut graph = self.grouped.stream.graph().borrow_mut();
        graph.add(&[parent], node.clone(), move |topology, parents| {
            let aggregation = Arc::new(Aggregation {
                store,
                key_serde: keys,
                value_serde: values,
                fallible,
                send_old_values: old_values.is_set(),
                apply,
            });
            let supplier = move || Aggregate::<K, V, A, _>::new(Arc::clone(&aggregation));
            topology.add_processor(&node, supplier, parents)?;
            define(topology)
        })
    }

    fn aggregate_windowed(&self, place: Place<A>, windows: CogroupedWindows<K, A>) -> GraphId {
        let Place { node, store, parent, initializer, old_values, define } = place;
        let Grouped { key_serde, value_serde, .. } = self.grouped.grouped.clone();
        let (fallible, apply) = (self.fallible, Arc::clone(&self.apply));
        let apply = move |key: &K, value: V, before: Option<A>| {
            apply(key, value, before.unwrap_or_else(|| initializer()))
        };
        let mut graph = self.grouped.stream.graph().borrow_mut();
        graph.add(&[parent], node.clone(), move |topology, parents| {
            let send_old_values = old_values.is_set();
            let names = (&*node, store);
            let member =
                WindowedMember { key_serde, value_serde, fallible, send_old_values, apply };
            windows.add_processor(topology, parents, names, member)?;
            define(topology)
        })
    }
}

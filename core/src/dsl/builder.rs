//! Where a topology of the DSL begins and ends.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use super::graph::{Graph, GraphId, SharedGraph, SourceSpec};
use super::{KStream, TopologyConfig};
use crate::topology::{Consumed, StoreBuilder, Topology, TopologyError, TypeInfo};

/// Makes a topology from streams.
///
/// Numbers are given out in the order of the calls: the same program gives the same names.
pub struct StreamsBuilder {
    graph: SharedGraph,
}

impl fmt::Debug for StreamsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamsBuilder").finish_non_exhaustive()
    }
}

impl Default for StreamsBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamsBuilder {
    /// Makes an empty builder.
    #[must_use]
    pub fn new() -> Self {
        Self::with_config(TopologyConfig::default())
    }

    /// Makes an empty builder that is told about the whole topology.
    ///
    /// ```
    /// # use tidemill_core::dsl::{StreamsBuilder, TopologyConfig, TopologyOptimization};
    /// let config = TopologyConfig::new().with_optimization(TopologyOptimization::ALL);
    /// let builder = StreamsBuilder::with_config(config);
    /// ```
    #[must_use]
    pub fn with_config(config: TopologyConfig) -> Self {
        Self { graph: Rc::new(RefCell::new(Graph::new(config))) }
    }

    pub(super) fn shared_graph(&self) -> SharedGraph {
        Rc::clone(&self.graph)
    }

    /// Reads a topic. Reading the same topic twice, with the same types and offset reset, makes one
    /// source.
    pub fn stream<K, V>(&self, topic: &str, consumed: Consumed<K, V>) -> KStream<K, V>
    where
        K: Clone + 'static,
        V: Clone + 'static,
    {
        self.stream_topics(&[topic], consumed)
    }

    /// Reads several topics as one stream. They must have the same number of partitions; there is
    /// no order between them but that of the timestamps. Another stream may read the same set of
    /// topics, but not one that overlaps it.
    pub fn stream_topics<K, V>(
        &self,
        topics: &[&str],
        mut consumed: Consumed<K, V>,
    ) -> KStream<K, V>
    where
        K: Clone + 'static,
        V: Clone + 'static,
    {
        let mut graph = self.graph.borrow_mut();
        let name = graph.name_or_generate(consumed.name.take(), "KSTREAM-SOURCE-");
        let spec = SourceSpec {
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            types: TypeInfo::of::<K, V>(),
            auto_offset_reset: consumed.auto_offset_reset,
        };
        if let Some(topic) =
            topics.iter().find(|topic| topics.iter().filter(|other| other == topic).count() > 1)
        {
            graph.fail(TopologyError::TopicTwice {
                topic: (*topic).to_owned(),
                source_node: name.clone(),
            });
        }
        let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let node = name.clone();
        let id = graph.add_source(name, spec, move |topology, _| {
            let topics: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
            topology.add_source(&node, consumed, &topics).map(|_| ())
        });
        KStream::new(Rc::clone(&self.graph), id, false)
    }

    /// Adds a store for [`KStream::process`] and [`KStream::process_values`] to use by name.
    pub fn add_state_store<K, V>(&self, store: StoreBuilder<K, V>) -> &Self
    where
        K: 'static,
        V: Clone + 'static,
    {
        let name = store.name().to_owned();
        self.graph.borrow_mut().add(&[GraphId::ROOT], name, |topology, _| {
            topology.add_state_store(store, &[]).map(|_| ())
        });
        self
    }

    /// Makes the topology. Streams that were made from this builder and are used afterwards have no
    /// effect on it.
    ///
    /// # Errors
    /// Every mistake that was made on the way, [`TopologyError::Several`] if there was more than
    /// one.
    pub fn build(self) -> Result<Topology, TopologyError> {
        self.graph.replace(Graph::built()).build()
    }
}

//! Repartition topics: sink, topic and source between two sub-topologies.

use std::fmt;
use std::sync::Arc;

use super::graph::{Again, Graph, GraphId};
use super::stateless::Stateless;
use super::table::Flag;
use crate::processor::ProcessorContext;
use crate::record::Record;
use crate::serdes::{Serde, SharedSerde};
use crate::topology::{
    AutoOffsetReset, Consumed, Produced, RepartitionSpec, StreamPartitioner, TopicName,
};

/// How a stream goes through a repartition topic.
pub struct Repartitioned<K, V> {
    pub(super) key_serde: SharedSerde<K>,
    pub(super) value_serde: SharedSerde<V>,
    pub(super) name: Option<String>,
    pub(super) partitions: Option<u32>,
    pub(super) partitioner: Option<Arc<dyn StreamPartitioner<K, V>>>,
    /// Whether records with a null key go through the topic, for joins that take them.
    pub(super) keep_null_keys: bool,
    /// Whether the topic may become one with others; not if the user asked for it.
    pub(super) movable: bool,
}

impl<K, V> Repartitioned<K, V> {
    /// Writes and reads the topic with these serdes.
    pub fn with(key_serde: impl Serde<K>, value_serde: impl Serde<V>) -> Self {
        let movable = false;
        Self { movable, ..Self::from_serdes(Arc::new(key_serde), Arc::new(value_serde)) }
    }

    pub(super) fn from_serdes(key_serde: SharedSerde<K>, value_serde: SharedSerde<V>) -> Self {
        Self {
            key_serde,
            value_serde,
            name: None,
            partitions: None,
            partitioner: None,
            keep_null_keys: false,
            movable: true,
        }
    }

    /// Names the topic: `<application.id>-<name>-repartition`.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the number of partitions. Default: as many as the sources upstream have.
    #[must_use]
    pub fn with_number_of_partitions(mut self, partitions: u32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// Chooses partitions by something else than the key's bytes.
    #[must_use]
    pub fn with_stream_partitioner(
        mut self,
        partitioner: impl StreamPartitioner<K, V> + 'static,
    ) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }
}

impl<K, V> fmt::Debug for Repartitioned<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repartitioned")
            .field("name", &self.name)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

/// The nodes around a repartition topic.
struct Names {
    topic: String,
    sink: String,
    filter: String,
    source: String,
}

impl Names {
    /// Consumes three numbers. They are seen only if the topic's name is generated, too: else the
    /// nodes are named after the topic, so that they stay when operators are added before them.
    fn new(graph: &mut Graph, base: &str) -> Self {
        const SUFFIX: &str = "-repartition";
        let topic =
            if base.ends_with(SUFFIX) { base.to_owned() } else { format!("{base}{SUFFIX}") };
        let sink = graph.name_or_generate(None, "KSTREAM-SINK-");
        let filter = graph.name_or_generate(None, "KSTREAM-FILTER-");
        let source = graph.name_or_generate(None, "KSTREAM-SOURCE-");
        if is_generated(base) {
            return Self { topic, sink, filter, source };
        }
        let named = |role: &str| format!("{topic}-{role}");
        Self { sink: named("sink"), filter: named("filter"), source: named("source"), topic }
    }
}

/// Returns whether a name has the form `KSTREAM..-<ten digits>`.
fn is_generated(name: &str) -> bool {
    let Some((prefix, number)) = name.rsplit_once('-') else { return false };
    prefix.starts_with("KSTREAM")
        && number.len() == 10
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Consumes the numbers of a repartition topic that is there already.
pub(super) fn burn_numbers(graph: &mut Graph, base: &str) {
    Names::new(graph, base);
}

/// Adds filter, sink, topic and source; the name of the topic is made of `base`.
pub(super) fn add<K: Clone + 'static, V: Clone + 'static>(
    graph: &mut Graph,
    parent: GraphId,
    base: &str,
    repartitioned: Repartitioned<K, V>,
) -> GraphId {
    let names = Names::new(graph, base);
    let again = repartitioned.movable.then(|| again(&names.topic, &repartitioned));
    let Repartitioned { key_serde, value_serde, partitions, partitioner, keep_null_keys, .. } =
        repartitioned;
    let keep = Flag::default();
    if keep_null_keys {
        keep.set();
    }
    let wanted_below = keep.clone();
    let id = graph.add(&[parent], names.source.clone(), move |topology, parents| {
        let Names { topic, sink, filter, source } = names;
        topology.add_repartition(RepartitionSpec { name: topic.clone(), partitions });
        let topic = TopicName::Internal(topic);
        let (keys, keep_null_keys) = (Arc::clone(&key_serde), keep.is_set());
        // records without a key belong to no partition
        let drop_null_keys =
            Arc::new(move |context: &mut ProcessorContext<'_, '_, K, V>, record: Record<K, V>| {
                if !keep_null_keys && keys.is_null(&record.key) {
                    Ok(())
                } else {
                    context.forward(record)
                }
            });
        let supplier = move || Stateless(Arc::clone(&drop_null_keys));
        topology.add_processor(&filter, supplier, parents)?;
        let produced = Produced {
            key_serde: Arc::clone(&key_serde),
            value_serde: Arc::clone(&value_serde),
            name: None,
            partitioner,
            one_partition: false,
            windows_together: false,
        };
        topology.add_sink_to(&sink, topic.clone(), produced, &[&filter])?;
        let consumed = Consumed {
            key_serde,
            value_serde,
            name: None,
            // what was written before the first start of the reader is not to be skipped
            auto_offset_reset: Some(AutoOffsetReset::Earliest),
            timestamp_extractor: None,
        };
        topology.add_source_of(&source, consumed, vec![topic]).map(|_| ())
    });
    graph.drops_null_keys(id, wanted_below);
    graph.mark(id, |known| known.again = again);
    id
}

/// Adds the same topic below another operator.
fn again<K: Clone + 'static, V: Clone + 'static>(
    topic: &str,
    repartitioned: &Repartitioned<K, V>,
) -> Again {
    let topic = topic.to_owned();
    let serdes = (Arc::clone(&repartitioned.key_serde), Arc::clone(&repartitioned.value_serde));
    let keep_null_keys = repartitioned.keep_null_keys;
    Box::new(move |graph, parent| {
        let (keys, values) = (Arc::clone(&serdes.0), Arc::clone(&serdes.1));
        let options = Repartitioned { keep_null_keys, ..Repartitioned::from_serdes(keys, values) };
        add(graph, parent, &topic, options)
    })
}

//! Cutting a topology into sub-topologies.

use super::{AutoOffsetReset, NodeKind, SinkTarget, TopicName, Topology};
use crate::record::SubTopologyId;
use crate::store::StoreSpec;

/// A maximal set of nodes connected by edges or shared stores. All its source topics must have the
/// same number of partitions; it runs as one task for each of them.
#[derive(Debug, Clone)]
pub struct SubTopology {
    /// Its number, in the order in which first nodes were added.
    pub id: SubTopologyId,
    /// Topics that its sources read, with the source's own offset reset.
    pub source_topics: Vec<(TopicName, Option<AutoOffsetReset>)>,
    /// Topics that its sinks write, as far as they are known before there are records.
    pub sink_topics: Vec<TopicName>,
    /// Its stores; a [`StoreIndex`](crate::store::StoreIndex) is a position in this list.
    pub stores: Vec<StoreSpec>,
    /// Its nodes, in topological order.
    pub(crate) nodes: Vec<usize>,
    /// For each of `stores`: the index in the topology.
    pub(crate) store_indices: Vec<usize>,
}

/// Cuts a graph into its connected components, numbered by first node.
pub(super) fn cut(topology: &Topology) -> Vec<SubTopology> {
    let (nodes, stores) = (topology.nodes(), topology.stores());
    let mut component: Vec<usize> = (0..nodes.len()).collect();
    let mut join = |a: usize, b: usize| {
        let (from, to) = (component[a].max(component[b]), component[a].min(component[b]));
        component.iter_mut().filter(|c| **c == from).for_each(|c| *c = to);
    };
    for (index, node) in nodes.iter().enumerate() {
        node.parents.iter().for_each(|parent| join(*parent, index));
    }
    for store in 0..stores.len() {
        let users = || (0..nodes.len()).filter(|node| nodes[*node].stores.contains(&store));
        if let Some(first) = users().next() {
            users().for_each(|user| join(first, user));
        }
    }
    let mut roots = component.clone();
    roots.sort_unstable();
    roots.dedup();
    let members = |root: usize| (0..nodes.len()).filter(|node| component[*node] == root).collect();
    let numbered = roots.into_iter().zip(0..);
    numbered.map(|(root, id)| of_nodes(SubTopologyId(id), members(root), topology)).collect()
}

/// Takes nodes for one sub-topology, whatever is connected.
pub(super) fn of_nodes(id: SubTopologyId, members: Vec<usize>, topology: &Topology) -> SubTopology {
    let (nodes, stores) = (topology.nodes(), topology.stores());
    let mut source_topics = Vec::new();
    let mut sink_topics = Vec::new();
    let mut store_indices: Vec<usize> = Vec::new();
    for index in &members {
        match &nodes[*index].kind {
            NodeKind::Source { topics, auto_offset_reset } => {
                source_topics.extend(topics.iter().map(|topic| (topic.clone(), *auto_offset_reset)))
            }
            NodeKind::Sink { target: SinkTarget::Topic(topic) } => sink_topics.push(topic.clone()),
            NodeKind::Sink { target: SinkTarget::Extracted(_) } | NodeKind::Processor => {}
        }
        store_indices.extend(&nodes[*index].stores);
    }
    store_indices.sort_unstable();
    store_indices.dedup();
    SubTopology {
        id,
        source_topics,
        sink_topics,
        stores: store_indices.iter().map(|store| stores[*store].spec.clone()).collect(),
        nodes: members,
        store_indices,
    }
}

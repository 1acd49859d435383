//! The text of a topology, byte for byte as Kafka Streams' `Topology.describe()` prints it.

mod java_order;

use std::fmt;

use self::java_order::{TreeSet, hash_set, hash_set_copy};
use super::{Node, NodeKind, SinkTarget, SubTopology, Topology};

/// A topology as text. Made by [`Topology::describe`], to be printed.
///
/// The text is that of Kafka Streams for the same topology, so the two can be compared, and tools
/// that read one read the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyDescription {
    sub_topologies: Vec<SubTopologyDescription>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SubTopologyDescription {
    /// Fills a global store.
    global: bool,
    nodes: Vec<NodeDescription>,
}

/// A node, and the names of its neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NodeDescription {
    title: String,
    /// `None` for a sink.
    successors: Option<Vec<String>>,
    /// `None` for a source.
    predecessors: Option<Vec<String>>,
}

impl Topology {
    /// Describes the topology: its sub-topologies, nodes, topics and stores.
    #[must_use]
    pub fn describe(&self) -> TopologyDescription {
        let one = |sub: &SubTopology| SubTopologyDescription {
            global: self.is_global(sub),
            nodes: describe(self, sub),
        };
        TopologyDescription { sub_topologies: self.components().iter().map(one).collect() }
    }
}

impl fmt::Display for TopologyDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Topologies:\n ")?;
        for (id, SubTopologyDescription { global, nodes }) in self.sub_topologies.iter().enumerate()
        {
            let kind = if *global { " for global store (will not generate tasks)" } else { "" };
            writeln!(f, "  Sub-topology: {id}{kind}")?;
            for node in nodes {
                writeln!(f, "    {node}")?;
            }
            if !global {
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for NodeDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        for (arrow, neighbours) in [("-->", &self.successors), ("<--", &self.predecessors)] {
            match neighbours {
                Some(names) if names.is_empty() => write!(f, "\n      {arrow} none")?,
                Some(names) => write!(f, "\n      {arrow} {}", names.join(", "))?,
                None => {}
            }
        }
        Ok(())
    }
}

/// Nodes and neighbours are ordered by the number of paths below them, then by name. Neighbours are
/// put in order while those numbers are still growing, node by node in the order of a Java hash
/// map, so their order can only be found by doing the same.
fn describe(topology: &Topology, sub: &SubTopology) -> Vec<NodeDescription> {
    let nodes = topology.nodes();
    let name = |node: usize| &*nodes[node].name;
    let mut sizes: Vec<i32> = vec![1; nodes.len()];
    let mut predecessors: Vec<TreeSet> = nodes.iter().map(|_| TreeSet::default()).collect();
    let mut successors = predecessors.clone();
    for node in hash_set(sub.nodes.iter().copied(), |node| name(*node)) {
        for parent in &nodes[node].parents {
            let order = |a: usize, b: usize| sizes[b].cmp(&sizes[a]).then(name(a).cmp(name(b)));
            predecessors[node].insert(*parent, order);
            successors[*parent].insert(node, order);
            let size = sizes[node];
            grow(&mut sizes, &predecessors, *parent, size);
        }
    }
    let mut ordered = sub.nodes.clone();
    ordered.sort_by(|a, b| sizes[*b].cmp(&sizes[*a]).then(name(*a).cmp(name(*b))));
    let names = |set: &TreeSet| set.iter().map(|node| name(node).to_owned()).collect();
    let one = |node: &usize| NodeDescription {
        title: title(topology, &nodes[*node]),
        successors: match nodes[*node].kind {
            NodeKind::Sink { .. } => None,
            NodeKind::Source { .. } | NodeKind::Processor => Some(names(&successors[*node])),
        },
        predecessors: match nodes[*node].kind {
            NodeKind::Source { .. } => None,
            NodeKind::Sink { .. } | NodeKind::Processor => Some(names(&predecessors[*node])),
        },
    };
    ordered.iter().map(one).collect()
}

/// Adds to the size of a node, and as often as there are paths to the sizes of those above it.
fn grow(sizes: &mut [i32], predecessors: &[TreeSet], node: usize, delta: i32) {
    let mut growth = vec![0_i32; node + 1];
    growth[node] = delta;
    // parents have smaller numbers than their children
    for index in (0..=node).rev() {
        let delta = growth[index];
        if delta == 0 {
            continue;
        }
        // Java's int wraps around; a sum of paths may
        sizes[index] = sizes[index].wrapping_add(delta);
        for parent in predecessors[index].iter() {
            growth[parent] = growth[parent].wrapping_add(delta);
        }
    }
}

fn title(topology: &Topology, node: &Node) -> String {
    let name = &node.name;
    match &node.kind {
        NodeKind::Source { topics, .. } => {
            let topics = hash_set_copy(topics.iter().map(super::TopicName::name), |topic| *topic);
            format!("Source: {name} (topics: [{}])", topics.join(", "))
        }
        NodeKind::Processor => {
            let stores = node.stores.iter().map(|store| &*topology.stores()[*store].spec.name);
            let stores = hash_set_copy(stores, |store| *store);
            format!("Processor: {name} (stores: [{}])", stores.join(", "))
        }
        NodeKind::Sink { target: SinkTarget::Topic(topic) } => {
            format!("Sink: {name} (topic: {})", topic.name())
        }
        NodeKind::Sink { target: SinkTarget::Extracted(extractor) } => {
            format!("Sink: {name} (extractor class: {extractor})")
        }
    }
}

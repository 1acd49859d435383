//! Instantiating a sub-topology for a task: the one place where types are erased and found again.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::{SourcePort, Topology, TopologyError, TypeInfo};
use crate::processor::{Child, Children, Collector, Lifecycle, Receive};
use crate::record::{Partition, TopicPartition};

/// Makes a node's instance and puts it into the assembly.
pub(crate) type Factory =
    Arc<dyn Fn(&mut Assembly<'_>, usize) -> Result<(), TopologyError> + Send + Sync>;

/// Which partitions of its source topics a task reads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SourcePartitions<'t> {
    /// The same one of each.
    One(Partition),
    /// As many as each topic has.
    All(&'t BTreeMap<String, u32>),
}

impl SourcePartitions<'_> {
    /// Returns those of a topic, the last one first.
    pub(super) fn of(self, topic: &str) -> Vec<TopicPartition> {
        let numbers = match self {
            Self::One(Partition(one)) => one..one.saturating_add(1),
            Self::All(counts) => 0..counts.get(topic).copied().unwrap_or(0).cast_signed(),
        };
        numbers.rev().map(|number| TopicPartition::new(topic, Partition(number))).collect()
    }
}

/// A task's nodes while they are put together, children first.
pub(crate) struct Assembly<'t> {
    pub(crate) topology: &'t Topology,
    pub(crate) application_id: &'t str,
    pub(crate) partitions: SourcePartitions<'t>,
    pub(crate) collector: &'t mut dyn Collector,
    /// For each node: its `Child<K, V>`.
    inputs: Vec<Option<Box<dyn Any>>>,
    pub(crate) nodes: Vec<(usize, Rc<RefCell<dyn Lifecycle>>)>,
    pub(crate) ports: Vec<(TopicPartition, Box<dyn SourcePort>)>,
}

impl<'t> Assembly<'t> {
    pub(crate) fn new(
        topology: &'t Topology,
        application_id: &'t str,
        partitions: SourcePartitions<'t>,
        collector: &'t mut dyn Collector,
    ) -> Self {
        let inputs = topology.nodes().iter().map(|_| None).collect();
        let (nodes, ports) = (Vec::new(), Vec::new());
        Self { topology, application_id, partitions, collector, inputs, nodes, ports }
    }

    /// Makes the instances of these nodes. They must be closed under "child of".
    pub(crate) fn build(&mut self, nodes: &[usize]) -> Result<(), TopologyError> {
        for node in nodes.iter().rev() {
            let factory = Arc::clone(&self.topology.nodes()[*node].factory);
            factory(self, *node)?;
        }
        self.nodes.reverse();
        self.ports.reverse();
        Ok(())
    }

    /// Puts a node's instance in its place.
    pub(crate) fn place<K, V, N>(&mut self, node: usize, instance: N)
    where
        K: 'static,
        V: 'static,
        N: Receive<K, V> + Lifecycle + 'static,
    {
        let shared = Rc::new(RefCell::new(instance));
        let child: Child<K, V> = shared.clone();
        self.inputs[node] = Some(Box::new(child));
        self.nodes.push((node, shared));
    }

    /// Returns the typed children of a node, in the order in which they were attached.
    pub(crate) fn children<K: 'static, V: 'static>(
        &self,
        node: usize,
    ) -> Result<Children<K, V>, TopologyError> {
        let parent = &self.topology.nodes()[node];
        let mut children = Vec::with_capacity(parent.children.len());
        for index in &parent.children {
            let child = &self.topology.nodes()[*index];
            let input = self.inputs[*index].as_ref().and_then(|i| i.downcast_ref::<Child<K, V>>());
            let input = input.ok_or_else(|| TopologyError::TypeMismatch {
                parent: parent.name.clone(),
                forwards: TypeInfo::of::<K, V>().name,
                child: child.name.clone(),
                takes: child.input.map_or("nothing", |input| input.name),
            })?;
            children.push((child.name.clone(), Rc::clone(input)));
        }
        Ok(Children::new(children))
    }
}

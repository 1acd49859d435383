//! Instantiating a sub-topology for a task: the one place where types are erased and found again.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::{SourcePort, Topology, TopologyError, TypeInfo};
use crate::processor::{Child, Children, Collector, Lifecycle, Receive};

/// Makes a node's instance and puts it into the assembly.
pub(crate) type Factory =
    Arc<dyn Fn(&mut Assembly<'_>, usize) -> Result<(), TopologyError> + Send + Sync>;

/// A task's nodes while they are put together, children first.
pub(crate) struct Assembly<'t> {
    pub(crate) topology: &'t Topology,
    pub(crate) application_id: &'t str,
    pub(crate) collector: &'t mut dyn Collector,
    /// For each node: its `Child<K, V>`.
    inputs: Vec<Option<Box<dyn Any>>>,
    pub(crate) nodes: Vec<(usize, Rc<RefCell<dyn Lifecycle>>)>,
    pub(crate) ports: Vec<(String, Box<dyn SourcePort>)>,
}

impl<'t> Assembly<'t> {
    pub(crate) fn new(
        topology: &'t Topology,
        application_id: &'t str,
        collector: &'t mut dyn Collector,
    ) -> Self {
        let inputs = topology.nodes().iter().map(|_| None).collect();
        Self { topology, application_id, collector, inputs, nodes: Vec::new(), ports: Vec::new() }
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

//! Adding nodes and stores. Every mistake is an error here, before anything runs.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::sink::Sink;
use super::source::Source;
use super::sub_topology::{cut, of_nodes};
use super::{
    Assembly, Consumed, Factory, GlobalDef, Node, NodeKind, Produced, RepartitionSpec, SinkTarget,
    StoreBuilder, StoreDef, SubTopology, TopicName, TopicNameExtractor, TopologyError, TypeInfo,
};
use crate::processor::{Processor, ProcessorNode};
use crate::record::SubTopologyId;

/// The graph of sources, processors, sinks and stores of an application.
///
/// Built by a `StreamsBuilder` or node by node. The same program gives the same topology, with the
/// same names and numbers.
#[derive(Default)]
pub struct Topology {
    nodes: Vec<Node>,
    stores: Vec<StoreDef>,
    repartitions: Vec<RepartitionSpec>,
    globals: Vec<GlobalDef>,
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.nodes.iter().map(|node| &*node.name).collect();
        f.debug_struct("Topology").field("nodes", &names).finish_non_exhaustive()
    }
}

impl Topology {
    /// Makes an empty topology.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a source that reads topics.
    ///
    /// # Errors
    /// If the name is taken or illegal, there is no topic, or another source has one of the topics.
    pub fn add_source<K: Clone + 'static, V: Clone + 'static>(
        &mut self,
        name: &str,
        consumed: Consumed<K, V>,
        topics: &[&str],
    ) -> Result<&mut Self, TopologyError> {
        let topics = topics.iter().map(|topic| TopicName::User((*topic).to_owned())).collect();
        self.add_source_of(name, consumed, topics)
    }

    pub(crate) fn add_source_of<K: Clone + 'static, V: Clone + 'static>(
        &mut self,
        name: &str,
        consumed: Consumed<K, V>,
        topics: Vec<TopicName>,
    ) -> Result<&mut Self, TopologyError> {
        if topics.is_empty() {
            return Err(TopologyError::NoInput(name.to_owned()));
        }
        for topic in &topics {
            check_name(topic.name())?;
            self.check_unread(topic)?;
        }
        let auto_offset_reset = consumed.auto_offset_reset;
        let factory: Factory = Arc::new(move |assembly, node| {
            let children = Rc::new(assembly.children::<K, V>(node)?);
            let Node { name, kind, .. } = &assembly.topology.nodes()[node];
            let NodeKind::Source { topics, .. } = kind else { return Ok(()) };
            for topic in topics.iter().rev() {
                let topic = topic.resolve(assembly.application_id);
                for partition in assembly.partitions.of(&topic) {
                    let port = Source::new(name.clone(), &consumed, Rc::clone(&children));
                    assembly.ports.push((partition, Box::new(port)));
                }
            }
            Ok(())
        });
        self.add(Node {
            name: name.to_owned(),
            kind: NodeKind::Source { topics, auto_offset_reset },
            parents: Vec::new(),
            children: Vec::new(),
            stores: Vec::new(),
            input: None,
            output: Some(TypeInfo::of::<K, V>()),
            factory,
        })
    }

    /// Adds a processor; `supplier` is called once for each task.
    ///
    /// # Errors
    /// If the name is taken or illegal, or a parent is unknown or forwards other types.
    pub fn add_processor<KIn, VIn, KOut, VOut, P>(
        &mut self,
        name: &str,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        parents: &[&str],
    ) -> Result<&mut Self, TopologyError>
    where
        KIn: 'static,
        VIn: 'static,
        KOut: 'static,
        VOut: 'static,
        P: Processor<KIn, VIn, KOut, VOut> + 'static,
    {
        let parents = self.find_parents(name, parents)?;
        let factory: Factory = Arc::new(move |assembly, node| {
            let children = assembly.children::<KOut, VOut>(node)?;
            let name = assembly.topology.nodes()[node].name.clone();
            let instance = ProcessorNode::new(node, name, supplier(), children);
            assembly.place::<KIn, VIn, ProcessorNode<P, KIn, VIn, KOut, VOut>>(node, instance);
            Ok(())
        });
        self.add(Node {
            name: name.to_owned(),
            kind: NodeKind::Processor,
            parents,
            children: Vec::new(),
            stores: Vec::new(),
            input: Some(TypeInfo::of::<KIn, VIn>()),
            output: Some(TypeInfo::of::<KOut, VOut>()),
            factory,
        })
    }

    /// Adds a sink that writes a topic.
    ///
    /// # Errors
    /// If the name is taken or illegal, or a parent is unknown or forwards other types.
    pub fn add_sink<K: 'static, V: 'static>(
        &mut self,
        name: &str,
        topic: &str,
        produced: Produced<K, V>,
        parents: &[&str],
    ) -> Result<&mut Self, TopologyError> {
        self.add_sink_to(name, TopicName::User(topic.to_owned()), produced, parents)
    }

    pub(crate) fn add_sink_to<K: 'static, V: 'static>(
        &mut self,
        name: &str,
        topic: TopicName,
        produced: Produced<K, V>,
        parents: &[&str],
    ) -> Result<&mut Self, TopologyError> {
        check_name(topic.name())?;
        let target = topic.clone();
        let factory: Factory = Arc::new(move |assembly: &mut Assembly<'_>, node| {
            let name = assembly.topology.nodes()[node].name.clone();
            let topic_name = target.resolve(assembly.application_id);
            let topic = assembly.collector.resolve(&topic_name).map_err(|error| {
                TopologyError::Topic { node: name.clone(), cause: error.into_cause() }
            })?;
            assembly.place::<K, V, _>(node, Sink::new(name, topic_name, topic, &produced));
            Ok(())
        });
        self.add_sink_node::<K, V>(name, SinkTarget::Topic(topic), parents, factory)
    }

    /// Adds a sink that chooses the topic of each record (KIP-303).
    ///
    /// # Errors
    /// If the name is taken or illegal, or a parent is unknown or forwards other types.
    pub fn add_sink_with_extractor<K: 'static, V: 'static>(
        &mut self,
        name: &str,
        extractor: impl TopicNameExtractor<K, V> + 'static,
        produced: Produced<K, V>,
        parents: &[&str],
    ) -> Result<&mut Self, TopologyError> {
        let target = SinkTarget::Extracted(extractor.name().to_owned());
        let extractor: Arc<dyn TopicNameExtractor<K, V>> = Arc::new(extractor);
        let factory: Factory = Arc::new(move |assembly: &mut Assembly<'_>, node| {
            let name = assembly.topology.nodes()[node].name.clone();
            let sink = Sink::with_extractor(name, Arc::clone(&extractor), &produced);
            assembly.place::<K, V, _>(node, sink);
            Ok(())
        });
        self.add_sink_node::<K, V>(name, target, parents, factory)
    }

    fn add_sink_node<K: 'static, V: 'static>(
        &mut self,
        name: &str,
        target: SinkTarget,
        parents: &[&str],
        factory: Factory,
    ) -> Result<&mut Self, TopologyError> {
        let parents = self.find_parents(name, parents)?;
        self.add(Node {
            name: name.to_owned(),
            kind: NodeKind::Sink { target },
            parents,
            children: Vec::new(),
            stores: Vec::new(),
            input: Some(TypeInfo::of::<K, V>()),
            output: None,
            factory,
        })
    }

    /// Adds a store and connects it to processors.
    ///
    /// # Errors
    /// If the name is taken or illegal, a processor is unknown, or the retention of a store of
    /// windows is shorter than a window.
    pub fn add_state_store<K: 'static, V: Clone + 'static>(
        &mut self,
        store: StoreBuilder<K, V>,
        processors: &[&str],
    ) -> Result<&mut Self, TopologyError> {
        store.check()?;
        self.add_store(store.build(), processors)
    }

    pub(crate) fn add_store(
        &mut self,
        def: StoreDef,
        processors: &[&str],
    ) -> Result<&mut Self, TopologyError> {
        self.check_new_store(&def.spec.name)?;
        let name = def.spec.name.clone();
        self.stores.push(def);
        for processor in processors {
            self.connect_processor_and_state_stores(processor, &[&name])?;
        }
        Ok(self)
    }

    /// Connects a processor to stores. Processors that share a store are in one sub-topology.
    ///
    /// # Errors
    /// If the processor or a store is unknown.
    pub fn connect_processor_and_state_stores(
        &mut self,
        processor: &str,
        stores: &[&str],
    ) -> Result<&mut Self, TopologyError> {
        let node = self.find_node(processor, processor)?;
        for store in stores {
            let names = || (processor.to_owned(), (*store).to_owned());
            let index = self.stores.iter().position(|def| def.spec.name == *store);
            let index = index.ok_or_else(|| {
                let (node, store) = names();
                TopologyError::UnknownStore { node, store }
            })?;
            if self.is_global_node(node) || self.is_global_store(index) {
                let (node, store) = names();
                return Err(TopologyError::GlobalConnected { node, store });
            }
            if !self.nodes[node].stores.contains(&index) {
                self.nodes[node].stores.push(index);
            }
        }
        Ok(self)
    }

    pub(crate) fn add_repartition(&mut self, spec: RepartitionSpec) {
        self.repartitions.push(spec);
    }

    /// Returns the repartition topics that the topology needs.
    #[must_use]
    pub fn repartitions(&self) -> &[RepartitionSpec] {
        &self.repartitions
    }

    /// Returns the sub-topologies, in the order of their numbers. Those that fill global stores
    /// have numbers too, but no tasks, and are left out.
    #[must_use]
    pub fn sub_topologies(&self) -> Vec<SubTopology> {
        let mut all = self.components();
        all.retain(|sub| !self.is_global(sub));
        all
    }

    /// As [`Topology::sub_topologies`], with those that fill global stores.
    pub(super) fn components(&self) -> Vec<SubTopology> {
        cut(self)
    }

    /// Returns whether a sub-topology fills a global store.
    pub(super) fn is_global(&self, sub: &SubTopology) -> bool {
        sub.nodes.iter().any(|node| self.is_global_node(*node))
    }

    pub(crate) fn sub_topology(&self, id: SubTopologyId) -> Result<SubTopology, TopologyError> {
        let found = self.sub_topologies().into_iter().find(|sub| sub.id == id);
        found.ok_or(TopologyError::UnknownSubTopology(id))
    }

    /// Returns all nodes but those that fill global stores as one sub-topology, for the test
    /// driver.
    pub(crate) fn collapsed(&self) -> SubTopology {
        let nodes = (0..self.nodes.len()).filter(|node| !self.is_global_node(*node)).collect();
        of_nodes(SubTopologyId(0), nodes, self)
    }

    pub(crate) fn globals(&self) -> &[GlobalDef] {
        &self.globals
    }

    pub(super) fn note_global(&mut self, def: GlobalDef) {
        self.globals.push(def);
    }

    /// Checks the name of a store that is to be added.
    pub(super) fn check_new_store(&self, name: &str) -> Result<(), TopologyError> {
        check_name(name)?;
        if self.stores.iter().any(|store| store.spec.name == name) {
            return Err(TopologyError::DuplicateName(name.to_owned()));
        }
        Ok(())
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(crate) fn stores(&self) -> &[StoreDef] {
        &self.stores
    }

    fn add(&mut self, node: Node) -> Result<&mut Self, TopologyError> {
        check_name(&node.name)?;
        if self.nodes.iter().any(|other| other.name == node.name) {
            return Err(TopologyError::DuplicateName(node.name));
        }
        let is_source = matches!(node.kind, NodeKind::Source { .. });
        if node.parents.is_empty() && !is_source {
            return Err(TopologyError::NoInput(node.name));
        }
        for parent in &node.parents {
            self.check_edge(&self.nodes[*parent], &node)?;
        }
        let index = self.nodes.len();
        for parent in &node.parents {
            self.nodes[*parent].children.push(index);
        }
        self.nodes.push(node);
        Ok(self)
    }

    fn check_edge(&self, parent: &Node, child: &Node) -> Result<(), TopologyError> {
        let (Some(forwards), Some(takes)) = (parent.output, child.input) else {
            return Err(TopologyError::SinkAsParent {
                node: child.name.clone(),
                parent: parent.name.clone(),
            });
        };
        if forwards.id == takes.id {
            return Ok(());
        }
        Err(TopologyError::TypeMismatch {
            parent: parent.name.clone(),
            forwards: forwards.name,
            child: child.name.clone(),
            takes: takes.name,
        })
    }

    fn check_unread(&self, topic: &TopicName) -> Result<(), TopologyError> {
        let reader = self.nodes.iter().find(|node| match &node.kind {
            NodeKind::Source { topics, .. } => topics.contains(topic),
            NodeKind::Processor | NodeKind::Sink { .. } => false,
        });
        match reader {
            Some(reader) => Err(TopologyError::TopicTwice {
                topic: topic.name().to_owned(),
                source_node: reader.name.clone(),
            }),
            None => Ok(()),
        }
    }

    fn find_parents(&self, node: &str, parents: &[&str]) -> Result<Vec<usize>, TopologyError> {
        let find = |parent: &&str| {
            let found = self.find_node(node, parent)?;
            if self.is_global_node(found) {
                let (node, parent) = (node.to_owned(), (*parent).to_owned());
                return Err(TopologyError::GlobalParent { node, parent });
            }
            Ok(found)
        };
        parents.iter().map(find).collect()
    }

    fn find_node(&self, node: &str, name: &str) -> Result<usize, TopologyError> {
        let found = self.nodes.iter().position(|other| other.name == name);
        found.ok_or_else(|| TopologyError::UnknownParent {
            node: node.to_owned(),
            parent: name.to_owned(),
        })
    }
}

/// Names become parts of topic names and of paths: Kafka's rule for topic names holds.
pub(crate) fn check_name(name: &str) -> Result<(), TopologyError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let ok = (1..=249).contains(&name.len()) && name.chars().all(legal);
    if ok && name != "." && name != ".." {
        return Ok(());
    }
    Err(TopologyError::IllegalName(name.to_owned()))
}

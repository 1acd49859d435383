//! What a `StreamsBuilder` and the handles made from it share: operators, names and mistakes.
//!
//! Operators are written to the topology in the order of their *priority*, parents first. That is
//! the order of the calls, except where a repartition topic is used again: then it counts as added
//! by the last call. Sub-topologies are numbered by this order, so it is part of compatibility.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;

use super::table::Flag;
use super::{TopologyConfig, optimize};
use crate::topology::{AutoOffsetReset, Topology, TopologyError, TypeInfo};

pub(super) type SharedGraph = Rc<RefCell<Graph>>;

/// Adds an operator's nodes below the parents of these names.
type Write = Box<dyn FnOnce(&mut Topology, &[&str]) -> Result<(), TopologyError>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GraphId(pub(super) usize);

impl GraphId {
    /// Parent of the sources and of stores without an operator of their own.
    pub(super) const ROOT: Self = Self(0);
}

/// What has to agree between two streams of the same topics.
pub(super) struct SourceSpec {
    pub(super) topics: BTreeSet<String>,
    pub(super) types: TypeInfo,
    pub(super) auto_offset_reset: Option<AutoOffsetReset>,
}

pub(super) struct Operator {
    /// The topology's node that children are attached to.
    name: String,
    pub(super) priority: usize,
    pub(super) parents: Vec<GraphId>,
    pub(super) children: Vec<GraphId>,
    source: Option<SourceSpec>,
    /// How long after its end a window of this operator closes, in milliseconds.
    closes_after: Option<i64>,
    /// A repartition topic that takes null keys if this is set.
    null_keys: Option<Flag>,
    /// A join that takes null keys.
    takes_null_keys: bool,
    pub(super) traits: Traits,
    /// `None` once it was tried.
    write: Option<Write>,
}

/// What the rewritings of [`optimize`](super::optimize) ask about an operator.
#[derive(Default)]
pub(super) struct Traits {
    pub(super) changes_key: bool,
    pub(super) changes_value: bool,
    pub(super) merges: bool,
    /// Of a repartition topic: how to move it; `None` for one that the user asked for.
    pub(super) again: Option<Again>,
}

/// Adds the same repartition topic below another operator.
pub(super) type Again = Box<dyn Fn(&mut Graph, GraphId) -> GraphId>;

pub(super) struct Graph {
    pub(super) operators: Vec<Operator>,
    config: TopologyConfig,
    /// Whether the topic of a table is its changelog, once the topology is made.
    reuse_source_topics: Rc<Cell<bool>>,
    next_index: u64,
    /// Names that the builder made up.
    generated: BTreeSet<String>,
    next_priority: usize,
    mistakes: Vec<TopologyError>,
    /// The topology was made: what is added now has no effect.
    built: bool,
}

impl Graph {
    pub(super) fn new(config: TopologyConfig) -> Self {
        let root = Operator {
            name: String::new(),
            priority: 0,
            parents: Vec::new(),
            children: Vec::new(),
            source: None,
            closes_after: None,
            null_keys: None,
            takes_null_keys: false,
            traits: Traits::default(),
            write: None,
        };
        Self {
            operators: vec![root],
            config,
            reuse_source_topics: Rc::default(),
            next_index: 0,
            generated: BTreeSet::new(),
            next_priority: 1,
            mistakes: Vec::new(),
            built: false,
        }
    }

    /// What the handles keep when the topology was made.
    pub(super) fn built() -> Self {
        Self { built: true, ..Self::new(TopologyConfig::default()) }
    }

    /// Consumes an index; returns the given name, or one made of the prefix and the index.
    pub(super) fn name_or_generate(&mut self, given: Option<String>, prefix: &str) -> String {
        let generated = format!("{prefix}{:010}", self.next_index);
        self.next_index += 1;
        if given.is_none() {
            self.generated.insert(generated.clone());
        }
        given.unwrap_or(generated)
    }

    /// Notes what an operator is like.
    pub(super) fn mark(&mut self, id: GraphId, mark: impl FnOnce(&mut Traits)) {
        if !self.built {
            mark(&mut self.operators[id.0].traits);
        }
    }

    /// Tells, when the topology is made, whether the topic of a table is its changelog.
    pub(super) fn reuse_source_topics(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.reuse_source_topics)
    }

    /// Returns the name of an operator's node.
    pub(super) fn name_of(&self, id: GraphId) -> String {
        self.operators[id.0].name.clone()
    }

    /// Notes a mistake for [`Graph::build`] to return.
    pub(super) fn fail(&mut self, mistake: TopologyError) {
        self.mistakes.push(mistake);
    }

    pub(super) fn add(
        &mut self,
        parents: &[GraphId],
        name: impl Into<String>,
        write: impl FnOnce(&mut Topology, &[&str]) -> Result<(), TopologyError> + 'static,
    ) -> GraphId {
        if self.built {
            return GraphId::ROOT;
        }
        let id = GraphId(self.operators.len());
        self.operators.push(Operator {
            name: name.into(),
            priority: 0,
            parents: Vec::new(),
            children: Vec::new(),
            source: None,
            closes_after: None,
            null_keys: None,
            takes_null_keys: false,
            traits: Traits::default(),
            write: Some(Box::new(write)),
        });
        for parent in parents {
            self.attach(*parent, id);
        }
        id
    }

    /// Notes how long after its end a window of an operator closes.
    pub(super) fn note_windows(&mut self, id: GraphId, closes_after: i64) {
        if !self.built {
            self.operators[id.0].closes_after = Some(closes_after);
        }
    }

    /// Returns how long after their ends the windows of an operator close, which are those of the
    /// operators above it; else the names of the operators on a way without windows.
    pub(super) fn windows_of(&self, id: GraphId) -> Result<i64, String> {
        let Operator { name, parents, closes_after, .. } = &self.operators[id.0];
        if let Some(closes_after) = closes_after {
            return Ok(*closes_after);
        }
        let mut longest = None;
        for parent in parents.iter().filter(|parent| **parent != GraphId::ROOT) {
            let above = self.windows_of(*parent).map_err(|above| format!("{above}, {name}"))?;
            longest = longest.max(Some(above));
        }
        longest.ok_or_else(|| name.clone())
    }

    pub(super) fn add_source(
        &mut self,
        name: impl Into<String>,
        source: SourceSpec,
        write: impl FnOnce(&mut Topology, &[&str]) -> Result<(), TopologyError> + 'static,
    ) -> GraphId {
        let id = self.add(&[GraphId::ROOT], name, write);
        if !self.built {
            self.operators[id.0].source = Some(source);
        }
        id
    }

    /// Notes that an operator drops null keys unless something below takes them.
    pub(super) fn drops_null_keys(&mut self, id: GraphId, unless: Flag) {
        if !self.built {
            self.operators[id.0].null_keys = Some(unless);
        }
    }

    /// Notes that an operator takes null keys: no repartition topic above it may drop them
    /// (KIP-962).
    pub(super) fn takes_null_keys(&mut self, id: GraphId) {
        if !self.built {
            self.operators[id.0].takes_null_keys = true;
        }
    }

    fn keep_null_keys(&self) {
        let takers = (0..self.operators.len()).filter(|id| self.operators[*id].takes_null_keys);
        let mut above: Vec<GraphId> = takers.map(GraphId).collect();
        let mut seen: BTreeSet<GraphId> = above.iter().copied().collect();
        while let Some(id) = above.pop() {
            if let Some(keep) = &self.operators[id.0].null_keys {
                keep.set();
            }
            let parents = self.operators[id.0].parents.iter().copied();
            above.extend(parents.filter(|parent| seen.insert(*parent)));
        }
    }

    /// Connects two operators, or counts the child as added once more if they already are.
    pub(super) fn attach(&mut self, parent: GraphId, child: GraphId) {
        if self.built {
            return;
        }
        self.operators[child.0].priority = self.next_priority;
        self.next_priority += 1;
        self.connect(parent, child);
    }

    pub(super) fn connect(&mut self, parent: GraphId, child: GraphId) {
        if !self.operators[parent.0].children.contains(&child) {
            self.operators[parent.0].children.push(child);
            self.operators[child.0].parents.push(parent);
        }
    }

    /// Undoes [`Graph::connect`].
    pub(super) fn disconnect(&mut self, parent: GraphId, child: GraphId) {
        self.operators[parent.0].children.retain(|known| *known != child);
        self.operators[child.0].parents.retain(|known| *known != parent);
    }

    /// Makes the topology.
    pub(super) fn build(mut self) -> Result<Topology, TopologyError> {
        self.merge_sources();
        self.reuse_source_topics.set(self.config.optimization.reuses_source_topics());
        if self.config.optimization.merges_repartition_topics() {
            optimize::merge_repartition_topics(&mut self);
        }
        self.keep_null_keys();
        let topology = self.write();
        if self.config.ensure_explicit_internal_resource_naming {
            self.check_names(&topology);
        }
        let mut mistakes = self.mistakes;
        match mistakes.pop() {
            None => Ok(topology),
            Some(only) if mistakes.is_empty() => Err(only),
            Some(last) => {
                mistakes.push(last);
                Err(TopologyError::Several(mistakes))
            }
        }
    }

    /// Notes the stores and internal topics whose names were made up, or made of such a name.
    fn check_names(&mut self, topology: &Topology) {
        let made_up = |name: &&str| self.generated.iter().any(|made_up| name.starts_with(made_up));
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        let specs = || topology.stores().iter().map(|store| &store.spec);
        let stores: Vec<&str> = specs().map(|spec| &*spec.name).filter(made_up).collect();
        let logged = specs().filter(|spec| spec.logging).map(|spec| &*spec.name);
        let changelogs: Vec<&str> = logged.filter(made_up).collect();
        let topics = topology.repartitions().iter().map(|topic| &*topic.name);
        let topics: Vec<&str> = topics.filter(made_up).collect();
        if !stores.is_empty() || !topics.is_empty() {
            let mistake = TopologyError::UnnamedResources {
                stores: owned(stores),
                changelogs: owned(changelogs),
                repartition_topics: owned(topics),
            };
            self.fail(mistake);
        }
    }

    /// Writes every operator. One that is mistaken is left out together with all below it, so that
    /// its mistake is reported and not what follows from it.
    fn write(&mut self) -> Topology {
        let mut topology = Topology::new();
        let mut queue = BinaryHeap::from([Reverse((0, GraphId::ROOT))]);
        let (mut tried, mut written) = (BTreeSet::new(), BTreeSet::new());
        while let Some(Reverse((_, id))) = queue.pop() {
            let ready = self.operators[id.0].parents.iter().all(|parent| written.contains(parent));
            if !ready || !tried.insert(id) {
                continue;
            }
            if let Err(mistake) = self.write_one(id, &mut topology) {
                self.fail(mistake);
                continue;
            }
            written.insert(id);
            for child in &self.operators[id.0].children {
                queue.push(Reverse((self.operators[child.0].priority, *child)));
            }
        }
        topology
    }

    fn write_one(&mut self, id: GraphId, topology: &mut Topology) -> Result<(), TopologyError> {
        let Some(write) = self.operators[id.0].write.take() else { return Ok(()) };
        let parents = &self.operators[id.0].parents;
        let parents = parents.iter().filter(|parent| **parent != GraphId::ROOT);
        let parents: Vec<&str> = parents.map(|parent| &*self.operators[parent.0].name).collect();
        write(topology, &parents)
    }

    /// Streams of the same topics become one source: the first one takes the others' children.
    fn merge_sources(&mut self) {
        let mut readers: BTreeMap<String, GraphId> = BTreeMap::new();
        for id in self.operators[GraphId::ROOT.0].children.clone() {
            let Some(source) = &self.operators[id.0].source else { continue };
            let earlier = source
                .topics
                .iter()
                .find_map(|topic| readers.get(topic).map(|reader| (topic.clone(), *reader)));
            let Some((topic, first)) = earlier else {
                readers.extend(source.topics.iter().map(|topic| (topic.clone(), id)));
                continue;
            };
            self.operators[GraphId::ROOT.0].children.retain(|child| *child != id);
            if let Err(mistake) = self.check_same(topic, first, id) {
                self.fail(mistake);
                continue;
            }
            for child in std::mem::take(&mut self.operators[id.0].children) {
                self.operators[child.0].parents.retain(|parent| *parent != id);
                self.connect(first, child);
            }
        }
    }

    fn check_same(&self, topic: String, first: GraphId, id: GraphId) -> Result<(), TopologyError> {
        let (one, other) = (&self.operators[first.0], &self.operators[id.0]);
        let (Some(a), Some(b)) = (&one.source, &other.source) else { return Ok(()) };
        let (first, second) = (one.name.clone(), other.name.clone());
        if a.topics != b.topics {
            return Err(TopologyError::OverlappingTopics { topic, first, second });
        }
        if a.types.id != b.types.id {
            let what = "types";
            return Err(TopologyError::DifferentSources { topic, what, first, second });
        }
        if a.auto_offset_reset != b.auto_offset_reset {
            let what = "offset reset policies";
            return Err(TopologyError::DifferentSources { topic, what, first, second });
        }
        Ok(())
    }
}

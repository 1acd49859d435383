//! Splitting a stream.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::KStream;
use super::graph::GraphId;
use super::stateless::Stateless;
use crate::BoxError;
use crate::processor::{Processor, ProcessorContext};
use crate::record::Record;

/// How a branch is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Branched {
    name: Option<String>,
}

impl Branched {
    /// Calls the branch `<name of the split><name>`.
    #[must_use]
    pub fn as_(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()) }
    }

    /// Calls the branch `<name of the split><position>`, counted from 1; the default branch is 0.
    #[must_use]
    pub fn numbered() -> Self {
        Self { name: None }
    }
}

type Predicate<K, V> = Arc<dyn Fn(&K, &V) -> Result<bool, BoxError> + Send + Sync>;

/// A stream that is being split (KIP-418). Each record goes to the first branch whose predicate is
/// true, else to the default branch if there is one.
pub struct BranchedKStream<K, V> {
    stream: KStream<K, V>,
    splitter: GraphId,
    splitter_name: String,
    predicates: Rc<RefCell<Vec<Predicate<K, V>>>>,
    branches: BTreeMap<String, KStream<K, V>>,
}

impl<K, V> fmt::Debug for BranchedKStream<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let branches: Vec<&String> = self.branches.keys().collect();
        f.debug_struct("BranchedKStream").field("branches", &branches).finish_non_exhaustive()
    }
}

impl<K: Clone + 'static, V: Clone + 'static> BranchedKStream<K, V> {
    pub(super) fn new(stream: &KStream<K, V>) -> Self {
        let splitter_name = stream.name_operator(None, "KSTREAM-BRANCH-");
        let predicates: Rc<RefCell<Vec<Predicate<K, V>>>> = Rc::default();
        let (node, shared) = (splitter_name.clone(), Rc::clone(&predicates));
        let mut graph = stream.graph().borrow_mut();
        let splitter = graph.add(&[stream.id], splitter_name.clone(), move |topology, parents| {
            let predicates: Arc<[Predicate<K, V>]> = shared.take().into();
            let supplier = move || Branch { predicates: Arc::clone(&predicates) };
            topology.add_processor(&node, supplier, parents).map(|_| ())
        });
        let stream = stream.clone();
        Self { stream, splitter, splitter_name, predicates, branches: BTreeMap::new() }
    }

    /// Adds a branch for the records for which `predicate` is true.
    #[must_use]
    pub fn branch(
        self,
        predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static,
        branched: Branched,
    ) -> Self {
        self.try_branch(move |key, value| Ok(predicate(key, value)), branched)
    }

    /// As [`BranchedKStream::branch`], with a closure that can fail.
    #[must_use]
    pub fn try_branch(
        mut self,
        predicate: impl Fn(&K, &V) -> Result<bool, BoxError> + Send + Sync + 'static,
        branched: Branched,
    ) -> Self {
        self.predicates.borrow_mut().push(Arc::new(predicate));
        let position = self.predicates.borrow().len();
        self.add(branched, position);
        self
    }

    /// Adds a branch for all other records, and returns all branches by name.
    pub fn default_branch(mut self, branched: Branched) -> BTreeMap<String, KStream<K, V>> {
        self.add(branched, 0);
        self.branches
    }

    /// Drops all other records, and returns the branches by name.
    pub fn no_default_branch(self) -> BTreeMap<String, KStream<K, V>> {
        self.branches
    }

    fn add(&mut self, branched: Branched, position: usize) {
        let suffix = branched.name.unwrap_or_else(|| position.to_string());
        let name = format!("{}{suffix}", self.splitter_name);
        // the number is consumed, though never seen
        let mut graph = self.stream.graph().borrow_mut();
        let name = graph.name_or_generate(Some(name), "");
        let node = name.clone();
        let id = graph.add(&[self.splitter], name.clone(), move |topology, parents| {
            let pass = |context: &mut ProcessorContext<'_, '_, K, V>, record: Record<K, V>| {
                context.forward(record)
            };
            let supplier = move || Stateless(Arc::new(pass));
            topology.add_processor(&node, supplier, parents).map(|_| ())
        });
        drop(graph);
        self.branches.insert(name, self.stream.sibling(id));
    }
}

/// Sends each record to one child: branches are the splitter's children in order.
struct Branch<K, V> {
    predicates: Arc<[Predicate<K, V>]>,
}

impl<K: Clone, V: Clone> Processor<K, V, K, V> for Branch<K, V> {
    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, V>,
        record: Record<K, V>,
    ) -> Result<(), BoxError> {
        let mut chosen = self.predicates.len();
        for (index, predicate) in self.predicates.iter().enumerate() {
            if predicate(&record.key, &record.value)? {
                chosen = index;
                break;
            }
        }
        context.forward_to_nth(chosen, record)
    }
}

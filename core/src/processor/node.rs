//! Nodes of an instantiated task: typed edges, one virtual call per hop.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

use super::{Halt, Processor, ProcessorContext, Punctuation, TaskContext};
use crate::record::Record;

/// Takes records of one type. The edge between two nodes of a task.
pub(crate) trait Receive<K, V> {
    fn receive(&mut self, task: &mut TaskContext<'_>, record: Record<K, V>) -> Result<(), Halt>;
}

/// What a task does with its nodes besides sending them records.
pub(crate) trait Lifecycle {
    fn init(&mut self, task: &mut TaskContext<'_>) -> Result<(), Halt>;
    fn punctuate(&mut self, task: &mut TaskContext<'_>, due: Punctuation) -> Result<(), Halt>;
    fn flush(&mut self, task: &mut TaskContext<'_>) -> Result<(), Halt>;
    fn close(&mut self);
}

/// A node that takes records of one type, shared by its parents.
pub(crate) type Child<K, V> = Rc<RefCell<dyn Receive<K, V>>>;

/// The children of a node, in the order in which they were attached.
pub(crate) struct Children<K, V> {
    children: Vec<(String, Child<K, V>)>,
}

impl<K, V> Children<K, V> {
    pub(crate) fn new(children: Vec<(String, Child<K, V>)>) -> Self {
        Self { children }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.children.iter().map(|(name, _)| &**name)
    }
}

impl<K: Clone, V: Clone> Children<K, V> {
    /// Sends a record to every child, depth first. The last one gets the record itself, the others
    /// a clone.
    pub(crate) fn forward(
        &self,
        task: &mut TaskContext<'_>,
        record: Record<K, V>,
    ) -> Result<(), Halt> {
        let Some(((_, last), others)) = self.children.split_last() else { return Ok(()) };
        for (_, child) in others {
            child.borrow_mut().receive(task, record.clone())?;
        }
        last.borrow_mut().receive(task, record)
    }

    /// Sends a record to the child attached as the `index`-th, if there is one.
    pub(crate) fn forward_to_nth(
        &self,
        task: &mut TaskContext<'_>,
        index: usize,
        record: Record<K, V>,
    ) -> Result<(), Halt> {
        match self.children.get(index) {
            Some((_, child)) => child.borrow_mut().receive(task, record),
            None => Ok(()),
        }
    }

    /// Sends a record to the child of that name; returns false if there is none.
    pub(crate) fn forward_to(
        &self,
        task: &mut TaskContext<'_>,
        name: &str,
        record: Record<K, V>,
    ) -> Result<bool, Halt> {
        match self.children.iter().find(|(child, _)| child == name) {
            Some((_, child)) => child.borrow_mut().receive(task, record).map(|()| true),
            None => Ok(false),
        }
    }
}

/// A processor in its place in a task.
pub(crate) struct ProcessorNode<P, KIn, VIn, KOut, VOut> {
    /// Number of the node in the topology.
    index: usize,
    name: String,
    processor: P,
    children: Children<KOut, VOut>,
    input: PhantomData<fn(KIn, VIn)>,
}

impl<P, KIn, VIn, KOut, VOut> ProcessorNode<P, KIn, VIn, KOut, VOut> {
    pub(crate) fn new(
        index: usize,
        name: String,
        processor: P,
        children: Children<KOut, VOut>,
    ) -> Self {
        Self { index, name, processor, children, input: PhantomData }
    }
}

macro_rules! with_context {
    ($self:ident, $task:ident, |$context:ident| $call:expr) => {{
        let mut context = ProcessorContext::new($task, &$self.children, $self.index, &$self.name);
        let $context = &mut context;
        match $call {
            Ok(()) => Ok(()),
            Err(error) => $task.absorb(&$self.name, error),
        }
    }};
}

impl<P, KIn, VIn, KOut, VOut> Receive<KIn, VIn> for ProcessorNode<P, KIn, VIn, KOut, VOut>
where
    P: Processor<KIn, VIn, KOut, VOut>,
{
    fn receive(
        &mut self,
        task: &mut TaskContext<'_>,
        record: Record<KIn, VIn>,
    ) -> Result<(), Halt> {
        // what is written to a store meanwhile is of this record, whatever it came of
        let above = task.shared.now.replace(record.timestamp);
        let processed =
            with_context!(self, task, |context| self.processor.process(context, record));
        task.shared.now.set(above);
        processed
    }
}

impl<P, KIn, VIn, KOut, VOut> Lifecycle for ProcessorNode<P, KIn, VIn, KOut, VOut>
where
    P: Processor<KIn, VIn, KOut, VOut>,
{
    fn init(&mut self, task: &mut TaskContext<'_>) -> Result<(), Halt> {
        let mut context = ProcessorContext::new(task, &self.children, self.index, &self.name);
        self.processor.init(&mut context).map_err(|error| task.halt(&self.name, error))
    }

    fn punctuate(&mut self, task: &mut TaskContext<'_>, due: Punctuation) -> Result<(), Halt> {
        with_context!(self, task, |context| self.processor.punctuate(context, due))
    }

    fn flush(&mut self, task: &mut TaskContext<'_>) -> Result<(), Halt> {
        let mut context = ProcessorContext::new(task, &self.children, self.index, &self.name);
        self.processor.flush(&mut context).map_err(|error| task.halt(&self.name, error))
    }

    fn close(&mut self) {
        self.processor.close();
    }
}

//! Global stores: the one task of a process that fills them, and how other tasks read them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::{CommitPlan, Task, TaskConfig};
use crate::BoxError;
use crate::processor::{Collector, Outgoing, SendError, SinkTopic};
use crate::record::{Headers, Offset, RawRecord, TaskId, Timestamp};
use crate::store::{Acknowledged, ErasedReader, ReaderEnv, StoreError, StoreIndex, TaskStorage};
use crate::topology::{SourcePartitions, Topology, TopologyError};

impl<R: RawRecord> Task<R> {
    /// Instantiates the nodes that fill the global stores; `partitions` says how many partitions
    /// each of their topics has, and there is a queue for each of them.
    ///
    /// The task takes records that were read committed. Instead of a transaction,
    /// [`Task::publish_global`] ends each of its turns.
    ///
    /// # Errors
    /// If there is no global store, or a processor's `init` fails.
    pub fn global(
        topology: &Topology,
        partitions: &BTreeMap<String, u32>,
        config: TaskConfig,
        storage: Rc<RefCell<dyn TaskStorage>>,
        collector: &mut dyn Collector,
        wall_clock: Timestamp,
    ) -> Result<Self, TopologyError> {
        let sub_topology = topology.global_topology().ok_or(TopologyError::Empty)?;
        let config = TaskConfig { task_id: TaskId::GLOBAL, globals: None, ..config };
        let partitions = SourcePartitions::All(partitions);
        let sub = (&sub_topology, partitions);
        Self::instantiate(topology, sub, config, storage, collector, wall_clock)
    }

    /// Returns the next record to process of a queue's partition; `None` before
    /// [`Task::resume`].
    #[must_use]
    pub fn position(&self, queue: usize) -> Option<Offset> {
        self.queues[queue].next_offset()
    }

    /// Stores what the plan holds, with the positions in the topics, in one batch.
    ///
    /// For each store a number is kept beside the positions, so that a store that was dropped and
    /// came back is not taken for one that is at them.
    ///
    /// # Errors
    /// If the storage could not be written: the task has to be opened anew.
    ///
    /// # Panics
    /// If it is not the global task: all others are published by their transactions (INV-2).
    pub fn publish_global(&mut self, plan: CommitPlan) -> Result<(), StoreError> {
        assert_eq!(self.id(), TaskId::GLOBAL, "INV-2: a task is published without its transaction");
        let number = Offset(i64::try_from(plan.commit_number).unwrap_or(i64::MAX));
        let marks = self.stores().map(|store| (store.name.clone(), number)).collect();
        // the records were read committed: whoever wrote them was acknowledged long ago
        self.complete_commit(plan, marks, Acknowledged::by_broker())
    }
}

/// Makes the readers of the global stores for a task.
pub(super) fn readers(topology: &Topology, config: &TaskConfig) -> Vec<Rc<dyn ErasedReader>> {
    let Some(storage) = &config.globals else { return Vec::new() };
    let one = |(index, global): (u32, &crate::topology::GlobalDef)| {
        let reader = topology.stores()[global.store].reader.as_ref()?;
        Some(reader(ReaderEnv {
            index: StoreIndex(index),
            application_id: config.application_id.clone(),
            storage: Rc::clone(storage),
            cache_bytes_max: config.store_cache_bytes_max,
        }))
    };
    (0..).zip(topology.globals()).filter_map(one).collect()
}

/// What the global task sends with: nothing. Its nodes have no children, and there is no
/// transaction that a dead letter could be part of.
#[derive(Debug, Clone, Copy)]
pub struct NothingSent;

impl NothingSent {
    fn refused() -> BoxError {
        "what fills a global store writes to no topic: a record of it that can't be read can't \
         become a dead letter, have the handler continue or fail"
            .into()
    }
}

impl Collector for NothingSent {
    fn resolve(&mut self, _: &str) -> Result<SinkTopic, SendError> {
        Err(SendError::Failed(Self::refused()))
    }

    fn send(&mut self, _: Outgoing<'_>) -> Result<(), SendError> {
        Err(SendError::Failed(Self::refused()))
    }

    fn log(
        &mut self,
        _: StoreIndex,
        _: &[u8],
        _: Option<&[u8]>,
        _: Timestamp,
        _: &Headers,
    ) -> Result<(), SendError> {
        Err(SendError::Failed(Self::refused()))
    }
}

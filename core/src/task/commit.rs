//! A task's share of a commit.

use std::collections::BTreeMap;

use super::{CommitMetadata, ProcessorMetadata, Task, caught, guarded, queue::PartitionQueue};
use crate::BoxError;
use crate::errors::{TaskError, TaskErrorKind};
use crate::processor::{Collector, TaskContext};
use crate::record::{Offset, Origin, RawRecord, TaskId, Timestamp, TopicPartition};
use crate::store::{Acknowledged, Checkpoint, InputPosition, Logged, StoreError, StoreIndex};

/// What a commit has to make permanent for one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitPlan {
    /// The task.
    pub task_id: TaskId,
    /// The number of this commit, one more than the last.
    pub commit_number: u64,
    /// For each source partition: the next record to process. Never empty (INV-7).
    pub inputs: BTreeMap<TopicPartition, InputPosition>,
    /// What the processors keep with the offsets.
    pub processor_metadata: ProcessorMetadata,
}

impl CommitPlan {
    /// Returns what is committed with the offset of a source partition.
    #[must_use]
    pub fn metadata(&self, position: &InputPosition) -> CommitMetadata {
        CommitMetadata {
            partition_time: position.partition_time,
            commit_number: Some(self.commit_number),
            processors: self.processor_metadata.clone(),
        }
    }
}

impl<R: RawRecord> Task<R> {
    /// Forwards what processors hold back and logs and stages what the stores hold; returns what
    /// the transaction has to commit. No record may be processed before the commit is completed.
    ///
    /// # Errors
    /// As [`Task::process`]: the transaction and the task are lost.
    ///
    /// # Panics
    /// If the position of a source partition is not known (INV-7): [`Task::resume`] was not called.
    pub fn prepare_commit(
        &mut self,
        collector: &mut dyn Collector,
        wall_clock: Timestamp,
    ) -> Result<CommitPlan, TaskError> {
        self.turn(|task| task.flush_and_plan(collector, wall_clock))
    }

    fn flush_and_plan(
        &mut self,
        collector: &mut dyn Collector,
        wall_clock: Timestamp,
    ) -> Result<CommitPlan, TaskError> {
        self.shared.origin.set(Origin::NONE);
        for (index, node) in &self.nodes {
            let shared = &mut self.shared;
            let mut task =
                TaskContext { shared, collector: &mut *collector, current: None, wall_clock };
            let name = &self.node_names[*index];
            guarded(&mut task, name, |task| node.borrow_mut().flush(task))?;
        }
        for (index, store) in (0..).zip(&self.stores) {
            let mut log = |record: Logged<'_>| -> Result<(), BoxError> {
                let Logged { key, value, timestamp, headers } = record;
                let timestamp = timestamp.unwrap_or(wall_clock);
                let logged = collector.log(StoreIndex(index), key, value, timestamp, headers);
                // the cause stays a source: what the client says of it decides what happens next
                logged.map_err(|error| {
                    let store = store.spec().name.clone();
                    StoreError::Changelog { store, cause: error.into_cause() }.into()
                })
            };
            // serdes are user code
            let flushed = caught(|| store.flush(&mut log));
            let (kind, cause) = match flushed {
                Ok(Ok(())) => continue,
                Ok(Err(cause)) => (TaskErrorKind::Runtime, cause),
                Err(panic) => (TaskErrorKind::Panic, panic.into()),
            };
            let shared = &mut self.shared;
            let task = TaskContext { shared, collector, current: None, wall_clock };
            return Err(TaskError::new(kind, &task.error_context(&store.spec().name), cause));
        }
        let position = |queue: &PartitionQueue<R>| {
            let offset = queue.next_offset();
            let offset = offset.unwrap_or_else(|| panic!("INV-7: no position of {}", queue.source));
            (queue.source.clone(), InputPosition { offset, partition_time: queue.partition_time })
        };
        let inputs: BTreeMap<_, _> = self.queues.iter().map(position).collect();
        assert!(!inputs.is_empty(), "INV-7: task {} commits without an offset", self.id());
        let commit_number = self.storage.borrow().checkpoint().commit_number + 1;
        let processor_metadata = self.shared.processor_metadata.clone();
        Ok(CommitPlan { task_id: self.id(), commit_number, inputs, processor_metadata })
    }

    /// Publishes a commit that Kafka acknowledged: the storage takes the staged writes together
    /// with the positions. `changelogs` has the next changelog offset of each store that wrote.
    ///
    /// # Errors
    /// If the storage could not be written. The commit stands; the task must be closed and restored
    /// from its changelog.
    ///
    /// # Panics
    /// If the plan is not the task's next (INV-2).
    pub fn complete_commit(
        &mut self,
        plan: CommitPlan,
        changelogs: BTreeMap<String, Offset>,
        proof: Acknowledged,
    ) -> Result<(), StoreError> {
        assert_eq!(plan.task_id, self.id(), "INV-1: a plan of another task");
        let before = self.storage.borrow().checkpoint().clone();
        assert_eq!(
            plan.commit_number,
            before.commit_number + 1,
            "INV-2: commits of task {} are published in order",
            self.id(),
        );
        let mut checkpoint =
            Checkpoint { commit_number: plan.commit_number, inputs: plan.inputs, ..before };
        checkpoint.changelogs.extend(changelogs);
        let commit_number = checkpoint.commit_number;
        self.storage.borrow_mut().publish(checkpoint, proof)?;
        assert_eq!(
            self.storage.borrow().checkpoint().commit_number,
            commit_number,
            "INV-3: the contents of task {} were stored without their checkpoint",
            self.id(),
        );
        for store in &self.stores {
            store.end_interval(self.config.store_cache_bytes_max);
        }
        self.commit_needed = false;
        self.shared.commit_requested = false;
        Ok(())
    }
}

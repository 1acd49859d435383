//! Taking tasks over and giving them up.
//!
//! ```text
//!   Assigned: committed offsets --> assign --> open storage --> ends of the changelogs (INV-4)
//!               storage is at the commit of the offsets: run at once
//!               it is behind:                            restore, then run
//!   Revoked:  commit (unless lost) --> close tasks, keep their storage open --> unassign
//! ```

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tidemill_core::record::{Offset, TaskId, TopicPartition};
use tidemill_core::store::{StoreIndex, TaskStorage};
use tidemill_core::task::{Task, TaskConfig, TaskIdle};

use crate::Error;
use crate::client::seam::{Administer, Consume, ReadPartition};
use crate::client::{ClientError, GroupEvent, OffsetSpec};
use crate::config::MaxTaskIdle;
use crate::restore::{RestoreJob, RestoreOutcome, StoreRestore};
use crate::storage::StateDirectoryError;
use crate::storage::seam::{Database, Directory, OwnTask, Restore};
use crate::topics::retrying;
use crate::world::{DbOf, LockOf, RestorerOf, StorageOf, World};

use super::consistency::{Ends, deleted_changelog, lost_changelog};
use super::positions::StartPosition;
use super::slot::{Running, Slot};
use super::status::count;
use super::{Shared, Worker, WorkerState, open_owned};

impl<W: World> Worker<W> {
    /// Does what the group asks. Returns an error only if the membership itself failed.
    pub(super) fn on_group_event(&mut self, event: GroupEvent) -> Result<(), Error> {
        match event {
            GroupEvent::Assigned(partitions) => self.on_assigned(partitions),
            GroupEvent::Revoked { lost, .. } => self.on_revoked(lost),
            GroupEvent::Failed(cause) => self.on_group_failure(cause),
        }
    }

    /// A membership that failed can't be mended from here, with one exception: a broker may not
    /// have heard of a topic that was just created.
    fn on_group_failure(&self, cause: ClientError) -> Result<(), Error> {
        if cause.is_unknown_topic_or_partition() {
            let config = &self.shared.config;
            let topics = self.shared.plan.subscription();
            let world = &self.shared.world;
            let known =
                retrying(world, config.task_timeout, "could not look up the topics", |timeout| {
                    self.shared.admin.topics(&topics, timeout)
                })?;
            if known.iter().all(|topic| topic.partitions.is_some()) {
                tracing::debug!(error = %cause, "a topic was not yet known everywhere");
                return Ok(());
            }
        }
        Err(Error::Membership { group: self.shared.config.application_id.clone(), cause })
    }

    fn on_assigned(&mut self, partitions: Vec<TopicPartition>) -> Result<(), Error> {
        tracing::info!(worker = self.identity.worker, ?partitions, "assigned");
        self.status.set(WorkerState::Rebalancing);
        let group = self.consumer.group_metadata();
        self.group = Some(group.map_err(|e| Error::client("could not read the membership", e))?);
        self.assignment = partitions;
        self.must_reopen = false;
        let tasks = self.tasks_of_assignment()?;
        // storage of tasks that went elsewhere is released, so that their new owners can open it
        self.kept.retain(|task, _| tasks.contains(task));
        self.begin(tasks)
    }

    /// Commits if that is still possible, gives every task up and answers the revocation.
    fn on_revoked(&mut self, lost: bool) -> Result<(), Error> {
        tracing::info!(worker = self.identity.worker, lost, "revoked");
        self.status.set(WorkerState::Rebalancing);
        let settled = if lost { self.lose() } else { self.commit_if_needed() };
        self.close_tasks();
        // what failed has no say any more: nothing of it was committed, the next owner repeats it
        let settled = settled.and_then(|settled| self.recover_producer(settled));
        self.group = None;
        self.must_reopen = false;
        self.assignment.clear();
        self.positions.clear();
        self.consumer
            .unassign()
            .map_err(|cause| Error::client("could not give partitions back", cause))?;
        settled
    }

    /// Builds the tasks anew from what is committed: the way back from every abort and every doubt
    /// (INV-5). Only after the group's events were looked at: a worker that was away for too long
    /// learns there that its tasks are somebody else's.
    pub(super) fn reopen_if_needed(&mut self) -> Result<(), Error> {
        if !self.must_reopen || self.group.is_none() {
            return Ok(());
        }
        self.status.set(WorkerState::Rebalancing);
        let tasks = self.tasks_of_assignment()?;
        self.begin(tasks)?;
        self.must_reopen = false;
        Ok(())
    }

    /// Closes all tasks; the storage that this thread has stays open.
    pub(super) fn close_tasks(&mut self) {
        self.readers.clear();
        for (task, slot) in std::mem::take(&mut self.slots) {
            if let Some(db) = slot.close(task) {
                self.kept.insert(task, db);
            }
        }
        self.restorer.wake();
    }

    /// The tasks of the assignment; each must have all its partitions here.
    fn tasks_of_assignment(&self) -> Result<BTreeSet<TaskId>, Error> {
        let mut tasks = BTreeSet::new();
        for partition in &self.assignment {
            let task = self.shared.plan.task_of(&partition.topic, partition.partition);
            tasks.insert(task.ok_or_else(|| {
                Error::Position {
                    partition: partition.clone(),
                    problem: "no source of the topology reads it: all members of a group must run \
                          the same topology"
                        .to_owned(),
                }
            })?);
        }
        for task in &tasks {
            let missing = self.inputs_of(*task).find(|input| !self.assignment.contains(input));
            if let Some(missing) = missing {
                return Err(Error::Inconsistent {
                    task: *task,
                    problem: format!(
                        "partition {missing} is with another member: all members of a group must \
                         run the same topology and subscribe to the same topics"
                    ),
                });
            }
        }
        Ok(tasks)
    }

    pub(super) fn inputs_of(&self, task: TaskId) -> impl Iterator<Item = TopicPartition> {
        let inputs = &self.shared.plan.sub(task).inputs;
        inputs.iter().map(move |input| TopicPartition::new(&*input.name, task.partition))
    }

    /// Assigns the partitions at their committed offsets and opens the tasks.
    fn begin(&mut self, tasks: BTreeSet<TaskId>) -> Result<(), Error> {
        let assignment = self.assignment.clone();
        self.positions = self.resolve_positions(&assignment)?;
        #[cfg(feature = "mutations")]
        self.mutate_positions();
        let starts: Vec<(TopicPartition, Offset)> = self
            .positions
            .iter()
            .map(|(partition, start)| (partition.clone(), start.input.offset))
            .collect();
        let readers = self
            .consumer
            .assign(&starts)
            .map_err(|cause| Error::client("could not take the assigned partitions", cause))?;
        self.shared.world.pass("X3");
        self.readers =
            readers.into_iter().map(|reader| (reader.topic_partition().clone(), reader)).collect();
        self.slots = tasks.iter().map(|task| (*task, Slot::Waiting)).collect();
        self.open_waiting()
    }

    /// Opens the tasks whose storage is free.
    pub(super) fn open_waiting(&mut self) -> Result<(), Error> {
        let waiting = |(task, slot): (&TaskId, &Slot<W>)| match slot {
            Slot::Waiting => Some(*task),
            Slot::Restoring { .. } | Slot::Running(_) => None,
        };
        let waiting: Vec<TaskId> = self.slots.iter().filter_map(waiting).collect();
        let mut opened = Vec::new();
        for task in waiting {
            if let Some(db) = self.open_storage(task)? {
                opened.push((task, db));
            }
        }
        if opened.is_empty() {
            return Ok(());
        }
        // after the committed offsets were read with require-stable, never before (INV-4)
        let ends = self.changelog_ends(opened.iter().map(|(task, _)| *task))?;
        for (task, db) in opened {
            self.open_task(task, db, &ends)?;
        }
        self.note_running();
        Ok(())
    }

    /// Opens a task's storage; `None` if another worker of this process still has it.
    fn open_storage(&mut self, task: TaskId) -> Result<Option<DbOf<W>>, Error> {
        if let Some(db) = self.kept.remove(&task) {
            return Ok(Some(db));
        }
        match self.shared.directory.acquire_task(task) {
            Ok(lock) => self.open_locked(lock).map(Some),
            Err(StateDirectoryError::TaskInUse { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens what this worker owns.
    fn open_locked(&self, lock: LockOf<W>) -> Result<DbOf<W>, Error> {
        let Shared { world, plan, .. } = &*self.shared;
        let stores = &plan.sub(lock.task_id()).sub_topology.stores;
        open_owned(world, lock, stores)
    }

    /// The stores that have a changelog, and its partition.
    pub(super) fn changelogs_of(
        &self,
        task: TaskId,
    ) -> impl Iterator<Item = (StoreIndex, &str, TopicPartition)> {
        let sub = self.shared.plan.sub(task);
        let stores = sub.sub_topology.stores.iter().zip(&sub.changelogs).zip(0..);
        stores.filter_map(move |((store, changelog), index)| {
            let topic = changelog.as_deref()?;
            let partition = TopicPartition::new(topic, task.partition);
            Some((StoreIndex(index), &*store.name, partition))
        })
    }

    fn changelog_ends(&self, tasks: impl Iterator<Item = TaskId>) -> Result<Ends, Error> {
        let changelogs: Vec<TopicPartition> = tasks
            .flat_map(|task| self.changelogs_of(task).map(|(_, _, changelog)| changelog))
            .collect();
        if changelogs.is_empty() {
            return Ok(Ends::new());
        }
        let latest = self.log_ends(&changelogs, OffsetSpec::Latest)?;
        let earliest = self.log_ends(&changelogs, OffsetSpec::Earliest)?;
        let both = |changelog: TopicPartition| {
            let (first, last) = (earliest.get(&changelog)?, latest.get(&changelog)?);
            Some((changelog, (*first, *last)))
        };
        Ok(changelogs.into_iter().filter_map(both).collect())
    }

    /// Runs a task at once if its storage is where the group committed, else restores it.
    fn open_task(&mut self, task: TaskId, mut db: DbOf<W>, ends: &Ends) -> Result<(), Error> {
        let mut checkpoint = db.read_checkpoint()?;
        if let Some(problem) = self.beyond_the_log(task, &checkpoint, ends) {
            if self.committed_number(task) >= Some(checkpoint.commit_number) {
                return Err(lost_changelog(task, &problem));
            }
            tracing::error!(%task, problem, "local state is not of this changelog: restoring it");
            drop(db);
            let lock = self.shared.directory.acquire_task(task)?;
            lock.wipe()?;
            db = self.open_locked(lock)?;
            checkpoint = db.read_checkpoint()?;
        }
        if self.is_at_commit(task, &checkpoint) {
            count(&self.status.resumes, 1);
            return self.run_task(task, db.storage()?);
        }
        let storage = db.restorer()?;
        let mut stores = Vec::new();
        for (index, store, changelog) in self.changelogs_of(task) {
            let (first, last) = ends.get(&changelog).copied().ok_or_else(|| Error::Position {
                partition: changelog.clone(),
                problem: "the changelog does not exist: it was deleted while the application ran"
                    .to_owned(),
            })?;
            let stored = checkpoint.changelogs.get(store).copied();
            let position = stored.unwrap_or(Offset::ZERO);
            if position < first {
                return Err(deleted_changelog(task, &changelog, first, position));
            }
            stores.push(StoreRestore {
                index,
                store: store.to_owned(),
                changelog,
                position,
                target: last,
                restored: 0,
            });
        }
        if stores.iter().all(StoreRestore::is_done) {
            return self.finish_restore(task, storage, &stores);
        }
        count(&self.status.restores, 1);
        self.restore_jobs += 1;
        let cancelled = Arc::new(AtomicBool::new(false));
        let number = self.restore_jobs;
        self.slots.insert(task, Slot::Restoring { number, cancelled: Arc::clone(&cancelled) });
        self.restorer.restore(RestoreJob {
            task,
            number,
            storage,
            stores,
            cancelled,
            reply: self.restored_sender.clone(),
            waker: Arc::clone(&self.waker),
        })
    }

    /// Takes the answers of the restoring thread.
    pub(super) fn take_restored(&mut self) -> Result<bool, Error> {
        let mut any = false;
        while let Ok(outcome) = self.restored.try_recv() {
            any = true;
            let (task, number) = match &outcome {
                RestoreOutcome::Done(job) => (job.task, job.number),
                RestoreOutcome::Failed { task, number, .. } => (*task, *number),
            };
            let awaited = matches!(
                self.slots.get(&task),
                Some(Slot::Restoring { number: awaited, .. }) if *awaited == number
            );
            match outcome {
                _ if !awaited => {}
                RestoreOutcome::Done(RestoreJob { storage, stores, .. }) => {
                    self.finish_restore(task, storage, &stores)?;
                }
                RestoreOutcome::Failed { error, .. } => return Err(error),
            }
        }
        if any {
            self.note_running();
        }
        Ok(any)
    }

    /// Brings the checkpoint up to the group's commit and runs the task.
    fn finish_restore(
        &mut self,
        task: TaskId,
        storage: RestorerOf<W>,
        stores: &[StoreRestore],
    ) -> Result<(), Error> {
        let starts: Vec<(TopicPartition, StartPosition)> = self
            .inputs_of(task)
            .filter_map(|input| self.positions.get(&input).map(|start| (input, start.clone())))
            .collect();
        let checkpoint = storage.checkpoint();
        let state_exists =
            checkpoint.commit_number > 0 || stores.iter().any(|store| store.restored > 0);
        let none_committed = starts.iter().all(|(_, start)| start.committed.is_none());
        if self.shared.config.exactly_once() && state_exists && none_committed {
            return Err(Error::Inconsistent {
                task,
                problem: format!(
                    "its stores have committed contents but the group {} has no committed offset \
                     for its inputs: they expired or were reset, and processing from the start \
                     would count everything twice; restore the offsets, or reset the application \
                     (delete its internal topics and local state) to begin anew",
                    self.shared.config.application_id
                ),
            });
        }
        let number = starts.iter().filter_map(|(_, s)| s.committed.as_ref()?.commit_number).max();
        let inputs = starts.into_iter().map(|(input, start)| (input, start.input)).collect();
        // offsets committed by somebody who does not count commits leave the number as it is
        let number = number.unwrap_or(checkpoint.commit_number);
        let storage = storage.finish(inputs, number)?;
        self.run_task(task, storage)
    }

    fn run_task(&mut self, task_id: TaskId, storage: StorageOf<W>) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let changelogs = shared.plan.sub(task_id).changelogs.iter();
        let changelogs = changelogs
            .map(|topic| {
                let partition =
                    topic.as_ref().map(|topic| TopicPartition::new(&**topic, task_id.partition));
                partition.map(|partition| self.outbox.changelog(&partition)).transpose()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let storage = Rc::new(RefCell::new(storage));
        let config = TaskConfig {
            task_id,
            application_id: shared.config.application_id.clone(),
            handlers: shared.handlers.clone(),
            task_idle: task_idle(shared.config.max_task_idle),
            emit_interval: shared.config.emit_interval,
            store_cache_bytes_max: self.store_cache_bytes(),
            globals: shared.globals.as_ref().and_then(|globals| globals.reader()),
        };
        let mut collector = self.outbox.of_task(&shared, &changelogs);
        let shared_storage: Rc<RefCell<dyn TaskStorage>> = storage.clone();
        let now = shared.world.wall_clock();
        let mut task = Task::new(&shared.topology, config, shared_storage, &mut collector, now)?;
        let inputs: Vec<TopicPartition> = task.inputs().cloned().collect();
        let mut readers = Vec::with_capacity(inputs.len());
        for (queue, input) in inputs.into_iter().enumerate() {
            let start = self.positions.get(&input);
            let start = start.expect("INV-4: a task runs after its positions were read");
            task.resume(queue, start.input);
            if let Some(committed) = &start.committed {
                task.restore_processor_metadata(&committed.processors);
            }
            readers.push(self.readers.remove(&input).expect("each input has one reader"));
        }
        tracing::info!(task = %task_id, worker = self.identity.worker, "running");
        let running = Running { task, readers, storage, changelogs, counted: (0, 0, 0) };
        self.slots.insert(task_id, Slot::Running(Box::new(running)));
        Ok(())
    }

    /// Each store's share of the worker's bound, half of which is for writes.
    fn store_cache_bytes(&self) -> usize {
        let stores: usize = self
            .slots
            .keys()
            .map(|task| self.shared.plan.sub(*task).sub_topology.stores.len())
            .sum();
        let globals = self.shared.topology.global_topology().map_or(0, |sub| sub.stores.len());
        let stores = stores + globals * self.slots.len();
        self.shared.config.statestore_cache_per_worker().as_usize() / 2 / stores.max(1)
    }

    /// Tells the process that all tasks run, if they do.
    pub(super) fn note_running(&self) {
        let all = self.slots.values().all(|slot| matches!(slot, Slot::Running(_)));
        if self.group.is_some() && all {
            self.status.set(WorkerState::Running);
        }
    }
}

fn task_idle(idle: MaxTaskIdle) -> TaskIdle {
    match idle {
        MaxTaskIdle::Never => TaskIdle::Never,
        MaxTaskIdle::UntilFetched => TaskIdle::CaughtUpAnd(Duration::ZERO),
        MaxTaskIdle::For(duration) => TaskIdle::CaughtUpAnd(duration),
    }
}

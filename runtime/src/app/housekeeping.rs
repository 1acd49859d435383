//! What has to be done now and then, away from the workers.

use std::sync::Arc;
use std::time::Duration;

use tidemill_core::record::{Offset, TaskId, TopicPartition};

use crate::Error;
use crate::client::seam::Administer;
use crate::storage::seam::{Directory, OwnTask};
use crate::worker::{Chore, ChoresToDo, Shared, WorkerState, WorkerStatus};
use crate::world::World;

/// The longest time between two looks at abandoned state.
const CLEANUP_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// How often the workers are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// A call of the client that takes longer will not come back.
const CALL_LIMIT: Duration = Duration::from_secs(60);
const PURGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The housekeeping thread before and while it runs.
pub(crate) struct Housekeeping<W: World> {
    pub(super) shared: Arc<Shared<W>>,
    pub(super) workers: Vec<Arc<WorkerStatus>>,
    pub(super) chores: ChoresToDo,
}

impl<W: World> Housekeeping<W> {
    /// Does chores until it is told to stop.
    pub(crate) fn run(&self) {
        let world = &self.shared.world;
        let interval = self.shared.config.state_cleanup_delay;
        let interval = interval.clamp(WATCH_INTERVAL, CLEANUP_INTERVAL_MAX);
        let mut cleaned = world.monotonic();
        loop {
            while let Some(chore) = self.chores.take() {
                match chore {
                    Chore::Purge(committed) => self.purge(&committed),
                    Chore::Stop => return,
                }
            }
            self.workers.iter().for_each(|worker| self.watch(worker));
            if world.monotonic() - cleaned >= interval {
                self.clean_up();
                cleaned = world.monotonic();
            }
            world.wait(self.chores.waker(), WATCH_INTERVAL);
        }
    }

    /// Gives a worker up that is stuck inside the client: its thread can't be ended, and whether
    /// its transaction committed can't be known from here, so the process has to go and come back.
    fn watch(&self, worker: &WorkerStatus) {
        if let Some(call) = worker.overdue(self.shared.world.monotonic(), CALL_LIMIT)
            && worker.get() != WorkerState::Failed
        {
            worker.fail(Error::Thread(format!(
                "a worker has been inside the client's {call} for more than {CALL_LIMIT:?}: \
                 restart the process; what it had not committed will be processed again"
            )));
        }
    }

    /// Deletes records of repartition topics that are committed as read. Failing is harmless: the
    /// next purge includes this one.
    fn purge(&self, committed: &[(TopicPartition, Offset)]) {
        match self.shared.admin.delete_records(committed, PURGE_TIMEOUT) {
            Ok(_) => tracing::debug!(partitions = committed.len(), "purged repartition topics"),
            Err(error) => tracing::warn!(%error, "could not purge repartition topics"),
        }
    }

    /// Deletes the state of tasks that nobody here has owned for `state.cleanup.delay.ms`.
    fn clean_up(&self) {
        let tasks = match self.shared.directory.task_ids_on_disk() {
            Ok(tasks) => tasks,
            Err(error) => return tracing::warn!(%error, "could not look for abandoned state"),
        };
        for task in tasks {
            if !self.is_abandoned(task) {
                continue;
            }
            // an owner makes this fail, and that is the answer
            let Ok(lock) = self.shared.directory.acquire_task(task) else { continue };
            match lock.wipe() {
                Ok(()) => tracing::info!(%task, "deleted the state of a task that moved away"),
                Err(error) => tracing::warn!(%task, %error, "could not delete abandoned state"),
            }
        }
    }

    fn is_abandoned(&self, task: TaskId) -> bool {
        let Some(written) = self.shared.directory.written_at(task) else { return false };
        let age = self.shared.world.wall_clock().0.saturating_sub(written.0);
        let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
        age >= self.shared.config.state_cleanup_delay
    }
}

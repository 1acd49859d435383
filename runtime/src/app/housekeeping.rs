//! What has to be done now and then, away from the workers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use tidemill_core::record::{Offset, TaskId, TopicPartition};

use crate::Error;
use crate::clock::monotonic;
use crate::worker::{Chore, Shared, WorkerState, WorkerStatus};

/// The longest time between two looks at abandoned state.
const CLEANUP_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// How often the workers are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// A call of the client that takes longer will not come back.
const CALL_LIMIT: Duration = Duration::from_secs(60);
const PURGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Does chores until it is told to stop.
pub(super) fn run(shared: &Shared, workers: &[Arc<WorkerStatus>], chores: &Receiver<Chore>) {
    let interval = shared.config.state_cleanup_delay;
    let interval = interval.clamp(WATCH_INTERVAL, CLEANUP_INTERVAL_MAX);
    let mut cleaned = monotonic();
    loop {
        match chores.recv_timeout(WATCH_INTERVAL) {
            Ok(Chore::Purge(committed)) => purge(shared, &committed),
            Ok(Chore::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        workers.iter().for_each(|worker| watch(worker));
        if cleaned.elapsed() >= interval {
            clean_up(shared);
            cleaned = monotonic();
        }
    }
}

/// Gives a worker up that is stuck inside the client: its thread can't be ended, and whether its
/// transaction committed can't be known from here, so the process has to go and come back.
fn watch(worker: &WorkerStatus) {
    if let Some(call) = worker.overdue(CALL_LIMIT)
        && worker.get() != WorkerState::Failed
    {
        worker.fail(Error::Thread(format!(
            "a worker has been inside the client's {call} for more than {CALL_LIMIT:?}: restart \
             the process; what it had not committed will be processed again"
        )));
    }
}

/// Deletes records of repartition topics that are committed as read. Failing is harmless: the next
/// purge includes this one.
fn purge(shared: &Shared, committed: &[(TopicPartition, Offset)]) {
    match shared.admin.delete_records(committed, PURGE_TIMEOUT) {
        Ok(_) => tracing::debug!(partitions = committed.len(), "purged repartition topics"),
        Err(error) => tracing::warn!(%error, "could not purge repartition topics"),
    }
}

/// Deletes the state of tasks that nobody here has owned for `state.cleanup.delay.ms`.
fn clean_up(shared: &Shared) {
    let tasks = match shared.directory.task_ids_on_disk() {
        Ok(tasks) => tasks,
        Err(error) => return tracing::warn!(%error, "could not look for abandoned state"),
    };
    for task in tasks {
        if !is_abandoned(shared, task) {
            continue;
        }
        // an owner makes this fail, and that is the answer
        let Ok(lock) = shared.directory.acquire_task(task) else { continue };
        match lock.wipe() {
            Ok(()) => tracing::info!(%task, "deleted the state of a task that moved away"),
            Err(error) => tracing::warn!(%task, %error, "could not delete abandoned state"),
        }
    }
}

fn is_abandoned(shared: &Shared, task: TaskId) -> bool {
    let path = shared.directory.task_path(task);
    let newest = std::fs::read_dir(path).ok().and_then(|entries| {
        let modified = |entry: std::fs::DirEntry| entry.metadata().ok()?.modified().ok();
        entries.flatten().filter_map(modified).max()
    });
    let age = newest.and_then(|newest| SystemTime::now().duration_since(newest).ok());
    age.is_some_and(|age| age >= shared.config.state_cleanup_delay)
}
